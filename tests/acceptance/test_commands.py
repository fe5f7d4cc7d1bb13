"""The command line before a server of its own, without Dagster: what it accepts and refuses."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dist_task_pipelines.assembly import migrate_ledger, open_ledger
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.schema import VERSION_TABLE
from dist_task_pipelines.settings import Settings
from tests.acceptance.command_line import Command
from tests.acceptance.making import flow, register, task
from tests.services import free_port
from tests.services.api import running_api

Refusal = Callable[..., str]

FAILED, WRONG_INPUT, UNREACHABLE = 1, 2, 3
TOO_LARGE = 2_000_000  # bytes; the most is 1 MB

OWN_FLOWS = {
    "shop": flow(
        task("deduct", input_fields=[{"name": "amount", "type": "float", "required": True}]),
        task("ship", "deduct"),
    ),
    "open": flow(task("only")),
    "many": flow(task("only")),
    "closed": flow(task("only")),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a ledger, flows and a server, where nothing picks up what is submitted."""
    folder = tmp_path_factory.mktemp("home")
    settings = Settings.load(None, folder)
    migrate_ledger(settings)
    register(folder, OWN_FLOWS, "http://127.0.0.1:9")
    ledger = open_ledger(settings)
    ledger.flows.set_active("closed_v1", False)
    with running_api(ledger, settings) as url:
        serve_at(folder, url)
        yield folder
    ledger.close()


def serve_at(folder: Path, url: str) -> None:
    """Configure a home for the server at this URL."""
    (folder / "dist_task.toml").write_text(f"[app]\nport = {urlsplit(url).port}\n")


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    """The ledger of that home."""
    opened = open_ledger(Settings.load(None, home))
    yield opened
    opened.close()


@pytest.fixture
def dist_task(home: Path, command: Command) -> Command:
    """A command on that home."""
    return partial(command, home)


@pytest.fixture
def refusal(dist_task: Command) -> Refusal:
    """What a refused command says: all of it on standard error."""

    def run(*arguments: str, exit_code: int, stdin: str = "") -> str:
        printed = dist_task(*arguments, exit_code=exit_code, stdin=stdin)
        assert printed.out == ""
        assert "error" in printed.err.lower()
        return printed.err

    return run


def ids_of(ledger: Ledger, prefix: str) -> set[str]:
    """The ids of the transactions that begin so."""
    records = ledger.transactions.page(limit=5000)
    return {record.id for record in records if record.id.startswith(prefix)}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["nowhere", "bad-1"], FAILED, ["no flow 'nowhere'"]),
        (["shop_v7", "bad-2"], FAILED, ["no flow 'shop_v7'"]),
        (["closed", "bad-3"], FAILED, ["closed_v1", "not active"]),
        (["shop", "bad-4"], WRONG_INPUT, ["params.deduct.amount", "required"]),
        (
            ["shop", "bad-5", "--params", '{"deduct": {"amount": "much", "x": 1}, "nobody": {}}'],
            WRONG_INPUT,
            ["3 faults", "params.deduct.amount", "params.deduct.x", "params.nobody"],
        ),
        (["open", "bad-6", "--params", '{"only": '], WRONG_INPUT, ["line 1 column"]),
        (["open", "bad-7", "--params", "[]"], WRONG_INPUT, ["params", "must be a JSON object"]),
        (["open", "bad-8", "--params", '{"only": {"a": 1, "a": 2}}'], WRONG_INPUT, ["a", "twice"]),
        (["open", "bad-9", "--params", '{"only": {"a": NaN}}'], WRONG_INPUT, ["NaN"]),
        (["open", "bad-" + "x" * 125], WRONG_INPUT, ["129 characters", "128"]),
        (["open", "bad-10 "], WRONG_INPUT, ["white space"]),
        (["open", "bad-\n11"], WRONG_INPUT, ["control characters"]),
        (["open", ""], WRONG_INPUT, ["must not be empty"]),
        (["open"], WRONG_INPUT, ["transaction id"]),
        (["--file", "/no/such/file"], WRONG_INPUT, ["/no/such/file", "cannot be read"]),
    ],
    ids=lambda value: value[0][:12] if isinstance(value, list) else None,
)
def test_what_cannot_be_accepted_is_refused_and_leaves_nothing(
    refusal: Refusal, ledger: Ledger, arguments: list[str], exit_code: int, words: list[str]
) -> None:
    said = refusal("submit", *arguments, exit_code=exit_code)
    for each in words:
        assert each in said
    assert ids_of(ledger, "bad-") == set()


def test_params_that_are_too_large_are_refused(refusal: Refusal, ledger: Ledger) -> None:
    params = json.dumps({"only": {"text": "x" * TOO_LARGE}})
    said = refusal("submit", "open", "bad-large", "--params", params, exit_code=WRONG_INPUT)
    assert "larger than 1048576 bytes" in said
    assert ids_of(ledger, "bad-") == set()


def test_any_text_can_be_an_id(dist_task: Command, ledger: Ledger) -> None:
    ids = [
        'it\'s "quoted"',
        "a/b\\c?d=e&f#g%20",
        "🛒-órder-订单",
        "[bold]x[/bold]",
        "--looks-like-an-option",
        "x" * 128,
        "e\u0301 is not \u00e9",
    ]
    for each in ids:
        assert dist_task("submit", "open", "--json", "--", each).json["instance_id"] == each
        assert ledger.transactions.get(each).status == "pending"
        shown = dist_task("status", "--json", "--", each).json["transaction"]
        assert shown["instance_id"] == each
    assert "[bold]x[/bold]" in dist_task("status", "[bold]x[/bold]").out


def test_the_same_request_is_one_transaction(dist_task: Command, refusal: Refusal) -> None:
    first = dist_task("submit", "open", "same-1", "--json").json
    assert dist_task("submit", "open", "same-1", "--params", "{}", "--json").json == first
    params = ["--params", '{"only": {"a": 1}}']
    said = refusal("submit", "open", "same-1", *params, exit_code=FAILED)
    assert "'same-1' exists with another flow or other params" in said


def test_a_file_s_good_lines_are_accepted_and_its_bad_ones_named(
    dist_task: Command, ledger: Ledger, tmp_path: Path
) -> None:
    large = {"only": {"text": "x" * TOO_LARGE}}
    lines = [
        {"instance_id": "file-1", "flow_id": "open"},
        {"instance_id": "file-2", "flow_id": "nowhere"},
        {"instance_id": "file-3", "flow_id": "shop", "params": {"deduct": {"amount": 1}}},
        {"instance_id": "file-4", "flow_id": "open", "params": large},
        {"instance_id": "file-5", "flow_id": "open", "params": {"only": {"ключ": "😀"}}},
        {"instance_id": "file-1", "flow_id": "open", "params": {"only": {"again": True}}},
        {"instance_id": "file-" + "x" * 124, "flow_id": "open"},
        {"instance_id": "file-\ud800", "flow_id": "open"},
        {"instance_id": "file-6", "flow_id": "open", "params": {"nobody": {}}},
        {"instance_id": "file-3", "flow_id": "shop", "params": {"deduct": {"amount": 1.0}}},
    ]
    file = tmp_path / "orders.jsonl"
    file.write_text("\n\n".join(json.dumps(line) for line in lines))
    done = dist_task("submit", "--file", str(file), exit_code=FAILED)
    assert "4 accepted, 6 refused" in done.out
    refused = [line for line in done.err.splitlines() if line.startswith("error:")]
    ids = [line.split(": ")[1][:6] for line in refused]
    assert ids == ["file-2", "file-4", "file-1", "file-x", "file-\\", "file-6"]
    assert "larger than 1048576 bytes" in done.err
    assert ids_of(ledger, "file-") == {"file-1", "file-3", "file-5"}
    assert ledger.transactions.get("file-5").params == {"only": {"ключ": "😀"}}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"instance_id": "half-2", "flow_id": "open"', "not valid JSON"),
        ('{"instance_id": "half-2"}', "flow_id"),
        ('["half-2"]', "object"),
        ('{"instance_id": 7, "flow_id": "open"}', "instance_id"),
        ('{"instance_id": "half-2", "flow_id": null}', "flow_id"),
        ('{"instance_id": "half-2", "instance_id": "half-3", "flow_id": "open"}', "twice"),
        ('{"instance_id": "half-2", "flow_id": "open", "parms": {}}', "parms: is unknown"),
        ('{"instance_id": "half-2", "flow_id": "open", "params": []}', "params: must be an object"),
    ],
    ids=["cut", "no-flow", "array", "number", "null", "twice", "unknown", "params"],
)
def test_a_file_with_a_line_that_is_no_request_is_refused(
    refusal: Refusal, ledger: Ledger, line: str, words: str
) -> None:
    good = json.dumps({"instance_id": "half-1", "flow_id": "open"})
    said = refusal("submit", "--file", "-", exit_code=WRONG_INPUT, stdin=f"{good}\n{line}\n")
    assert "line 2" in said
    assert words in said
    assert ids_of(ledger, "half-") == set()


def test_many_at_once_are_accepted_once(dist_task: Command) -> None:
    lines = "\n".join(
        json.dumps({"instance_id": f"many-{number}", "flow_id": "many"}) for number in range(1100)
    )
    for _ in range(2):
        assert "1100 accepted, 0 refused" in dist_task("submit", "--file", "-", stdin=lines).out
    found = dist_task("status", "--flow", "many_v1", "--limit", "1000", "--json").json
    ids = [each["instance_id"] for each in found]
    assert ids == [f"many-{number}" for number in range(1099, 99, -1)]


def test_flows_are_checked_listed_and_shown(
    dist_task: Command, refusal: Refusal, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    steps = [{"id": "only", "task_name": "http_request", "config": {"url": "http://127.0.0.1:9"}}]
    good.write_text(json.dumps({"name": "applied", "tasks": steps}))
    bad.write_text(
        json.dumps(
            {
                "name": "bad",
                "tasks": [
                    {"id": "a", "task_name": "http_request", "depends_on": ["b"], "config": {}},
                    {"id": "b", "task_name": "nothing", "depends_on": ["a", "c"]},
                    {"id": "class", "task_name": "http_request", "colour": 1},
                ],
            }
        )
    )
    linted = dist_task("flow", "lint", str(good), str(bad), exit_code=WRONG_INPUT)
    assert "good.json: no faults" in linted.out
    for fault in ("tasks[0].config.url", "tasks[1].task_name", "'c'", "colour", "a -> b"):
        assert fault in linted.err
    assert "tasks[1].task_name" in refusal("flow", "apply", str(bad), exit_code=WRONG_INPUT)
    assert "applied_v1 is active" in dist_task("flow", "apply", str(good)).out
    listed = {each["flow_id"] for each in dist_task("flow", "list", "--json").json}
    assert {"applied_v1", "open_v1"} <= listed
    assert "bad_v1" not in listed
    assert dist_task("flow", "show", "applied").json["flow_id"] == "applied_v1"
    assert "no flow 'bad'" in refusal("flow", "show", "bad", exit_code=FAILED)
    assert "applied_v1" in dist_task("flow", "list").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "nobody"],
        ["retry", "nobody"],
        ["retry", "--exception", "99"],
        ["handle", "99"],
        ["cancel", "nobody"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_said_to_be_missing(refusal: Refusal, arguments: list[str]) -> None:
    said = refusal(*arguments, exit_code=FAILED)
    assert "no transaction 'nobody'" in said or "no exception 99" in said


@pytest.mark.parametrize(
    "arguments",
    [["retry"], ["retry", "x", "--exception", "1"], ["handle", "x"], ["status", "--limit", "0"]],
    ids=" ".join,
)
def test_wrong_usage_is_told_apart(refusal: Refusal, arguments: list[str]) -> None:
    refusal(*arguments, exit_code=WRONG_INPUT)


def test_an_empty_ledger_has_something_to_say(command: Command, tmp_path: Path) -> None:
    done = command(tmp_path, "migrate")
    assert f"migrated sqlite:///{tmp_path}/ledger.db" in done.out
    assert command(tmp_path, "migrate").out == done.out
    settings = Settings.load(None, tmp_path)
    with closing(open_ledger(settings)) as ledger, running_api(ledger, settings) as url:
        for each in (["status"], ["exceptions"], ["flow", "list"]):
            assert command(tmp_path, *each, "--url", url, "--json").json == []
            assert command(tmp_path, *each, "--url", url).out.startswith("no ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["submit", "open", "order-1"],
        ["wait", "order-1"],
        ["retry", "order-1"],
        ["handle", "1"],
        ["cancel", "order-1"],
        ["exceptions"],
        ["stats"],
        ["flow", "list"],
        ["flow", "delete", "open_v1"],
    ],
    ids=" ".join,
)
def test_commands_need_a_server(command: Command, tmp_path: Path, arguments: list[str]) -> None:
    port = free_port()
    serve_at(tmp_path, f"http://127.0.0.1:{port}")
    printed = command(tmp_path, *arguments, exit_code=UNREACHABLE)
    assert f"cannot reach http://127.0.0.1:{port}" in printed.err
    assert "dist-task up" in printed.err
    assert "--url" in printed.err
    assert printed.out == ""


def test_a_server_without_its_ledger(dist_task: Command, command: Command, tmp_path: Path) -> None:
    command(tmp_path, "migrate")
    settings = Settings.load(None, tmp_path)
    with closing(open_ledger(settings)) as ledger, running_api(ledger, settings) as url:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as database, database:
            database.execute("ALTER TABLE task_group_instance RENAME TO gone")
        said = command(tmp_path, "status", "--url", url, exit_code=UNREACHABLE).err
    assert "ledger" in said
    assert "dist-task up" not in said


def test_a_url_that_is_none(refusal: Refusal) -> None:
    assert "http://127.0.0.1:3000" in refusal("status", "--url", "nowhere", exit_code=WRONG_INPUT)


def test_a_ledger_of_a_later_version_is_left_alone(command: Command, tmp_path: Path) -> None:
    command(tmp_path, "migrate")
    set_revision(tmp_path, "9999")
    said = command(tmp_path, "migrate", exit_code=UNREACHABLE).err
    assert "revision 9999" in said
    assert "upgrade dist-task-pipelines" in said


def test_a_ledger_that_is_no_database(command: Command, tmp_path: Path) -> None:
    text = "not a database at all, but long enough to be looked at\n"
    (tmp_path / "ledger.db").write_text(text * 99)
    said = command(tmp_path, "migrate", exit_code=UNREACHABLE).err
    assert str(tmp_path / "ledger.db") in said


def test_a_home_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = command(tmp_path / "file" / "home", "migrate", exit_code=WRONG_INPUT).err
    assert str(tmp_path / "file") in said


def test_every_fault_of_the_configuration_is_named_at_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dist_task.toml").write_text(
        """
        [app]
        port = "3000"
        prt = 1
        [dispatch]
        max_batch = 0
        lease_seconds = true
        [database]
        url = "postgresql://teller:s3cr3t-w0rd@127.0.0.1/dist_task"
        [sevices.Payment]
        address = "127.0.0.1:1"
        """
    )
    monkeypatch.setenv("DIST_TASK__RETRY__STRATEGY", "sometimes")
    monkeypatch.setenv("DIST_TASK__NO__SUCH", "1")
    said = command(tmp_path, "migrate", exit_code=WRONG_INPUT).err
    for name in (
        "app.port",
        "app.prt",
        "dispatch.max_batch",
        "dispatch.lease_seconds",
        "database.url",
        "sevices",
        "DIST_TASK__RETRY__STRATEGY",
        "DIST_TASK__NO__SUCH",
    ):
        assert name in said
    assert "s3cr3t" not in said
    assert not (tmp_path / "ledger.db").exists()


def test_a_configuration_that_cannot_be_read(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "dist_task.toml"
    for text, words in (
        ("[app\nport = 1", str(file)),
        ('[app]\nhost = "${NO_SUCH_NAME}"', "NO_SUCH_NAME"),
    ):
        file.write_text(text)
        assert words in command(tmp_path, "status", exit_code=WRONG_INPUT).err
    nowhere = str(tmp_path / "nowhere.toml")
    assert nowhere in command(tmp_path, "status", "--config", nowhere, exit_code=WRONG_INPUT).err


def set_revision(home: Path, revision: str) -> None:
    """Make the ledger of the home look like another version's."""
    with closing(sqlite3.connect(home / "ledger.db")) as database, database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", [revision])
