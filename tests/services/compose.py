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
    """Give the address of a service, in a project of its own that is gone after the block.

    Args:
        name: the service's, which has a health check.
        port: that it listens on in its container.
        address: makes the address from the port on loopback.
    """
    run(["docker", "info", "--format", "{{.ServerVersion}}"])
    project = f"dist-task-{secrets.token_hex(4)}"
    command = ["docker", "compose", "--project-name", project, "--file", str(FILE)]
    try:
        run([*command, "up", "--detach", "--wait", name])
        published = run([*command, "port", name, str(port)])
        yield address(int(published.strip().rpartition(":")[2]))
    finally:
        remove = [*command, "down", "--volumes", "--timeout", "5"]
        subprocess.run(remove, capture_output=True, check=False)
