"""Health, metrics, statistics, and the page that explains them all."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.schemas import PartHealth
from tests.contract.steps import acquire, call, dispatch, failure, success, take
from tests.integration.api.serving import Api


@pytest.fixture
def worked(api: Api, order: Flow) -> Api:
    """Two transactions succeeded, one failed, one runs, one waits."""
    batch = take(api.ledger, order, "a", "b", "c")
    call(api.ledger, batch, "deduct", failure(), "c")
    call(api.ledger, batch, "deduct", success(), "a", "b")
    call(api.ledger, batch, "notify", success(), "a", "b")
    take(api.ledger, order, "d")
    api.submit("e")
    return api


def metrics(api: Api) -> dict[str, float]:
    """The samples by name and labels, as Prometheus reads them."""
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.content.decode())
    return {
        " ".join([sample.name, *sorted(sample.labels.values())]): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_metrics_come_from_the_ledger(worked: Api) -> None:
    found = metrics(worked)
    expected = {
        "dist_task_transactions_open order_v1 pending": 1,
        "dist_task_transactions_open order_v1 running": 1,
        "dist_task_transactions_open failed order_v1": 1,
        "dist_task_transactions_settled_total order_v1 success": 2,
        "dist_task_transactions_settled_total failed order_v1": 1,
        "dist_task_transaction_duration_seconds_count order_v1": 3,
        "dist_task_transaction_duration_seconds_bucket +Inf order_v1": 3,
        "dist_task_task_calls_total deduct failed order_v1": 1,
        "dist_task_task_duration_seconds_count deduct order_v1": 3,
        "dist_task_task_duration_seconds_bucket 3600 notify order_v1": 2,
        "dist_task_exceptions_open": 1,
        "dist_task_backlog": 1,
        "dist_task_runs_in_flight": 2,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["dist_task_backlog_age_seconds"] > 0


def test_metrics_of_nothing(api: Api) -> None:
    assert metrics(api)["dist_task_backlog"] == 0


def test_statistics_of_all_flows_and_of_one(worked: Api) -> None:
    worked.a_flow("other")
    overview = worked.get("stats/overview").data
    assert overview["flows"] == 2
    assert overview["by_status"] == {
        "pending": 1,
        "running": 1,
        "success": 2,
        "failed": 1,
        "cancelled": 0,
    }
    assert (overview["total"], overview["capped"], overview["runs_in_flight"]) == (5, [], 2)
    assert overview["success_rate"] == pytest.approx(2 / 3)
    assert overview["p50_seconds"] <= overview["p95_seconds"]
    assert (overview["exceptions_open"], overview["exceptions_today"]) == (1, 1)
    one = worked.get("stats/flows/order_v1").data
    assert {**one, "flows": 2} == {
        **overview,
        "flow_id": "order_v1",
        "backlog_age_seconds": one["backlog_age_seconds"],
    }
    assert worked.get("stats/flows/other_v1").data["total"] == 0
    assert worked.get("stats/flows/nope_v1").status == 404


def test_health_tells_of_each_part(api: Api, order: Flow) -> None:
    api.ledger.workers.register("first", host="here", pid=1)
    health = api.get("/health").data
    assert (health["status"], health["workers"]["runs_in_flight"]) == ("ok", 0)
    assert health["workers"]["alive"] == 1
    assert health["database"]["message"].startswith("sqlite:///")
    api.submit("a")
    dispatch(api.ledger, order)
    assert api.get("/health").data["workers"]["runs_in_flight"] == 1


def test_lost_work_and_a_silent_daemon_are_told(
    api: Api, order: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.submit("a")
    [dispatched] = dispatch(api.ledger, order)
    acquire(api.ledger, dispatched)
    silent = PartHealth(ok=False, message="no heartbeat of SENSOR")
    monkeypatch.setattr(api.platform, "daemon", lambda: silent)
    long_ago = api.ledger.clock.now() - timedelta(hours=1)
    expired = sa.update(tables.batch).values(lease_expires_at=long_ago)
    api.ledger.database.write(lambda connection: connection.execute(expired))
    health = api.get("/health")
    assert (health.status, health.data["status"]) == (200, "degraded")
    assert health.data["daemon"]["message"] == "no heartbeat of SENSOR"
    assert health.data["workers"] == {
        "ok": False,
        "message": "no worker is there; `dist-task worker` starts one; "
        "1 runs lost their lease and wait to be handed back",
        "alive": 0,
        "runs_in_flight": 0,
        "expired_leases": 1,
    }


class Page(HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}


def test_the_page_needs_nothing_from_elsewhere(api: Api) -> None:
    answer = api.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.content.decode()
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert {link for link in page.links if not link.startswith("#")} == {
        "/",
        "/openapi.json",
        "/health",
        "/metrics",
    }
    assert "/api/v1/transactions/{instance_id}/retry" in text
    ids = set(re.findall(r'id="(\w+)"', text))
    assert {link[1:] for link in page.links if link.startswith("#")} <= ids


def test_the_document_is_there_as_json(api: Api) -> None:
    assert api.get("/openapi.json").body["openapi"].startswith("3.")
