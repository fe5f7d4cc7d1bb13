"""The ledger's assets in the Dagster UI: observed by themselves, their checks for pressing too."""

import pytest

from tests.acceptance.making import flow, submit, task
from tests.services.dagster_assets import Assets
from tests.services.platform import Platform
from tests.services.waiting import eventually

FLOWS = {"watched": flow(task("deduct"))}

WATCHED, EXCEPTIONS = ("ledger", "watched"), ("ledger", "exceptions")


@pytest.fixture(scope="module", autouse=True)
def orders(platform: Platform) -> None:
    """Two orders, submitted before the next observation."""
    submit(platform, "watched", ["watched-1", "watched-2"])


def test_a_person_executes_a_check(platform: Platform) -> None:
    assets = Assets(platform)
    assert all(each.is_executable for each in assets.checks(*WATCHED).values())
    run = platform.wait_for_run(assets.execute(*WATCHED, check="success_rate"))
    assert run.status == "SUCCESS"
    evaluated = [each for each in platform.events(run.id) if each.type == "ASSET_CHECK_EVALUATION"]
    assert len(evaluated) == 1


def test_the_assets_are_observed_and_their_checks_evaluated(platform: Platform) -> None:
    assets = Assets(platform)
    seen = eventually(
        lambda: [each for each in assets.observations(*WATCHED) if each["success"] == 2],
        "an observation counts both orders",
    )
    assert seen[0]["success_rate"] == 1
    assert 0 < seen[0]["p50_seconds"] <= seen[0]["p95_seconds"]
    assert {"pending", "backlog", "backlog_age_seconds", "runs_in_flight"} <= set(seen[0])
    assert {"open", "today", "oldest_seconds"} <= set(assets.observations(*EXCEPTIONS)[0])
    checks = assets.checks(*WATCHED)
    assert {name: each.status for name, each in checks.items()} == {
        "nothing_stuck": "SUCCEEDED",
        "success_rate": "SUCCEEDED",
    }
    assert checks["nothing_stuck"].description.startswith("nothing has waited longer than 5 min")
    assert assets.checks(*EXCEPTIONS)["no_old_exceptions"].status == "SUCCEEDED"
