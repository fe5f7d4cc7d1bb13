"""Redis servers, found or fetched, started and ended by themselves."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import redis

from tests.services import apt, compose, free_port
from tests.services.process import found, named_or_first_that_starts, running

URL_VARIABLE = "DIST_TASK_TEST_REDIS_URL"


def redis_server(cache_dir: Path) -> AbstractContextManager[str]:
    """Give the URL of a Redis server; found as `mysql_server` finds its own."""
    return named_or_first_that_starts(
        URL_VARIABLE,
        "Redis",
        _login_error,
        {
            "Docker Compose": partial(compose.server, "redis", 6379, _url),
            "installed": _installed,
            "Debian archive": partial(_unpacked, cache_dir),
        },
    )


def _installed() -> AbstractContextManager[str]:
    return _served([str(found("redis-server"))])


def _unpacked(cache_dir: Path) -> AbstractContextManager[str]:
    tree = apt.fetched([apt.Wanted("redis-server")], cache_dir)
    return _served(apt.own_loader(tree, "usr/bin/redis-server"))


@contextmanager
def _served(program: Sequence[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dist_task_redis_") as folder:
        port = free_port()
        place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        forgetful = ["--save", "", "--appendonly", "no", "--set-proc-title", "no"]
        url = _url(port)
        log = Path(folder) / "log"
        with running([*program, *place, *forgetful], log, partial(_login_error, url)):
            yield url


def _login_error(url: str) -> str | None:
    try:
        with redis.Redis.from_url(url, socket_timeout=10) as client:
            client.ping()
    except redis.RedisError as error:
        return str(error)
    return None


def _url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"
