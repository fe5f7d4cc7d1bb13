"""The code location in this process: jobs, sensors, what an op says, which batch a run takes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value

import definitions
from dist_task_pipelines.assembly import dispatch_limits, migrate_ledger, open_ledger
from dist_task_pipelines.domain.errors import Conflict, InvalidInput, InvalidParams, NotFound
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.engine.batch_run import TaskFailure, TaskReport
from dist_task_pipelines.engine.submit import SubmitRequest, submit
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import BatchEnd, DispatchedBatch
from dist_task_pipelines.orchestration.dagster_files import instance_config
from dist_task_pipelines.orchestration.dispatch_sensors import (
    SAFETY_NET_SECONDS,
    THREADS_VARIABLE,
    TICK_SECONDS,
    decide,
)
from dist_task_pipelines.orchestration.flow_job import (
    TABLE_ROWS,
    build_job,
    flow_jobs,
)
from dist_task_pipelines.orchestration.run_batch import CONFIG_SCHEMA, HEAD_START, take_batch
from dist_task_pipelines.settings import Settings
from sensors.due_retries import due_retries_sensor
from sensors.expired_leases import expired_leases_sensor, reason
from sensors.ledger_state import OBSERVE_SECONDS
from sensors.new_requests import new_requests_sensor

# Dagster warns of its own when it copies a sensor.
pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

SECRET = "s3cr3t-w0rd"
CHECKS = "__ASSET_JOB"  # what a person executes the ledger's checks with
SENSORS = ["due_retries", "expired_leases", "ledger_state", "new_requests"]
NEW, DUE = TransactionStatus.PENDING, TransactionStatus.RUNNING
PARAMS = {"deduct": {"amount": 1}}

CONFIG = f"""
[dagster]
storage_url = "mysql+pymysql://teller:{SECRET}@127.0.0.1:1/dagster"
[databases.warehouse]
url = "mysql+pymysql://teller:{SECRET}@127.0.0.1:1/warehouse"
[rocketmq]
endpoints = "127.0.0.1:1"
secret_key = "{SECRET}"
"""
TASKS = [
    {
        "id": "deduct",
        "task_name": "http_request",
        "description": "charge the account",
        "config": {"url": "http://127.0.0.1:9", "headers": {"Authorization": "${secret.TOKEN}"}},
        "input_fields": [{"name": "amount", "type": "float", "required": True}],
    },
    {
        "id": "ship",
        "task_name": "http_request",
        "config": {"url": "http://127.0.0.1:9/${input.to}"},
        "depends_on": ["deduct"],
        "input_from": {"receipt": "$.deduct.receipt"},
    },
]
HTTP: JsonObject = {"type": "http", "description": "", "config": {}, "input_fields": None}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with passwords in them, of a home with an empty ledger."""
    (tmp_path / "dist_task.toml").write_text(CONFIG)
    monkeypatch.setenv("DIST_TASK_HOME", str(tmp_path))
    monkeypatch.setenv("TOKEN", SECRET)
    loaded = Settings.from_environment()
    migrate_ledger(loaded)
    return loaded


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger of those settings."""
    opened = open_ledger(settings)
    yield opened
    opened.close()


def create(ledger: Ledger, name: str = "shop") -> Flow:
    """A stored flow: deduct, then ship."""
    definition = {
        "name": name,
        "description": f"the {name}",
        "tasks": TASKS,
        "task_definitions": {"http_request": HTTP},
    }
    record = ledger.flows.create(name=name, definition=definition)
    return ledger.flows.load(record.id)


def add(ledger: Ledger, flow: Flow, *ids: str) -> None:
    """Accept orders."""
    for each in ids:
        submit(ledger, SubmitRequest(each, flow.id, PARAMS), max_params_bytes=1000)


def dispatched(ledger: Ledger, settings: Settings, flow: Flow) -> DispatchedBatch:
    """The one batch that a dispatch makes."""
    limits = dispatch_limits(settings)
    [batch] = ledger.dispatcher.dispatch(limits, status=NEW, flow_ids=[flow.id])
    return batch


def repository() -> dg.RepositoryDefinition:
    """What Dagster is told."""
    return definitions.defs().get_repository_def()


# Jobs


def test_without_flows_there_are_the_sensors_and_intervene(ledger: Ledger) -> None:
    found = repository()
    assert set(found.job_names) == {CHECKS, "intervene"}
    assert sorted(sensor.name for sensor in found.sensor_defs) == SENSORS
    for sensor in found.sensor_defs:
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize("count", [1, 12])
def test_every_flow_is_a_job_that_the_sensors_may_launch(ledger: Ledger, count: int) -> None:
    ids = {create(ledger, f"shop-{number}").id for number in range(count)}
    found = repository()
    assert set(found.job_names) == {*ids, CHECKS, "intervene"}
    for name in ("new_requests", "due_retries"):
        targets = found.get_sensor_def(name).targets
        assert {target.job_name for target in targets} == ids


def test_a_job_is_its_flow(ledger: Ledger) -> None:
    create(ledger)
    job = repository().get_job("shop_v1")
    assert (job.name, job.description) == ("shop_v1", "the shop")
    assert {key: job.tags[key] for key in ("dist_task/flow", "dist_task/flow_version")} == {
        "dist_task/flow": "shop",
        "dist_task/flow_version": "1",
    }
    assert {node.name for node in job.graph.nodes} == {"deduct", "ship"}
    upstream = job.graph.dependency_structure.all_upstream_outputs_from_node("ship")
    assert [output.node_name for output in upstream] == ["deduct"]
    assert job.graph.node_named("deduct").definition.description == "charge the account"
    assert job.run_config == {
        "resources": {
            "batch": {
                "config": {
                    "transaction_id": "shop-example-1",
                    "params": {"deduct": {"amount": 1.5}, "ship": {"to": "text"}},
                }
            }
        }
    }


def test_jobs_are_built_once(ledger: Ledger, settings: Settings) -> None:
    create(ledger)
    [before] = flow_jobs(settings)
    create(ledger, "other")
    after = {job.name: job for job in flow_jobs(settings)}
    assert set(after) == {"other_v1", "shop_v1"}
    assert after["shop_v1"] is before


def test_jobs_are_of_flows_in_use(ledger: Ledger, settings: Settings) -> None:
    idle, busy = create(ledger, "idle"), create(ledger, "busy")
    add(ledger, busy, "order-1")
    for flow in (idle, busy):
        ledger.flows.set_active(flow.id, False)
    assert [job.name for job in flow_jobs(settings)] == [busy.id]


def test_no_password_is_in_what_dagster_keeps(ledger: Ledger, settings: Settings) -> None:
    create(ledger)
    snapshot = serialize_value(RepositorySnap.from_def(repository()))
    assert "shop_v1" in snapshot
    for kept in (snapshot, str(instance_config(settings)), repr(settings), str(settings)):
        assert SECRET not in kept


# Sensors


@pytest.mark.parametrize(
    ("variable", "seconds"), [("", TICK_SECONDS), ("1", SAFETY_NET_SECONDS)], ids=["alone", "net"]
)
def test_sensors_look_seldom_where_threads_dispatch(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, variable: str, seconds: int
) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, variable)
    topic = '[rocketmq]\nendpoints = "127.0.0.1:1"\nrequest_topic = "orders"\n'
    Path(os.environ["DIST_TASK_HOME"], "dist_task.toml").write_text(topic)
    assert {each.name: each.minimum_interval_seconds for each in repository().sensor_defs} == {
        "new_requests": seconds,
        "due_retries": seconds,
        "expired_leases": seconds,
        "ledger_state": OBSERVE_SECONDS,
        "mq_requests": TICK_SECONDS,
    }


DISPATCHED = datetime(2030, 1, 31, 10, 0, 0, 5, tzinfo=UTC)
KEY_7, KEY_9 = "batch-7-20300131T100000.000005", "batch-9-20300131T100000.000005"


def a_batch(number: int, transaction_id: str | None = None) -> DispatchedBatch:
    return DispatchedBatch(
        number, "shop_v1", 1 if transaction_id else 3, transaction_id, None, DISPATCHED
    )


def test_a_tick_asks_for_a_run_for_each_new_batch() -> None:
    result = decide([a_batch(7), a_batch(9, "order-1")], "batch-5-20300131T095959.000000", NEW)
    assert isinstance(result, dg.SensorResult)
    assert result.cursor == f"{KEY_7} {KEY_9}"
    three, one = result.run_requests or []
    assert [each.run_key for each in (three, one)] == [KEY_7, KEY_9]
    assert [each.job_name for each in (three, one)] == ["shop_v1"] * 2
    assert three.run_config == {"resources": {"batch": {"config": {"batch_id": 7}}}}
    assert three.tags == {"dist_task/batch_id": "7", "dist_task/batch_size": "3"}
    assert one.tags == {
        "dist_task/batch_id": "9",
        "dist_task/batch_size": "1",
        "dist_task/transaction_id": "order-1",
    }


@pytest.mark.parametrize("cursor", [None, ""])
def test_the_first_tick_asks_for_all(cursor: str | None) -> None:
    result = decide([a_batch(7)], cursor, NEW)
    assert isinstance(result, dg.SensorResult)
    assert [each.run_key for each in result.run_requests or []] == [KEY_7]


def test_a_tick_asks_for_no_run_twice() -> None:
    result = decide([a_batch(7), a_batch(9)], KEY_7, NEW)
    assert isinstance(result, dg.SensorResult)
    assert [each.run_key for each in result.run_requests or []] == [KEY_9]


@pytest.mark.parametrize(
    ("waiting", "status", "words"),
    [
        ([a_batch(7)], NEW, "1 batch"),
        ([], NEW, "no new transaction is due"),
        ([], DUE, "no retry is due"),
    ],
    ids=["waiting", "nothing-new", "nothing-due"],
)
def test_a_tick_without_work_says_why(
    waiting: list[DispatchedBatch], status: TransactionStatus, words: str
) -> None:
    result = decide(waiting, KEY_7, status)
    assert isinstance(result, dg.SkipReason)
    assert words in (result.skip_message or "")


def test_expired_leases_are_named() -> None:
    assert "no lease" in (reason([]).skip_message or "")
    assert "batches 4, 5" in (reason([4, 5]).skip_message or "")


def tick(sensor: dg.SensorDefinition, ledger: Ledger, cursor: str | None = None) -> Any:
    """What a tick over this ledger gives."""
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance, cursor, resources={"ledger": ledger})
        with context:
            return sensor.evaluate_tick(context)


def test_the_sensors_bring_an_order_and_its_retry_to_runs(
    ledger: Ledger, settings: Settings
) -> None:
    flow = create(ledger)
    jobs, limits = flow_jobs(settings), dispatch_limits(settings)
    new = new_requests_sensor(jobs, limits, every=1)
    due = due_retries_sensor(jobs, limits, every=1)
    assert tick(new, ledger).skip_message
    add(ledger, flow, "order-1")
    first = tick(new, ledger)
    assert [each.run_key[:8] for each in first.run_requests] == ["batch-1-"]
    assert "wait" in tick(new, ledger, first.cursor).skip_message
    assert tick(due, ledger).skip_message

    ledger.batches.acquire(1, run_id="run-1", worker="here", lease=30)
    ledger.batches.end(1, BatchEnd.HANDED_BACK)
    assert tick(new, ledger, first.cursor).skip_message
    second = tick(due, ledger)
    assert [each.run_key[:8] for each in second.run_requests] == ["batch-2-"]
    assert second.run_requests[0].tags["dist_task/transaction_id"] == "order-1"


def test_the_third_sensor_hands_back_what_nobody_keeps(ledger: Ledger, settings: Settings) -> None:
    flow = create(ledger)
    add(ledger, flow, "order-1")
    batch = dispatched(ledger, settings, flow)
    ledger.batches.acquire(batch.id, run_id="run-1", worker="here", lease=-1)
    sensor = expired_leases_sensor(every=1)
    assert f"batches {batch.id}" in tick(sensor, ledger).skip_message
    assert ledger.transactions.get("order-1").lease_losses == 1
    assert "no lease" in tick(sensor, ledger).skip_message


# Ops


@dataclass
class Scripted:
    """A batch whose first task comes to this."""

    report: TaskReport

    def run_task(self, task_id: str) -> TaskReport:
        return self.report if task_id == "deduct" else TaskReport(0, 0, (), ())


@dataclass(frozen=True)
class Shown:
    """What the page of a run shows of one op."""

    output: Mapping[str, Any] | None  # the metadata of its output
    failure: str | None
    table: list[Mapping[str, Any]]


def show(ledger: Ledger, report: TaskReport) -> Shown:
    """Run the op of `deduct` over a batch that comes to the report."""
    flow = create(ledger)
    batch = dg.ResourceDefinition(lambda _: Scripted(report), config_schema=CONFIG_SCHEMA)
    location = dg.Definitions(jobs=[build_job(flow)], resources={"batch": batch})
    job = location.get_repository_def().get_job(flow.id)
    done = job.execute_in_process(raise_on_error=False)
    events: Sequence[Any] = done.events_for_node("deduct")
    outputs = [each.step_output_data.metadata for each in events if each.is_successful_output]
    failed = [each.step_failure_data.user_failure_data for each in events if each.is_step_failure]
    return Shown(
        output={name: value.value for name, value in outputs[0].items()} if outputs else None,
        failure=failed[0].description if failed else None,
        table=[
            row.data
            for each in failed
            for row in each.metadata["failed transactions"].value.records
        ],
    )


def failures(count: int) -> tuple[TaskFailure, ...]:
    due = datetime(2030, 1, 31, 10, 0, tzinfo=UTC)
    return tuple(
        TaskFailure(f"order-{number}", "HttpStatus: 503", number, due if number == 1 else None)
        for number in range(1, count + 1)
    )


def test_an_op_of_a_healthy_batch_is_green(ledger: Ledger) -> None:
    shown = show(ledger, TaskReport(called=2, passed=3, failures=(), waiting=()))
    assert shown == Shown({"called": 2, "passed": 3}, None, [])


def test_an_op_of_a_mixed_batch_goes_on_and_is_red(ledger: Ledger) -> None:
    shown = show(ledger, TaskReport(3, 1, failures(2), waiting=("order-9",)))
    assert shown.output == {"called": 3, "passed": 1, "failed before, not called": "order-9"}
    assert shown.failure == "2 of 3 transactions failed"
    assert [row["transaction"] for row in shown.table] == ["order-1", "order-2"]
    assert [row["exception"] for row in shown.table] == ["1", "2"]
    assert [row["error"] for row in shown.table] == ["HttpStatus: 503"] * 2
    assert "10:00:00" in shown.table[0]["next retry"]
    assert shown.table[1]["next retry"] == "by a person"


def test_an_op_of_which_nothing_passed_holds_back_what_follows(ledger: Ledger) -> None:
    shown = show(ledger, TaskReport(1, 0, failures(1), ()))
    assert (shown.output, shown.failure) == (None, "1 of 1 transactions failed")


def test_an_op_with_nothing_to_do_is_green(ledger: Ledger) -> None:
    shown = show(ledger, TaskReport(0, 0, (), ("order-1",)))
    assert shown.output
    assert shown.failure is None


def test_a_run_page_is_not_flooded(ledger: Ledger) -> None:
    shown = show(ledger, TaskReport(900, 0, failures(900), ()))
    assert shown.failure == "900 of 900 transactions failed"
    assert len(shown.table) == TABLE_ROWS


# Which batch a run takes


def a_run(
    flow: Flow, run_id: str = "run-1", parent: str | None = None, **tags: str
) -> dg.DagsterRun:
    return dg.DagsterRun(
        flow.id, run_id=run_id, parent_run_id=parent, root_run_id=parent, tags=tags
    )


def named(batch: Any) -> list[str]:
    return [member.id for member in batch.members]


def test_a_dispatched_run_takes_its_batch(ledger: Ledger, settings: Settings) -> None:
    flow = create(ledger)
    add(ledger, flow, "order-1", "order-2")
    waiting = dispatched(ledger, settings, flow)
    batch = take_batch(ledger, a_run(flow), {"batch_id": waiting.id}, settings, worker="w")
    assert (batch.id, batch.run_id, named(batch)) == (waiting.id, "run-1", ["order-1", "order-2"])
    assert ledger.transactions.get("order-1").status is TransactionStatus.RUNNING


def test_a_batch_is_taken_once(ledger: Ledger, settings: Settings) -> None:
    flow = create(ledger)
    add(ledger, flow, "order-1")
    config = {"batch_id": dispatched(ledger, settings, flow).id}
    take_batch(ledger, a_run(flow), config, settings, worker="w")
    with pytest.raises(Conflict, match="run-1 took it"):
        take_batch(ledger, a_run(flow, "run-2"), config, settings, worker="w")
    assert ledger.transactions.get("order-1").run_id == "run-1"


def test_a_re_executed_run_takes_what_it_may(ledger: Ledger, settings: Settings) -> None:
    flow = create(ledger)
    add(ledger, flow, "order-1", "order-2")
    config = {"batch_id": dispatched(ledger, settings, flow).id}
    first = take_batch(ledger, a_run(flow), config, settings, worker="w")
    while_busy = take_batch(
        ledger, a_run(flow, "run-2", parent="run-1"), config, settings, worker="w"
    )
    assert named(while_busy) == []
    assert [left.transaction_id for left in while_busy.left_alone] == ["order-1", "order-2"]
    ledger.batches.end(first.id, BatchEnd.STOPPED)
    ledger.operators.cancel("order-2", actor="ann")
    again = a_run(flow, "run-3", parent="run-1", user="ann")
    afterwards = take_batch(ledger, again, config, settings, worker="w")
    assert named(afterwards) == ["order-1"]
    [left] = afterwards.left_alone
    assert (left.transaction_id, "cancelled" in left.reason) == ("order-2", True)
    [audit] = ledger.audit.page("transaction:order-1")
    assert (audit.actor, audit.action) == ("ann", "re_execute")


def test_a_re_executed_run_takes_a_batch_that_nobody_took(
    ledger: Ledger, settings: Settings
) -> None:
    flow = create(ledger)
    add(ledger, flow, "order-1")
    waiting = dispatched(ledger, settings, flow)
    run = a_run(flow, "run-2", parent="run-1")
    assert take_batch(ledger, run, {"batch_id": waiting.id}, settings, worker="w").id == waiting.id


def test_the_launchpad_registers_and_takes_its_transaction(
    ledger: Ledger, settings: Settings
) -> None:
    flow = create(ledger)
    config = {"transaction_id": "order-1", "params": PARAMS}
    batch = take_batch(ledger, a_run(flow), config, settings, worker="w")
    assert named(batch) == ["order-1"]
    assert batch.members[0].params == PARAMS
    assert ledger.transactions.get("order-1").flow_id == flow.id


def test_what_the_launchpad_registers_nobody_else_picks_up_meanwhile(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = create(ledger)

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("the worker ends between the two")

    monkeypatch.setattr(ledger.batches, "adopt", crash)
    config = {"transaction_id": "order-1", "params": PARAMS}
    with pytest.raises(RuntimeError):
        take_batch(ledger, a_run(flow), config, settings, worker="w")
    record = ledger.transactions.get("order-1")
    assert record.next_due_at
    assert (record.next_due_at - record.created_at).total_seconds() == HEAD_START
    limits = dispatch_limits(settings)
    assert ledger.dispatcher.dispatch(limits, status=NEW, flow_ids=[flow.id]) == []


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, InvalidInput),
        ({"params": PARAMS}, InvalidInput),
        ({"batch_id": 1, "transaction_id": "order-1"}, InvalidInput),
        ({"batch_id": 1, "params": PARAMS}, InvalidInput),
        ({"batch_id": 99}, NotFound),
        ({"transaction_id": "order-1"}, InvalidParams),
        ({"transaction_id": "order-1", "params": {"deduct": {"amount": "x" * 2000}}}, InvalidInput),
        ({"transaction_id": "present", "params": {"deduct": {"amount": 2}}}, Conflict),
    ],
    ids=["none", "params-only", "both", "batch-params", "no-batch", "missing", "wrong", "other"],
)
def test_a_config_that_names_no_work_is_refused(
    ledger: Ledger, settings: Settings, config: JsonObject, error: type[Exception]
) -> None:
    flow = create(ledger)
    add(ledger, flow, "present")
    with pytest.raises(error):
        take_batch(ledger, a_run(flow), config, settings, worker="w")
    assert [record.id for record in ledger.transactions.page()] == ["present"]
    assert ledger.transactions.get("present").batch_id is None


def test_a_batch_of_another_flow_is_refused(ledger: Ledger, settings: Settings) -> None:
    flow, other = create(ledger), create(ledger, "other")
    add(ledger, flow, "order-1")
    config = {"batch_id": dispatched(ledger, settings, flow).id}
    with pytest.raises((Conflict, InvalidInput)):
        take_batch(ledger, a_run(other), config, settings, worker="w")
    assert ledger.transactions.get("order-1").status is TransactionStatus.PENDING
