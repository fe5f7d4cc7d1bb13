"""Real servers for the test suite, started by the tests themselves."""

import random
import socket
from contextlib import suppress


class ServiceUnavailable(RuntimeError):
    """A server that a test needs cannot be had on this machine; the message says why."""


def free_port() -> int:
    """A free loopback port that no outgoing connection takes before its server is up.

    It lies below the range from which systems give ports by themselves.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
