"""The numbers of the platform in memory, counted when they are asked for."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dist_task_pipelines import schemas
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.testing.memory import Memory
from dist_task_pipelines.testing.rows import TransactionRow, now


def flow_stats(memory: Memory, flow_id: str) -> schemas.FlowStats:
    """The numbers of one flow version."""
    rows = [row for row in memory.transactions.values() if row.flow.id == flow_id]
    return schemas.FlowStats(flow_id=flow_id, **_numbers(memory, rows))


def overview(memory: Memory) -> schemas.Overview:
    """The numbers of all flows."""
    active = sum(row.is_active for row in memory.flows.values())
    rows = list(memory.transactions.values())
    return schemas.Overview(flows=active, runs_in_flight=0, **_numbers(memory, rows))


def _numbers(memory: Memory, rows: Sequence[TransactionRow]) -> dict[str, Any]:
    by_status = Counter(row.status for row in rows)
    good, bad = by_status[TransactionStatus.SUCCESS], by_status[TransactionStatus.FAILED]
    durations = sorted(
        (row.completed_at - row.created_at).total_seconds() for row in rows if row.completed_at
    )
    exceptions = [
        each for each in memory.exceptions.values() if any(each.transaction is row for row in rows)
    ]
    waiting = [row for row in rows if row.status is TransactionStatus.PENDING]
    return {
        "total": len(rows),
        "by_status": {status.value: number for status, number in by_status.items()},
        "success_rate": good / (good + bad) if good + bad else None,
        "p50_seconds": _quantile(durations, 0.5),
        "p95_seconds": _quantile(durations, 0.95),
        "exceptions_open": sum(not each.is_handled for each in exceptions),
        "exceptions_today": sum(each.occurred_at.date() == now().date() for each in exceptions),
        "backlog": len(waiting),
        "backlog_age_seconds": (
            (now() - waiting[0].created_at).total_seconds() if waiting else None
        ),
    }


def _quantile(sorted_values: Sequence[float], share: float) -> float | None:
    if not sorted_values:
        return None
    return sorted_values[min(int(share * len(sorted_values)), len(sorted_values) - 1)]
