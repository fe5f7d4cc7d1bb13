"""Calling participants: one executor for each type of task.

An executor knows nothing of the ledger or of Dagster. It takes a task's resolved config,
its input and its idempotency key, and says what the call came to.

A third party's executor is a subclass of `Executor` with a subclass of `ExecutorConfig`,
named by an entry point of the group `dist_task_pipelines.executors`.
"""

from dist_task_pipelines.executors.base import (
    Executor,
    ExecutorConfig,
    GivenUp,
    Participants,
    Progress,
    Request,
    RocketMQ,
    Service,
)
from dist_task_pipelines.executors.registry import ENTRY_POINT_GROUP, Registry

__all__ = [
    "ENTRY_POINT_GROUP",
    "Executor",
    "ExecutorConfig",
    "GivenUp",
    "Participants",
    "Progress",
    "Registry",
    "Request",
    "RocketMQ",
    "Service",
]
