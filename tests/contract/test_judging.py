"""Whether things stand as they should: which limits turn a check red, and what it says then."""

import pytest

from dist_task_pipelines.engine.judging import (
    OLD_EXCEPTIONS,
    STUCK,
    SUCCESS_RATE,
    Judgement,
    Limits,
    duration,
    judge_exceptions,
    judge_flow,
)
from dist_task_pipelines.ledger import Ledger
from tests.contract.steps import (
    SteppableClock,
    a_failed_transaction,
    a_flow,
    a_task,
    call,
    failure,
    submit,
    success,
    take,
)

LIMITS = Limits(
    stuck_seconds=300, success_rate=0.9, success_rate_of=4, exception_seconds=2 * 86_400
)


def judged(ledger: Ledger, name: str = "payment") -> dict[str, Judgement]:
    """What every check comes to, by name."""
    flow = judge_flow(ledger, name, ledger.stats.flow_named(name), LIMITS)
    now = ledger.clock.now()
    exceptions = judge_exceptions(ledger.stats.overview(), LIMITS, now)
    return {each.check: each for each in [*flow, *exceptions]}


def test_an_idle_flow_is_in_order(ledger: Ledger) -> None:
    a_flow(ledger, a_task("deduct"))
    found = judged(ledger)
    assert all(each.passed for each in found.values())
    assert found[STUCK].why == "nothing has waited longer than 5 min; 0 wait for a run"
    assert "fewer than 4 say nothing" in found[SUCCESS_RATE].why
    assert found[OLD_EXCEPTIONS].why == "no exception is open"


def test_a_transaction_that_nobody_takes_is_stuck(ledger: Ledger, clock: SteppableClock) -> None:
    submit(ledger, a_flow(ledger, a_task("deduct")), "a")
    clock.step(299)
    assert "1 wait for a run" in judged(ledger)[STUCK].why
    clock.step(301)
    found = judged(ledger)[STUCK]
    assert not found.passed
    assert found.why.startswith("1 transactions should have moved more than 5 min ago")
    assert found.numbers["stuck"] == 1
    assert judged(ledger, "other")[STUCK].passed


def test_too_many_failures_in_the_last_hour_turn_the_rate_red(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batch = take(ledger, flow, "a", "b", "c", "d")
    call(ledger, batch, "deduct", success(), "a", "b")
    call(ledger, batch, "deduct", failure(), "c")
    assert judged(ledger)[SUCCESS_RATE].passed, "three say nothing yet"
    call(ledger, batch, "deduct", failure(), "d")
    found = judged(ledger)[SUCCESS_RATE]
    assert not found.passed
    assert found.why == (
        "50.0% of 4 settled in the last hour succeeded, 2 failed; the limit is 90.0%"
    )
    clock.step(2 * 3600)
    assert judged(ledger)[SUCCESS_RATE].passed


def test_an_exception_that_is_open_for_too_long_is_named(
    ledger: Ledger, clock: SteppableClock
) -> None:
    record = a_failed_transaction(ledger, a_flow(ledger, a_task("deduct")), "a")
    clock.step(3600)
    assert judged(ledger)[OLD_EXCEPTIONS].why == "of 1 open exceptions the oldest is 60 min old"
    clock.step(2 * 86_400)
    found = judged(ledger)[OLD_EXCEPTIONS]
    assert not found.passed
    assert found.why == (
        "of 1 open exceptions the oldest is 2 d old, the limit is 2 d: retry or handle it"
    )
    ledger.operators.handle(record.id, actor="ann")
    assert judged(ledger)[OLD_EXCEPTIONS].passed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_durations_are_said_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
