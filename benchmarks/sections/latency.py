"""How long one transaction takes, alone: from the request to its success."""

import time
from collections.abc import Sequence
from datetime import UTC

import sqlalchemy as sa

from benchmarks.bench import Bench
from benchmarks.flow import FLOW, order
from benchmarks.platform import POLL, until
from benchmarks.report import Figure, percentiles
from benchmarks.stock import stock_latencies

COUNT, QUICK_COUNT = 200, 50
STOCK_COUNT, QUICK_STOCK_COUNT = 10, 3
RATIO, TAIL = 100, 3  # to be reached
PATIENCE = 60.0  # seconds for one transaction


def latency(bench: Bench) -> list[Figure]:
    """Single transactions one after another, beside the same flow under stock Dagster."""
    flow = bench.platform.apply(bench.participant.url)
    count = QUICK_COUNT if bench.quick else COUNT
    for number in range(5):
        seconds(bench, f"warm_{number}")
    done: list[float] = []
    for number in range(count):
        done.append(seconds(bench, f"single_{number:05d}"))
        bench.tell(number + 1, count)
    complete = _until_run_ended(bench, flow)
    stock = stock_latencies(
        bench.mysql.url,
        bench.participant.url,
        bench.folder / "stock",
        QUICK_STOCK_COUNT if bench.quick else STOCK_COUNT,
    )
    return _figures(done, complete, stock)


def _figures(
    done: Sequence[float], complete: Sequence[float], stock: Sequence[float]
) -> list[Figure]:
    p50, p95, p99 = percentiles(done, 50, 95, 99)
    [stock_p50] = percentiles(stock, 50)
    [run_p50] = percentiles(complete, 50)
    how = f"{len(done)} single transactions of 3 HTTP tasks, POST by REST → success in the ledger"
    ratio, tail = stock_p50 / p50, p99 / p50
    values = {"p50": p50, "p95": p95, "p99": p99, "run_complete_p50": run_p50}
    return [
        Figure(
            "latency",
            "one transaction",
            f"p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms; "
            f"its Dagster run complete at p50 {run_p50 * 1000:.0f} ms",
            f"p99 ≤ {TAIL} times p50",
            tail <= TAIL,
            how,
            {**values, "tail": tail},
        ),
        Figure(
            "latency",
            "stock Dagster / this",
            f"{stock_p50:.2f} s, {ratio:.0f} times as long",
            f"≥ {RATIO} times",
            ratio >= RATIO,
            f"{len(stock)} launches of the same calls in three ops, DefaultRunLauncher, "
            "DefaultRunCoordinator, MySQL storage; p50",
            {"stock_p50": stock_p50, "ratio": ratio},
        ),
    ]


def seconds(bench: Bench, identifier: str, flow: str = FLOW) -> float:
    """From before the request to the moment that the ledger gives as the transaction's end."""
    began = time.time()
    bench.platform.request("POST", "/transactions", order(identifier, flow))
    until(lambda: bench.platform.count(identifier, "success") == 1, PATIENCE, POLL)
    [(ended,)] = bench.platform.rows(
        "SELECT completed_at FROM task_group_instance WHERE id = :id", id=identifier
    )
    return float(ended.replace(tzinfo=UTC).timestamp()) - began


def _until_run_ended(bench: Bench, flow: str) -> list[float]:
    """Seconds from a transaction's acceptance to the end of its Dagster run, for each.

    All of the runs must have succeeded, and each must have its complete record.
    """
    began = {
        row.run_id: row.created_at.replace(tzinfo=UTC).timestamp()
        for row in bench.platform.rows(
            "SELECT run_id, created_at FROM task_group_instance "
            "WHERE flow_id = :flow AND id LIKE 'single%'",
            flow=flow,
        )
    }
    query = sa.text("SELECT run_id, end_time FROM runs WHERE status = 'SUCCESS'")
    ended: dict[str, float] = {}

    def all_ended() -> bool:
        with bench.platform.storage.connect() as connection:
            ended.update({run: end for run, end in connection.execute(query) if run in began})
        return len(ended) == len(began)

    until(all_ended, PATIENCE, 0.5)
    return [ended[run] - began[run] for run in began]
