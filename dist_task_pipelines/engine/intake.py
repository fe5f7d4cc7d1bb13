"""Requests that come as messages: taken in until the queue is empty, and what of them is refused.

A message is acknowledged after the ledger has committed what became of it: a transaction, or,
where it can never become one, an exception record with its body, for a person. So nothing is
lost, nothing blocks the queue, and a message that comes twice changes nothing.

What brokers are like, this module does not know.
"""

import base64
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import (
    DistTaskError,
    Fault,
    InvalidInput,
    InvalidMessage,
    NotAllowed,
    RowRefused,
)
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import TaskError
from dist_task_pipelines.engine.submit import Result, SubmitRequest, examine, submit_many
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import (
    ExceptionRecord,
    RefusedMessage,
    TransactionRecord,
)

RECEIVERS = 8  # receives at a time while messages wait
ENVELOPE_BYTES = 4096  # of a message beside its params
FLOW_ID_LENGTH = 120


class Message(Protocol):
    """A message as it came."""

    @property
    def id(self) -> str:
        """Given by the broker, the same each time it delivers the message."""

    @property
    def body(self) -> bytes:
        """What the sender wrote."""


M = TypeVar("M", bound=Message)


class Source(Protocol[M]):
    """Where messages wait. Both methods block, and are called by several threads."""

    @property
    def topic(self) -> str:
        """Its name."""

    def receive(self) -> list[M]:
        """The next messages, few or many; none when none came for a while."""

    def acknowledge(self, messages: Sequence[M]) -> None:
        """Let go of these messages for good."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of messages."""

    accepted: int = 0  # those that came a second time included
    refused: tuple[str, ...] = ()  # the ids of messages that became exceptions

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(self.accepted + other.accepted, self.refused + other.refused)


class _Body(BaseModel):
    """The JSON of a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instance_id: str
    flow_id: str
    params: JsonObject | None = None


@dataclass(frozen=True)
class Intake(Generic[M]):
    """Takes in what waits at a source.

    Args:
        max_params_bytes: the most that the params of one request may take as JSON.
    """

    ledger: Ledger
    source: Source[M]
    max_params_bytes: int

    def drain(self, seconds: float) -> Taken:
        """Take in messages until none waits, or so many seconds have passed.

        While messages come, several receives are under way; each gives what it got as it ends.

        Raises:
            LedgerUnavailable: what was received is not acknowledged, and will come again.
            Exception: the source's own errors.
        """
        until = time.monotonic() + seconds
        taken = Taken()
        with ThreadPoolExecutor(RECEIVERS, "intake") as threads:
            waiting = {threads.submit(self.source.receive)}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                messages = _received(done)
                taken += self.take(messages)
                if messages and time.monotonic() < until:
                    free = RECEIVERS - len(waiting)
                    waiting |= {threads.submit(self.source.receive) for _ in range(free)}
        return taken

    def take(self, messages: Sequence[M]) -> Taken:
        """Make transactions of these messages, exceptions of the others; then acknowledge all.

        Raises:
            LedgerUnavailable: none is acknowledged.
            Exception: the source's own errors.
        """
        if not messages:
            return Taken()
        results = self._submit(messages)
        refused = [
            self._refused(message, result)
            for message, result in zip(messages, results, strict=True)
            if isinstance(result, DistTaskError)
        ]
        if refused:
            self.ledger.exceptions.add_messages(refused)
        self.source.acknowledge(messages)
        return Taken(len(messages) - len(refused), tuple(each.id for each in refused))

    def _submit(self, messages: Sequence[M]) -> list[Result]:
        """What becomes of each message: a transaction, or the reason why not."""
        try:
            return self._submit_together(messages)
        except RowRefused as error:
            if len(messages) == 1:
                return [error]
        return [result for each in messages for result in self._submit([each])]

    def _submit_together(self, messages: Sequence[M]) -> list[Result]:
        read = [_request(message.body) for message in messages]
        requests = [each for each in read if isinstance(each, SubmitRequest)]
        limit = self.max_params_bytes
        answers = submit_many(self.ledger, requests, max_params_bytes=limit) if requests else []
        results = iter(answers)
        return [next(results) if isinstance(each, SubmitRequest) else each for each in read]

    def _refused(self, message: M, error: DistTaskError) -> RefusedMessage:
        request = _request(message.body)
        source = {"topic": self.source.topic, **_kept(message.body, self._most_kept)}
        return RefusedMessage(
            message.id, _flow_named(request), TaskError(type(error).__name__, str(error)), source
        )

    @property
    def _most_kept(self) -> int:
        """Enough for any message that could be submitted again."""
        return self.max_params_bytes + ENVELOPE_BYTES


def retry_exception(
    ledger: Ledger, exception_id: int, *, max_params_bytes: int, actor: str, reason: str = ""
) -> datetime:
    """Let the task of an open exception be called once more; submit that of a message again.

    Returns:
        when the call is due.

    Raises:
        NotFound: nothing has that id.
        DistTaskError: see `OperatorStore.retry_exception`, and `resubmit`.
    """
    if ledger.exceptions.get(exception_id).source is None:
        return ledger.operators.retry_exception(exception_id, actor=actor, reason=reason)
    return resubmit(
        ledger, exception_id, max_params_bytes=max_params_bytes, actor=actor, reason=reason
    ).created_at


def resubmit(
    ledger: Ledger, exception_id: int, *, max_params_bytes: int, actor: str, reason: str = ""
) -> TransactionRecord:
    """Submit the message of an exception once more, and close the exception if it is accepted.

    Raises:
        NotAllowed: the exception is handled, is not of a message, or a part of that was kept only.
        DistTaskError: the message is refused again; see `submit`.
    """
    record = ledger.exceptions.get(exception_id)
    request = _request(_kept_body(record))
    if isinstance(request, DistTaskError):
        raise request
    found = examine(ledger, request, max_params_bytes=max_params_bytes)
    return ledger.operators.resubmit(exception_id, found, actor=actor, reason=reason)


def _received(done: set[Future[list[M]]]) -> list[M]:
    return [message for future in done for message in future.result()]


def _request(body: bytes) -> SubmitRequest | InvalidInput:
    """The request in a message, or everything wrong with it."""
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            return InvalidMessage.at("", "must be a JSON object")
        read = _Body.model_validate(value)
    except InvalidInput as error:
        return error
    except ValidationError as error:
        return InvalidMessage(
            [
                Fault(".".join(map(str, each["loc"])), each["msg"].removeprefix("Input "))
                for each in error.errors(include_url=False, include_input=False)
            ]
        )
    return SubmitRequest(read.instance_id, read.flow_id, read.params)


def _flow_named(request: SubmitRequest | InvalidInput) -> str:
    named = request.flow if isinstance(request, SubmitRequest) else ""
    return named if named.isascii() and len(named) <= FLOW_ID_LENGTH else ""


def _kept(body: bytes, most: int) -> JsonObject:
    """The body as JSON can hold it: as text, or what is no text in base64; cut if it must be."""
    kept = body[:most]
    cut = {"cut_from_bytes": len(body)} if len(body) > most else {}
    try:
        return {"body": kept.decode(), **cut}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(kept).decode(), **cut}


def _kept_body(record: ExceptionRecord) -> bytes:
    source = record.source
    if source is None or record.handled:
        raise NotAllowed(f"exception {record.id} has no message that could be submitted again")
    if "cut_from_bytes" in source:
        raise NotAllowed(
            f"the message of exception {record.id} was too large to be kept; send it again"
        )
    text: str | None = source.get("body")
    return base64.b64decode(source["body_base64"]) if text is None else text.encode()
