"""Runs that are delivered to a worker: executed once, whatever the broker does."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import dagster as dg
import pytest
import sqlalchemy as sa

import definitions
from dist_task_pipelines.assembly import dispatch_limits, migrate_ledger, open_ledger
from dist_task_pipelines.domain.errors import LedgerUnavailable
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.engine import patience
from dist_task_pipelines.engine.submit import SubmitRequest, submit_many
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import DispatchedBatch
from dist_task_pipelines.orchestration import dispatcher, run_batch, step_executor, worker
from dist_task_pipelines.orchestration.dagster_files import dagster_instance
from dist_task_pipelines.orchestration.dispatch_sensors import left_undone, take_up
from dist_task_pipelines.orchestration.dispatcher import DispatchThread
from dist_task_pipelines.orchestration.jobs import Jobs
from dist_task_pipelines.orchestration.keeping import keeping_open
from dist_task_pipelines.orchestration.launching import BatchLauncher
from dist_task_pipelines.orchestration.run_execution import RunExecution
from dist_task_pipelines.orchestration.storage import events
from dist_task_pipelines.settings import Settings
from tests.services.participant import Participant

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

MOST_EVENTS = 11  # of a run of two tasks
MOST_STATEMENTS = 16  # to Dagster's storage, for such a run

HTTP: JsonObject = {"type": "http", "description": "", "config": {}, "input_fields": None}


@dataclass
class Bench:
    """A worker's parts, and what goes by the broker: `sent` are the ids of the runs."""

    settings: Settings
    instance: dg.DagsterInstance
    ledger: Ledger
    jobs: Jobs
    execution: RunExecution
    launcher: BatchLauncher
    sent: list[str]
    ended: list[str]

    def submit(self, *ids: str, flow: str = "shop_v1") -> None:
        requests = [SubmitRequest(each, flow, {}) for each in ids]
        submit_many(self.ledger, requests, max_params_bytes=1000)

    def dispatch(self) -> DispatchedBatch:
        """The one batch of what is due, its run launched."""
        limits = dispatch_limits(self.settings)
        [batch] = self.ledger.dispatcher.dispatch(limits, name_runs=True)
        self.launcher.launch(batch)
        assert self.sent[-1] == batch.run_id
        return batch

    def deliver(self, run_id: str | None) -> dg.DagsterRun:
        """The run as it is after its delivery."""
        assert run_id
        self.execution.execute(run_id)
        return self.run(run_id)

    def run(self, run_id: str | None) -> dg.DagsterRun:
        assert run_id
        run = self.instance.get_run_by_id(run_id)
        assert run
        return run

    def status(self, transaction_id: str) -> TransactionStatus:
        return self.ledger.transactions.get(transaction_id).status

    def person_launches(self, job: str, config: Any, **fields: Any) -> str:
        """The id of a run that a person made, not begun yet."""
        return self.instance.create_run_for_job(
            self.jobs.get(job), run_config=config, **fields
        ).run_id

    def person_retries_failed(self, transaction_id: str) -> str:
        """The id of a run of `intervene`, not begun yet; the transaction has failed by then."""
        self.submit(transaction_id)
        self.deliver(self.dispatch().run_id)
        wanted = {"action": "retry", "transaction_id": transaction_id}
        return self.person_launches("intervene", {"ops": {"carry_out": {"config": wanted}}})

    def expire(self, batch: DispatchedBatch) -> None:
        """Let the time run out in which a run may take the batch."""
        with self.ledger.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE batch SET lease_expires_at = '2000-01-01'")
        assert self.ledger.batches.expire() == [batch.id]


@pytest.fixture(scope="module")
def participant() -> Iterator[Participant]:
    with Participant().running() as running:
        yield running


@pytest.fixture
def bench(
    tmp_path: Path, participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    monkeypatch.setenv("DIST_TASK_HOME", str(tmp_path))
    monkeypatch.setenv("DIST_TASK_CONFIG", "")
    monkeypatch.setenv("DAGSTER_HOME", "")
    settings = Settings.from_environment()
    migrate_ledger(settings)
    ledger = open_ledger(settings)
    sent: list[str] = []
    ended: list[str] = []
    monkeypatch.setattr(
        "dist_task_pipelines.orchestration.run_launcher.send_run",
        lambda _, run_id: sent.append(run_id),
    )
    with keeping_open(), dagster_instance(settings) as instance:
        create(ledger, participant.url)
        jobs = Jobs(ledger)
        execution = RunExecution(
            instance, ledger, jobs, worker="w", lease=30, at_end=lambda: ended.append("")
        )
        launcher = BatchLauncher(instance, ledger, jobs.get)
        yield Bench(settings, instance, ledger, jobs, execution, launcher, sent, ended)
    ledger.close()


def create(ledger: Ledger, url: str) -> None:
    tasks = [
        {
            "id": each,
            "task_name": "http_request",
            "config": {"url": f"{url}/{each}"},
            "depends_on": after,
        }
        for each, after in (("deduct", []), ("ship", ["deduct"]))
    ]
    definition = {"name": "shop", "tasks": tasks, "task_definitions": {"http_request": HTTP}}
    ledger.flows.create(name="shop", definition=definition)


def batch_config(batch: DispatchedBatch) -> JsonObject:
    return {"resources": {"batch": {"config": {"batch_id": batch.id}}}}


def test_a_dispatched_run_is_as_the_ui_would_create_it(bench: Bench) -> None:
    bench.submit("first")
    batch = bench.dispatch()
    run = bench.run(batch.run_id)
    job = definitions.defs().get_repository_def().get_job("shop_v1")
    by_ui = bench.instance.create_run_for_job(job, run_config=batch_config(batch))
    assert run.job_snapshot_id == by_ui.job_snapshot_id
    assert run.execution_plan_snapshot_id == by_ui.execution_plan_snapshot_id
    assert run.run_config == batch_config(batch)
    assert run.remote_job_origin
    assert run.job_code_origin
    assert run.tags == {
        "dagster/code_location": "dist_task_pipelines",
        "dist_task/batch_id": str(batch.id),
        "dist_task/batch_size": "1",
        "dist_task/flow": "shop",
        "dist_task/flow_version": "1",
        "dist_task/transaction_id": "first",
    }


def test_its_delivery_executes_it(bench: Bench, participant: Participant) -> None:
    bench.submit("one", "two")
    batch = bench.dispatch()
    run = bench.deliver(batch.run_id)
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert bench.status("one") is bench.status("two") is TransactionStatus.SUCCESS
    assert bench.ledger.transactions.get("one").run_id == run.run_id
    assert participant.calls["one:ship"] == 1
    assert len(bench.ended) == 1


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done because time passes, however slow the machine is."""
    monkeypatch.setattr(events, "BUFFER_SECONDS", 60)
    monkeypatch.setattr(step_executor, "CANCEL_POLL_SECONDS", 60)


@pytest.mark.usefixtures("unhurried")
def test_what_a_run_costs_dagster_does_not_grow_with_its_batch(bench: Bench) -> None:
    """Counts, not times: what makes a batch cheap is that its run costs the same for any size."""
    a_run_of(bench, 2)  # the first one keeps the job's snapshot
    few, many = a_run_of(bench, 1), a_run_of(bench, 100)
    assert few == many
    assert many.events <= MOST_EVENTS
    assert many.statements <= MOST_STATEMENTS


class Cost(NamedTuple):
    """What a run costs Dagster: its events, and the statements that its storage is sent."""

    events: int
    statements: int


def a_run_of(bench: Bench, size: int) -> Cost:
    """What a run of so many transactions costs, from its dispatch to its end."""
    bench.submit(*(f"{number}_of_{size}" for number in range(size)))
    with sent_to_storage(bench) as sent:
        run = bench.deliver(bench.dispatch().run_id)
    assert run.is_success
    return Cost(len(bench.instance.all_logs(run.run_id)), len(sent))


@contextmanager
def sent_to_storage(bench: Bench) -> Iterator[list[str]]:
    """The statements that Dagster's storage is sent in the block."""
    sent: list[str] = []
    ledger = bench.ledger.database.engine.url.database

    def note(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if connection.engine.url.database != ledger and not statement.startswith("BEGIN"):
            sent.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_dagsters_instance_keeps_nothing_of_a_run_that_ended(bench: Bench) -> None:
    bench.submit("forgotten")
    assert bench.deliver(bench.dispatch().run_id).is_success
    assert not bench.instance._subscribers


def test_a_repeated_delivery_does_nothing(bench: Bench, participant: Participant) -> None:
    bench.submit("again")
    batch = bench.dispatch()
    assert batch.run_id
    bench.deliver(batch.run_id)
    before = bench.instance.all_logs(batch.run_id)
    bench.deliver(batch.run_id)
    assert bench.instance.all_logs(batch.run_id) == before
    assert participant.calls["again:ship"] == 1


def test_a_repeated_delivery_of_a_run_at_work_does_nothing(
    bench: Bench, participant: Participant
) -> None:
    participant.hold("slow:deduct")
    bench.submit("slow")
    batch = bench.dispatch()
    at_work = threading.Thread(target=bench.deliver, args=[batch.run_id])
    at_work.start()
    participant.wait_for_call("slow:deduct")
    assert bench.deliver(batch.run_id).status is dg.DagsterRunStatus.STARTED
    participant.release("slow:deduct")
    at_work.join()
    assert bench.run(batch.run_id).status is dg.DagsterRunStatus.SUCCESS
    assert participant.calls["slow:deduct"] == 1


def test_a_repeated_delivery_before_the_run_started_does_nothing(bench: Bench) -> None:
    bench.submit("early")
    batch = bench.dispatch()
    assert batch.run_id
    bench.ledger.batches.acquire(batch.id, run_id=batch.run_id, worker="w2", lease=30)
    assert bench.deliver(batch.run_id).status is dg.DagsterRunStatus.STARTING


def test_launching_twice_makes_one_run_and_two_messages(bench: Bench) -> None:
    bench.submit("twice")
    batch = bench.dispatch()
    bench.launcher.launch(batch)
    assert bench.sent == [batch.run_id] * 2
    assert bench.instance.get_runs_count() == 1


def test_the_late_run_of_a_superseded_batch_does_nothing_and_ends(
    bench: Bench, participant: Participant
) -> None:
    bench.submit("late")
    batch = bench.dispatch()
    bench.expire(batch)
    assert bench.deliver(batch.run_id).status is dg.DagsterRunStatus.FAILURE
    assert bench.status("late") is TransactionStatus.PENDING
    assert participant.calls["late:deduct"] == 0
    assert bench.deliver(bench.dispatch().run_id).status is dg.DagsterRunStatus.SUCCESS


def test_a_retry_of_one_is_a_re_execution_of_its_run(
    bench: Bench, participant: Participant
) -> None:
    participant.fail("once:deduct", 422, 422)
    bench.submit("once")
    runs = [bench.deliver(bench.dispatch().run_id)]
    for _ in range(2):
        bench.ledger.operators.retry_transaction("once", actor="ann")
        runs.append(bench.deliver(bench.dispatch().run_id))
    first, second, third = runs
    assert (second.parent_run_id, second.root_run_id) == (first.run_id, first.run_id)
    assert (third.parent_run_id, third.root_run_id) == (second.run_id, first.run_id)
    assert third.tags["dagster/parent_run_id"] == second.run_id
    assert third.tags["dagster/root_run_id"] == first.run_id
    assert bench.status("once") is TransactionStatus.SUCCESS


def test_the_late_run_of_a_superseded_retry_is_no_persons_act(
    bench: Bench, participant: Participant
) -> None:
    participant.fail("kept:deduct", 422)
    bench.submit("kept")
    bench.deliver(bench.dispatch().run_id)
    bench.ledger.operators.retry_transaction("kept", actor="ann")
    retry = bench.dispatch()
    bench.expire(retry)
    assert bench.deliver(retry.run_id).status is dg.DagsterRunStatus.FAILURE
    assert participant.calls["kept:deduct"] == 1
    actions = [row.action for row in bench.ledger.audit.page("transaction:kept")]
    assert "re_execute" not in actions


def test_a_run_that_was_cancelled_before_it_began_is_left_to_a_person(
    bench: Bench, participant: Participant
) -> None:
    bench.submit("unwanted")
    batch = bench.dispatch()
    bench.instance.report_run_canceled(bench.run(batch.run_id))
    bench.deliver(batch.run_id)
    record = bench.ledger.transactions.get("unwanted")
    assert (record.status, record.next_due_at) == (TransactionStatus.FAILED, None)
    assert not bench.ledger.dispatcher.look(patience=10).due
    assert participant.calls["unwanted:deduct"] == 0


def test_so_it_is_when_its_message_was_lost(bench: Bench) -> None:
    bench.submit("unwanted")
    batch = bench.dispatch()
    bench.instance.report_run_canceled(bench.run(batch.run_id))
    bench.launcher.launch(batch)
    assert bench.status("unwanted") is TransactionStatus.FAILED
    assert len(bench.sent) == 1


def test_a_run_that_was_terminated_before_it_began_is_cancelled_by_its_delivery(
    bench: Bench, participant: Participant
) -> None:
    bench.submit("ended")
    run_id = bench.dispatch().run_id
    assert run_id
    assert bench.instance.run_launcher.terminate(run_id)
    assert bench.run(run_id).status is dg.DagsterRunStatus.CANCELING
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.CANCELED
    assert bench.status("ended") is TransactionStatus.FAILED
    assert participant.calls["ended:deduct"] == 0


def test_so_is_one_that_a_person_launched(bench: Bench) -> None:
    config = {"resources": {"batch": {"config": {"transaction_id": "never"}}}}
    run_id = bench.person_launches("shop_v1", config)
    assert bench.instance.run_launcher.terminate(run_id)
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.CANCELED
    assert not bench.ledger.transactions.find(["never"])


@pytest.mark.parametrize("by", ["platform", "person"])
def test_a_repeated_delivery_does_not_cancel_a_run_that_is_being_stopped(
    bench: Bench, participant: Participant, by: str
) -> None:
    held = f"held_by_{by}"
    config = {"resources": {"batch": {"config": {"transaction_id": held, "params": {}}}}}
    if by == "person":
        run_id = bench.person_launches("shop_v1", config)
    else:
        bench.submit(held)
        run_id = str(bench.dispatch().run_id)
    call = f"{held}:deduct"
    participant.hold(call)
    at_work = threading.Thread(target=bench.deliver, args=[run_id])
    at_work.start()
    participant.wait_for_call(call)
    assert bench.instance.run_launcher.terminate(run_id)
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.CANCELING
    participant.release(call)
    at_work.join()
    assert bench.run(run_id).status is dg.DagsterRunStatus.CANCELED


def test_a_re_executed_run_is_executed_once(bench: Bench, participant: Participant) -> None:
    participant.fail("person:deduct", 422)
    bench.submit("person")
    batch = bench.dispatch()
    failed = bench.deliver(batch.run_id)
    parent = {"parent_run_id": failed.run_id, "root_run_id": failed.run_id}
    run_id = bench.person_launches("shop_v1", batch_config(batch), **parent)
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.SUCCESS
    bench.deliver(run_id)
    assert participant.calls["person:deduct"] == 2
    assert not bench.ledger.workers.executes(run_id)


def test_a_run_of_intervene_is_executed_once_even_if_delivered_twice_at_once(
    bench: Bench, participant: Participant
) -> None:
    participant.fail("mend:deduct", 422)
    run_id = bench.person_retries_failed("mend")
    deliveries = [threading.Thread(target=bench.deliver, args=[run_id]) for _ in range(4)]
    for each in deliveries:
        each.start()
    for each in deliveries:
        each.join()
    assert bench.run(run_id).status is dg.DagsterRunStatus.SUCCESS
    assert len(bench.ledger.audit.page("transaction:mend")) == 1


def test_a_run_of_a_persons_waits_for_a_ledger_that_is_away(
    bench: Bench, participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent to the workers once: nobody would launch it again."""
    participant.fail("away:deduct", 422)
    bench.submit("away")
    batch = bench.dispatch()
    failed = bench.deliver(batch.run_id)
    parent = {"parent_run_id": failed.run_id, "root_run_id": failed.run_id}
    tags = {"dist_task/batch_id": str(batch.id)}
    run_id = bench.person_launches("shop_v1", batch_config(batch), tags=tags, **parent)
    monkeypatch.setattr(patience, "TRY_AGAIN_SECONDS", 0.01)
    for owner, name, away in (
        (bench.instance, "get_run_by_id", sa.exc.OperationalError("SELECT", {}, OSError("away"))),
        (bench.ledger.batches, "run_of", LedgerUnavailable("away")),
        (bench.ledger.workers, "claim", LedgerUnavailable("away")),
    ):
        monkeypatch.setattr(owner, name, away_once(getattr(owner, name), away))
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.SUCCESS


def away_once(method: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """The method of a database that cannot be reached the first time."""
    calls = itertools.count()

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 0:
            raise error
        return method(*args, **kwargs)

    return call


def test_a_claim_whose_answer_is_lost_is_made_again(
    bench: Bench, participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    participant.fail("claimed:deduct", 422)
    run_id = bench.person_retries_failed("claimed")
    monkeypatch.setattr(patience, "TRY_AGAIN_SECONDS", 0.01)
    claim, calls = bench.ledger.workers.claim, itertools.count()

    def claim_and_lose_the_answer(*args: Any, **kwargs: Any) -> None:
        claim(*args, **kwargs)
        if next(calls) == 0:
            raise LedgerUnavailable("the commit's answer was lost")

    monkeypatch.setattr(bench.ledger.workers, "claim", claim_and_lose_the_answer)
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.SUCCESS
    assert len(bench.ledger.audit.page("transaction:claimed")) == 1


@pytest.mark.parametrize("how", ["taken by its worker", "adopted by its run"])
def test_a_run_that_breaks_before_its_first_task_lets_go_of_its_batch(
    bench: Bench, participant: Participant, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def break_down(*_: object) -> None:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(run_batch, "_name_left_alone", break_down)
    if how == "taken by its worker":
        bench.submit("broken")
        run_id = bench.dispatch().run_id
    else:
        own = {"transaction_id": "broken", "params": {}}
        run_id = bench.person_launches("shop_v1", {"resources": {"batch": {"config": own}}})
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.FAILURE
    record = bench.ledger.transactions.get("broken")
    assert (record.batch_id, record.lease_losses) == (None, 1)


def test_a_run_that_another_worker_has_ended_meanwhile_is_not_executed_again(
    bench: Bench, participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    participant.fail("mended:deduct", 422, 422)
    run_id = bench.person_retries_failed("mended")
    claim = bench.ledger.workers.claim
    another = RunExecution(
        bench.instance, bench.ledger, bench.jobs, worker="x", lease=30, at_end=lambda: None
    )

    def late(*args: Any, **kwargs: Any) -> None:
        """Another worker executes the run first, and the retry fails before this one goes on."""
        monkeypatch.setattr(bench.ledger.workers, "claim", claim)
        another.execute(run_id)
        another.execute(bench.dispatch().run_id or "")
        claim(*args, **kwargs)

    monkeypatch.setattr(bench.ledger.workers, "claim", late)
    assert bench.deliver(run_id).status is dg.DagsterRunStatus.SUCCESS
    assert len(bench.ledger.audit.page("transaction:mended")) == 1, "a person asked once"
    assert not bench.ledger.dispatcher.look(patience=10).due


def test_a_run_whose_job_is_not_there_fails(bench: Bench) -> None:
    bench.submit("gone")
    batch = bench.dispatch()
    bench.jobs.get = lambda name: Jobs(bench.ledger).get("nothing")  # type: ignore[method-assign]
    assert bench.deliver(batch.run_id).status is dg.DagsterRunStatus.FAILURE
    assert bench.ledger.transactions.get("gone").lease_losses == 1, "its batch ended"


def test_a_flow_that_came_later_has_a_job_too(bench: Bench, participant: Participant) -> None:
    task = {"id": "a", "task_name": "http_request", "config": {"url": f"{participant.url}/a"}}
    definition = {"name": "later", "tasks": [task], "task_definitions": {"http_request": HTTP}}
    bench.ledger.flows.create(name="later", definition=definition)
    bench.submit("new", flow="later_v1")
    assert bench.deliver(bench.dispatch().run_id).status is dg.DagsterRunStatus.SUCCESS


def test_a_lost_run_of_dagsters_is_launched_anew(bench: Bench) -> None:
    """Losing Dagster's storage loses history, never a transaction."""
    bench.submit("kept")
    batch = bench.dispatch()
    assert batch.run_id
    bench.instance.delete_run(batch.run_id)
    bench.launcher.launch(batch)
    assert bench.deliver(batch.run_id).status is dg.DagsterRunStatus.SUCCESS


def left(bench: Bench) -> list[DispatchedBatch]:
    limits = dispatch_limits(bench.settings)
    return left_undone(bench.ledger, limits, TransactionStatus.PENDING, ["shop_v1"])


def age(bench: Bench, table: str, column: str) -> None:
    with bench.ledger.database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET {column} = '2000-01-01'")


def test_a_sensor_does_what_the_dispatch_threads_left_undone(bench: Bench) -> None:
    bench.submit("fresh")
    assert left(bench) == [], "theirs"
    age(bench, "task_group_instance", "next_due_at")
    [batch] = left(bench)
    said = take_up(bench.launcher, [batch])
    assert f"batches {batch.id}" in (said.skip_message or "")
    assert bench.deliver(batch.run_id).status is dg.DagsterRunStatus.SUCCESS


def test_a_run_that_cannot_be_launched_does_not_keep_a_sensor_from_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = dispatch_limits(bench.settings)
    batches = []
    for name in ("odd", "fine"):
        bench.submit(name)
        batches += bench.ledger.dispatcher.dispatch(limits, name_runs=True)
    launch = bench.launcher.launch

    def launching(batch: DispatchedBatch) -> None:
        if batch.transaction_id == "odd":
            raise ValueError("its job cannot be built")
        launch(batch)

    monkeypatch.setattr(bench.launcher, "launch", launching)
    with pytest.raises(ExceptionGroup, match="not all runs"):
        take_up(bench.launcher, batches)
    assert bench.sent == [batches[1].run_id]


def test_a_batch_whose_message_was_lost_is_launched_again_once_a_worker_is_there(
    bench: Bench,
) -> None:
    bench.submit("waits")
    batch = bench.dispatch()
    assert left(bench) == [], "its message is on its way"
    age(bench, "batch", "dispatched_at")
    assert left(bench) == [], "nobody reads messages"
    bench.ledger.workers.register("w", host="h", pid=1)
    [again] = left(bench)
    assert again.run_id == batch.run_id
    take_up(bench.launcher, [again])
    assert bench.sent == [batch.run_id] * 2


@contextmanager
def a_dispatch_thread(bench: Bench, *, looks: bool) -> Iterator[DispatchThread]:
    thread = DispatchThread(
        bench.ledger, bench.launcher, dispatch_limits(bench.settings), looks=looks
    )
    thread.start()
    try:
        yield thread
    finally:
        thread.close()


def test_a_batch_that_cannot_be_handed_back_does_not_keep_others_from_being_dispatched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        error = ValueError("its flow's task type is not installed")
        error.add_note("batch 1 could not be ended")
        raise ExceptionGroup("not all batches could be ended", [error])

    launched = SimpleQueue[DispatchedBatch]()
    bench.submit("stuck")
    bench.dispatch()
    age(bench, "batch", "lease_expires_at")
    monkeypatch.setattr(bench.ledger.batches, "expire", refuse)
    monkeypatch.setattr(bench.launcher, "launch", launched.put)
    bench.submit("healthy")
    with a_dispatch_thread(bench, looks=True):
        assert launched.get(timeout=60).transaction_id == "healthy"


def test_what_lost_its_worker_is_dispatched_anew_in_the_same_pass(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = SimpleQueue[DispatchedBatch]()
    monkeypatch.setattr(dispatcher, "LOOK_EVERY", 3600)
    bench.submit("lost")
    batch = bench.dispatch()
    age(bench, "batch", "lease_expires_at")
    monkeypatch.setattr(bench.launcher, "launch", launched.put)
    with a_dispatch_thread(bench, looks=True):
        again = launched.get(timeout=60)
    assert (again.transaction_id, again.id > batch.id) == ("lost", True)


def test_a_worker_remembers_nothing_of_what_it_dispatched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = SimpleQueue[DispatchedBatch]()
    monkeypatch.setattr(bench.launcher, "launch", launched.put)
    bench.submit("forgotten")
    with a_dispatch_thread(bench, looks=False) as thread:
        thread.wake()
        assert launched.get(timeout=60).transaction_id == "forgotten"
    kept = [value for value in vars(thread).values() if isinstance(value, dict)]
    assert not any(kept)


def test_heartbeats_go_on_whatever_the_ledgers_driver_raises(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = SimpleQueue[str]()
    heartbeat = bench.ledger.workers.heartbeat

    def hear(name: str, **_: Any) -> bool:
        heard.put(name)
        return True

    def unforeseen(*_: Any, **__: Any) -> bool:
        monkeypatch.setattr(bench.ledger.workers, "heartbeat", hear)
        raise RuntimeError("packet sequence number wrong")

    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(bench.ledger.workers, "heartbeat", unforeseen)
    with worker.heartbeats(bench.ledger, "w", bench.execution):
        assert heard.get(timeout=60) == "w"
    assert not heartbeat("w", runs=0), "it is off the list"
