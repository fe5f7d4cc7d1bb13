"""The rules of a transaction's life, pure: what may be called, and what state it is in.

A task is called only when it may be: it is pending and every task it depends on succeeded
or was skipped by a person, or it holds a grant that is due. Nothing else leads to a call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.status import (
    GrantedBy,
    Health,
    TaskStatus,
    TransactionStatus,
)


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for a task to be called again; starting the call uses it up."""

    by: GrantedBy
    due_at: datetime


@dataclass(frozen=True, slots=True)
class TaskState:
    """Where one task of one transaction stands."""

    status: TaskStatus = TaskStatus.PENDING
    grant: Grant | None = None
    handled: bool = False  # a person settled its exception
    error: str = ""  # of its last attempt
    attempts: int = 0  # calls begun so far


NOT_STARTED = TaskState()

TaskStates = Mapping[str, TaskState]  # by task id; a task that never started is absent


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a transaction's tasks make of it."""

    status: TransactionStatus
    health: Health
    next_due_at: datetime | None  # when something may next be called; None: nothing will
    in_flight: bool = False  # a call is under way
    error: str = ""

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens without a person."""
        return self.status.is_settled

    def is_idle(self, now: datetime) -> bool:
        """Whether there is nothing to do for the transaction at this moment."""
        return not self.in_flight and (self.next_due_at is None or self.next_due_at > now)


SUCCEEDED = Settlement(TransactionStatus.SUCCESS, Health.HEALTHY, None)


def may_be_called(flow: Flow, task_id: str, states: TaskStates, now: datetime) -> bool:
    """Whether the task may be called now."""
    due = due_at(flow, task_id, states, now)
    return due is not None and due <= now


def due_at(flow: Flow, task_id: str, states: TaskStates, now: datetime) -> datetime | None:
    """When the task may be called: now, the time of its grant, or None for not at all."""
    state = states.get(task_id, NOT_STARTED)
    if state.grant:
        return state.grant.due_at
    if state.status is not TaskStatus.PENDING:
        return None
    upstream = (states.get(name, NOT_STARTED) for name in flow.by_id[task_id].depends_on)
    return now if all(state.status.lets_downstream_run for state in upstream) else None


def next_due(flow: Flow, states: TaskStates, now: datetime) -> datetime | None:
    """When any task of the transaction may next be called."""
    dues = (due_at(flow, task.id, states, now) for task in flow.tasks)
    return min((due for due in dues if due is not None), default=None)


def settle(flow: Flow, states: TaskStates, now: datetime, *, cancel: bool = False) -> Settlement:
    """The status, health and next due time that follow from the tasks' states.

    With `cancel` the transaction is cancelled as soon as no call is under way, unless
    everything has succeeded by then.
    """
    if all(states.get(task.id, NOT_STARTED).status.lets_downstream_run for task in flow.tasks):
        return SUCCEEDED
    in_flight = any(state.status is TaskStatus.RUNNING for state in states.values())
    if cancel and not in_flight:
        return Settlement(TransactionStatus.CANCELLED, Health.HEALTHY, None, error="cancelled")
    due = next_due(flow, states, now)
    moves = due is not None or in_flight
    status = TransactionStatus.RUNNING if moves else TransactionStatus.FAILED
    return Settlement(status, health(states), due, in_flight, _error(flow, states))


def health(states: TaskStates) -> Health:
    """The worst that the tasks' states say: unknown, needs_human, retrying, healthy."""
    found = {_health_of(state) for state in states.values()}
    worst_first = (Health.UNKNOWN, Health.NEEDS_HUMAN, Health.RETRYING)
    return next((health for health in worst_first if health in found), Health.HEALTHY)


def _health_of(state: TaskState) -> Health:
    if state.grant:
        return Health.RETRYING
    if state.handled or not state.status.ended_badly:
        return Health.HEALTHY
    return Health.UNKNOWN if state.status is TaskStatus.UNKNOWN else Health.NEEDS_HUMAN


def _error(flow: Flow, states: TaskStates) -> str:
    failing = ((task.id, states.get(task.id, NOT_STARTED)) for task in flow.tasks)
    return "; ".join(f"{name}: {state.error}" for name, state in failing if state.error)
