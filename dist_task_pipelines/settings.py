"""The configuration: one TOML file, each value overridable by an environment variable.

Read at the edge, into frozen objects, which what lies below is handed: by the commands, and by
whatever Dagster makes without arguments (definitions, the run launcher, the job `intervene`).
`configs/dist_task.example.toml` shows every key.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from dist_task_pipelines.application import application_root
from dist_task_pipelines.domain.errors import InvalidConfiguration
from dist_task_pipelines.domain.flow import RetrySettings
from dist_task_pipelines.domain.status import RetryStrategy
from dist_task_pipelines.executors.base import Participants, Proxy, RocketMQ, Service, Tls
from dist_task_pipelines.executors.http_client import http_url
from dist_task_pipelines.executors.rpc_config import checked_metadata
from dist_task_pipelines.settings_sources import File, Variables, faults

FILE_NAME = "dist_task.toml"
DEFAULT_HOME = Path("~/.dist_task")
CONFIG_VARIABLE = "DIST_TASK_CONFIG"
HOME_VARIABLE = "DIST_TASK_HOME"

LEAST_SECRET = 6
"""Characters of a password that is looked for in replies; shorter ones stand in any text."""

_CREDENTIAL = re.compile(r"(?i)auth|cookie|credential|key|passw|secret|signature|token")
_MQ_NAME = r"^[%A-Za-z0-9_-]{1,127}$"
BROKERS = ("redis", "rediss", "amqp", "amqps")

_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def hide_password(url: str) -> str:
    """The database URL with `***` for its password, fit for a message."""
    hidden = re.sub(r"(?s)(://[^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&]passw(?:or)?d=)[^&]*", r"\1***", hidden)


def _database_url(url: str) -> str:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(
            "should be a database URL such as mysql+pymysql://user:password@host:3306/name,"
            " special characters in the password percent-encoded"
        ) from None
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and not (parsed.database or "").startswith("/"):
        raise ValueError("should give the file's full path: sqlite:////var/lib/name.db")
    if not parsed.database:
        raise ValueError("should name a database after the host: ...@host:3306/name")
    return url


def _driver(*allowed: str) -> AfterValidator:
    def check(url: str) -> str:
        if make_url(url).drivername not in allowed:
            choices = " or ".join(f"{driver}://" for driver in allowed)
            raise ValueError(f"should begin with {choices}")
        return url

    return AfterValidator(check)


def _address(address: str) -> str:
    found = _ADDRESS.fullmatch(address)
    if not (found and 0 < int(found[1]) <= 65_535):
        raise ValueError("should be host:port such as 10.0.0.5:8081, without a scheme or path")
    return address


def _proxy(url: str) -> str:
    try:
        http_url(url)
    except ValueError as error:
        raise ValueError(f"{error}; a proxy is given like http://127.0.0.1:3128") from None
    return url


def _addresses(text: str) -> str:
    return ";".join(_address(address) for address in text.split(";"))


def _broker_url(url: str) -> str:
    parsed = urlsplit(url)
    if parsed.scheme not in BROKERS or not parsed.hostname:
        raise ValueError(
            "should be a broker's URL such as redis://127.0.0.1:6379/0 or amqp://user@host:5672//"
        )
    return url


BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
LedgerUrl = Annotated[DatabaseUrl, _driver("sqlite", "mysql+pymysql", "mariadb+pymysql")]
DagsterUrl = Annotated[DatabaseUrl, _driver("mysql+pymysql")]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]
FilePath = Annotated[Path, Field(strict=False)]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[str, AfterValidator(_addresses)]


OptionalPath = TypeVar("OptionalPath", Path, Path | None)


class Section(BaseModel):
    """A table of the file. Unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [
            (name, hide_password(value) if isinstance(value, str) else value)
            for name, value in super().__repr_args__()
        ]


class AppSettings(Section):
    """The server of REST and the Dagster UI."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(3000, ge=1, le=65_535, description="TCP port to listen on")


class DatabaseSettings(Section):
    """The ledger's database."""

    url: LedgerUrl = Field(description="SQLAlchemy URL; by default SQLite, ledger.db under home")


class DagsterSettings(Section):
    """Dagster's own storage."""

    storage_url: DagsterUrl | None = Field(
        None, description="SQLAlchemy URL of a MySQL database; by default SQLite under home"
    )


class WorkerSettings(Section):
    """The processes that execute runs."""

    count: int = Field(2, ge=0, le=64, description="processes that `dist-task up` starts")
    concurrency: int = Field(4, ge=1, le=64, description="dispatched runs at a time in each")
    broker: BrokerUrl | None = Field(
        None, description="URL of Redis or RabbitMQ; by default a folder under home"
    )


class DispatchSettings(Section):
    """How transactions are grouped into runs."""

    max_batch: int = Field(500, ge=1, le=10_000, description="transactions in one run")
    max_batch_bytes: int = Field(
        4_000_000, ge=1_000, le=64_000_000, description="bytes of parameters in one run"
    )
    max_runs_in_flight: int = Field(8, ge=1, le=1_000, description="runs at a time, of all flows")
    max_runs_in_flight_per_flow: int = Field(
        default_factory=lambda before: max(1, before["max_runs_in_flight"] * 3 // 4),
        ge=1,
        description="runs at a time of one flow; by default three quarters of all",
    )
    lease_seconds: float = Field(
        30, ge=1, le=3_600, description="seconds until a silent worker's batch is handed back"
    )
    start_timeout_seconds: float = Field(
        300, ge=1, le=86_400, description="seconds that a launched run may take to start"
    )
    calls_per_run: int = Field(
        64, ge=1, le=10_000, description="participants called at once by one run"
    )

    @field_validator("max_runs_in_flight_per_flow")
    @classmethod
    def _leave_room_for_other_flows(cls, per_flow: int, info: ValidationInfo) -> int:
        total = info.data.get("max_runs_in_flight")
        if total is not None and per_flow > max(1, total - 1):
            raise ValueError(
                f"should be at most {max(1, total - 1)}, not {per_flow}: of {total} runs in flight"
                " (max_runs_in_flight) one is left to the other flows"
            )
        return per_flow


class RetryDefaults(Section):
    """What happens after a task failed, where its flow does not say."""

    strategy: RetryStrategy = Field(
        RetryStrategy.MANUAL, strict=False, description="auto, manual or no_retry"
    )
    max_attempts: int = Field(3, ge=0, le=1_000, description="retries after the first call")
    interval: float = Field(60, ge=0, le=3_600, description="seconds before a retry")


class RocketMQSettings(Section):
    """The brokers that mq tasks send to, and where requests come from."""

    endpoints: Addresses = Field(
        description="host:port of the RocketMQ 5 proxy, or with rocketmq4 of the name server;"
        " several separated by semicolons"
    )
    driver: Literal["rocketmq5", "rocketmq4"] = Field(
        "rocketmq5", description="the client: rocketmq5, or rocketmq4 for brokers without the proxy"
    )
    namespace: str = Field("", description="the namespace of every topic and group")
    access_key: str = Field("", description="who signs in, where the brokers ask for it")
    secret_key: SecretStr = Field(SecretStr(""), description="the access key's secret")
    request_topic: str | None = Field(
        None,
        pattern=_MQ_NAME,
        description="topic from which requests are taken; by default none are",
    )
    consumer_group: str = Field(
        "dist_task", pattern=_MQ_NAME, description="the group that takes requests"
    )

    @field_validator("request_topic")
    @classmethod
    def _received_by_one_driver(cls, topic: str | None, info: ValidationInfo) -> str | None:
        if topic is not None and info.data.get("driver") == "rocketmq4":
            raise ValueError("needs the driver rocketmq5; rocketmq4 only sends")
        return topic

    @property
    def broker(self) -> RocketMQ:
        """As executors take it."""
        secret = self.secret_key.get_secret_value()
        return RocketMQ(self.endpoints, self.access_key, secret, self.namespace, self.driver)


class TlsSettings(Section):
    """One way of speaking TLS, which services and http tasks name. All files are PEM."""

    ca_file: FilePath | None = Field(
        None, description="the only authorities trusted; by default the system's"
    )
    cert_file: FilePath | None = Field(None, description="the client's certificate")
    key_file: FilePath | None = Field(
        None, description="its private key; by default it stands in cert_file"
    )
    key_password: SecretStr = Field(SecretStr(""), description="of an encrypted private key")


class HttpSettings(Section):
    """How http tasks reach their participants."""

    proxy: ProxyUrl | None = Field(
        None, description="URL of the proxy they go through; by default they go directly"
    )
    no_proxy: tuple[str, ...] = Field(
        (), strict=False, description="hosts called directly, each with its subdomains"
    )


class ServiceSettings(Section):
    """Where rpc tasks find one service."""

    address: Address = Field(description="host:port")
    protocol: Literal["http", "grpc"] = Field("http", description="http or grpc")
    descriptor_set: FilePath | None = Field(
        None,
        description="file that describes a gRPC server's methods; by default the server is asked",
    )
    metadata: Annotated[dict[str, str], AfterValidator(checked_metadata)] = Field(
        {}, description="sent with every call: gRPC metadata, or HTTP headers"
    )
    tls: str | None = Field(None, description="name of the [tls] to speak; by default none is")


class ParticipantDatabase(Section):
    """Where db tasks find one database."""

    url: DatabaseUrl = Field(description="SQLAlchemy URL")


class ExecutorSettings(Section):
    """What an executor of another package is told; any keys."""

    model_config = ConfigDict(extra="allow")


class LimitSettings(Section):
    """What is refused, or not kept, because of its size."""

    max_body_bytes: int = Field(
        1_048_576, ge=1_024, le=67_108_864, description="bytes of one request's body"
    )
    max_params_bytes: int = Field(
        1_048_576, ge=1_024, le=16_777_216, description="bytes of one transaction's parameters"
    )
    max_response_bytes: int = Field(
        65_536, ge=256, le=16_777_216, description="bytes of one participant's reply"
    )


class CheckSettings(Section):
    """When the checks of the ledger's assets turn red."""

    stuck_seconds: float = Field(
        300, ge=1, le=604_800, description="seconds that a transaction may wait for a run"
    )
    success_rate: float = Field(
        0.95,
        ge=0,
        le=1,
        description="minimum success rate of a flow's transactions settled in the last hour",
    )
    success_rate_of: int = Field(
        20, ge=1, le=1_000_000, description="not evaluated below this many settled"
    )
    exception_seconds: float = Field(
        86_400, ge=1, le=31_536_000, description="seconds that an exception may stay open"
    )


class TaskSettings(Section):
    """The task definitions."""

    file: Path = Field(
        default_factory=lambda: application_root() / "configs" / "tasks.toml",
        strict=False,
        description="TOML file; a relative path starts at the configuration file's folder",
    )


class Settings(BaseSettings):
    """Everything that can be configured, checked and frozen. `Settings.load` makes one."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, strict=True, case_sensitive=True)

    app: AppSettings = AppSettings()
    database: DatabaseSettings
    dagster: DagsterSettings = DagsterSettings()
    workers: WorkerSettings = WorkerSettings()
    dispatch: DispatchSettings = DispatchSettings()
    retry: RetryDefaults = RetryDefaults()
    rocketmq: RocketMQSettings | None = None
    tls: Mapping[str, TlsSettings] = {}
    http: HttpSettings = HttpSettings()
    services: Mapping[str, ServiceSettings] = {}
    databases: Mapping[str, ParticipantDatabase] = {}
    executors: Mapping[str, ExecutorSettings] = {}
    limits: LimitSettings = LimitSettings()
    checks: CheckSettings = CheckSettings()
    tasks: TaskSettings = Field(default_factory=TaskSettings)

    _home: Path = PrivateAttr()
    _file: Path | None = PrivateAttr()

    @field_validator("services")
    @classmethod
    def _check_tls_names(
        cls, services: Mapping[str, ServiceSettings], info: ValidationInfo
    ) -> Mapping[str, ServiceSettings]:
        known = info.data.get("tls", {})
        for name, service in services.items():
            if service.tls and service.tls not in known:
                there_are = ", ".join(known) or "none"
                raise ValueError(
                    f"{name}.tls: there is no [tls.{service.tls}]; there are: {there_are}"
                )
        return services

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources that `load` read, and no others."""
        sources: tuple[PydanticBaseSettingsSource, ...] = init_settings()["sources"]
        return sources

    @classmethod
    def load(cls, config: Path | None, home: Path) -> Self:
        """Read the file `config`, or `dist_task.toml` under `home` if there is one.

        Raises:
            InvalidConfiguration: the file cannot be read, or a key or value is wrong; names
                everything that is.
        """
        home = home.expanduser().absolute()
        variables = Variables.read(cls)
        file = File.read(cls, _existing(config, home), variables.names)
        values = (variables.values, file.values, _defaults(home))
        try:
            settings = cls.model_validate(
                {"sources": tuple(InitSettingsSource(cls, each) for each in values)}
            )
        except ValidationError as error:
            raise InvalidConfiguration(faults(cls, file, variables, error)) from None
        if found := faults(cls, file, variables):
            raise InvalidConfiguration(found)
        settings._home, settings._file = home, file.path
        return settings._with_full_paths()

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of the process that started this one; see `environment`.

        Raises:
            InvalidConfiguration: as `load`.
        """
        config = os.environ.get(CONFIG_VARIABLE)
        home = os.environ.get(HOME_VARIABLE) or DEFAULT_HOME
        return cls.load(Path(config) if config else None, Path(home))

    def with_port(self, port: int) -> Self:
        """The same settings with another `app.port`."""
        return self.model_copy(update={"app": self.app.model_copy(update={"port": port})})

    def _with_full_paths(self) -> Self:
        tasks = TaskSettings(file=self._full_path(self.tasks.file))
        return self.model_copy(update={"tasks": tasks})

    def _full_path(self, path: OptionalPath) -> OptionalPath:
        """The path, where a relative one starts at the configuration file's folder."""
        folder = self._file.parent if self._file else self._home
        return path and folder / path.expanduser()

    @property
    def home(self) -> Path:
        """The folder of everything that is written: full path, need not exist yet."""
        return self._home

    @property
    def file(self) -> Path | None:
        """The configuration file, full path; None when there is none."""
        return self._file

    @property
    def environment(self) -> dict[str, str]:
        """The variables that give a child process the same settings."""
        return {
            CONFIG_VARIABLE: str(self._file) if self._file else "",
            HOME_VARIABLE: str(self._home),
        }

    @property
    def default_retry(self) -> RetrySettings:
        """The retry settings of a task whose flow does not say."""
        retry = self.retry
        return RetrySettings(retry.strategy, retry.max_attempts, retry.interval)

    def participants(self, ledger_uuid: str) -> Participants:
        """The outside systems, as executors take them."""
        tls = {name: self._tls(each) for name, each in self.tls.items()}
        return Participants(
            services={
                name: Service(
                    service.address,
                    service.protocol,
                    self._full_path(service.descriptor_set),
                    service.metadata,
                    tls[service.tls] if service.tls else None,
                )
                for name, service in self.services.items()
            },
            databases={name: database.url for name, database in self.databases.items()},
            rocketmq=self.rocketmq.broker if self.rocketmq else None,
            tls=tls,
            proxy=Proxy(self.http.proxy, self.http.no_proxy) if self.http.proxy else None,
            ledger_uuid=ledger_uuid,
            secrets=frozenset(filter(_is_secret, self._secrets())),
            max_response_bytes=self.limits.max_response_bytes,
            options={name: each.model_dump() for name, each in self.executors.items()},
        )

    def _secrets(self) -> Iterator[str]:
        """The passwords and keys in the configuration that a participant may come to know."""
        urls = [database.url for database in self.databases.values()]
        urls += [self.database.url, self.dagster.storage_url or "", self.http.proxy or ""]
        for url in filter(None, urls):
            yield from _passwords(url)
        yield unquote(urlsplit(self.workers.broker or "").password or "")
        tables = [service.metadata for service in self.services.values()]
        for table in (*tables, *(each.model_dump() for each in self.executors.values())):
            yield from _credentials(table)
        yield from (each.key_password.get_secret_value() for each in self.tls.values())
        yield self.rocketmq.secret_key.get_secret_value() if self.rocketmq else ""

    def _tls(self, tls: TlsSettings) -> Tls:
        return Tls(
            self._full_path(tls.ca_file),
            self._full_path(tls.cert_file),
            self._full_path(tls.key_file),
            tls.key_password.get_secret_value(),
        )


def _passwords(url: str) -> Iterator[str]:
    parsed = make_url(url)
    if parsed.password and parsed.password != parsed.username:
        yield parsed.password
    yield from _credentials(parsed.query)


def _credentials(table: Mapping[str, Any]) -> Iterator[str]:
    """The texts whose keys speak of something secret."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _credentials(value)
        elif isinstance(value, str) and _CREDENTIAL.search(name):
            yield from (value, value.rpartition(" ")[2])  # "Bearer ..."


def _is_secret(text: str) -> bool:
    return len(text) >= LEAST_SECRET


def _existing(config: Path | None, home: Path) -> Path | None:
    if config is not None:
        return config.expanduser().absolute()
    standard = home / FILE_NAME
    return standard if standard.exists() else None


def _defaults(home: Path) -> dict[str, Any]:
    ledger = URL.create("sqlite", database=str(home / "ledger.db"))
    return {"database": {"url": ledger.render_as_string()}}
