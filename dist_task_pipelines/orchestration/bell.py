"""A bell between processes of one machine: whoever waits for messages is woken when one is there.

Everyone who waits has a named pipe of their own in a folder; a byte into each wakes them all. A
pipe whose owner is gone has no reader, which the next to ring sees.
"""

import errno
import os
import select
import uuid
from contextlib import suppress
from pathlib import Path


class Bell:
    """The waiting side. One thread waits at a time; close it when nobody will any more."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        self._path = folder / name
        hidden = folder / f".{name}"  # until it has a reader: without one it counts as left behind
        os.mkfifo(hidden, 0o600)
        self._pipe = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)  # a writer too, so it never ends
        hidden.rename(self._path)

    def wait(self, seconds: float) -> bool:
        """Wait until it has rung since the last wait, or for so many seconds; whether it has."""
        rung, _, _ = select.select([self._pipe], [], [], seconds)
        if rung:
            with suppress(BlockingIOError):
                os.read(self._pipe, select.PIPE_BUF)
        return bool(rung)

    def close(self) -> None:
        """Take it down."""
        self._path.unlink(missing_ok=True)
        os.close(self._pipe)


def ring_all(folder: Path) -> None:
    """Wake everyone who waits, or who will wait next."""
    for pipe in folder.glob("[!.]*"):
        try:
            _ring(pipe)
        except FileNotFoundError:
            pass  # its owner took it down at this moment
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            pipe.unlink(missing_ok=True)  # its owner ended without a word


def _ring(pipe: Path) -> None:
    writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    try:
        with suppress(BlockingIOError):  # it is full: its owner is woken anyway
            os.write(writing, b".")
    finally:
        os.close(writing)
