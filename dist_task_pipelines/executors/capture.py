"""From a participant's reply to a task's output, without loss and within bounds.

Pure: bytes and a content type in, a JSON object out.
"""

import re
from contextlib import suppress

from dist_task_pipelines.domain.errors import InvalidJson
from dist_task_pipelines.domain.json import JsonObject, JsonValue, loads

_JSON_TYPE = re.compile(r"(application|text)/([\w.+-]+\+)?json")
_CHARSET = re.compile(r"""charset\s*=\s*"?([^\s;"]+)""", re.IGNORECASE)


def captured(body: bytes, content_type: str = "") -> JsonObject:
    """The output that a complete reply makes.

    A JSON object is kept as it is, other JSON as `{"value": ...}`, text as
    `{"value": "<text>"}`, and no body at all as `{}`. What says it is JSON but is not, or
    would lose something on the way (a key twice, a number no float can hold), and what is
    not text, becomes `{"unreadable": "<why>"}`.

    A reply that does not say it is JSON counts as JSON only when it is an object or an
    array: `007` in a plain text stays a text.
    """
    if not body:
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    if _JSON_TYPE.fullmatch(kind):
        return _json(body)
    text = _text(body, content_type)
    if text is None:
        return unreadable(f"{len(body)} bytes ({kind or 'no content type'}) are not text")
    return _json_or_text(text)


def unreadable(why: str) -> JsonObject:
    """The output of a call that succeeded with a reply that cannot be kept."""
    return {"unreadable": why}


def too_long(limit: int) -> str:
    """Why a reply longer than `limit` bytes cannot be kept."""
    return f"the reply is longer than {limit} bytes (max_response_bytes)"


def _json(body: bytes) -> JsonObject:
    try:
        return _wrapped(loads(body))
    except InvalidJson as error:
        return unreadable(f"the reply is not usable JSON: {'; '.join(map(str, error.faults))}")


def _json_or_text(text: str) -> JsonObject:
    if text.lstrip()[:1] in ("{", "["):
        with suppress(InvalidJson):
            return _wrapped(loads(text))
    return {"value": text}


def _wrapped(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {"value": value}


def _text(body: bytes, content_type: str) -> str | None:
    charset = _CHARSET.search(content_type)
    try:
        return body.decode(charset[1] if charset else "utf-8")
    except (UnicodeError, LookupError):  # the latter: no such charset
        return None
