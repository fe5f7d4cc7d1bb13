"""The platform in memory: flows, transactions and what happens to them.

The rules are the real ones (`flows`, `domain`); only the ledger, the participants and time are
missing: a retry is due at once.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dist_task_pipelines.application import application_root
from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import Conflict, NotAllowed, NotFound
from dist_task_pipelines.domain.flow import Flow, RetrySettings, Task
from dist_task_pipelines.domain.ids import check_transaction_id, flow_id
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.domain.keys import fingerprint, request_hash
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.retry import decide, may_be_retried
from dist_task_pipelines.domain.state import Grant, may_be_called, settle
from dist_task_pipelines.domain.status import (
    GrantedBy,
    LogAction,
    TaskStatus,
    TransactionStatus,
)
from dist_task_pipelines.flows import Catalog, check_params, flow_from, resolve_definition
from dist_task_pipelines.flows.stored import stored
from dist_task_pipelines.testing.rows import ExceptionRow, FlowRow, TaskRow, TransactionRow, now
from dist_task_pipelines.testing.script import Script

SYSTEM = "system"  # who closes an exception when the task succeeds after all


class Memory:
    """Everything that the platform in memory knows.

    Args:
        tasks: the TOML file of the task definitions; by default the shipped one.
    """

    def __init__(self, tasks: Path | None = None) -> None:
        self.script = Script()
        self.flows: dict[str, FlowRow] = {}  # by flow id, oldest first
        self.transactions: dict[str, TransactionRow] = {}  # oldest first
        self.exceptions: dict[int, ExceptionRow] = {}  # oldest first
        self._tasks = tasks

    # --- flows -------------------------------------------------------------------------------

    @cached_property
    def catalog(self) -> Catalog:
        """The task definitions that flows may name."""
        return Catalog.load(self._tasks or application_root() / "configs" / "tasks.toml")

    def create_flow(
        self, name: str, definition: JsonValue, *, flow_type: str, user: str, description: str
    ) -> FlowRow:
        """Store a definition as the flow's next version; an identical one makes none."""
        if isinstance(definition, str):
            definition = json.loads(definition)
        resolved = resolve_definition(
            definition, name=name, catalog=self.catalog, config_models=_config_models()
        )
        return self.add_flow(name, resolved, flow_type, user, description)

    def add_flow(
        self, name: str, resolved: JsonObject, flow_type: str, user: str, description: str
    ) -> FlowRow:
        """Store what `resolve_definition` made."""
        definition = stored(resolved, RetrySettings())
        versions = [row for row in self.flows.values() if row.flow.name == name]
        newest = versions[-1] if versions else None
        if newest and not newest.is_deleted and _same(newest.definition, definition):
            newest.is_active = True
            return newest
        version = newest.flow.version + 1 if newest else 1
        identifier = flow_id(name, version)
        if identifier in self.flows:
            raise Conflict(f"the name {name!r} differs from another flow's only in '-' and '_'")
        flow = flow_from(definition, id=identifier, version=version)
        text = description or flow.description
        row = FlowRow(flow, definition, flow_type, user, text, updated_user=user)
        self.flows[identifier] = row
        return row

    def flow(self, identifier: str) -> FlowRow:
        """A version by its flow id."""
        row = self.flows.get(identifier)
        if row is None or row.is_deleted:
            raise NotFound("flow", identifier)
        return row

    def switch_flow(self, identifier: str, user: str, *, active: bool) -> FlowRow:
        """Take new transactions for it, or none."""
        row = self.flow(identifier)
        if row.is_active is not active:
            row.is_active, row.updated_user, row.updated_at = active, user, now()
        return row

    def delete_flow(self, identifier: str) -> None:
        """Withdraw a version."""
        row = self.flow(identifier)
        of_flow = [each for each in self.transactions.values() if each.flow is row.flow]
        if unsettled := [each for each in of_flow if not each.status.is_settled]:
            raise Conflict(f"flow {identifier!r} has {len(unsettled)} unsettled transactions")
        row.is_deleted, row.is_active = True, False

    # --- transactions ------------------------------------------------------------------------

    def submit(self, identifier: str, reference: str, params: JsonObject | None) -> TransactionRow:
        """Accept a transaction, or give back the one that the same request made."""
        check_transaction_id(identifier)
        digest = request_hash(reference, params)
        if identifier in self.transactions:
            row = self.transactions[identifier]
            if row.request_hash != digest:
                raise Conflict(f"transaction {identifier!r} exists with another flow or params")
            return row
        flow = self._find(reference)
        if not flow.is_active:
            raise NotAllowed(f"flow {flow.flow.id!r} is not active")
        check_params(flow.flow, params)
        tasks = {task.id: TaskRow() for task in flow.flow.tasks}
        row = TransactionRow(identifier, reference, flow.flow, params or {}, digest, tasks)
        row.log(LogAction.SUBMIT, f"accepted for {flow.flow.id}")
        self.transactions[identifier] = row
        return row

    def transaction(self, identifier: str) -> TransactionRow:
        """A transaction by its id."""
        if identifier not in self.transactions:
            raise NotFound("transaction", identifier)
        return self.transactions[identifier]

    def retry(self, identifier: str) -> tuple[TransactionRow, list[str]]:
        """Let its failed tasks be called once more."""
        row = self.transaction(identifier)
        if row.status is not TransactionStatus.FAILED:
            raise NotAllowed(
                f"transaction {identifier!r} is {row.status}; only a failed one can be retried"
            )
        names = [task.id for task in row.flow.tasks if _may_be_retried(task, row.tasks[task.id])]
        if not names:
            raise NotAllowed(f"transaction {identifier!r} cannot be retried: handled or no_retry")
        for name in names:
            _grant(row, name)
        self._settle(row)
        return row, names

    def cancel(self, identifier: str, reason: str, actor: str) -> TransactionRow:
        """Cancel it, at once: no run is ever at work on it while a request is answered."""
        row = self.transaction(identifier)
        if row.status is TransactionStatus.SUCCESS:
            raise NotAllowed(f"transaction {identifier!r} has succeeded; nothing to cancel")
        if row.status is not TransactionStatus.CANCELLED:
            row.log(LogAction.CANCEL, reason or f"asked for by {actor}")
            self._settle(row, cancel=True)
        return row

    def run(self, row: TransactionRow) -> None:
        """Call everything that may be called, until nothing moves by itself."""
        while name := self._next(row):
            self._call(row, row.flow.by_id[name])
            self._settle(row)

    # --- exceptions --------------------------------------------------------------------------

    def exception(self, identifier: int) -> ExceptionRow:
        """An exception by its id."""
        if identifier not in self.exceptions:
            raise NotFound("exception", identifier)
        return self.exceptions[identifier]

    def retry_exception(self, identifier: int) -> ExceptionRow:
        """Let its task be called once more."""
        record = self._open(identifier)
        task = record.transaction.flow.by_id[record.task_id]
        if not may_be_retried(task.retry.strategy, record.transaction.tasks[task.id].attempts):
            raise NotAllowed(
                f"exception {identifier} has the strategy no_retry; it can only be handled"
            )
        if record.transaction.status is TransactionStatus.CANCELLED:
            raise NotAllowed(
                f"transaction {record.transaction.id!r} is cancelled; submit it under another id"
            )
        _grant(record.transaction, record.task_id)
        self._settle(record.transaction)
        return record

    def handle(self, identifier: int, actor: str, remark: str) -> None:
        """Settle it: its task is not called again."""
        record = self._open(identifier)
        row, task = record.transaction, record.transaction.tasks[record.task_id]
        record.handled_by, record.handled_at, record.remark = actor, now(), remark
        task.handled, task.grant = True, None
        row.log(LogAction.HANDLE, f"{actor}: {remark}" if remark else actor, record.task_id)
        if row.status is not TransactionStatus.CANCELLED:
            self._settle(row)

    # --- below -------------------------------------------------------------------------------

    def _find(self, reference: str) -> FlowRow:
        present = [row for row in self.flows.values() if not row.is_deleted]
        by_id = [row for row in present if row.flow.id == reference]
        named = by_id or [row for row in present if row.flow.name == reference]
        if not named:
            raise NotFound("flow", reference)
        return next((row for row in reversed(named) if row.is_active), named[-1])

    def _open(self, identifier: int) -> ExceptionRow:
        record = self.exception(identifier)
        if record.is_handled:
            raise NotAllowed(f"exception {identifier} was handled by {record.handled_by} already")
        return record

    def _next(self, row: TransactionRow) -> str | None:
        if row.status is TransactionStatus.CANCELLED:
            return None
        states, moment = _states(row), now()
        names = (task.id for task in row.flow.tasks)
        return next((n for n in names if may_be_called(row.flow, n, states, moment)), None)

    def _call(self, row: TransactionRow, task: Task) -> None:
        state = row.tasks[task.id]
        row.started_at = row.started_at or now()
        state.attempts, state.grant = state.attempts + 1, None
        state.started_at = now()
        action = LogAction.START if state.attempts == 1 else LogAction.RETRY
        row.log(action, f"calling {task.name}", task.id, state.attempts)
        state.outcome = self.script.outcome(row.flow, task, row.id)
        state.completed_at = now()
        record = self._record(row, task)
        if state.outcome.succeeded:
            state.status = TaskStatus.SUCCESS
            row.log(LogAction.SUCCESS, "succeeded", task.id, state.attempts)
            if record:
                record.handled_by, record.handled_at = SYSTEM, now()
            return
        self._fail(row, task, state, state.outcome, record)

    def _fail(
        self,
        row: TransactionRow,
        task: Task,
        state: TaskRow,
        outcome: Outcome,
        record: ExceptionRow | None,
    ) -> None:
        assert outcome.error
        verdict = decide(task, outcome, state.retry_times, now())
        state.status = verdict.status
        if verdict.grant:
            state.retry_times += 1
            state.grant = replace(verdict.grant, due_at=now())
        message = f"{outcome.error.type}: {outcome.error.message}"
        row.log(LogAction(verdict.status), message, task.id, state.attempts)
        if record is None:
            identifier = len(self.exceptions) + 1
            record = ExceptionRow(identifier, row, task.id, "")
            self.exceptions[identifier] = record
        record.outcome, record.fingerprint = outcome, _fingerprint(row.flow, task, outcome)

    def _record(self, row: TransactionRow, task: Task) -> ExceptionRow | None:
        """The open exception of the task."""
        of_task = (
            each
            for each in self.exceptions.values()
            if each.transaction is row and each.task_id == task.id and not each.is_handled
        )
        return next(of_task, None)

    def _settle(self, row: TransactionRow, *, cancel: bool = False) -> None:
        settled = settle(row.flow, _states(row), now(), cancel=cancel)
        if settled.is_final and settled.status is not row.status:
            row.completed_at = now()
            row.log(LogAction.COMPLETE, settled.status)
        if not settled.is_final:
            row.completed_at = None
        if settled.status is TransactionStatus.CANCELLED:
            for task in row.tasks.values():
                task.grant = None
        row.status, row.health = settled.status, settled.health
        row.error_message = settled.error or None


def stored_flow(name: str, tasks: Sequence[str]) -> JsonObject:
    """The stored definition of tasks that are called one after another and take anything."""
    previous = (None, *tasks)
    return {
        "name": name,
        "tasks": [
            {"id": task, "task_name": task, "depends_on": [before] if before else []}
            for before, task in zip(previous, tasks, strict=False)
        ],
        "task_definitions": {
            task: {"type": "http", "config": {}, "input_fields": None} for task in tasks
        },
    }


def _same(definition: JsonObject, other: JsonObject) -> bool:
    return json.digest(definition) == json.digest(other)


def _states(row: TransactionRow) -> dict[str, Any]:
    return {name: task.state for name, task in row.tasks.items()}


def _grant(row: TransactionRow, task_id: str) -> None:
    row.tasks[task_id].grant = Grant(GrantedBy.PERSON, now())
    row.log(LogAction.GRANT, "a person asked for it", task_id)


def _may_be_retried(task: Task, state: TaskRow) -> bool:
    is_broken = state.status.ended_badly and not state.handled
    return is_broken and may_be_retried(task.retry.strategy, state.attempts)


def _fingerprint(flow: Flow, task: Task, outcome: Outcome) -> str:
    error = outcome.error
    assert error
    return fingerprint(flow.name, task.id, error.type, error.code, error.message)


def _config_models() -> Any:
    """The forms of the executors' configs; imported only where a definition is to be checked."""
    from dist_task_pipelines.executors import Registry  # noqa: PLC0415 - heavy, see above

    return Registry.load().config_models()
