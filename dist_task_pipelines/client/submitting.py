"""Submitting many transactions: in parts that the server takes, with a result for each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dist_task_pipelines import schemas
from dist_task_pipelines.client.calls import Calls, as_json, error_of, path_of
from dist_task_pipelines.client.errors import ClientError, InvalidInput, TooLarge
from dist_task_pipelines.client.transactions import Transaction
from dist_task_pipelines.domain.errors import Fault

PART_BYTES = 500_000  # of a body; a server whose limit is lower is met by halving

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is unknown",
    "string_type": "must be a string",
    "dict_type": "must be an object",
}

Wanted = schemas.Submit | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of one of many submits: a transaction or an error."""

    instance_id: str
    transaction: Transaction | None = None
    error: ClientError | None = None


def submit_many(calls: Calls, wanted: Iterable[Wanted]) -> Iterator[Submitted]:
    """Submit as the results are taken; they come in the order of what is wanted.

    Raises:
        ClientError: there is no proper answer; all before it was accepted or refused, and
            what was sent last may have been.
    """
    for part in _parts(wanted):
        good = [each for each in part if isinstance(each, schemas.Submit)]
        answers = iter(_send(calls, good))
        for each in part:
            yield next(answers) if isinstance(each, schemas.Submit) else each


def checked(wanted: Wanted) -> schemas.Submit:
    """The request.

    Raises:
        InvalidInput: a key is missing or unknown, or a value has the wrong type.
    """
    if isinstance(wanted, schemas.Submit):
        return wanted
    try:
        return schemas.Submit.model_validate(wanted)
    except ValidationError as error:
        faults = [
            Fault(".".join(map(str, each["loc"])), _WORDS.get(each["type"], each["msg"]))
            for each in error.errors(include_url=False, include_input=False)
        ]
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise InvalidInput(f"invalid request:{lines}", faults) from None


def _parts(wanted: Iterable[Wanted]) -> Iterator[list[schemas.Submit | Submitted]]:
    """The requests in parts, bounded in number and bytes; those that are none, as results."""
    part: list[schemas.Submit | Submitted] = []
    size = 0
    for each in wanted:
        request, length = _measured(each)
        if part and (len(part) == schemas.MAX_BATCH or size + length > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(request)
        size += length
    if part:
        yield part


def _measured(wanted: Wanted) -> tuple[schemas.Submit | Submitted, int]:
    try:
        request = checked(wanted)
        return request, len(as_json(request))
    except InvalidInput as error:
        named = wanted.get("instance_id") if isinstance(wanted, Mapping) else wanted.instance_id
        return Submitted(str(named or ""), error=error), 0


def _send(calls: Calls, requests: Sequence[schemas.Submit]) -> list[Submitted]:
    if not requests:
        return []
    body = schemas.SubmitBatch(transactions=list(requests))
    path = path_of("transactions", "batch")
    try:
        answer = calls.act(path, schemas.SubmitResults, body, is_safe=True)
    except TooLarge as error:
        if len(requests) == 1:
            return [Submitted(requests[0].instance_id, error=error)]
        half = len(requests) // 2
        return _send(calls, requests[:half]) + _send(calls, requests[half:])
    return [_submitted(calls, result) for result in answer.results]


def _submitted(calls: Calls, result: schemas.SubmitResult) -> Submitted:
    if isinstance(result.data, schemas.Accepted):
        return Submitted(result.instance_id, transaction=Transaction(calls, result.data))
    faults = result.data.errors if result.data else []
    error = error_of(result.code, result.message, faults)
    return Submitted(result.instance_id, error=error)
