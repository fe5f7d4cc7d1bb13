"""RabbitMQ servers, found or fetched, started and ended by themselves."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from kombu import Connection

from tests.services import apt, compose, free_port
from tests.services.process import named_or_first_that_starts, running

URL_VARIABLE = "DIST_TASK_TEST_RABBITMQ_URL"

# Erlang's `erl` and Debian's wrapper name their folders and the user: what they execute does not.
_BOOT = (
    *("-noinput", "-boot", "start_sasl", "-s", "rabbit", "boot"),
    *("+W", "w", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
    *("-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"),
    *("-kernel", "prevent_overlapping_partitions", "false"),
    *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
)


def rabbitmq_server(cache_dir: Path) -> AbstractContextManager[str]:
    """Give the URL of a RabbitMQ server; found as `mysql_server` finds its own."""
    return named_or_first_that_starts(
        URL_VARIABLE,
        "RabbitMQ",
        _login_error,
        {
            "Docker Compose": partial(compose.server, "rabbitmq", 5672, _url),
            "installed": partial(_served, Path("/"), {}),
            "Debian archive": partial(_unpacked, cache_dir),
        },
    )


@contextmanager
def _unpacked(cache_dir: Path) -> Iterator[str]:
    tree = apt.fetched([apt.Wanted("rabbitmq-server", alone=False)], cache_dir)
    libraries = ":".join(map(str, tree.glob("usr/lib/*-linux-*")))  # that the machine lacks
    with _served(tree, {"LD_LIBRARY_PATH": libraries}) as url:
        yield url


@contextmanager
def _served(tree: Path, environment: Mapping[str, str]) -> Iterator[str]:
    erlang = tree / "usr/lib/erlang"
    programs = apt.first(erlang, "erts-*/bin")
    plugins = apt.first(tree, "usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins")
    with tempfile.TemporaryDirectory(prefix="dist_task_rabbitmq_") as name:
        folder, port, names = Path(name), free_port(), str(free_port())
        at = {
            **environment,
            "ROOTDIR": str(erlang),
            "BINDIR": str(programs),
            "EMU": "beam",
            "PROGNAME": "erl",
            "HOME": name,  # of the cookie
            "ERL_LIBS": str(plugins),
            "ERL_CRASH_DUMP": str(folder / "crash"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": names,
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_PLUGINS_DIR": str(plugins),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": name,
            "RABBITMQ_LOGS": "-",
        }
        url, log = _url(port), folder / "log"
        epmd, erlexec = str(programs / "epmd"), str(programs / "erlexec")
        with (
            running([epmd], log, lambda: None, environment=at),  # else RabbitMQ leaves one behind
            running([erlexec, *_BOOT], log, partial(_login_error, url), environment=at),
        ):
            yield url


def _login_error(url: str) -> str | None:
    with Connection(url, connect_timeout=10) as connection:
        try:
            connection.connect()
        except (*connection.connection_errors, *connection.channel_errors) as error:
            return str(error)
    return None


def _url(port: int) -> str:
    return f"amqp://guest:guest@127.0.0.1:{port}//"
