"""A folder as the broker, for one machine: Kombu's filesystem transport, made safe to share.

Kombu's own writes a message under its final name, where a reader may find it half written, and
moves it to the system's temporary folder to read it, which may be another file system. Here a
message appears whole and is taken by one rename. Kombu's also shares a file that says which queue
is bound to what; a process that ended while it wrote it left the broker unusable. Every process
that uses a queue declares it, so here each knows by itself. Kombu's sleeps between two looks; here
a reader is woken by whoever sends.
"""

import os
import uuid
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps, loads

from dist_task_pipelines.orchestration.bell import Bell, ring_all

LOOK_EVERY = 0.25  # seconds between two looks of a reader that nobody wakes


class Channel(filesystem.Channel):
    """Messages are files of the folder `data_folder_in`, named by time and queue.

    Readers hang their bells in `bell_folder`.
    """

    supports_fanout = False  # which alone needs the file

    def get_table(self, exchange: str) -> Any:
        """The queues that this process has bound to the exchange."""
        return virtual.Channel.get_table(self, exchange)

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_in)
        name = f"{time_ns():020}_{uuid.uuid4().hex}"
        hidden = folder / f".{name}"
        hidden.write_text(dumps(payload))
        hidden.rename(folder / f"{name}.{queue}.msg")
        ring_all(Path(self.transport_options["bell_folder"]))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        ending = f".{queue}.msg"
        for name in sorted(os.listdir(self.data_folder_in)):  # noqa: PTH208 - names are enough
            if not name.startswith(".") and name.endswith(ending):
                with suppress(FileNotFoundError):  # another reader took it
                    return self._take(name)
        raise Empty

    def _take(self, name: str) -> Any:
        taken = Path(self.data_folder_in, f".{name}.{os.getpid()}")
        Path(self.data_folder_in, name).rename(taken)
        payload = taken.read_text()
        taken.unlink()
        return loads(payload)


class Transport(filesystem.Transport):
    """The transport that `broker_transport` names."""

    Channel = Channel

    def __init__(self, client: Any, **how: Any) -> None:
        super().__init__(client, **how)
        self._bell_folder = Path(client.transport_options["bell_folder"])

    def drain_events(  # type: ignore[override]
        self, connection: Any, timeout: float | None = None
    ) -> None:
        """Deliver the next message.

        Raises:
            TimeoutError: none came within `timeout` or LOOK_EVERY seconds, whichever is less: in
                between, Celery acknowledges the messages whose runs have ended.
        """
        bell = self._bell  # it hangs before the look, or what is sent after that rings none
        if not self._deliver_one():
            bell.wait(min(timeout or LOOK_EVERY, LOOK_EVERY))
            if not self._deliver_one():
                raise TimeoutError("no message has come")

    def close_connection(self, connection: Any) -> None:
        """Close the channels, and take the bell down."""
        super().close_connection(connection)
        if bell := self.__dict__.pop("_bell", None):
            bell.close()

    @cached_property
    def _bell(self) -> Bell:
        return Bell(self._bell_folder)

    def _deliver_one(self) -> bool:
        assert self.cycle
        try:
            self.cycle.get(self._deliver)
        except Empty:
            return False
        return True
