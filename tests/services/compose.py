"""Servers in containers, where a Docker daemon answers: one service of `compose.yaml` at a time."""

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import run

FILE = Path(__file__).parents[2] / "compose.yaml"


@contextmanager
def server(name: str, port: int, address: Callable[[int], str]) -> Iterator[str]:
    """Give the address of a service, made by `address` from its port on loopback.

    Args:
        name: the service's, which has a health check.
        port: that it listens on in its container.
    """
    with published(name, port) as (place,):
        yield address(int(place.rpartition(":")[2]))


@contextmanager
def published(name: str, *ports: int) -> Iterator[list[str]]:
    """Run a service in a project of its own, and give host:port for each of its ports."""
    run(["docker", "info", "--format", "{{.ServerVersion}}"])
    project = f"dist-task-{secrets.token_hex(4)}"
    command = ["docker", "compose", "--project-name", project, "--file", str(FILE)]
    try:
        run([*command, "up", "--detach", "--wait", name])
        yield [run([*command, "port", name, str(port)]).strip() for port in ports]
    finally:
        remove = [*command, "down", "--volumes", "--timeout", "5"]
        subprocess.run(remove, capture_output=True, check=False)
