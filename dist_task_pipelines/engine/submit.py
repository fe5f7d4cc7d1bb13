"""Accepting transactions: checked, compared with what is there, then one commit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import (
    Conflict,
    DistTaskError,
    Fault,
    InvalidInput,
    InvalidJson,
    InvalidParams,
    NotAllowed,
    NotFound,
)
from dist_task_pipelines.domain.ids import check_transaction_id
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.keys import request_hash
from dist_task_pipelines.flows import check_params
from dist_task_pipelines.flows.faults import not_json
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Submission, TransactionRecord

# What one request may be refused for while the others are accepted.
_REFUSALS = (InvalidInput, NotFound, NotAllowed, Conflict)

Result = TransactionRecord | DistTaskError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A request as a caller sent it.

    Attributes:
        flow: a flow id, or a flow's name for its newest active version.
    """

    transaction_id: str
    flow: str
    params: JsonObject | None = None


def submit(
    ledger: Ledger, request: SubmitRequest, *, max_params_bytes: int, delay: float = 0
) -> TransactionRecord:
    """Accept one transaction, or give back the one that the same request made before.

    Args:
        max_params_bytes: the most that the params may take as JSON.
        delay: seconds before the dispatcher may pick it up by itself.

    Raises:
        InvalidInput: the id or the params are not valid.
        NotFound: there is no such flow.
        NotAllowed: the flow is not active.
        Conflict: the id stands for another request.
        LedgerUnavailable: the ledger cannot be read or written.
    """
    [result] = submit_many(ledger, [request], max_params_bytes=max_params_bytes, delay=delay)
    if isinstance(result, DistTaskError):
        raise result
    return result


def submit_many(
    ledger: Ledger,
    requests: Sequence[SubmitRequest],
    *,
    max_params_bytes: int,
    delay: float = 0,
) -> list[Result]:
    """Accept transactions in one commit; each gets its record or its error, in order.

    Of requests with one id the first valid one counts, and the others are held against it.

    Raises:
        LedgerUnavailable: the ledger cannot be read or written; nothing was accepted.
    """
    sent = dict(enumerate(requests))
    digests, refusals = _each(_digest, sent)
    known = ledger.transactions.find([sent[place].transaction_id for place in digests])
    acceptance = _Acceptance(ledger, max_params_bytes, delay)
    unknown = {
        place: (sent[place], digest)
        for place, digest in digests.items()
        if sent[place].transaction_id not in known
    }
    submissions, more = _each(acceptance.submission, unknown)
    known |= acceptance.add(submissions.values())
    pairs = {
        place: (digest, known[sent[place].transaction_id])
        for place, digest in digests.items()
        if place not in more
    }
    accepted, conflicts = _each(_same, pairs)
    results: dict[int, Result] = {**refusals, **more, **accepted, **conflicts}
    return [results[place] for place in sent]


def examine(
    ledger: Ledger, request: SubmitRequest, *, max_params_bytes: int
) -> TransactionRecord | Submission:
    """The transaction that the same request made before, or else what is to be added.

    Raises:
        DistTaskError: it cannot be accepted; see `submit`.
    """
    digest = _digest(request)
    known = ledger.transactions.find([request.transaction_id]).get(request.transaction_id)
    if known:
        return _same((digest, known))
    return _Acceptance(ledger, max_params_bytes, delay=0).submission((request, digest))


class _Acceptance:
    """Checks requests that are new and accepts them; looks each flow up once."""

    def __init__(self, ledger: Ledger, max_params_bytes: int, delay: float) -> None:
        self._ledger = ledger
        self._max_params_bytes = max_params_bytes
        self._delay = delay
        self._find_flow = cache(ledger.flows.find)

    def submission(self, new: tuple[SubmitRequest, str]) -> Submission:
        request, digest = new
        flow = self._find_flow(request.flow)
        if not flow.is_active:
            raise NotAllowed(
                f"flow {flow.id!r} is not active; activate it, or submit to another version"
            )
        params = _as_sent(request)
        encoded = json.dumps(params)
        if len(encoded) > self._max_params_bytes:
            message = f"take {len(encoded)} bytes as JSON, the most is {self._max_params_bytes}"
            raise InvalidParams([Fault("params", message)])
        check_params(self._ledger.flows.load(flow.id), params)
        return Submission(
            request.transaction_id,
            flow.id,
            params,
            digest,
            encoded=encoded,
            delay=self._delay,
        )

    def add(self, submissions: Iterable[Submission]) -> dict[str, TransactionRecord]:
        first: dict[str, Submission] = {}
        for submission in submissions:
            first.setdefault(submission.id, submission)
        if not first:
            return {}
        return {record.id: record for record in self._ledger.transactions.add([*first.values()])}


def _as_sent(request: SubmitRequest) -> JsonObject:
    """The params; absent, null and {} are the same."""
    return {} if request.params is None else request.params


def _each(
    work: Callable[[T], R], items: Mapping[int, T]
) -> tuple[dict[int, R], dict[int, DistTaskError]]:
    """What the work makes of each item, and why it refuses the others."""
    made: dict[int, R] = {}
    refused: dict[int, DistTaskError] = {}
    for place, item in items.items():
        try:
            made[place] = work(item)
        except _REFUSALS as error:
            refused[place] = error
    return made, refused


def _digest(request: SubmitRequest) -> str:
    """The hash of a request whose id and params can be kept."""
    check_transaction_id(request.transaction_id)
    try:
        json.check_depth(request.params)
    except InvalidJson as error:
        raise InvalidParams([Fault("params", fault.message) for fault in error.faults]) from None
    if faults := list(not_json(request.params, "params")):
        raise InvalidParams(faults)
    return request_hash(request.flow, request.params)


def _same(request: tuple[str, TransactionRecord]) -> TransactionRecord:
    digest, record = request
    record.check_same(digest)
    return record
