"""Every error the platform raises on purpose.

    DistTaskError
    ├── InvalidInput              what was sent cannot be accepted; names every fault
    │   ├── InvalidDefinition
    │   ├── InvalidTaskDefinition
    │   ├── InvalidParams
    │   ├── InvalidMessage
    │   ├── InvalidJson
    │   ├── InvalidRequest
    │   └── InvalidConfiguration
    ├── TooLarge                  what was sent is larger than is taken
    ├── WrongMediaType            the Content-Type is not JSON
    ├── NotFound                  nothing has that id
    ├── NotAllowed                the thing is not in a state that allows it
    ├── Conflict                  the id or name is taken, or a run is working on it
    │   └── LeaseLost
    ├── RowRefused                the ledger's database refuses a value
    └── LedgerUnavailable         the ledger's database cannot be used
        └── LedgerOutOfStep       its schema is not the one this code needs

A message says what is wrong, where, and how to fix it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where (`tasks[0].config.url`) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DistTaskError(Exception):
    """The root of the platform's errors."""


class InvalidInput(DistTaskError):
    """The input cannot be accepted; `faults` names everything wrong with it."""

    subject = "input"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        super().__init__(f"invalid {self.subject}, {count}:{lines}")

    @classmethod
    def at(cls, path: str, message: str) -> "InvalidInput":
        """The error for a single fault."""
        return cls([Fault(path, message)])


class InvalidDefinition(InvalidInput):
    """A flow definition is not valid."""

    subject = "flow definition"


class InvalidTaskDefinition(InvalidInput):
    """The task definitions, which flows name, are not valid."""

    subject = "task definitions"


class InvalidParams(InvalidInput):
    """The parameters of a transaction, or of one of its tasks, are not valid."""

    subject = "parameters"


class InvalidMessage(InvalidInput):
    """A message is not a request."""

    subject = "message"


class InvalidJson(InvalidInput):
    """A text is not JSON, or holds what cannot be kept without loss."""

    subject = "JSON"


class InvalidRequest(InvalidInput):
    """A request's body or query does not fit the call."""

    subject = "request"


class InvalidConfiguration(InvalidInput):
    """The configuration file or an override has a wrong key or value."""

    subject = "configuration"


class TooLarge(DistTaskError):
    """What was sent is larger than is taken."""


class WrongMediaType(DistTaskError):
    """The Content-Type is not JSON."""


class NotFound(DistTaskError):
    """Nothing has that id."""

    HINTS: ClassVar = {"flow": "; `dist-task flow list` shows them"}  # by kind

    def __init__(self, kind: str, identifier: object) -> None:
        self.kind = kind
        self.identifier = identifier
        super().__init__(f"no {kind} {identifier!r}{self.HINTS.get(kind, '')}")


class NotAllowed(DistTaskError):
    """The state of the thing does not allow what was asked."""


class Conflict(DistTaskError):
    """The id stands for another request, the name is taken, or a run is working on it."""


class LeaseLost(Conflict):
    """The batch is no longer this run's: its lease expired or another run holds it."""


class RowRefused(DistTaskError):
    """The ledger's database refuses a value of one of the rows written."""


class LedgerUnavailable(DistTaskError):
    """The ledger's database cannot be reached or written."""


class LedgerOutOfStep(LedgerUnavailable):
    """The ledger's schema is behind or ahead of this version of the platform."""


def by_class(table: Mapping[Any, M], error: BaseException) -> M | None:
    """What a table by classes has for the most specific of the error's classes in it."""
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)
