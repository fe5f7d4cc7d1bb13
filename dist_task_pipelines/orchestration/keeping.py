"""What a long-lived process opens once and keeps, where a short one opens it for each use.

Connections to the ledger and to participants live from run to run in a worker, those to the ledger
from tick to tick in the code server. Elsewhere (plain `dagster dev`, tests) a resource opens and
closes its own.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Keeper:
    """Opens each thing once, on first use, and closes all in reverse order."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open = ExitStack()
        self._things: dict[str, Any] = {}

    def get(self, name: str, opened: Callable[[], AbstractContextManager[T]]) -> T:
        """The thing of this name; `opened` makes it if it is the first time."""
        with self._lock:
            if name not in self._things:
                self._things[name] = self._open.enter_context(opened())
            thing: T = self._things[name]
            return thing

    def close(self) -> None:
        """Close everything."""
        with self._lock:
            self._things.clear()
            self._open.close()


_keepers: list[Keeper] = []


@contextmanager
def keeping_open() -> Iterator[None]:
    """Within, whatever is `kept` stays open until the end, for all threads of the process."""
    keeper = Keeper()
    _keepers.append(keeper)
    try:
        yield
    finally:
        _keepers.remove(keeper)
        keeper.close()


@contextmanager
def kept(name: str, opened: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """The thing of this name: the process's if it keeps things open, else one for this use."""
    if _keepers:
        yield _keepers[-1].get(name, opened)
        return
    with opened() as thing:
        yield thing
