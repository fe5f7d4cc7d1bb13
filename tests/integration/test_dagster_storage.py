"""Dagster's storage, trimmed: it holds what Dagster's own would."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from dist_task_pipelines.orchestration.dagster_files import dagster_instance
from dist_task_pipelines.orchestration.storage.events import BufferedEventLog
from dist_task_pipelines.orchestration.storage.mysql import MySQLStorage
from dist_task_pipelines.settings import Settings


@dg.op
def tell(context: dg.OpExecutionContext) -> None:
    context.log.info("told")


@dg.op
def fail() -> None:
    raise dg.Failure("on purpose")


@dg.job
def telling() -> None:
    tell()


@dg.job
def failing() -> None:
    fail()


@pytest.fixture(params=["embedded", "mysql"])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """A worker's instance."""
    if request.param == "mysql":
        url = request.getfixturevalue("mysql_database")
        (tmp_path / "dist_task.toml").write_text(f'[dagster]\nstorage_url = "{url}"\n')
    for name in ("DAGSTER_HOME", "DIST_TASK_HOME", "DIST_TASK_CONFIG"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("DIST_TASK_DAGSTER_STORAGE_URL", raising=False)
    with dagster_instance(Settings.load(None, tmp_path)) as made:
        yield made
    shutil.rmtree(tmp_path)


def test_no_daemon_looks_for_what_the_platform_has_not(instance: dg.DagsterInstance) -> None:
    assert set(instance.get_required_daemon_types()) == {
        "BACKFILL",
        "MONITORING",
        "SCHEDULER",
        "SENSOR",
    }


def test_on_mysql_each_part_keeps_its_connection(mysql_database: str) -> None:
    """Dagster's daemon never says that it lives long."""
    storage = MySQLStorage(mysql_database)
    parts: list[Any] = [
        storage.run_storage,
        storage.event_log_storage,
        storage.schedule_storage,
    ]
    made: list[object] = []
    for part in parts:
        sa.event.listen(part._engine, "connect", lambda *_: made.append(object()))
    for _ in range(3):
        storage.run_storage.get_daemon_heartbeats()
        storage.event_log_storage.get_maximum_record_id()
        storage.schedule_storage.all_instigator_state()
    for part in parts:
        part.dispose()
    assert len(made) == len(parts)


def log_of(instance: dg.DagsterInstance) -> BufferedEventLog:
    log = instance.event_log_storage
    assert isinstance(log, BufferedEventLog)
    return log


def kinds(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    events = instance.all_logs(run_id)
    return [each.dagster_event_type.value if each.dagster_event_type else "" for each in events]


@pytest.mark.parametrize(("job", "status"), [(telling, "SUCCESS"), (failing, "FAILURE")])
def test_a_run_has_all_its_events_in_order(
    instance: dg.DagsterInstance, job: dg.JobDefinition, status: str
) -> None:
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    with dg.DagsterInstance.ephemeral() as stock:
        expected = job.execute_in_process(instance=stock, raise_on_error=False)
        assert kinds(instance, result.run_id) == kinds(stock, expected.run_id)
    run = instance.get_run_by_id(result.run_id)
    assert run
    assert run.status.value == status
    stats = instance.get_run_stats(result.run_id)
    assert stats.start_time
    assert stats.end_time


KINDS = dg.DagsterEventType


@pytest.mark.parametrize(
    "told",
    [
        (KINDS.RUN_STARTING, KINDS.RUN_START, KINDS.RUN_SUCCESS),
        (KINDS.RUN_STARTING, KINDS.RUN_START, KINDS.RUN_CANCELING, KINDS.RUN_CANCELED),
        (KINDS.RUN_START, KINDS.RUN_SUSPENDED, KINDS.RUN_RESUMED),
    ],
    ids=lambda told: "-".join(kind.name for kind in told),
)
def test_a_runs_status_and_times_are_what_dagsters_own_would_be(
    instance: dg.DagsterInstance, told: tuple[dg.DagsterEventType, ...]
) -> None:
    with dg.DagsterInstance.ephemeral() as stock:
        ours, theirs = (after(each, told) for each in (instance, stock))
    assert ours.dagster_run.status is theirs.dagster_run.status
    assert (ours.start_time, ours.end_time) == (theirs.start_time, theirs.end_time)


def after(instance: dg.DagsterInstance, told: tuple[dg.DagsterEventType, ...]) -> dg.RunRecord:
    """A run of which this was told, at one second after the other."""
    run = instance.create_run_for_job(telling)
    for second, kind in enumerate(told):
        event = dg.DagsterEvent(kind.value, run.job_name)
        instance.report_dagster_event(event, run.run_id, timestamp=1_800_000_000.0 + second)
    record = instance.get_run_record_by_id(run.run_id)
    assert record
    return record


def test_a_run_that_failed_keeps_the_reason_in_its_tags(instance: dg.DagsterInstance) -> None:
    result = failing.execute_in_process(instance=instance, raise_on_error=False)
    run = instance.get_run_by_id(result.run_id)
    assert run
    assert run.tags["dagster/failure_reason"] == "STEP_FAILURE"


def test_a_change_of_status_reads_nothing(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(telling)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", run.job_name), run.run_id)
    reading = pytest.fail
    monkeypatch.setattr(instance.run_storage, "fetchall", lambda _: reading("it reads the run"))
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", run.job_name), run.run_id)


def test_they_are_written_in_a_few_statements(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    insert = BufferedEventLog._insert

    def count(self: BufferedEventLog, run_id: str, events: list[dg.EventLogEntry]) -> None:
        written.append(len(events))
        insert(self, run_id, events)

    monkeypatch.setattr(BufferedEventLog, "_insert", count)
    monkeypatch.setattr(BufferedEventLog, "_write_all", lambda _: None)  # no timer
    run_id = telling.execute_in_process(instance=instance).run_id
    assert len(written) <= 3, "one for each change of the run's status"
    assert sum(written) == len(kinds(instance, run_id))


def test_whoever_reads_a_run_sees_what_was_kept_back(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(telling)
    instance.report_engine_event("kept back", run)
    assert [each.message for each in instance.all_logs(run.run_id)] == ["kept back"]


def test_what_was_kept_back_is_written_soon(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(telling)
    instance.report_engine_event("kept back", run)
    log = log_of(instance)
    log._writer.join(2)
    assert not log._buffer
    stock = SqlEventLogStorage.get_records_for_run(log, run.run_id)
    assert len(stock.records) == 1


def test_an_instance_that_ends_writes_all(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BufferedEventLog, "_write_in_time", lambda _: None)
    run = instance.create_run_for_job(telling)
    instance.report_engine_event("the last word", run)
    log = log_of(instance)
    log.dispose()
    assert len(SqlEventLogStorage.get_records_for_run(log, run.run_id).records) == 1


def test_materializations_go_their_own_way_in_their_place(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def thing(context: dg.AssetExecutionContext) -> None:
        context.log.info("before it")

    assert dg.materialize([thing], instance=instance).success
    assert instance.get_latest_materialization_event(dg.AssetKey("thing"))
