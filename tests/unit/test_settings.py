import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from dist_task_pipelines.application import application_root
from dist_task_pipelines.domain.errors import InvalidConfiguration
from dist_task_pipelines.domain.flow import RetrySettings
from dist_task_pipelines.domain.status import RetryStrategy
from dist_task_pipelines.executors.base import RocketMQ, Service
from dist_task_pipelines.settings import Section, Settings, hide_password

EXAMPLE = application_root() / "configs" / "dist_task.example.toml"

Write = Callable[[str], Path]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and give its path."""

    def write(text: str) -> Path:
        path = tmp_path / "conf" / "my.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def faults(config: Path | None, home: Path) -> dict[str, str]:
    """What is wrong with the configuration: message by path."""
    with pytest.raises(InvalidConfiguration) as caught:
        Settings.load(config, home)
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults), "no place is named twice"
    assert all(f"{path}: {message}" in str(caught.value) for path, message in found.items())
    return found


# --- defaults and places ---------------------------------------------------------------------


def test_without_a_file_everything_has_its_default(home: Path) -> None:
    settings = Settings.load(None, home)
    assert settings.file is None
    assert settings.home == home
    assert settings.database.url == f"sqlite:///{home}/ledger.db"
    assert settings.dagster.storage_url is None
    assert settings.app.port == 3000
    assert settings.rocketmq is None
    assert settings.tasks.file == application_root() / "configs" / "tasks.toml"
    assert not home.exists()


def test_the_file_under_home_is_read_when_none_is_named(home: Path) -> None:
    home.mkdir()
    (home / "dist_task.toml").write_text("[app]\nport = 4000")
    settings = Settings.load(None, home)
    assert (settings.app.port, settings.file) == (4000, home / "dist_task.toml")


def test_a_named_file_is_read_instead_of_the_one_under_home(home: Path, write: Write) -> None:
    home.mkdir()
    (home / "dist_task.toml").write_text("[app]\nport = 4000")
    assert Settings.load(write("[app]\nport = 5000"), home).app.port == 5000


def test_paths_become_full_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf.toml").write_text('tasks.file = "mine/tasks.toml"')
    settings = Settings.load(Path("conf.toml"), Path("here"))
    assert settings.file == tmp_path / "conf.toml"
    assert settings.home == tmp_path / "here"
    assert settings.tasks.file == tmp_path / "mine" / "tasks.toml"


def test_the_users_home_is_filled_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.toml").write_text('tasks.file = "~/tasks.toml"')
    settings = Settings.load(Path("~/my.toml"), Path("~/data"))
    assert settings.home == tmp_path / "data"
    assert settings.tasks.file == tmp_path / "tasks.toml"


def test_settings_are_frozen(home: Path) -> None:
    settings = Settings.load(None, home)
    for model, key in ((settings, "app"), (settings.app, "port")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, key, getattr(model, key))


# --- the environment ---------------------------------------------------------------------------


def test_variables_win_over_the_file(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(
        "[app]\nport = 4000\nhost = '::1'\n"
        "[services.PaymentService]\naddress = 'file:1'\nprotocol = 'grpc'"
    )
    monkeypatch.setenv("DIST_TASK__APP__PORT", "5000")
    monkeypatch.setenv("DIST_TASK__SERVICES__PaymentService__ADDRESS", "variable:2")
    settings = Settings.load(config, home)
    assert (settings.app.host, settings.app.port) == ("::1", 5000)
    service = settings.services["PaymentService"]
    assert (service.address, service.protocol) == ("variable:2", "grpc")


def test_variables_alone_suffice_and_take_every_type(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "DATABASE__URL": "mysql+pymysql://u:p@h/db",
        "DAGSTER__STORAGE_URL": "mysql+pymysql://u:p@h/dagster",
        "DISPATCH__LEASE_SECONDS": "2.5",
        "RETRY__STRATEGY": "auto",
        "ROCKETMQ__ENDPOINTS": "mq:8081",
        "ROCKETMQ__SECRET_KEY": "s3cret",
        "SERVICES__My__Service__PROTOCOL": "http",
        "SERVICES__My__Service__ADDRESS": "[::1]:80",
        "DATABASES__warehouse__URL": "sqlite:////tmp/w.db",
        "TASKS__FILE": "my-tasks.toml",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"DIST_TASK__{name}", value)
    settings = Settings.load(None, home)
    assert settings.database.url == "mysql+pymysql://u:p@h/db"
    assert settings.dagster.storage_url == "mysql+pymysql://u:p@h/dagster"
    assert settings.dispatch.lease_seconds == 2.5
    assert settings.default_retry.strategy is RetryStrategy.AUTO
    assert settings.rocketmq
    assert settings.rocketmq.secret_key.get_secret_value() == "s3cret"
    assert settings.services["My__Service"].address == "[::1]:80"
    assert settings.databases["warehouse"].url == "sqlite:////tmp/w.db"
    assert settings.tasks.file == home / "my-tasks.toml"


@pytest.mark.parametrize(
    "name",
    [
        "DIST_TASK__APP__PROT",
        "DIST_TASK__APP",
        "DIST_TASK__",
        "DIST_TASK__app__port",
        "DIST_TASK__APP__PORT__X",
        "DIST_TASK__SERVICES__ADDRESS",
        "DIST_TASK__SERVICES____ADDRESS",
        "DIST_TASK__SERVICES__Pay__PORT",
        "DIST_TASK__NOPE__PORT",
    ],
)
def test_an_unknown_variable_is_a_fault(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    assert "names no setting" in faults(None, home)[name]


def test_an_unknown_variable_is_told_what_is_near(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIST_TASK__APP__PROT", "1")
    assert "nearest are DIST_TASK__APP__PORT" in faults(None, home)["DIST_TASK__APP__PROT"]


@pytest.mark.parametrize("value", ["", "true", "3000.5", "0", "65536", "http", "null"])
def test_a_wrong_override_is_named_by_its_variable(
    value: str, home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIST_TASK__APP__PORT", value)
    assert list(faults(write("[app]\nport = 4000"), home)) == ["DIST_TASK__APP__PORT"]


def test_what_variables_leave_out_is_named_by_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIST_TASK__SERVICES__Pay__PROTOCOL", "grpc")
    assert faults(None, home) == {"DIST_TASK__SERVICES__Pay__ADDRESS": "is missing"}


def test_references_are_filled_in_from_the_environment(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_USER", "anna")
    monkeypatch.setenv("DB_PASSWORD", "${DB_USER}")
    config = write('database.url = "mysql+pymysql://${DB_USER}:${DB_PASSWORD}@h/db"')
    assert Settings.load(config, home).database.url == "mysql+pymysql://anna:${DB_USER}@h/db"


def test_a_reference_to_nothing_is_a_fault(home: Path, write: Write) -> None:
    config = write('[databases.w]\nurl = "${NO_SCHEME}://${NO_HOST}/db"\n[app]\nhost = "${x"')
    assert faults(config, home) == {
        f"{config}: databases.w.url": "the environment has no NO_SCHEME and no NO_HOST",
        f"{config}: app.host": (
            "after '${' the name of an environment variable and '}' must follow"
        ),
    }


def test_an_overridden_value_may_refer_to_nothing(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIST_TASK__DATABASE__URL", "sqlite:////tmp/x.db")
    config = write('database.url = "mysql+pymysql://u:${NO_PASSWORD}@h/db"')
    assert Settings.load(config, home).database.url == "sqlite:////tmp/x.db"


def test_a_child_process_gets_the_same_settings(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(write("[app]\nport = 4000"), home)
    assert set(settings.environment) == {"DIST_TASK_CONFIG", "DIST_TASK_HOME"}
    for name, value in settings.environment.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment() == settings


def test_a_child_process_of_one_without_a_file_reads_none(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIST_TASK_CONFIG", str(write("[app]\nport = 4000")))
    for name, value in Settings.load(None, home).environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert (settings.file, settings.home) == (None, home)


def test_home_is_a_folder_of_the_user_when_nothing_names_one() -> None:
    assert Settings.from_environment().home == Path("~/.dist_task").expanduser()


# --- faults ------------------------------------------------------------------------------------


def test_all_faults_are_told_at_once_each_with_its_place(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIST_TASK__LIMITS__MAX_PARAMS_BYTES", "few")
    monkeypatch.setenv("DIST_TASK__NOPE__KEY", "1")
    config = write(
        """
        colour = "red"
        [app]
        port = "3000"
        hots = "x"
        [dispatch]
        max_batch = 0
        calls_per_run = true
        lease_seconds = nan
        start_timeout_seconds = 86_401
        [retry]
        strategy = "automatic"
        [rocketmq]
        endpoints = "one:1;two"
        [services]
        Pay = 3
        [services."a b"]
        protocol = "soap"
        """
    )
    found = faults(config, home)
    assert found.pop("DIST_TASK__NOPE__KEY").startswith("names no setting")
    assert found.pop("DIST_TASK__LIMITS__MAX_PARAMS_BYTES") == "should be a valid integer"
    assert found == {
        f"{config}: {key}": message
        for key, message in {
            "colour": "is not a setting; known here: " + ", ".join(Settings.model_fields),
            "app.port": "should be a valid integer",
            "app.hots": "is not a setting; known here: host, port",
            "dispatch.max_batch": "should be greater than or equal to 1, not 0",
            "dispatch.calls_per_run": "should be a valid integer",
            "dispatch.lease_seconds": "should be a finite number",
            "dispatch.start_timeout_seconds": ("should be less than or equal to 86400, not 86401"),
            "retry.strategy": "should be 'auto', 'manual' or 'no_retry'",
            "rocketmq.endpoints": (
                "should be host:port such as 10.0.0.5:8081, without a scheme or path"
            ),
            "services.Pay": "should be a table",
            'services."a b".address': "is missing",
            'services."a b".protocol': "should be 'http' or 'grpc'",
        }.items()
    }


@pytest.mark.parametrize(
    "key", ["_env_file", "sources", "home", "App", "__pydantic_self__", "model_config"]
)
def test_no_other_key_has_a_meaning(key: str, home: Path, write: Write) -> None:
    config = write(f"{key} = 1")
    assert list(faults(config, home)) == [f"{config}: {key}"]


@pytest.mark.parametrize("section", ["app", "database", "services", "rocketmq", "tasks"])
def test_a_section_that_is_not_a_table_is_a_fault(section: str, home: Path, write: Write) -> None:
    config = write(f"{section} = 1")
    assert faults(config, home) == {f"{config}: {section}": "should be a table"}


def test_a_line_that_is_not_toml_is_named(home: Path, write: Write) -> None:
    config = write("[app]\n\nport 4000")
    [(place, message)] = faults(config, home).items()
    assert place == f"{config}: line 3"
    assert message.startswith("not valid TOML: ")


def test_a_file_that_ends_too_early_is_named_by_its_last_line(home: Path, write: Write) -> None:
    config = write('[app]\n\nhost = """x')
    assert list(faults(config, home)) == [f"{config}: line 3"]


def test_a_line_that_is_not_utf8_is_named(home: Path, write: Write) -> None:
    config = write("")
    config.write_bytes(b"[app]\nhost = '\xff'")
    assert faults(config, home) == {f"{config}: line 2": "not UTF-8"}


def test_a_file_that_cannot_be_read_is_named(home: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert faults(missing, home) == {str(missing): "cannot be read: No such file or directory"}
    assert faults(tmp_path, home) == {str(tmp_path): "cannot be read: Is a directory"}


@pytest.mark.parametrize("broker", ["redis://h:6379/0", "rediss://:p@h/1", "amqp://u:p@h:5672/v"])
def test_brokers_on_other_machines(broker: str, home: Path, write: Write) -> None:
    settings = Settings.load(write(f'workers.broker = "{broker}"'), home)
    assert settings.workers.broker == broker
    assert ":p@" not in repr(settings)


@pytest.mark.parametrize("broker", ["kafka://h", "redis", "redis://", "/a/folder", ""])
def test_brokers_that_are_none(broker: str, home: Path, write: Write) -> None:
    config = write(f'workers.broker = "{broker}"')
    [(place, message)] = faults(config, home).items()
    assert place == f"{config}: workers.broker"
    assert "redis://127.0.0.1:6379/0" in message


# --- rules of single values --------------------------------------------------------------------


@pytest.mark.parametrize(("total", "per_flow"), [(1, 1), (2, 1), (4, 3), (100, 99)])
def test_one_run_in_flight_is_left_to_other_flows(
    total: int, per_flow: int, home: Path, write: Write
) -> None:
    by_default = Settings.load(write(f"dispatch.max_runs_in_flight = {total}"), home)
    assert by_default.dispatch.max_runs_in_flight_per_flow == max(1, total * 3 // 4)
    text = f"[dispatch]\nmax_runs_in_flight = {total}\nmax_runs_in_flight_per_flow = "
    stated = Settings.load(write(f"{text}{per_flow}"), home)
    assert stated.dispatch.max_runs_in_flight_per_flow == per_flow
    config = write(f"{text}{per_flow + 1}")
    [(place, message)] = faults(config, home).items()
    assert place == f"{config}: dispatch.max_runs_in_flight_per_flow"
    assert message.startswith(f"should be at most {per_flow}, not {per_flow + 1}: ")


def test_a_wrong_total_is_one_fault_whatever_follows_from_it(home: Path, write: Write) -> None:
    total = "dispatch.max_runs_in_flight = 0"
    per_flow = "dispatch.max_runs_in_flight_per_flow = 3"
    for text in (total, f"{total}\n{per_flow}"):
        config = write(text)
        assert list(faults(config, home)) == [f"{config}: dispatch.max_runs_in_flight"]


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("key", "url", "message"),
    [
        ("database.url", f"u:{SECRET}@h/db", "should be a database URL"),
        ("database.url", f"mysql+pymysql://u:{SECRET}@h:x/db", "should be a database URL"),
        ("database.url", f"mysql://u:{SECRET}@h/db", "should begin with sqlite:// or mysql+py"),
        ("database.url", f"postgresql+psycopg://u:{SECRET}@h/db", "should begin with sqlite://"),
        ("database.url", f"mysql+pymysql://u:{SECRET}@h", "should name a database"),
        ("database.url", f"mysql+pymysql://u:{SECRET}@h/", "should name a database"),
        ("database.url", "sqlite:///ledger.db", "should give the file's full path"),
        ("database.url", "sqlite://", "should give the file's full path"),
        ("dagster.storage_url", "sqlite:////tmp/d.db", "should begin with mysql+pymysql://"),
        ("databases.w.url", "sqlite:///w.db", "should give the file's full path"),
        ("rocketmq.endpoints", f"http://{SECRET}:1", "should be host:port"),
        ("services.S.address", f"{SECRET}:70000", "should be host:port"),
        ("services.S.address", SECRET, "should be host:port"),
        ("services.S.address", "h:1/rpc", "should be host:port"),
        ("app.host", "", "should have at least 1 character"),
    ],
)
def test_a_text_of_the_wrong_form_is_refused_without_repeating_it(
    key: str, url: str, message: str, home: Path, write: Write
) -> None:
    config = write(f'{key} = "{url}"')
    found = faults(config, home)[f"{config}: {key}"]
    assert message in found
    assert SECRET not in found


def test_a_number_for_a_secret_is_refused_without_repeating_it(home: Path, write: Write) -> None:
    config = write("[rocketmq]\nendpoints = 'h:1'\nsecret_key = 12345")
    assert "12345" not in faults(config, home)[f"{config}: rocketmq.secret_key"]


@pytest.mark.parametrize("url", ["postgresql://u:p@h/db", "mysql+pymysql://h/db?charset=utf8mb4"])
def test_a_participants_database_may_be_of_any_kind(url: str, home: Path, write: Write) -> None:
    assert Settings.load(write(f'databases.w.url = "{url}"'), home).databases["w"].url == url


# --- what the settings become -------------------------------------------------------------------


def test_participants(home: Path, write: Write) -> None:
    config = write(
        """
        [rocketmq]
        endpoints = "a:1;b:2"
        access_key = "key"
        secret_key = "s3cret"
        [services.Pay]
        address = "pay:50051"
        protocol = "grpc"
        [services.Stock]
        address = "stock:80"
        [databases.warehouse]
        url = "mysql+pymysql://u:p@h/w"
        [limits]
        max_response_bytes = 1000
        """
    )
    participants = Settings.load(config, home).participants("ledger-1")
    assert participants.services == {
        "Pay": Service("pay:50051", "grpc"),
        "Stock": Service("stock:80", "http"),
    }
    assert participants.databases == {"warehouse": "mysql+pymysql://u:p@h/w"}
    assert participants.rocketmq == RocketMQ("a:1;b:2", "key", "s3cret")
    assert participants.ledger_uuid == "ledger-1"
    assert participants.max_response_bytes == 1000


def test_requests_are_taken_by_the_driver_that_can_receive(home: Path, write: Write) -> None:
    text = '[rocketmq]\nendpoints = "a:1"\nrequest_topic = "requests"\n'
    rocketmq = Settings.load(write(text), home).rocketmq
    assert rocketmq
    assert (rocketmq.request_topic, rocketmq.consumer_group) == ("requests", "dist_task")
    config = write(text + 'driver = "rocketmq4"')
    assert faults(config, home) == {
        f"{config}: rocketmq.request_topic": "needs the driver rocketmq5; rocketmq4 only sends"
    }


def test_participants_without_rocketmq(home: Path) -> None:
    assert Settings.load(None, home).participants("u").rocketmq is None


def test_default_retry(home: Path, write: Write) -> None:
    assert Settings.load(None, home).default_retry == RetrySettings()
    config = write('[retry]\nstrategy = "auto"\nmax_attempts = 7\ninterval = 0.5')
    assert Settings.load(config, home).default_retry == RetrySettings(
        RetryStrategy.AUTO, max_attempts=7, interval=0.5
    )


# --- passwords ---------------------------------------------------------------------------------


def test_no_password_shows(home: Path, write: Write) -> None:
    url = f"mysql+pymysql://u:{SECRET}@h/db"
    config = write(
        f"""
        database.url = "{url}"
        dagster.storage_url = "{url}"
        databases.w.url = "{url}?password={SECRET}"
        rocketmq = {{endpoints = "h:1", secret_key = "{SECRET}"}}
        """
    )
    settings = Settings.load(config, home)
    for shown in (repr(settings), str(settings), repr(settings.database), f"{settings.databases}"):
        assert SECRET not in shown
    assert repr(settings).count("mysql+pymysql://u:***@h/db") == 3


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("mysql+pymysql://u:p@h:3306/db", "mysql+pymysql://u:***@h:3306/db"),
        ("redis://:p@h", "redis://:***@h"),
        ("mysql://u:p@q/r:s@h/db", "mysql://u:***@h/db"),
        ("mysql://u:p\n@h/db", "mysql://u:***@h/db"),
        ("mysql://h/db?password=p&x=1", "mysql://h/db?password=***&x=1"),
        ("mysql://h/db?x=1&passwd=p", "mysql://h/db?x=1&passwd=***"),
        ("mysql://u@h:3306/db", "mysql://u@h:3306/db"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("no url", "no url"),
    ],
)
def test_hide_password(url: str, hidden: str) -> None:
    assert hide_password(url) == hidden


# --- the example -------------------------------------------------------------------------------

# Keys whose default depends on the machine, or of sections that are absent by default.
NO_FIXED_DEFAULT = {
    "workers.broker",
    "database.url",
    "dagster.storage_url",
    "http.no_proxy",
    "http.proxy",
    "tasks.file",
}
ABSENT_BY_DEFAULT = ("rocketmq.", "services.", "databases.", "tls.", "executors.")


def uncommented() -> str:
    return re.sub(r"^#(?=[a-z\[])", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def keys(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def value_at(settings: Settings, key: str) -> Any:
    found: Any = settings
    for part in key.split("."):
        found = found[part] if isinstance(found, Mapping) else getattr(found, part)
    return found


def keys_of(table: BaseModel | Mapping[str, Any]) -> Iterator[str]:
    for name, value in dict(table).items():
        if isinstance(value, BaseModel | Mapping):
            yield from (f"{name}.{key}" for key in keys_of(value))
        else:
            yield name


def test_the_example_as_it_stands_changes_nothing(home: Path) -> None:
    example, default = Settings.load(EXAMPLE, home), Settings.load(None, home)
    assert dict(example) == dict(default)


def test_the_example_names_every_key_with_its_default(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "p")
    monkeypatch.setenv("PROXY_PASSWORD", "p")
    config = tmp_path / "dist_task.toml"
    config.write_text(uncommented(), encoding="utf-8")
    example, default = Settings.load(config, home), Settings.load(None, home)
    named = set(keys(tomllib.loads(uncommented())))
    assert named == set(keys_of(example))
    assert example.tasks.file == tmp_path / default.tasks.file.name
    for key in named - NO_FIXED_DEFAULT:
        if key.startswith(ABSENT_BY_DEFAULT):
            continue
        assert value_at(example, key) == value_at(default, key), key


def test_the_examples_sections_without_default_show_the_defaults_of_their_keys(
    home: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "p")
    monkeypatch.setenv("PROXY_PASSWORD", "p")
    example = Settings.load(write(uncommented()), home)
    least = Settings.load(
        write("rocketmq.endpoints = 'h:1'\nservices.PaymentService.address = 'h:1'"), home
    )
    assert example.rocketmq
    assert least.rocketmq
    assert example.rocketmq.access_key == least.rocketmq.access_key
    assert example.rocketmq.secret_key == least.rocketmq.secret_key
    assert example.services["PaymentService"].protocol == least.services["PaymentService"].protocol


@pytest.mark.parametrize("section", Section.__subclasses__())
def test_every_key_is_described(section: type[Section]) -> None:
    assert all(field.description for field in section.model_fields.values())


def test_what_participants_must_not_repeat(home: Path, write: Write) -> None:
    config = write(
        """
        database.url = "mysql+pymysql://u:of%20the%20ledger@h/db"
        http.proxy = "http://u:of-the-proxy@h:1"
        workers.broker = "redis://:of%20the%20workers@h:1/0"
        [databases.a]
        url = "mysql+pymysql://u:of-a-database@h/db"
        [databases.same_as_user]
        url = "mysql+pymysql://postgres:postgres@h/db"
        [databases.short]
        url = "mysql+pymysql://u:test@h/db"
        [databases.query]
        url = "mysql+pymysql://h/db?password=in-the-query&charset=utf8mb4"
        [tls.t]
        key_password = "of-the-key"
        [services.s]
        address = "h:1"
        [services.s.metadata]
        authorization = "Bearer of-the-service"
        x-api-key = "api-key"
        tenant = "acme-corporation"
        [executors.mail]
        host = "mail.example"
        login = { user = "joe-smith", password = "of-the-mail" }
        [rocketmq]
        endpoints = "h:1"
        secret_key = "of-the-broker"
        """
    )
    assert Settings.load(config, home).participants("").secrets == {
        "of the ledger",
        "of the workers",
        "of-the-proxy",
        "of-a-database",
        "in-the-query",
        "of-the-key",
        "Bearer of-the-service",
        "of-the-service",
        "api-key",
        "of-the-mail",
        "of-the-broker",
    }
