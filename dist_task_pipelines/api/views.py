"""The ledger's records as REST shows them."""

from collections.abc import Sequence
from typing import Any

from dist_task_pipelines import schemas
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.flows.stored import split_stored
from dist_task_pipelines.ledger.records import (
    ExceptionRecord,
    FlowRecord,
    FlowSummary,
    LogRecord,
    TaskRecord,
    TransactionRecord,
    TransactionSummary,
)
from dist_task_pipelines.ledger.stats import Settled, Statistics


def flow(record: FlowSummary) -> schemas.FlowVersion:
    """A flow version, with its definition where the record has it."""
    return schemas.FlowVersion(
        flow_id=record.id,
        name=record.name,
        version=record.version,
        description=record.description,
        flow_type=record.flow_type,
        **(split_stored(record.definition) if isinstance(record, FlowRecord) else {}),
        is_active=record.is_active,
        created_at=record.created_at,
        updated_at=record.updated_at,
        create_user=record.create_user,
        updated_user=record.updated_user,
    )


def task_definition(name: str, definition: JsonObject) -> schemas.TaskDefinition:
    """A task definition, as the catalog keeps it."""
    return schemas.TaskDefinition(name=name, **definition)


def accepted(record: TransactionRecord) -> schemas.Accepted:
    """A transaction after its submit."""
    return schemas.Accepted(
        instance_id=record.id,
        flow_id=record.flow_id,
        status=record.status,
        created_at=record.created_at,
    )


def transaction(
    record: TransactionSummary, runs: str, tasks: Sequence[TaskRecord] | None = None
) -> schemas.Transaction:
    """A transaction; of a summary without its params.

    Args:
        runs: the address of Dagster's run pages, to which a run's id is added.
    """
    return schemas.Transaction(
        instance_id=record.id,
        flow_id=record.flow_id,
        status=record.status,
        health=record.health,
        params=record.params if isinstance(record, TransactionRecord) else None,
        run_id=record.run_id,
        run_url=f"{runs}{record.run_id}" if record.run_id else None,
        error_message=record.error_message,
        created_at=record.created_at,
        started_at=record.started_at,
        completed_at=record.completed_at,
        tasks=None if tasks is None else [task(each) for each in tasks],
    )


def task(record: TaskRecord) -> schemas.TaskView:
    """A task of a transaction."""
    return schemas.TaskView(
        task_id=record.task_id,
        task_name=record.name,
        type=record.type,
        status=record.status,
        attempts=record.attempts,
        next_retry_at=record.grant.due_at if record.grant else None,
        input=record.input_data,
        output=record.output_data,
        applied=record.applied,
        error=_error(record),
        started_at=record.started_at,
        completed_at=record.completed_at,
    )


def _error(record: TaskRecord) -> schemas.TaskErrorView | None:
    if record.error_type is None:
        return None
    return schemas.TaskErrorView(
        type=record.error_type, code=record.error_code, message=record.error_message
    )


def log_entry(record: LogRecord) -> schemas.LogEntry:
    """A row of the execution log."""
    return schemas.LogEntry(
        task_id=record.task_id,
        action=record.action,
        message=record.message,
        details=record.details,
        run_id=record.run_id,
        attempt=record.attempt,
        created_at=record.created_at,
    )


def exception(record: ExceptionRecord) -> schemas.ExceptionView:
    """An exception record."""
    return schemas.ExceptionView(
        exception_id=record.id,
        instance_id=record.transaction_id,
        flow_id=record.flow_id,
        task_id=record.task_id,
        task_name=record.task_name,
        error_type=record.error_type,
        error_code=record.error_code,
        message=record.message,
        stack=record.stack,
        fingerprint=record.fingerprint,
        retry_strategy=record.retry_strategy,
        retry_times=record.retry_times,
        retry_max=record.retry_max,
        retry_interval=record.retry_interval,
        retry_next_at=record.retry_next_at,
        handled=record.handled,
        handled_by=record.handled_by,
        handled_at=record.handled_at,
        handled_remark=record.handled_remark,
        occurred_at=record.occurred_at,
        source=record.source,
    )


def overview(flows: int, numbers: Statistics) -> schemas.Overview:
    """The numbers of all flows, of which so many versions are active."""
    return schemas.Overview(flows=flows, **_numbers(numbers))


def flow_stats(numbers: Statistics) -> schemas.FlowStats:
    """The numbers of one flow version."""
    return schemas.FlowStats(flow_id=numbers.flow_id or "", **_numbers(numbers))


def _numbers(numbers: Statistics) -> dict[str, Any]:
    today = _settled(numbers.today)
    counts = {
        **{f"by_status.{status}": number for status, number in numbers.by_status.items()},
        "exceptions_open": numbers.exceptions_open,
        "exceptions_today": numbers.exceptions_today,
        "backlog": numbers.backlog,
    }
    capped = [name for name, number in counts.items() if number.is_capped]
    if any(number.is_capped for number in numbers.by_status.values()):
        capped.append("total")
    return {
        "total": sum(number.count for number in numbers.by_status.values()),
        "by_status": {status: number.count for status, number in numbers.by_status.items()},
        "capped": capped,
        "success_rate": today.success_rate,
        "p50_seconds": today.p50_seconds,
        "p95_seconds": today.p95_seconds,
        "exceptions_open": numbers.exceptions_open.count,
        "exceptions_today": numbers.exceptions_today.count,
        "backlog": numbers.backlog.count,
        "backlog_age_seconds": numbers.backlog_age,
        "runs_in_flight": numbers.runs_in_flight,
        "today": today,
        "last_hour": _settled(numbers.last_hour),
    }


def _settled(numbers: Settled) -> schemas.Settled:
    return schemas.Settled(
        since=numbers.since,
        success=numbers.success,
        failed=numbers.failed,
        cancelled=numbers.cancelled,
        success_rate=numbers.success_rate,
        p50_seconds=numbers.durations.quantile(0.5),
        p95_seconds=numbers.durations.quantile(0.95),
    )
