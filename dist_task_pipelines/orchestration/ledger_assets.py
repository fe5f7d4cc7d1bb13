"""The ledger as Dagster assets: one for each flow and one for the exceptions, with their checks.

Nothing materializes them. They are observed, so that Dagster plots their numbers over time, and
their checks are evaluated, both by a sensor; a person may execute the checks at any time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    AssetObservation,
    AssetSpec,
    JobDefinition,
    multi_asset_check,
)

from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.engine.judging import (
    OLD_EXCEPTIONS,
    STUCK,
    SUCCESS_RATE,
    Judgement,
    Limits,
    exception_age,
    judge_exceptions,
    judge_flow,
)
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.stats import Statistics
from dist_task_pipelines.orchestration.tags import FLOW_TAG

GROUP = "ledger"
EXCEPTIONS = AssetKey([GROUP, "exceptions"])

FLOW_CHECKS = {
    STUCK: "Every transaction that can move without a person has moved lately.",
    SUCCESS_RATE: "Enough of the transactions settled in the last hour succeeded.",
}
EXCEPTION_CHECKS = {OLD_EXCEPTIONS: "No exception has been open for too long."}

Numbers = Mapping[str, CappedCount | float | None]
Found = tuple[AssetKey, dict[str, Any], list[Judgement]]  # an asset's numbers, and its checks


def flow_names(jobs: Iterable[JobDefinition]) -> list[str]:
    """The flows whose versions these jobs are."""
    return sorted({job.tags[FLOW_TAG] for job in jobs})


def flow_key(name: str) -> AssetKey:
    """The key of a flow's asset."""
    word = name.replace("-", "_")
    return AssetKey([GROUP, "flow", word] if word == EXCEPTIONS.path[-1] else [GROUP, word])


def ledger_assets(names: Sequence[str]) -> list[AssetSpec]:
    """An asset for each flow, and that of the exceptions below them."""
    flows = [
        AssetSpec(
            flow_key(name),
            description=f"How the transactions of {name} stand, all its versions together.",
            group_name=GROUP,
        )
        for name in names
    ]
    exceptions = AssetSpec(
        EXCEPTIONS,
        deps=flows,
        description="What needs a retry or a person, of all flows.",
        group_name=GROUP,
    )
    return [*flows, exceptions]


def ledger_checks(names: Sequence[str], limits: Limits) -> AssetChecksDefinition:
    """The checks of those assets, for a person to execute."""
    specs = [
        AssetCheckSpec(check, asset=key, description=description)
        for key, checks in [
            *((flow_key(name), FLOW_CHECKS) for name in names),
            (EXCEPTIONS, EXCEPTION_CHECKS),
        ]
        for check, description in checks.items()
    ]

    @multi_asset_check(
        name="ledger_checks",
        description="Hold the ledger's numbers against the limits.",
        specs=specs,
        can_subset=True,
        required_resource_keys={"ledger"},
    )
    def check(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        wanted = context.selected_asset_check_keys
        keys = {each.asset_key for each in wanted}
        chosen = [name for name in names if flow_key(name) in keys]
        for key, _, judgements in look(context.resources.ledger, chosen, limits):
            for judgement in judgements:
                if AssetCheckKey(key, judgement.check) in wanted:
                    yield AssetCheckResult(asset_key=key, **_told(judgement))

    return check


def observed(
    ledger: Ledger, names: Sequence[str], limits: Limits
) -> list[AssetObservation | AssetCheckEvaluation]:
    """The numbers of every asset as they are now, and what its checks come to.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    events: list[AssetObservation | AssetCheckEvaluation] = []
    for key, numbers, judgements in look(ledger, names, limits):
        events.append(AssetObservation(asset_key=key, metadata=numbers))
        events += [AssetCheckEvaluation(asset_key=key, **_told(each)) for each in judgements]
    return events


def look(ledger: Ledger, names: Iterable[str], limits: Limits) -> Iterator[Found]:
    """How each of the flows stands, and then the exceptions of all."""
    for name in names:
        stands = ledger.stats.flow_named(name)
        yield flow_key(name), flow_numbers(stands), judge_flow(ledger, name, stands, limits)
    stands, now = ledger.stats.overview(), ledger.clock.now()
    numbers: Numbers = {
        "open": stands.exceptions_open,
        "today": stands.exceptions_today,
        "oldest_seconds": exception_age(stands, now) or 0.0,
    }
    yield EXCEPTIONS, _plotted(numbers), judge_exceptions(stands, limits, now)


def flow_numbers(stands: Statistics) -> dict[str, Any]:
    """What is plotted of a flow. What nobody can tell, such as the rate of nothing, is left out."""
    hour = stands.last_hour
    counts = {f"{status}": stands.by_status[status] for status in TransactionStatus}
    return _plotted(
        {
            **counts,
            "success_rate": hour.success_rate,
            "p50_seconds": hour.durations.quantile(0.5),
            "p95_seconds": hour.durations.quantile(0.95),
            "backlog": stands.backlog,
            "backlog_age_seconds": stands.backlog_age or 0.0,
            "exceptions_open": stands.exceptions_open,
            "runs_in_flight": stands.runs_in_flight,
        }
    )


def _plotted(numbers: Numbers) -> dict[str, Any]:
    capped = [
        name for name, each in numbers.items() if isinstance(each, CappedCount) and each.is_capped
    ]
    values = {
        name: each.count if isinstance(each, CappedCount) else round(each, 4)
        for name, each in numbers.items()
        if each is not None
    }
    return {**values, "counted_no_further": ", ".join(capped)} if capped else values


def _told(judgement: Judgement) -> dict[str, Any]:
    """What both kinds of results of a check are made of."""
    return {
        "check_name": judgement.check,
        "passed": judgement.passed,
        "severity": AssetCheckSeverity.ERROR,
        "description": judgement.why,
        "metadata": judgement.numbers,
    }
