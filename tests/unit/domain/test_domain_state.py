"""The rules of a transaction's life, over any flow and any states."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.state import (
    NOT_STARTED,
    Grant,
    TaskState,
    TaskStates,
    due_at,
    health,
    may_be_called,
    next_due,
    settle,
)
from dist_task_pipelines.domain.status import GrantedBy, Health, TaskStatus, TransactionStatus

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=60)
PASSED = (TaskStatus.SUCCESS, TaskStatus.SKIPPED)
ENDED_BADLY = (TaskStatus.FAILED, TaskStatus.UNKNOWN)


def a_flow(**above: tuple[str, ...]) -> Flow:
    """A flow of these tasks, each with the tasks it depends on."""
    tasks = tuple(Task(name, name, "http", depends_on=names) for name, names in above.items())
    return Flow("payment_v1", "payment", 1, "", tasks)


def granted(at: datetime, status: TaskStatus = TaskStatus.FAILED) -> TaskState:
    return TaskState(status, Grant(GrantedBy.POLICY, at), error="busy")


SUCCEEDED = TaskState(TaskStatus.SUCCESS)
SKIPPED = TaskState(TaskStatus.SKIPPED)
RUNNING = TaskState(TaskStatus.RUNNING)
FAILED = TaskState(TaskStatus.FAILED, error="no")
UNKNOWN = TaskState(TaskStatus.UNKNOWN, error="lost")
HANDLED = TaskState(TaskStatus.FAILED, handled=True, error="no")


# By example

CHAIN = a_flow(deduct=(), notify=("deduct",))


@pytest.mark.parametrize(
    ("states", "callable_now"),
    [
        ({}, {"deduct"}),
        ({"deduct": RUNNING}, set()),
        ({"deduct": SUCCEEDED}, {"notify"}),
        ({"deduct": SKIPPED}, {"notify"}),
        ({"deduct": FAILED}, set()),
        ({"deduct": HANDLED}, set()),
        ({"deduct": UNKNOWN}, set()),
        ({"deduct": granted(NOW)}, {"deduct"}),
        ({"deduct": granted(SOON)}, set()),
        ({"deduct": granted(NOW, TaskStatus.UNKNOWN)}, {"deduct"}),
        ({"deduct": SUCCEEDED, "notify": FAILED}, set()),
        ({"deduct": SUCCEEDED, "notify": SUCCEEDED}, set()),
    ],
)
def test_what_may_be_called(states: TaskStates, callable_now: set[str]) -> None:
    assert {t.id for t in CHAIN.tasks if may_be_called(CHAIN, t.id, states, NOW)} == callable_now


@pytest.mark.parametrize(
    ("states", "status", "state_of_health", "due"),
    [
        ({}, "running", Health.HEALTHY, NOW),
        ({"deduct": RUNNING}, "running", Health.HEALTHY, None),
        ({"deduct": SUCCEEDED}, "running", Health.HEALTHY, NOW),
        ({"deduct": granted(SOON)}, "running", Health.RETRYING, SOON),
        ({"deduct": FAILED}, "failed", Health.NEEDS_HUMAN, None),
        ({"deduct": HANDLED}, "failed", Health.HEALTHY, None),
        ({"deduct": UNKNOWN}, "failed", Health.UNKNOWN, None),
        ({"deduct": SUCCEEDED, "notify": SKIPPED}, "success", Health.HEALTHY, None),
    ],
)
def test_what_a_transaction_has_come_to(
    states: TaskStates, status: str, state_of_health: Health, due: datetime | None
) -> None:
    settled = settle(CHAIN, states, NOW)
    assert (settled.status, settled.health, settled.next_due_at) == (status, state_of_health, due)


def test_the_worst_health_counts() -> None:
    fork = a_flow(a=(), b=(), c=(), d=())
    states = {"a": granted(SOON), "b": FAILED, "c": UNKNOWN, "d": RUNNING}
    assert health(states) is Health.UNKNOWN
    assert health({**states, "c": HANDLED}) is Health.NEEDS_HUMAN
    assert health({**states, "c": HANDLED, "b": SUCCEEDED}) is Health.RETRYING
    assert settle(fork, states, NOW).status is TransactionStatus.RUNNING


def test_an_error_names_its_task_in_the_flows_order() -> None:
    fork = a_flow(z=(), a=(), m=())
    states = {"a": FAILED, "m": SUCCEEDED, "z": UNKNOWN}
    assert settle(fork, states, NOW).error == "z: lost; a: no"


def test_the_earliest_grant_is_the_next() -> None:
    fork = a_flow(a=(), b=())
    later = SOON + timedelta(seconds=1)
    assert next_due(fork, {"a": granted(later), "b": granted(SOON)}, NOW) == SOON
    assert next_due(fork, {"a": granted(SOON)}, NOW) == NOW, "b was never called"


def test_a_settlement_is_idle_while_nothing_is_due() -> None:
    waiting = settle(a_flow(deduct=()), {"deduct": granted(SOON)}, NOW)
    assert waiting.is_idle(NOW)
    assert not waiting.is_idle(SOON)
    assert not settle(CHAIN, {"deduct": RUNNING}, NOW).is_idle(SOON)
    assert settle(CHAIN, {"deduct": FAILED}, NOW).is_idle(NOW)


# For all

grants = st.builds(Grant, st.sampled_from(GrantedBy), st.sampled_from([NOW, SOON]))
task_states = st.one_of(
    st.builds(TaskState, st.sampled_from([TaskStatus.PENDING, TaskStatus.RUNNING, *PASSED])),
    st.builds(
        TaskState,
        st.sampled_from(ENDED_BADLY),
        grant=st.none() | grants,
        error=st.just("no"),
    ),
    st.builds(TaskState, st.sampled_from(ENDED_BADLY), handled=st.just(True), error=st.just("no")),
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A flow of up to six tasks, each depending on some before it."""
    names = [f"t{number}" for number in range(draw(st.integers(1, 6)))]
    above = {
        name: tuple(draw(st.sets(st.sampled_from(names[:place])))) if place else ()
        for place, name in enumerate(names)
    }
    return a_flow(**above)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Flow, dict[str, TaskState]]:
    """A flow, and states of some of its tasks, reachable or not."""
    flow = draw(flows())
    started = draw(st.sets(st.sampled_from([task.id for task in flow.tasks])))
    return flow, {name: draw(task_states) for name in sorted(started)}


@given(situations())
def test_nothing_else_leads_to_a_call(situation: tuple[Flow, dict[str, TaskState]]) -> None:
    flow, states = situation
    for task in flow.tasks:
        state = states.get(task.id, NOT_STARTED)
        above = [states.get(name, NOT_STARTED).status for name in task.depends_on]
        is_next = state.status is TaskStatus.PENDING and all(each in PASSED for each in above)
        has_grant = state.grant is not None and state.grant.due_at <= NOW
        assert may_be_called(flow, task.id, states, NOW) == (is_next or has_grant)


@given(situations())
def test_a_call_that_is_under_way_is_not_made_again(
    situation: tuple[Flow, dict[str, TaskState]],
) -> None:
    flow, states = situation
    for task in flow.tasks:
        if states.get(task.id, NOT_STARTED).status in (TaskStatus.RUNNING, *PASSED):
            assert due_at(flow, task.id, states, NOW) is None


@given(situations())
def test_a_grant_says_when(situation: tuple[Flow, dict[str, TaskState]]) -> None:
    flow, states = situation
    for name, state in states.items():
        if state.grant:
            assert due_at(flow, name, states, NOW) == state.grant.due_at
            assert may_be_called(flow, name, states, state.grant.due_at)


@given(situations())
def test_a_siblings_state_changes_nothing(situation: tuple[Flow, dict[str, TaskState]]) -> None:
    flow, states = situation
    for task in flow.tasks:
        related = {task.id, *task.depends_on}
        alone = {name: state for name, state in states.items() if name in related}
        assert due_at(flow, task.id, states, NOW) == due_at(flow, task.id, alone, NOW)


@given(situations())
def test_a_transaction_runs_as_long_as_anything_can_move_without_a_person(
    situation: tuple[Flow, dict[str, TaskState]],
) -> None:
    flow, states = situation
    settled = settle(flow, states, NOW)
    moves = any(due_at(flow, task.id, states, NOW) for task in flow.tasks)
    in_flight = any(state.status is TaskStatus.RUNNING for state in states.values())
    passed = all(states.get(task.id, NOT_STARTED).status in PASSED for task in flow.tasks)
    assert (settled.status is TransactionStatus.SUCCESS) == passed
    assert (settled.status is TransactionStatus.RUNNING) == (moves or in_flight)
    assert settled.status is not TransactionStatus.PENDING
    assert settled.is_final == (not moves and not in_flight)


@given(situations())
def test_the_next_due_time_is_the_earliest(situation: tuple[Flow, dict[str, TaskState]]) -> None:
    flow, states = situation
    dues = [due for task in flow.tasks if (due := due_at(flow, task.id, states, NOW))]
    settled = settle(flow, states, NOW)
    assert settled.next_due_at == (min(dues) if dues else None)
    idle = not settled.in_flight and NOW not in dues
    assert settled.is_idle(NOW) == idle


@given(situations())
def test_a_failed_transaction_has_something_for_a_person(
    situation: tuple[Flow, dict[str, TaskState]],
) -> None:
    flow, states = situation
    if settle(flow, states, NOW).status is TransactionStatus.FAILED:
        assert any(state.status in ENDED_BADLY for state in states.values())


@given(situations())
def test_a_cancelled_transaction_waits_only_for_calls_under_way(
    situation: tuple[Flow, dict[str, TaskState]],
) -> None:
    flow, states = situation
    plain, cancelled = settle(flow, states, NOW), settle(flow, states, NOW, cancel=True)
    if plain.status is TransactionStatus.SUCCESS:
        assert cancelled == plain
    elif plain.in_flight:
        assert cancelled.status is TransactionStatus.RUNNING
    else:
        assert cancelled.status is TransactionStatus.CANCELLED
        assert cancelled.next_due_at is None
        assert cancelled.is_idle(NOW)


@given(situations())
def test_health_is_the_worst_of_what_is_not_handled(
    situation: tuple[Flow, dict[str, TaskState]],
) -> None:
    _, states = situation
    open_ones = [s for s in states.values() if s.status in ENDED_BADLY and not s.handled]
    waiting = {state.status for state in open_ones if not state.grant}
    if TaskStatus.UNKNOWN in waiting:
        worst = Health.UNKNOWN
    elif waiting:
        worst = Health.NEEDS_HUMAN
    else:
        worst = Health.RETRYING if open_ones else Health.HEALTHY
    assert health(states) is worst


@given(flows(), st.data())
def test_every_flow_comes_to_an_end_task_by_task(flow: Flow, data: st.DataObject) -> None:
    """Calling whatever may be called, with any ends, calls each task once and then settles."""
    states: dict[str, TaskState] = {}
    for _ in flow.tasks:
        ready = [task.id for task in flow.tasks if may_be_called(flow, task.id, states, NOW)]
        if not ready:
            break
        name = data.draw(st.sampled_from(ready))
        assert name not in states
        states[name] = data.draw(st.sampled_from([SUCCEEDED, FAILED, UNKNOWN]))
    settled = settle(flow, states, NOW)
    passed = all(state is SUCCEEDED for state in states.values())
    expected = TransactionStatus.SUCCESS if passed else TransactionStatus.FAILED
    left = [task.id for task in flow.tasks if may_be_called(flow, task.id, states, NOW)]
    assert (settled.status, left) == (expected, [])
