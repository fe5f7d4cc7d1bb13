"""What a person does in the Dagster UI, with a browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from dist_task_pipelines.domain.status import TransactionStatus
from tests.acceptance.making import audited, flow, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform

FLOWS = {
    "order_flow": flow(task("deduct"), task("inventory", "deduct"), task("notify", "inventory"))
}
STEPS = ("deduct", "inventory", "notify")

EXAMPLE, BROKEN = "order_flow-example-1", "browser-1"
A_RUN = re.compile(r".*/runs/[0-9a-f-]{36}$")


@pytest.fixture(autouse=True)
def no_complaints(page: Page) -> None:
    """Fail when the page breaks down."""
    page.on("pageerror", lambda error: pytest.fail(f"the page: {error}"))


def calls(participant: Participant, transaction_id: str) -> dict[str, int]:
    """How often the participant was called for the transaction, by task."""
    return {step: participant.calls[f"{transaction_id}:{step}"] for step in STEPS}


def test_a_flow_is_launched_from_the_launchpad(
    page: Page, platform: Platform, participant: Participant
) -> None:
    platform.wait_for_job("order_flow_v1")
    page.goto(platform.url)
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="order_flow_v1").click()
    expect(page.get_by_text("deduct").first).to_be_visible()
    page.get_by_role("tab", name="Launchpad").click()
    expect(page.get_by_text(EXAMPLE)).to_be_visible()
    page.get_by_role("button", name="Launch run").click()
    expect(page).to_have_url(A_RUN)
    expect(page.get_by_text("RUN_SUCCESS")).to_be_visible()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()

    record = platform.wait_for(EXAMPLE)
    assert record.status is TransactionStatus.SUCCESS
    assert page.url.endswith(f"/runs/{record.run_id}")
    assert calls(participant, EXAMPLE) == dict.fromkeys(STEPS, 1)


def test_a_failed_run_is_re_executed_from_its_failure(
    page: Page, platform: Platform, participant: Participant
) -> None:
    participant.fail(f"{BROKEN}:inventory", 422)
    submit(platform, "order_flow", [BROKEN])
    failed = platform.wait_for_run_of(BROKEN)
    page.goto(f"{platform.url}/runs/{failed.id}")
    expect(page.get_by_text("1 of 1 transactions failed").first).to_be_visible()
    expect(page.get_by_text(BROKEN).first).to_be_visible()
    menu = page.get_by_role("button", name="Re-execute all").locator("xpath=..")
    menu.get_by_role("img", name="arrow_drop_down").click()
    page.get_by_role("menuitem", name="From failure").click()
    expect(page).not_to_have_url(re.compile(failed.id))
    expect(page).to_have_url(A_RUN)
    expect(page.get_by_text("RUN_SUCCESS")).to_be_visible()

    record = platform.wait_for(BROKEN, TransactionStatus.SUCCESS)
    assert page.url.endswith(f"/runs/{record.run_id}")
    again = platform.run(page.url.rpartition("/")[2])
    assert (again.parent_id, again.root_id) == (failed.id, failed.id)
    assert calls(participant, BROKEN) == {"deduct": 1, "inventory": 2, "notify": 1}
    trail = audited(platform, f"transaction:{BROKEN}")
    assert trail == [("dagster", "re_execute", f"run {again.id}")]


def test_the_assets_show_their_numbers_and_their_checks(page: Page, platform: Platform) -> None:
    page.goto(f"{platform.url}/assets/ledger/order_flow")
    expect(page.get_by_text("backlog_age_seconds").first).to_be_visible()
    page.get_by_role("tab", name="Checks").click()
    page.get_by_text("nothing_stuck").first.click()
    expect(page.get_by_text("nothing has waited longer than")).to_be_visible()


def test_the_reference_of_the_api_is_beside_the_ui(page: Page, platform: Platform) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{platform.url}/docs")
    page.locator("summary", has_text="POST /api/v1/transactions").first.click()
    expect(page.locator("details[open] pre")).to_contain_text("instance_id")
    assert all(url.startswith(platform.url) for url in asked), "it needs nothing from elsewhere"
