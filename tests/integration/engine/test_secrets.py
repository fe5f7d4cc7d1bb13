"""Secrets reach the participant and nothing else."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.outcome import Outcome, TaskError
from dist_task_pipelines.domain.status import Applied
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import Bench, act
from tests.integration.engine.scripted import failed

SECRET = "hunter2/ü'\"$&"
TOKEN = "${secret.TOKEN}"
LEAK = f"denied for {SECRET}!"
REDACTED = "denied for [redacted]!"


@pytest.fixture(autouse=True)
def secret(bench: Bench) -> None:
    bench.secrets["TOKEN"] = SECRET


def assert_not_kept(bench: Bench) -> None:
    """Neither a value of any row nor a byte of the files holds the secret."""
    assert SECRET not in bench.everything()
    with bench.ledger.database.engine.connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    path = bench.ledger.database.engine.url.database
    assert path
    for file in Path(path).parent.glob("ledger.db*"):
        assert b"hunter2" not in file.read_bytes()


def test_the_participant_gets_it_and_the_ledger_does_not(bench: Bench) -> None:
    flow = bench.flow(act("deduct", config={"auth": f"Bearer {TOKEN}", "deep": [{"x": TOKEN}]}))
    bench.carry(bench.take(flow, "o1"))
    [call] = bench.executor.calls
    assert call.config.count("hunter2") == 2
    assert bench.status("o1") == "success"
    assert_not_kept(bench)


@pytest.mark.parametrize(
    "reply",
    [
        Outcome.success({"echo": [LEAK], LEAK: 1, "n": {"m": SECRET}}, header=LEAK),
        failed(LEAK, details={"header": LEAK, "list": [SECRET]}),
        Outcome(
            error=TaskError(SECRET, LEAK, SECRET, f"Traceback\n  {LEAK}"), applied=Applied.MAYBE
        ),
        RuntimeError(LEAK),
        KeyError(LEAK),
        asyncio.CancelledError(LEAK),
        failed(f"GET http://host/{quote(SECRET)}?a={quote_plus(SECRET)}&{quote(SECRET, safe='')}"),
        Outcome.success({"value": json.dumps({"echo": SECRET})}),
        lambda: None,
        lambda: LEAK,
        lambda: Outcome(output=LEAK),  # type: ignore[arg-type]
    ],
    ids=[
        "output",
        "failure",
        "parts",
        "exception",
        "quoted",
        "cancelled",
        "url",
        "json",
        "nothing",
        "text",
        "list",
    ],
)
def test_what_repeats_it_is_redacted(bench: Bench, reply: Any) -> None:
    flow = bench.flow(act("deduct", config={"auth": TOKEN}), act("notify", "deduct"))
    bench.executor.script("o1:deduct", reply)
    report = bench.carry(bench.take(flow, "o1"))["deduct"]
    assert_not_kept(bench)
    assert SECRET not in repr(report)


def test_what_is_left_is_still_of_use(bench: Bench) -> None:
    flow = bench.flow(act("deduct", config={"auth": TOKEN}))
    bench.executor.script("o1:deduct", failed(LEAK, details={"header": LEAK}))
    bench.carry(bench.take(flow, "o1"))
    assert bench.task("o1").error_message == REDACTED
    assert bench.exceptions("o1")[0].message == REDACTED
    details = bench.logs("o1")[-1].details
    assert details
    assert details["header"] == REDACTED


def test_what_else_an_outcome_says_is_kept(bench: Bench, clock: SteppableClock) -> None:
    retry = {"strategy": "auto", "interval": 1}
    flow = bench.flow(act("deduct", config={"auth": TOKEN}, retry=retry))
    bench.executor.script("o1:deduct", failed(LEAK, applied=Applied.MAYBE, retry_after=25))
    bench.carry(bench.take(flow, "o1"))
    task = bench.task("o1")
    assert (task.error_type, task.error_code, task.applied) == ("Refused", "409", Applied.MAYBE)
    assert task.grant
    assert (task.grant.due_at - clock.now()).total_seconds() == 25


def test_a_missing_secret_fails_clearly_until_it_is_there(
    bench: Bench, clock: SteppableClock
) -> None:
    retry = {"strategy": "auto", "max_attempts": 5, "interval": 1}
    flow = bench.flow(
        act("deduct", config={"auth": TOKEN, "x": "${secret.OTHER} ${secret.THIRD}"}, retry=retry)
    )
    report = bench.carry(bench.take(flow, "o1"))["deduct"]
    assert report.failures[0].error == (
        "InvalidConfiguration: config.x: there is no secret 'OTHER'; "
        "set the environment variable OTHER for the workers, restart them, then retry; "
        "config.x: there is no secret 'THIRD'; "
        "set the environment variable THIRD for the workers, restart them, then retry"
    )
    assert report.failures[0].retry_at is None  # calling again would not help
    assert bench.executor.calls == []
    assert bench.task("o1").applied is Applied.NO
    assert (bench.status("o1"), bench.exceptions("o1")[0].retry_next_at) == ("failed", None)

    bench.secrets |= {"OTHER": "o", "THIRD": "t"}
    bench.ledger.operators.retry_transaction("o1", actor="ann")
    bench.carry(bench.take_due(flow))
    assert bench.status("o1") == "success"
    assert '"x":"o t"' in bench.executor.calls[0].config
    assert_not_kept(bench)


def test_a_param_that_looks_like_a_secret_stays_text(bench: Bench) -> None:
    flow = bench.flow(act("deduct", config={"say": "${input.say}"}))
    bench.carry(bench.take(flow, "o1", params={"deduct": {"say": TOKEN}}))
    [call] = bench.executor.calls
    assert (call.config, call.input) == (f'{{"say":"{TOKEN}"}}', f'{{"say":"{TOKEN}"}}')
