"""What producers and consumers of the official RocketMQ client have in common; blocking.

- It is not fork-safe: a process that used it must not fork and use it in the child, so a
  child that inherits a started one is refused.
- It reports an unknown topic and an unreachable broker alike, as a bare `Exception`.
"""

import asyncio
import logging
import os
import re
from typing import Any

from dist_task_pipelines.executors.base import RocketMQ
from dist_task_pipelines.executors.rocketmq_package import BadSetup, load_client

REQUEST_SECONDS = 10  # for one request to a broker, whatever the task's timeout

_ENDPOINTS = re.compile(r"[^\s:;/]+:[0-9]{1,5}(;[^\s:;/]+:[0-9]{1,5})*;?")


class _Process:
    """The process that has the client's threads; 0: none has."""

    pid = 0


def configuration(settings: RocketMQ) -> Any:
    """The client's own configuration, for a client that is started in this process.

    Raises:
        BadSetup: the endpoints are malformed, or the client was used before a fork.
    """
    if not _ENDPOINTS.fullmatch(settings.endpoints):
        raise BadSetup(
            f"the endpoints {settings.endpoints!r} in [rocketmq] must be like 127.0.0.1:8081, "
            "several IP addresses separated by ';'"
        )
    if _Process.pid not in (0, os.getpid()):
        raise BadSetup(
            "the RocketMQ client was used before this process was forked, which it does not "
            "survive: send the first message after the fork"
        )
    _Process.pid = os.getpid()
    client = load_client()
    return client.ClientConfiguration(
        settings.endpoints,
        client.Credentials(settings.access_key, settings.secret_key),
        request_timeout=REQUEST_SECONDS,
    )


def find_route(client: Any, topic: str) -> None:
    """Let a started client find the brokers of the topic.

    Raises:
        Exception: the client's own errors, which say why there are none.
    """
    # An answer that is there at once the client takes in on this thread, and opens a stream from
    # it, for which it needs its own loop.
    asyncio.set_event_loop(client._rpc_channel_io_loop())
    routes = client.route_manager
    try:
        routes.retrieve_topic_route_data(topic)
    except Exception:
        _ask_why(client, topic)
        routes.retrieve_topic_route_data(topic)


def shut_down(client: Any) -> None:
    """Let a client sign off and end its threads."""
    try:
        client.shutdown()
    except Exception:  # its connections may be broken already
        logging.getLogger(__name__).warning("a RocketMQ client did not end well", exc_info=True)


def _ask_why(client: Any, topic: str) -> None:
    """Ask for the route again, in a way that does not hide the answer."""
    from rocketmq.grpc_protocol import QueryRouteRequest, Resource
    from rocketmq.v5.util import MessagingResultChecker

    endpoints = client.client_configuration.rpc_endpoints
    request = QueryRouteRequest(topic=Resource(name=topic), endpoints=endpoints.endpoints)
    answer = client.rpc_client.query_topic_route_async(
        endpoints, request, metadata=client.sign(), timeout=REQUEST_SECONDS
    )
    MessagingResultChecker.check(answer.result().status)
