"""A flow version as a Dagster job: one op for each task, thin over the engine.

State passes through the ledger; the ops hand nothing to each other but their order.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import structlog
from dagster import (
    DependencyDefinition,
    Failure,
    GraphDefinition,
    In,
    JobDefinition,
    MetadataValue,
    NodeInvocation,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    TableColumn,
    TableMetadataValue,
    TableRecord,
    TableSchema,
)

from dist_task_pipelines.domain.errors import LedgerUnavailable
from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.json import dumps
from dist_task_pipelines.engine.batch_run import TaskReport
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.run_log import quiet_logger
from dist_task_pipelines.orchestration.shared_ledger import shared_ledger
from dist_task_pipelines.orchestration.step_executor import concurrent_step_executor
from dist_task_pipelines.orchestration.tags import FLOW_TAG, FLOW_VERSION_TAG
from dist_task_pipelines.settings import Settings

BATCH_RESOURCE = "batch"
TABLE_ROWS = 100  # failed transactions shown in the run page; the ledger has them all
_INPUT_PLACEHOLDER = re.compile(r"\$\{input\.([A-Za-z0-9_]+)")
EXAMPLES = {
    "int": 1,
    "int64": 1,
    "float": 1.5,
    "float64": 1.5,
    "bool": True,
    "[]string": ["text"],
    "[]int": [1],
    "[]float": [1.5],
    "object": {},
    "array": [],
    "time": "2030-01-31T10:00:00Z",
}


log = structlog.get_logger(__name__)

_built: dict[str, tuple[Flow, JobDefinition]] = {}  # by flow id: a version never changes


def flow_job(flow: Flow) -> JobDefinition:
    """The job of a flow version, built once in a process; its name is the flow id."""
    built_for, job = _built.get(flow.id, (None, None))
    if job is None or built_for != flow:  # another ledger's version may have the same id
        job = build_job(flow)
        _built[flow.id] = flow, job
    return job


def flow_jobs(settings: Settings) -> list[JobDefinition]:
    """The jobs of the active flow versions, and of those with unsettled transactions.

    A version whose job cannot be built is logged and left out; the others are not harmed.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    with shared_ledger(settings) as ledger:
        jobs = [_job_or_none(ledger, record.id) for record in ledger.flows.in_use()]
    return [job for job in jobs if job]


def _job_or_none(ledger: Ledger, flow_id: str) -> JobDefinition | None:
    try:
        return flow_job(ledger.flows.load(flow_id))
    except LedgerUnavailable:
        raise
    except Exception:
        log.exception("the job of a flow cannot be built", flow=flow_id)
        return None


def flows_revision() -> str:
    """A text that changes when the flows in the ledger do; the code server watches it."""
    with shared_ledger(_own_settings()) as ledger:
        return ledger.flows.revision()


@cache
def _own_settings() -> Settings:
    """Those of the process, read once: the revision is asked every second."""
    return Settings.from_environment()


def build_job(flow: Flow) -> JobDefinition:
    """The job of a flow version."""
    graph = GraphDefinition(
        name=flow.id,
        description=flow.description,
        node_defs=[build_op(flow, task) for task in flow.tasks],
        dependencies={
            NodeInvocation(_op_name(flow, task), alias=task.id): {
                name: DependencyDefinition(name) for name in task.depends_on
            }
            for task in flow.tasks
        },
    )
    return graph.to_job(
        description=flow.description or None,
        executor_def=concurrent_step_executor,
        logger_defs={"console": quiet_logger},
        config=example_run_config(flow),
        tags={FLOW_TAG: flow.name, FLOW_VERSION_TAG: str(flow.version)},
    )


def build_op(flow: Flow, task: Task) -> OpDefinition:
    """The op of a task. Its inputs are named after the tasks it depends on."""

    def run(context: OpExecutionContext, _inputs: Any) -> Iterator[Output[None]]:
        report: TaskReport = context.resources.batch.run_task(task.id)
        yield from _results(report)

    return OpDefinition(
        compute_fn=run,
        name=_op_name(flow, task),
        description=task.description or f"{task.name} ({task.type})",
        ins={name: In(Nothing) for name in task.depends_on},
        outs={"result": Out(Nothing)},
        required_resource_keys={BATCH_RESOURCE},
        tags={"kind": task.type},  # what the UI shows on an op
    )


def batch_run_config(batch_id: int) -> dict[str, Any]:
    """What the run of a dispatched batch is launched with."""
    return _run_config({"batch_id": batch_id})


def example_run_config(flow: Flow) -> dict[str, Any]:
    """What the Launchpad is filled with: one transaction, with an example for each parameter."""
    params = {task.id: example for task in flow.tasks if (example := _example_params(task))}
    return _run_config({"transaction_id": f"{flow.name}-example-1", "params": params})


def _run_config(batch: dict[str, Any]) -> dict[str, Any]:
    return {"resources": {BATCH_RESOURCE: {"config": batch}}}


def _example_params(task: Task) -> dict[str, Any]:
    """The declared fields; where none are, those that the config's placeholders name."""
    if task.input_fields is None:
        names = _INPUT_PLACEHOLDER.findall(dumps(task.config))
        return {name: "text" for name in names if name not in task.input_from}
    return {
        field.name: EXAMPLES.get(field.type, "text")
        for field in task.input_fields
        if field.name not in task.input_from
    }


def _op_name(flow: Flow, task: Task) -> str:
    return f"{flow.id}__{task.id}__op"


def _results(report: TaskReport) -> Iterator[Output[None]]:
    """The op's output when any transaction goes on downstream; red when any failed."""
    if report.passed or not report.failures:
        yield Output(None, "result", metadata=_counts(report))
    if report.failures:
        failed = len(report.failures)
        raise Failure(
            f"{failed} of {report.called} transactions failed",
            metadata={**_counts(report), "failed transactions": _table(report)},
            allow_retries=False,
        )


def _counts(report: TaskReport) -> dict[str, Any]:
    counts: dict[str, Any] = {"called": report.called, "passed": report.passed}
    if report.waiting:
        counts["failed before, not called"] = ", ".join(report.waiting[:TABLE_ROWS])
    return counts


def _table(report: TaskReport) -> TableMetadataValue:
    return MetadataValue.table(
        records=[
            TableRecord(
                {
                    "transaction": failure.transaction_id,
                    "error": failure.error[:500],
                    "exception": str(failure.exception_id or ""),
                    "next retry": f"{failure.retry_at:%H:%M:%S} UTC"
                    if failure.retry_at
                    else "by a person",
                }
            )
            for failure in report.failures[:TABLE_ROWS]
        ],
        schema=TableSchema(
            columns=[
                TableColumn(name) for name in ("transaction", "error", "exception", "next retry")
            ]
        ),
    )
