"""Durations in buckets, and the quantiles that are read from them."""

import pytest

from dist_task_pipelines.ledger.histograms import BOUNDS, Histogram, duration_measure


def filled(*durations: float) -> Histogram:
    """The histogram of these durations."""
    measures: dict[str, int] = {}
    for seconds in durations:
        measures[duration_measure(seconds)] = measures.get(duration_measure(seconds), 0) + 1
    return Histogram.of(measures)


@pytest.mark.parametrize(
    ("seconds", "measure"),
    [
        (0, "duration_le_0.05"),
        (0.05, "duration_le_0.05"),
        (0.050001, "duration_le_0.1"),
        (1, "duration_le_1"),
        (3600, "duration_le_3600"),
        (3600.000001, "duration_le_inf"),
    ],
)
def test_a_duration_falls_into_the_bucket_that_holds_it(seconds: float, measure: str) -> None:
    assert duration_measure(seconds) == measure


def test_without_durations_there_is_no_quantile() -> None:
    assert filled().quantile(0.5) is None


@pytest.mark.parametrize(
    ("durations", "share", "seconds"),
    [
        ([0.3] * 4, 0.5, 0.375),  # the middle of 0.25 to 0.5
        ([0.3] * 4, 1, 0.5),
        ([0.01] * 10, 0.5, 0.025),  # the first bucket begins at 0
        ([0.01] * 50 + [7] * 50, 0.5, 0.05),  # just the end of the first
        ([0.01] * 50 + [7] * 50, 0.95, 9.5),
        ([9999] * 3, 0.5, 3600),  # nothing is known beyond
    ],
)
def test_a_quantile_lies_between_the_bounds_of_its_bucket(
    durations: list[float], share: float, seconds: float
) -> None:
    assert filled(*durations).quantile(share) == pytest.approx(seconds)


def test_every_bound_has_a_bucket_and_the_sum_is_in_seconds() -> None:
    histogram = Histogram.of({"duration_le_inf": 2, "duration_ms": 7_500_000})
    assert histogram.counts == (*[0] * len(BOUNDS), 2)
    assert histogram.seconds == 7500
