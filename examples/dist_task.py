"""The platform as a user has it: the command `dist-task`, and `dist-task up` as a process.

Everything it writes lies in the demo's work folder.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.processes import CommandProcess
from dist_task_pipelines.settings import Settings
from examples.participant import HOST
from examples.shop import ROOT

EXAMPLES = Path(__file__).resolve().parent
COMMAND_TIMEOUT = 60  # seconds
STOP_TIMEOUT = 30  # seconds; it gives its own processes 20
PORTS_TRIED = 100


class CommandFailed(Exception):
    """A command of `dist-task` did not succeed; the message is what it printed."""


class Platform:
    """The platform in one work folder.

    Args:
        addresses: what the names in `dist_task.toml` and `order_flow.json` stand for here.
    """

    def __init__(self, work: Path, port: int, addresses: Mapping[str, str]) -> None:
        self.url = f"http://{HOST}:{port}"
        self.flow_file = _local_copy("order_flow.json", work, addresses)
        self._config = _local_copy("dist_task.toml", work, addresses)
        self._home = work / "home"
        self._port = port
        self._work = work

    @property
    def options(self) -> list[str]:
        """What makes a command work on this platform."""
        return ["--url", self.url]

    def command(self, *arguments: str) -> None:
        """Run `dist-task` with the arguments.

        Raises:
            CommandFailed: it did not succeed.
        """
        _run([*_python_m("dist_task_pipelines.cli"), *arguments, *self.options])

    def submit(self, orders: Iterable[Mapping[str, Any]]) -> None:
        """Submit transactions.

        Raises:
            CommandFailed: one was refused.
        """
        file = self._work / "orders.jsonl"
        file.write_text("".join(json.dumps(order) + "\n" for order in orders))
        self.command("submit", "--file", str(file))

    def send(self, orders: Iterable[Mapping[str, Any]], endpoints: str, topic: str) -> None:
        """Send transactions as messages to the topic that the platform listens to.

        Raises:
            CommandFailed: one could not be sent.
        """
        file = self._work / "messages.jsonl"
        file.write_text("".join(json.dumps(order) + "\n" for order in orders))
        command = _python_m("examples.send_requests")
        _run([*command, "--endpoints", endpoints, "--topic", topic, str(file)])

    @contextmanager
    def up(self) -> Iterator[CommandProcess]:
        """Start `dist-task up`, which prints `ready ...` once it serves; end it afterwards."""
        command = [*_python_m("dist_task_pipelines.cli"), "up", "--port", str(self._port)]
        command += ["--config", str(self._config), "--home", str(self._home)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = CommandProcess("dist-task up", command, environment, self._work / "logs")
        process.start()
        try:
            yield process
        finally:
            process.ask_to_stop()
            process.end(time.monotonic() + STOP_TIMEOUT)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The ledger, to look at."""
        ledger = open_ledger(Settings.load(self._config, self._home))
        try:
            yield ledger
        finally:
            ledger.close()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT,
        start_new_session=True,  # Ctrl-C is for the demo to deal with
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}:\n{done.stdout}")


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on.

    Raises:
        OSError: a hundred are taken.
    """
    for port in range(first, first + PORTS_TRIED - 1):
        if _is_free(port):
            return port
    return first + PORTS_TRIED - 1


def _is_free(port: int) -> bool:
    try:
        with socket.create_server((HOST, port)):
            return True
    except OSError:
        return False


def _python_m(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _local_copy(name: str, work: Path, addresses: Mapping[str, str]) -> Path:
    text = (EXAMPLES / name).read_text()
    for written, address in addresses.items():
        text = text.replace(written, address)
    copy = work / name
    copy.write_text(text)
    return copy
