"""Identities: of requests, of calls, of causes."""

import hashlib
import re
from urllib.parse import quote

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.json import JsonObject

KEY_HEADER = "Idempotency-Key"  # of HTTP requests; in lower case of gRPC metadata

_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_NUMBERS = re.compile(f"{_UUID}|[0-9a-fA-F]{{16,}}|[0-9]+")


def idempotency_key(transaction_id: str, task_id: str) -> str:
    """`<transaction id>:<task id>`, percent-encoded: the same on every attempt."""
    return f"{quote(transaction_id, safe='')}:{quote(task_id, safe='')}"


def request_hash(flow: str, params: JsonObject | None) -> str:
    """SHA-256 in hex, equal for equal requests: the flow as named, and the params by value.

    Absent params and none are the same.
    """
    return json.digest({"flow": flow, "params": params or {}})


def fingerprint(flow_name: str, task_id: str, error_type: str, code: str, message: str) -> str:
    """32 hex digits, equal for exceptions with one cause: ids and numbers do not count."""
    cause = "\x00".join((flow_name, task_id, error_type, code, _NUMBERS.sub("#", message)))
    return hashlib.sha256(cause.encode(errors="backslashreplace")).hexdigest()[:32]
