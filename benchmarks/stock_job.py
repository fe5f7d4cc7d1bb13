"""The flow that is measured, as somebody would write it in Dagster alone."""

import json
import os
import urllib.request
from typing import Any

from dagster import Definitions, job, op

from benchmarks.flow import PARAMS

PARTICIPANT = os.environ["BENCH_PARTICIPANT"]


def call(task: str, params: dict[str, Any]) -> dict[str, Any]:
    """One call of the participant."""
    headers = {"Content-Type": "application/json"}
    body = json.dumps(params).encode()
    request = urllib.request.Request(f"{PARTICIPANT}/{task}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer: dict[str, Any] = json.load(reply)
        return answer


@op
def deduct() -> dict[str, Any]:
    """Charge the account."""
    return call("deduct", PARAMS["deduct"])


@op
def inventory(receipt: dict[str, Any]) -> dict[str, Any]:
    """Take the stock."""
    return call("inventory", {**PARAMS["inventory"], "receipt": receipt["receipt_no"]})


@op
def notify(taken: dict[str, Any]) -> dict[str, Any]:
    """Send the message."""
    return call("notify", PARAMS["notify"])


@job
def stock() -> None:
    """Deduct, take stock, notify."""
    notify(inventory(deduct()))


defs = Definitions(jobs=[stock])
