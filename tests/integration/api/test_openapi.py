"""The API against its own OpenAPI document, and the documentation made of it."""

import re
import subprocess
import sys
from pathlib import Path

from dist_task_pipelines.api.app import create_routes
from dist_task_pipelines.api.openapi import document
from dist_task_pipelines.api.reference import markdown
from dist_task_pipelines.domain.flow import Flow
from tests.contract.steps import call, failure, take
from tests.integration.api.serving import Api

DOCS = Path(__file__).parents[3] / "docs"
CONFIG = Path(__file__).with_name("schemathesis.toml")
BUDGET = 45  # seconds


def test_schemathesis_finds_no_failure(api: Api, order: Flow, tmp_path: Path) -> None:
    for name in ("order_flow", "greet"):
        api.a_flow(name)
    call(api.ledger, take(api.ledger, order, "order_001", "a", "b"), "deduct", failure())
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
        f"http://127.0.0.1:{api.port}/openapi.json",
        *("--max-time", str(BUDGET), "--checks", "all", "--warnings", "off", "--no-color"),
        *("--seed", "1", "--generation-database", "none"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert re.search(r"Tested: +24", done.stdout), done.stdout


def test_every_call_says_what_may_come_back() -> None:
    made = document(create_routes())
    for path, methods in made["paths"].items():
        for method, described in methods.items():
            what = f"{method} {path}"
            assert described["summary"], what
            assert described["description"], what
            assert {"200", "503"} <= set(described["responses"]), what
            if "requestBody" in described:
                assert {"400", "413", "415"} <= set(described["responses"]), what
            if "{" in path:
                assert "404" in described["responses"], what


def test_the_reference_is_made_of_the_document() -> None:
    made = markdown(document(create_routes()))
    assert (DOCS / "api.md").read_text() == made, "run `make docs`"


def test_links_within_the_reference_lead_somewhere() -> None:
    text = (DOCS / "api.md").read_text()
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= headings
