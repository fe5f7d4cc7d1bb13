"""Calling participants: one executor for each type of task.

An executor knows nothing of the ledger or of Dagster. It takes a task's resolved config,
its input and its idempotency key, and says what the call came to.

A third party's executor is a subclass of `Executor` with a subclass of `ExecutorConfig`,
named by an entry point of the group `dist_task_pipelines.executors`.
"""

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.base import (
    Executor,
    ExecutorConfig,
    GivenUp,
    Participants,
    Progress,
    Proxy,
    Request,
    RocketMQ,
    Service,
    Tls,
)
from dist_task_pipelines.executors.registry import ENTRY_POINT_GROUP, Registry

__all__ = [
    "ENTRY_POINT_GROUP",
    "Applied",
    "Executor",
    "ExecutorConfig",
    "GivenUp",
    "Outcome",
    "Participants",
    "Progress",
    "Proxy",
    "Registry",
    "Request",
    "RocketMQ",
    "Service",
    "Tls",
]
