"""A browser for the UI: Debian's Chromium, or whatever Chrome there is."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.services.waiting import PATIENCE

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (  # it asks nobody for updates, and runs as root where tests do
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")  # while it is open no event loop can run beside its own
def browser() -> Iterator[Browser]:
    """A browser without a window; where there must be one, its absence fails the test."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = f"no browser to test the UI with: none of {', '.join(BROWSERS)}"
        if os.environ.get("CI") == "true" or os.environ.get("DIST_TASK_REQUIRE_SERVICES") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=QUIET)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that waits for what should come."""
    expect.set_options(timeout=PATIENCE * 1000)
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        context.set_default_timeout(PATIENCE * 1000)
        yield context.new_page()
