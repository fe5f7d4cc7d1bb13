"""What an outcome may say: without the secrets it repeats, and then within its bounds.

In that order: a secret that is cut in two can no longer be found.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from urllib.parse import quote, quote_plus

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import InvalidJson
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.domain.outcome import Outcome, TaskError
from dist_task_pipelines.flows import redact

MESSAGE_BYTES = 2000  # of an error's message, as JSON
DETAILS_BYTES = 3900  # of a log row's details, as JSON; the ledger takes 4096
_VALUE_BYTES = 300  # of each of the values that a detail holds
_ROOM_TO_TELL = 30  # bytes that "..." and a number take
_LEAST_IN_BASE64 = 6  # bytes; less is found in any text


def presentable(outcome: Outcome, secrets: Iterable[str]) -> Outcome:
    """The outcome as it may be shown and kept."""
    return fitted(redacted(outcome, frozenset(secrets)))


def redacted(outcome: Outcome, secrets: frozenset[str]) -> Outcome:
    """The outcome with `[redacted]` wherever it repeats one of the secrets."""
    hidden = forms(secrets)
    if not hidden:
        return outcome
    return replace(
        outcome,
        output=redact(outcome.output, hidden),
        details=redact(outcome.details, hidden),
        error=outcome.error
        and TaskError(*(redact(part, hidden) for part in _parts(outcome.error))),
    )


def fitted(outcome: Outcome) -> Outcome:
    """The outcome with no more words and details than there is room for; what is cut says so."""
    error, details = outcome.error, _fitting_details(outcome.details)
    if error is None and details is outcome.details:
        return outcome
    clipped = error and replace(error, message=clip(error.message, MESSAGE_BYTES))
    return replace(outcome, error=clipped, details=details)


@lru_cache(maxsize=256)
def forms(secrets: frozenset[str]) -> frozenset[str]:
    """The secrets in the ways that texts repeat them."""
    return frozenset(form for secret in secrets for form in _forms(secret))


def clip(text: str, limit: int) -> str:
    """The text, cut so that it takes at most `limit` bytes as JSON, and saying if it is."""
    if len(json.dumps(text)) <= limit:
        return text
    mark = f"... ({len(text)} characters)"
    kept = text[:limit]
    while len(json.dumps(kept + mark)) > limit:
        kept = kept[: len(kept) * 9 // 10]
    return kept + mark


def _parts(error: TaskError) -> tuple[str, str, str, str]:
    return error.type, error.message, error.code, error.stack


def _forms(secret: str) -> Iterator[str]:
    """Plain, quoted, in JSON, in a URL, in base64."""
    plain = secret.encode(errors="surrogatepass")
    yield from (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])
    yield from (quote(plain), quote(plain, safe=""), quote_plus(plain))
    if len(plain) >= _LEAST_IN_BASE64:
        for core in map(_base64_core, [plain] * 3, range(3)):
            yield from (core, core.replace("+", "-").replace("/", "_"))


def _base64_core(plain: bytes, before: int) -> str:
    """The part of the base64 of a longer text that follows from the secret alone.

    Args:
        before: bytes that stand before the secret, modulo 3.
    """
    whole = b64encode(bytes(before) + plain).decode()
    return whole[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]


def _fitting_details(details: JsonObject) -> JsonObject:
    """The details, each with its share of the room; what one leaves goes to the next."""
    try:
        if len(json.dumps(details)) <= DETAILS_BYTES:
            return details
    except InvalidJson:  # the ledger says so in their place
        return details
    result: JsonObject = {}
    room = DETAILS_BYTES - sum(len(json.dumps(key)) + 2 for key in details)
    for left, (key, value) in zip(range(len(details), 0, -1), details.items(), strict=True):
        result[key] = _fitting(value, max(room // left, _ROOM_TO_TELL))
        room -= len(json.dumps(result[key]))
    return result


def _fitting(value: JsonValue, limit: int) -> JsonValue:
    if len(json.dumps(value)) <= limit:
        return value
    if isinstance(value, dict):
        return _first_of(value, limit)
    return clip(value if isinstance(value, str) else json.dumps(value), limit)


def _first_of(values: JsonObject, limit: int) -> JsonObject:
    """As many of the values as fit; `...` tells how many did not."""
    result: JsonObject = {}
    room = limit - _ROOM_TO_TELL
    for key, value in values.items():
        short = _fitting(value, _VALUE_BYTES) if isinstance(value, str) else value
        room -= len(json.dumps(key)) + len(json.dumps(short)) + 2
        if room < 0:
            return result | {"...": f"{len(values) - len(result)} more"}
        result[key] = short
    return result
