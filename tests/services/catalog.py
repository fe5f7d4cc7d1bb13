"""The servers by name, and how each is started."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.services import mysql, nginx, postgresql, rabbitmq, redis, rocketmq

Addresses = dict[str, str]  # by the environment variable that names the server to the tests


@contextmanager
def _at(
    variable: str, start: Callable[[Path], AbstractContextManager[str]], cache_dir: Path
) -> Iterator[Addresses]:
    with start(cache_dir) as url:
        yield {variable: url}


@contextmanager
def _rocketmq(cache_dir: Path) -> Iterator[Addresses]:
    with rocketmq.rocketmq_server(cache_dir) as server:
        yield {
            rocketmq.ENDPOINTS_VARIABLE: server.endpoints,
            rocketmq.BROKER_VARIABLE: server.broker,
        }


SERVERS: dict[str, Callable[[Path], AbstractContextManager[Addresses]]] = {
    "mysql": partial(_at, mysql.URL_VARIABLE, mysql.mysql_server),
    "mariadb": partial(_at, mysql.MARIADB_URL_VARIABLE, mysql.mariadb_server),
    "redis": partial(_at, redis.URL_VARIABLE, redis.redis_server),
    "rabbitmq": partial(_at, rabbitmq.URL_VARIABLE, rabbitmq.rabbitmq_server),
    "nginx": partial(_at, nginx.URL_VARIABLE, nginx.nginx_server),
    "postgresql": partial(_at, postgresql.URL_VARIABLE, postgresql.postgresql_server),
    "rocketmq": _rocketmq,
}
