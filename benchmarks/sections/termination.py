"""How soon a run whose participant hangs is over, once a person terminates it in the UI."""

import socket
import time
from contextlib import ExitStack

import sqlalchemy as sa

from benchmarks.bench import Bench
from benchmarks.flow import order
from benchmarks.platform import POLL, until
from benchmarks.report import Figure, percentiles

COUNT = 10
SECONDS = 2.0  # to be reached
PATIENCE = 120.0  # seconds for one run
FLOW = "hanging"
_TERMINATE = """
mutation { terminateRun(runId: "%s", terminatePolicy: SAFE_TERMINATE) { __typename } }
"""


def termination(bench: Bench) -> list[Figure]:
    """Single runs that call somebody who never answers, each terminated by GraphQL."""
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        silent.settimeout(PATIENCE)
        bench.platform.apply(f"http://127.0.0.1:{silent.getsockname()[1]}", FLOW)
        done: list[float] = []
        for number in range(COUNT):
            identifier = f"hanging_{number}"
            bench.platform.request("POST", "/transactions", order(identifier, FLOW))
            stack.enter_context(silent.accept()[0])  # the call is under way
            done.append(_seconds(bench, identifier))
            bench.tell(number + 1, COUNT)
    [p50] = percentiles(done, 50)
    return [
        Figure(
            "termination",
            "a run that hangs",
            f"p50 {p50:.2f} s, at most {max(done):.2f} s",
            f"≤ {SECONDS:g} s",
            max(done) <= SECONDS,
            f"{COUNT} runs in turn; “Terminate” by GraphQL → canceled in Dagster",
            {"p50": p50, "most": max(done)},
        )
    ]


def _seconds(bench: Bench, identifier: str) -> float:
    """From before the mutation to the run's end."""
    [(run_id,)] = bench.platform.rows(
        "SELECT run_id FROM task_group_instance WHERE id = :id", id=identifier
    )
    query = sa.text("SELECT status FROM runs WHERE run_id = :run")

    def is_canceled() -> bool:
        with bench.platform.storage.connect() as connection:
            return bool(connection.scalar(query, {"run": run_id}) == "CANCELED")

    began = time.perf_counter()
    bench.platform.graphql(_TERMINATE % run_id)
    until(is_canceled, PATIENCE, POLL)
    return time.perf_counter() - began
