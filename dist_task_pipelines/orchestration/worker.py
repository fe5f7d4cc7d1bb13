"""A worker: one process that executes runs, several at a time, with everything warm.

The code is imported, the definitions are read and the connections are there before the first run
comes. Runs are executed on threads of Celery's pool, never on the main thread: Dagster would take
the process's signals there. On SIGTERM and SIGINT no further run is begun, those at work are asked
to stop, and the process ends when they have.
"""

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import structlog
from celery import Celery
from celery.signals import worker_ready, worker_shutting_down

from dist_task_pipelines.application import put_on_path
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.workers import HEARTBEAT_SECONDS
from dist_task_pipelines.orchestration.celery_app import RUN_TASK, celery_app
from dist_task_pipelines.orchestration.dagster_files import dagster_instance
from dist_task_pipelines.orchestration.dispatcher import dispatching
from dist_task_pipelines.orchestration.garbage import tune_garbage_collector
from dist_task_pipelines.orchestration.jobs import Jobs
from dist_task_pipelines.orchestration.keeping import keeping_open
from dist_task_pipelines.orchestration.run_execution import RunExecution
from dist_task_pipelines.orchestration.shared_ledger import shared_ledger
from dist_task_pipelines.orchestration.step_executor import interrupt_all_runs
from dist_task_pipelines.settings import Settings

# Seconds after which a thread lets the others have a turn. A run gives its own away at every answer
# that it waits for, a hundred times: beside large ones the slowest small one took 1.9 s with
# Python's 5 ms, 1.3 s with this.
TURN = 0.001
# Runs at a time beyond `workers.concurrency`: a person's need not wait for dispatched ones.
SPARE = 1

log = structlog.get_logger(__name__)


def run_worker(settings: Settings) -> int:
    """Execute runs until SIGTERM or SIGINT; gives the exit code.

    Raises:
        LedgerUnavailable: the ledger's database cannot be used.
    """
    put_on_path()
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    with ExitStack() as parts:
        parts.enter_context(keeping_open())
        instance = parts.enter_context(dagster_instance(settings))
        ledger = parts.enter_context(shared_ledger(settings))
        jobs = Jobs(ledger)
        jobs.load()
        dispatch = parts.enter_context(dispatching(settings, instance, ledger, jobs, looks=False))
        execution = RunExecution(
            instance,
            ledger,
            jobs,
            worker=name,
            lease=settings.dispatch.lease_seconds,
            at_end=dispatch.wake,
        )
        parts.enter_context(heartbeats(ledger, name, execution))
        tune_garbage_collector()
        sys.setswitchinterval(TURN)
        return _consume(celery_app(settings), settings.workers.concurrency, execution)


def _consume(app: Celery, concurrency: int, execution: RunExecution) -> int:
    @app.task(name=RUN_TASK)
    def run(run_id: str) -> None:
        execution.execute(run_id)

    worker = app.Worker(
        pool="threads",
        concurrency=concurrency + SPARE,
        quiet=True,
        loglevel=logging.WARNING,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker_shutting_down.connect(_on_shutdown, weak=False)
    worker_ready.connect(_on_ready, weak=False)
    worker.start()
    return int(worker.exitcode or 0)


def _on_shutdown(**_: object) -> None:
    interrupt_all_runs()


def _on_ready(**_: object) -> None:
    log.info("the worker is ready")


@contextmanager
def heartbeats(ledger: Ledger, name: str, execution: RunExecution) -> Iterator[None]:
    """Within, the worker is registered, and the ledger hears every few seconds that it lives."""
    ended = threading.Event()
    register = partial(ledger.workers.register, name, host=socket.gethostname(), pid=os.getpid())

    def go_on() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            try:
                if not ledger.workers.heartbeat(name, runs=execution.under_way):
                    register()
            except Exception as error:  # whatever its driver raises: the next may be heard
                log.warning("heartbeat failed", error=str(error))

    register()
    thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        ledger.workers.deregister(name)
