"""Attempts: what may begin, what is recorded of its end, and what follows from it."""

from datetime import timedelta
from typing import Any

import pytest

from dist_task_pipelines.domain.errors import RowRefused
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.retry import Verdict
from dist_task_pipelines.domain.state import Grant, TaskState
from dist_task_pipelines.domain.status import (
    Applied,
    GrantedBy,
    Health,
    LogAction,
    RetryStrategy,
    TaskStatus,
    TransactionStatus,
)
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import BatchEnd, Finish, Start, TaskRow
from tests.contract.steps import (
    LEASE,
    TIMEOUT,
    SteppableClock,
    a_flow,
    a_start,
    a_task,
    actions_of,
    adopt,
    ask,
    call,
    failure,
    finish,
    seq_of,
    start,
    status_of,
    success,
    take,
    take_again,
    task_of,
    the_exception,
    together,
)

AUTO = RetryStrategy.AUTO


# Starting


def test_an_attempt_that_begins_is_recorded(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "or der/1")
    request: dict[str, Any] = {"config": {"url": "http://x"}, "input": {"b": 1, "a": 2}}
    begin = Start(batch.members[0].seq, "or%20der%2F1:deduct", request, request["input"])
    clock.step(1)
    started = ledger.attempts.start(batch, flow, flow.by_id["deduct"], [begin], lease=LEASE)
    assert started == {begin.seq}
    task = task_of(ledger, "or der/1", "deduct")
    assert (task.status, task.attempts, task.started_at) == (TaskStatus.RUNNING, 1, clock.now())
    assert (task.input_data, task.name, task.type) == ({"b": 1, "a": 2}, "call deduct", "http")
    [(key, most)] = ask(ledger, "SELECT idempotency_key, max_retry FROM dist_task")
    assert (key, most) == ("or%20der%2F1:deduct", 3)
    loaded = ledger.attempts.load(batch, "deduct", depends_on=["notify"])
    running = TaskState(TaskStatus.RUNNING, attempts=1)
    assert loaded == {begin.seq: {"deduct": TaskRow(running, 0, request, None)}}
    last = ledger.transactions.logs("or der/1")[-1]
    assert (last.action, last.task_id, last.attempt) == (LogAction.START, "deduct", 1)
    assert (last.run_id, last.message) == ("run-1", "calling call deduct")


def test_what_may_not_be_called_does_not_begin(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("first"), a_task("second", "first"), a_task("third", "second"))
    batch = take(ledger, flow, "failed", "retrying", "passed", "fresh", "calling")
    call(ledger, batch, "first", success(), "passed")
    call(ledger, batch, "first", failure(retry_at=clock.now() + timedelta(seconds=9)), "retrying")
    start(ledger, batch, "first", "calling")
    call(ledger, batch, "first", failure(), "failed")
    assert start(ledger, batch, "second") == {"passed"}
    assert start(ledger, batch, "third") == set()
    assert start(ledger, batch, "first") == {"fresh"}
    assert task_of(ledger, "fresh", "second").attempts == 0


@pytest.mark.parametrize("upstream", ["failed", "handled", "unknown"])
def test_a_task_waits_for_those_above_it(ledger: Ledger, upstream: str) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"), a_task("join", "left", "right"))
    status = TaskStatus.UNKNOWN if upstream == "unknown" else TaskStatus.FAILED
    batch = take(ledger, flow, "a")
    call(ledger, batch, "left", failure(status=status))
    call(ledger, batch, "right", success())
    assert status_of(ledger, "a") == TransactionStatus.FAILED
    if upstream == "handled":
        ledger.operators.handle(the_exception(ledger, "a").id, actor="ann")
    assert start(ledger, adopt(ledger, flow, "a"), "join") == set()


def test_a_member_of_another_batch_does_not_begin(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    mine, other = take(ledger, flow, "a"), take(ledger, flow, "b", run_id="run-2")
    begins = [a_start(batch.members[0].seq) for batch in (mine, other)]
    started = ledger.attempts.start(mine, flow, flow.by_id["deduct"], begins, lease=LEASE)
    assert started == {mine.members[0].seq}
    assert task_of(ledger, "b", "deduct").status is TaskStatus.PENDING


def test_a_start_uses_the_grant_up(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    call(ledger, batch, "deduct", failure(retry_at=clock.now() + timedelta(seconds=9)))
    ledger.batches.end(batch.id, BatchEnd.DONE)
    clock.step(9)
    again = take_again(ledger, flow)
    assert start(ledger, again, "deduct") == {"a"}
    task = task_of(ledger, "a", "deduct")
    assert (task.status, task.attempts, task.grant) == (TaskStatus.RUNNING, 2, None)
    assert start(ledger, again, "deduct") == set()
    finish(ledger, again, "deduct", {"a": failure()})
    assert status_of(ledger, "a") == TransactionStatus.FAILED


def test_of_two_starts_at_once_one_begins(ledger: Ledger, another_ledger: Ledger) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, *"abcdef")
    answers = together(
        *(lambda each=each: start(each, batch, "deduct") for each in (ledger, another_ledger) * 2)
    )
    begun = [name for answer in answers if isinstance(answer, set) for name in answer]
    assert sorted(begun) == list("abcdef"), answers
    assert {task_of(ledger, name, "deduct").attempts for name in "abcdef"} == {1}


def test_a_start_stretches_the_lease_over_the_call(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    clock.step(LEASE - 1)
    start(ledger, batch, "deduct")
    clock.step(TIMEOUT + LEASE)
    assert ledger.batches.expire() == []
    clock.step(0.000001)
    assert ledger.batches.expire() == [batch.id]


def test_nothing_begins_once_a_person_asked_for_a_stop(ledger: Ledger) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    ledger.batches.request_stop("run-1", actor="ann")
    assert start(ledger, batch, "deduct") == set()
    assert task_of(ledger, "a", "deduct").attempts == 0


def test_a_cancellation_is_honoured_before_the_next_task(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    call(ledger, batch, "deduct", success())
    ledger.operators.cancel("a", actor="ann")
    assert status_of(ledger, "a") == TransactionStatus.RUNNING
    assert start(ledger, batch, "notify") == {"b"}
    record = ledger.transactions.get("a")
    assert (record.status, record.batch_id) == (TransactionStatus.CANCELLED, None)
    assert task_of(ledger, "a", "notify").attempts == 0
    assert actions_of(ledger, "a")[-2:] == [LogAction.CANCEL, LogAction.COMPLETE]


def test_a_cancellation_waits_for_the_call_in_flight(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "left")
    ledger.operators.cancel("a", actor="ann")
    assert start(ledger, batch, "right") == set()
    assert status_of(ledger, "a") == TransactionStatus.RUNNING, "left is under way"
    finish(ledger, batch, "left", {"a": success()})
    assert status_of(ledger, "a") == TransactionStatus.CANCELLED


def test_a_cancellation_takes_back_the_retry(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("deduct", strategy=AUTO))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "deduct")
    ledger.operators.cancel("a", actor="ann")
    finish(ledger, batch, "deduct", {"a": failure(retry_at=clock.now() + timedelta(seconds=9))})
    assert status_of(ledger, "a") == TransactionStatus.CANCELLED
    assert task_of(ledger, "a", "deduct").grant is None
    assert the_exception(ledger, "a").retry_next_at is None


def test_a_transaction_that_got_through_in_spite_of_its_cancellation_succeeded(
    ledger: Ledger,
) -> None:
    batch = take(ledger, a_flow(ledger, a_task("deduct")), "a")
    start(ledger, batch, "deduct")
    ledger.operators.cancel("a", actor="ann")
    finish(ledger, batch, "deduct", {"a": success()})
    assert status_of(ledger, "a") == TransactionStatus.SUCCESS


# Finishing


def test_each_end_is_recorded_for_itself(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "good", "bad", "lost", "late")
    start(ledger, batch, "deduct")
    clock.step(2)
    later = clock.now() + timedelta(seconds=60)
    ends = {
        "good": success({"receipt": 7}),
        "bad": failure("no such account"),
        "lost": failure(status=TaskStatus.UNKNOWN, applied=Applied.MAYBE),
        "late": failure("busy", retry_at=later, applied=Applied.MAYBE),
    }
    assert finish(ledger, batch, "deduct", ends) == set(ends)

    good, bad, lost, late = (task_of(ledger, name, "deduct") for name in ends)
    assert (good.status, good.applied, good.output_data) == (
        TaskStatus.SUCCESS,
        Applied.YES,
        {"receipt": 7},
    )
    assert (good.error_type, good.error_message) == (None, None)
    assert good.completed_at == clock.now()
    assert (bad.status, bad.applied, bad.grant, bad.output_data) == (
        TaskStatus.FAILED,
        Applied.NO,
        None,
        None,
    )
    assert (bad.error_type, bad.error_code) == ("HttpStatus", "500")
    assert bad.error_message == "no such account"
    assert (lost.status, lost.applied) == (TaskStatus.UNKNOWN, Applied.MAYBE)
    assert (late.status, late.grant) == (TaskStatus.FAILED, Grant(GrantedBy.POLICY, later))

    records = {name: ledger.transactions.get(name) for name in ends}
    assert {name: (r.status, r.health) for name, r in records.items()} == {
        "good": (TransactionStatus.RUNNING, Health.HEALTHY),
        "bad": (TransactionStatus.FAILED, Health.NEEDS_HUMAN),
        "lost": (TransactionStatus.FAILED, Health.UNKNOWN),
        "late": (TransactionStatus.RUNNING, Health.RETRYING),
    }
    assert records["late"].next_due_at == later
    assert records["bad"].completed_at == clock.now()
    assert records["bad"].error_message == "deduct: no such account"
    assert {name: r.batch_id for name, r in records.items()} == {
        "good": batch.id,  # it goes on to the next task
        "bad": None,
        "lost": None,
        "late": None,
    }


def test_the_log_tells_how_attempts_ended(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batch = take(ledger, flow, "a", "b")
    start(ledger, batch, "deduct")
    outcome = Outcome.success({"ok": True}, status=200, elapsed=0.25)
    ends = {"a": (outcome, Verdict(TaskStatus.SUCCESS)), "b": failure("no")}
    finish(ledger, batch, "deduct", ends)
    ended, completed = ledger.transactions.logs("a")[-2:]
    assert (ended.action, ended.task_id, ended.attempt) == (LogAction.SUCCESS, "deduct", 1)
    assert (ended.message, ended.details) == ("succeeded", {"status": 200, "elapsed": 0.25})
    assert (ended.run_id, ended.created_at) == ("run-1", clock.now())
    assert (completed.action, completed.message) == (LogAction.COMPLETE, "success")
    assert completed.task_id is None
    ended, completed = ledger.transactions.logs("b")[-2:]
    assert (ended.action, ended.message) == (LogAction.FAILED, "HttpStatus: no")
    assert (completed.action, completed.message) == (LogAction.COMPLETE, "failed")


def test_each_failure_opens_one_exception(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("deduct", strategy=AUTO))
    batch = take(ledger, flow, "a", "b")
    later = clock.now() + timedelta(seconds=60)
    call(ledger, batch, "deduct", failure("busy", retry_at=later), "a")
    call(ledger, batch, "deduct", failure("no"), "b")
    exception = the_exception(ledger, "a")
    assert (exception.transaction_id, exception.task_id) == ("a", "deduct")
    assert (exception.flow_id, exception.task_name) == (flow.id, "call deduct")
    assert (exception.error_type, exception.error_code) == ("HttpStatus", "500")
    assert (exception.message, exception.stack) == ("busy", "stack")
    assert (exception.retry_strategy, exception.retry_max) == (AUTO, 3)
    assert (exception.retry_interval, exception.retry_times) == (60, 1)
    assert (exception.retry_next_at, exception.occurred_at) == (later, clock.now())
    assert (exception.handled, exception.handled_by) == (False, None)
    assert ledger.exceptions.get(exception.id) == exception
    assert the_exception(ledger, "b").retry_times == 0
    seqs = [member.seq for member in batch.members]
    assert set(ledger.exceptions.open_ids(seqs, "deduct")) == set(seqs)
    assert ledger.exceptions.open_ids(seqs, "notify") == {}


def test_a_failure_after_a_failure_is_written_into_the_open_exception(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger, a_task("deduct", strategy=AUTO))
    batch = take(ledger, flow, "a", "b")
    ends = [failure(f"busy {n}", retry_at=clock.now()) for n in (1, 2, 3)] + [failure("gone")]
    for number, end in enumerate(ends, start=1):
        call(ledger, batch, "deduct", end)
        for name in "ab":
            exception = the_exception(ledger, name)
            assert exception.retry_times == min(number, 3), "automatic retries granted"
            loaded = ledger.attempts.load(batch, "deduct")
            if loaded:
                assert {rows["deduct"].retry_times for rows in loaded.values()} == {number}
    assert (exception.message, exception.retry_next_at) == ("gone", None)
    assert task_of(ledger, "a", "deduct").attempts == 4
    assert status_of(ledger, "a") == TransactionStatus.FAILED


def test_only_automatic_retries_are_counted(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("deduct", strategy=AUTO))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "deduct")
    not_called = Verdict(TaskStatus.FAILED, Grant(GrantedBy.RECOVERY, clock.now()))
    finish(ledger, batch, "deduct", {"a": (failure()[0], not_called)})
    assert the_exception(ledger, "a").retry_times == 0
    ledger.batches.end(batch.id, BatchEnd.HANDED_BACK)
    call(ledger, take_again(ledger, flow), "deduct", failure())
    ledger.operators.retry_transaction("a", actor="ann")
    call(ledger, take_again(ledger, flow, "run-3"), "deduct", failure())
    assert the_exception(ledger, "a").retry_times == 0


def test_an_exception_closes_itself_when_the_task_succeeds(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    call(ledger, batch, "deduct", failure("busy", retry_at=clock.now()))
    clock.step(3)
    call(ledger, batch, "deduct", success(), "a")
    closed = the_exception(ledger, "a")
    assert (closed.handled, closed.handled_by, closed.handled_at) == (True, "system", clock.now())
    assert (closed.message, closed.retry_next_at) == ("busy", None)
    assert not the_exception(ledger, "b").handled
    task = task_of(ledger, "a", "deduct")
    assert (task.error_type, task.error_message) == (None, None)
    assert [e.transaction_id for e in ledger.exceptions.page(handled=True)] == ["a"]
    assert [e.transaction_id for e in ledger.exceptions.page(handled=False)] == ["b"]


def test_a_task_has_at_most_one_open_exception(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    call(ledger, take(ledger, flow, "a"), "deduct", failure("one"))
    for message in ("two", "three"):
        ledger.operators.retry_transaction("a", actor="ann")
        call(ledger, take_again(ledger, flow), "deduct", failure(message))
    assert the_exception(ledger, "a").message == "three"
    ledger.operators.retry_transaction("a", actor="ann")
    batch = take_again(ledger, flow)
    call(ledger, batch, "deduct", success())
    call(ledger, batch, "notify", failure("four"))
    pages = ledger.exceptions.page(transaction_id="a")
    assert [(each.task_id, each.handled) for each in pages] == [
        ("notify", False),
        ("deduct", True),
    ]


def test_an_end_that_is_recorded_again_changes_nothing(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "left")
    end = {"a": failure("busy", retry_at=clock.now())}
    assert finish(ledger, batch, "left", end) == {"a"}
    before = the_exception(ledger, "a"), ledger.transactions.logs("a")
    assert finish(ledger, batch, "left", end) == set()
    assert (the_exception(ledger, "a"), ledger.transactions.logs("a")) == before


def test_an_end_without_a_beginning_is_not_recorded(ledger: Ledger) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    call(ledger, batch, "deduct", success())
    assert finish(ledger, batch, "deduct", {"a": failure()}) == set()
    assert finish(ledger, batch, "notify", {"a": success()}) == set()
    assert task_of(ledger, "a", "deduct").status is TaskStatus.SUCCESS
    assert task_of(ledger, "a", "notify").status is TaskStatus.PENDING


def test_a_transaction_settles_with_its_last_task(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "left")
    start(ledger, batch, "right")
    finish(ledger, batch, "left", {"a": failure("no")})
    assert status_of(ledger, "a") == TransactionStatus.RUNNING, "right is under way"
    clock.step(5)
    finish(ledger, batch, "right", {"a": failure("neither")})
    record = ledger.transactions.get("a")
    assert (record.status, record.batch_id) == (TransactionStatus.FAILED, None)
    assert record.completed_at == record.updated_at == clock.now()
    assert record.error_message == "left: no; right: neither"


def test_ends_of_two_tasks_at_once_settle_their_transactions_once(
    ledger: Ledger, another_ledger: Ledger
) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"))
    names = [f"order-{number}" for number in range(20)]
    batch = take(ledger, flow, *names)
    ends = dict.fromkeys(names, success())
    start(ledger, batch, "left")
    start(ledger, batch, "right")
    together(
        lambda: finish(ledger, batch, "left", ends),
        lambda: finish(another_ledger, batch, "right", ends),
    )
    for name in names:
        assert status_of(ledger, name) == TransactionStatus.SUCCESS
        assert actions_of(ledger, name).count(LogAction.COMPLETE) == 1


def test_a_success_leaves_a_transaction_healthy_and_without_an_error(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batch = take(ledger, flow, "a")
    call(ledger, batch, "deduct", failure("busy", retry_at=clock.now()))
    ledger.batches.end(batch.id, BatchEnd.DONE)
    assert ledger.transactions.get("a").error_message == "deduct: busy"
    call(ledger, take_again(ledger, flow), "deduct", success())
    record = ledger.transactions.get("a")
    assert (record.status, record.health) == (TransactionStatus.SUCCESS, Health.HEALTHY)
    assert (record.error_message, record.next_due_at) == (None, None)


# Odd values

ODD_TEXTS = {
    "surrogate": "before \ud800 after",
    "nul": "before \x00 after",
    "emoji": "\U0001f980" * 600,
    "quotes": "'\"\\`%s:name?{}",
    "long": "x" * 500,
    "controls": "\x01\x7f\r\n\t",
    "right to left": "\u202eabc\u0627",
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_errors_of_any_text_are_recorded(ledger: Ledger, text: str) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    start(ledger, batch, "deduct")
    outcome = Outcome.failure(
        text, text, retryable=False, applied=Applied.NO, code=text, stack=text
    )
    ends = {"a": (outcome, Verdict(TaskStatus.FAILED)), "b": failure("plain")}
    assert finish(ledger, batch, "deduct", ends) == {"a", "b"}
    shown = text.replace("\ud800", "\\ud800").replace("\x00", "\\x00")
    short = shown if len(shown) <= 100 else f"{shown[:97]}..."
    exception = the_exception(ledger, "a")
    assert (exception.message, exception.stack) == (shown, shown)
    assert (exception.error_type, exception.error_code) == (short, short)
    task = task_of(ledger, "a", "deduct")
    assert (task.error_type, task.error_message) == (short, shown)
    assert the_exception(ledger, "b").message == "plain"


def test_a_very_long_message_is_cut_and_says_so(ledger: Ledger) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    call(ledger, batch, "deduct", failure("\U0001f980" * 8001))
    message = the_exception(ledger, "a").message
    assert message == "\U0001f980" * 8000 + "... (1 characters more)"


def test_outputs_come_out_as_they_went_in(ledger: Ledger) -> None:
    output = {
        "z": {"lone": "\udfff", "nul": "\x00", "emoji": "\U0001f980"},
        "a": [2**64, -0.5, 1e300, None, True],
        "big": "x" * 2_000_000,
    }
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    call(ledger, batch, "deduct", success(output))
    kept = task_of(ledger, "a", "deduct").output_data
    assert kept == output
    assert list(kept or ()) == list(output)
    loaded = ledger.attempts.load(batch, "notify", outputs=["deduct"])
    assert [rows["deduct"].output for rows in loaded.values()] == [output, output]


@pytest.mark.parametrize("output", [{"x": b"bytes"}, {"x": float("nan")}, {"x": {1, 2}}])
def test_an_output_that_is_not_json_is_refused_and_nothing_of_it_is_written(
    ledger: Ledger, output: dict[str, object]
) -> None:
    batch = take(ledger, a_flow(ledger), "a", "b")
    start(ledger, batch, "deduct")
    with pytest.raises(RowRefused, match="not a JSON value"):
        finish(ledger, batch, "deduct", {"a": success(), "b": success(output)})
    assert task_of(ledger, "a", "deduct").status is TaskStatus.RUNNING
    assert finish(ledger, batch, "deduct", {"a": success()}) == {"a"}


def test_details_up_to_four_kilobytes_are_kept(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batch = take(ledger, flow, "fits", "over", "odd")
    start(ledger, batch, "deduct")
    details: dict[str, dict[str, Any]] = {
        "fits": {"body": "x" * (4096 - len('{"body":""}'))},
        "over": {"body": "x" * (4097 - len('{"body":""}'))},
        "odd": {"body": b"bytes"},
    }
    finish(
        ledger,
        batch,
        "deduct",
        {
            name: (Outcome(output={}, details=each), Verdict(TaskStatus.SUCCESS))
            for name, each in details.items()
        },
    )
    kept = {name: ledger.transactions.logs(name)[-2].details for name in details}
    assert kept["fits"] == details["fits"]
    assert kept["over"] == {"omitted": "details of 4097 bytes, the most is 4096"}
    assert list(kept["odd"] or ()) == ["omitted"]


def test_a_request_that_was_frozen_is_given_to_the_next_attempt(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    request: dict[str, Any] = {"input": {"z": 1, "a": "\ud800"}, "config": {}}
    begin = Start(seq_of(batch, "a"), "key", request, request["input"])
    ledger.attempts.start(batch, flow, flow.by_id["deduct"], [begin], lease=LEASE)
    finish(ledger, batch, "deduct", {"a": failure(retry_at=clock.now())})
    ledger.batches.end(batch.id, BatchEnd.DONE)
    again = take_again(ledger, flow)
    row = ledger.attempts.load(again, "deduct")[begin.seq]["deduct"]
    assert row.request == request
    assert list(row.request or ()) == ["input", "config"]
    assert (row.state.attempts, row.retry_times) == (1, 1)


def test_what_was_not_begun_is_not_loaded(ledger: Ledger) -> None:
    batch = take(ledger, a_flow(ledger), "a", "b")
    seqs = [member.seq for member in batch.members]
    assert ledger.attempts.load(batch, "notify", depends_on=["deduct"]) == {seq: {} for seq in seqs}
    call(ledger, batch, "deduct", success({"receipt": 7}), "a")
    loaded = ledger.attempts.load(batch, "notify", outputs=["deduct"])
    assert loaded[seqs[0]]["deduct"].output == {"receipt": 7}
    assert loaded[seqs[1]] == {}
    assert ledger.attempts.load(batch, "notify") == {seq: {} for seq in seqs}


def test_an_output_is_loaded_only_for_who_reads_it(ledger: Ledger) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    call(ledger, batch, "deduct", success({"receipt": 7}), "a")
    [rows] = ledger.attempts.load(batch, "notify", depends_on=["deduct"]).values()
    assert (rows["deduct"].state.status, rows["deduct"].output) == (TaskStatus.SUCCESS, None)


def test_finishing_nothing_changes_nothing(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    no_ends: list[Finish] = []
    assert ledger.attempts.finish(batch, flow, flow.by_id["deduct"], no_ends) == set()
    assert ledger.attempts.start(batch, flow, flow.by_id["deduct"], [], lease=LEASE) == set()
