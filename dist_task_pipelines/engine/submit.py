"""Accepting transactions: checked, compared with what is there, then one commit."""

from collections.abc import Sequence
from dataclasses import dataclass

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import (
    Conflict,
    DistTaskError,
    Fault,
    InvalidParams,
    NotAllowed,
)
from dist_task_pipelines.domain.ids import check_transaction_id
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.flows import check_params
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Submission, TransactionRecord


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
) -> list[TransactionRecord | DistTaskError]:
    """Accept transactions in one commit; each gets its record or its error, in order."""
    present = ledger.transactions.find([request.transaction_id for request in requests])
    prepared: dict[int, Submission] = {}
    results: dict[int, TransactionRecord | DistTaskError] = {}
    for place, request in enumerate(requests):
        try:
            if request.transaction_id in present:
                results[place] = _same(request, present[request.transaction_id])
            else:
                prepared[place] = _prepare(ledger, request, max_params_bytes, delay)
        except DistTaskError as error:
            results[place] = error
    unique = list({each.id: each for each in reversed(prepared.values())}.values())
    accepted = {record.id: record for record in ledger.transactions.add(unique[::-1])}
    for place in prepared:
        results[place] = _same_or_error(requests[place], accepted[requests[place].transaction_id])
    return [results[place] for place in range(len(requests))]


def request_hash(request: SubmitRequest) -> str:
    """Equal for equal requests: the flow as named, and the params by value, as sent."""
    return json.digest({"flow": request.flow, "params": request.params or {}})


def _prepare(
    ledger: Ledger, request: SubmitRequest, max_params_bytes: int, delay: float
) -> Submission:
    check_transaction_id(request.transaction_id)
    record = ledger.flows.find(request.flow)
    if not record.is_active:
        raise NotAllowed(
            f"flow {record.id!r} is not active; activate it, or submit to another version"
        )
    params = request.params or {}
    size = len(json.dumps(params))
    if size > max_params_bytes:
        message = f"take {size} bytes as JSON, the most is {max_params_bytes}"
        raise InvalidParams([Fault("params", message)])
    check_params(ledger.flows.load(record.id), params)
    return Submission(request.transaction_id, record.id, params, request_hash(request), delay=delay)


def _same(request: SubmitRequest, record: TransactionRecord) -> TransactionRecord:
    if record.request_hash != request_hash(request):
        raise Conflict(
            f"transaction {record.id!r} exists with another flow or other params; an id stands "
            "for one request"
        )
    return record


def _same_or_error(
    request: SubmitRequest, record: TransactionRecord
) -> TransactionRecord | DistTaskError:
    try:
        return _same(request, record)
    except Conflict as error:
        return error
