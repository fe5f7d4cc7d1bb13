"""A folder as the broker, for one machine: Kombu's filesystem transport, made safe to share.

Kombu's own writes a message under its final name, where a reader may find it half written, and
moves it to the system's temporary folder to read it, which may be another file system. Here a
message appears whole and is taken by one rename. Kombu's also shares a file that says which queue
is bound to what; a process that ended while it wrote it left the broker unusable. Every process
that uses a queue declares it, so here each knows by itself.
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps, loads


class Channel(filesystem.Channel):
    """Messages are files of the folder `data_folder_in`, named by time and queue."""

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
