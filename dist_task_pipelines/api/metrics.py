"""`/metrics` for Prometheus: all from the ledger, so that every process counts."""

import itertools
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from dist_task_pipelines.domain.counts import COUNTED_AT_MOST
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.histograms import BOUNDS, Histogram
from dist_task_pipelines.ledger.stats import Counted

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UP_TO = f"; counted up to {COUNTED_AT_MOST}"


def exposition(ledger: Ledger) -> bytes:
    """The metrics as text.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(ledger))
    return generate_latest(registry)


class _Collector:
    """Reads the ledger once for each scrape."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def describe(self) -> list[Metric]:
        """Nothing ahead of time, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        yield self._open()
        yield from self._now()
        counted = self._ledger.stats.counted()
        yield from _of_transactions([each for each in counted if each.task_id is None])
        yield from _of_tasks([each for each in counted if each.task_id is not None])

    def _open(self) -> Metric:
        gauge = GaugeMetricFamily(
            "dist_task_transactions_open",
            f"Transactions that are pending, running or failed now{UP_TO}",
            labels=["flow", "status"],
        )
        totals = self._ledger.monitoring.open_by_flow(COUNTED_AT_MOST)
        for (flow_id, status), total in totals.items():
            gauge.add_metric([flow_id, status], total.count)
        return gauge

    def _now(self) -> Iterator[Metric]:
        now = self._ledger.stats.overview()
        gauges = {
            "exceptions_open": (
                "Exceptions that are not handled" + UP_TO,
                now.exceptions_open.count,
            ),
            "backlog": (f"Transactions that wait for a run{UP_TO}", now.backlog.count),
            "backlog_age_seconds": ("How long the oldest of them has waited", now.backlog_age or 0),
            "runs_in_flight": ("Batches that have not ended", now.runs_in_flight),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"dist_task_{name}", text, value=value)


def _of_transactions(counted: list[Counted]) -> Iterator[Metric]:
    settled = CounterMetricFamily(
        "dist_task_transactions_settled",
        "Transactions that settled, each time",
        labels=["flow", "status"],
    )
    durations = HistogramMetricFamily(
        "dist_task_transaction_duration_seconds", "From accepted to settled", labels=["flow"]
    )
    for each in counted:
        for status, number in each.by_status.items():
            settled.add_metric([each.flow_id, status], number)
        _add(durations, [each.flow_id], each.durations)
    yield settled
    yield durations


def _of_tasks(counted: list[Counted]) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "dist_task_task_calls", "Calls of tasks that ended", labels=["flow", "task", "status"]
    )
    durations = HistogramMetricFamily(
        "dist_task_task_duration_seconds", "How long calls took", labels=["flow", "task"]
    )
    for each in counted:
        labels = [each.flow_id, each.task_id or ""]
        for status, number in each.by_status.items():
            calls.add_metric([*labels, status], number)
        _add(durations, labels, each.durations)
    yield calls
    yield durations


def _add(family: HistogramMetricFamily, labels: list[str], durations: Histogram) -> None:
    bounds = [*map(str, BOUNDS), "+Inf"]
    up_to = itertools.accumulate(durations.counts)
    buckets = [(bound, float(number)) for bound, number in zip(bounds, up_to, strict=True)]
    family.add_metric(labels, buckets, sum_value=durations.seconds)
