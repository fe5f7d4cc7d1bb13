"""Commands that look at what the engine did: status, wait, stats, exceptions."""

import json
import subprocess
import sys
from pathlib import Path

from dist_task_pipelines.domain.outcome import TaskError
from dist_task_pipelines.ledger.records import RefusedMessage
from tests.acceptance.command_line import Command
from tests.contract.client.servers import RealApi

FAILED, WRONG_INPUT = 1, 2
HEAVY = ("aiohttp", "alembic", "celery", "dagster", "fastapi", "grpc", "sqlalchemy", "uvicorn")


def submit(server: RealApi, *ids: str) -> None:
    """Submit transactions, and do their work."""
    server.client().submit_many({"instance_id": each, "flow_id": "shop"} for each in ids)
    server.run()


def test_waiting_for_one(server: RealApi, dist_task: Command) -> None:
    submit(server, "good")
    assert "good" in dist_task("wait", "good").out
    assert dist_task("wait", "good", "--json").json == [
        {"instance_id": "good", "status": "success", "error": None, "exception_id": None}
    ]


def test_waiting_for_several_of_which_some_do_not_succeed(
    server: RealApi, dist_task: Command, tmp_path: Path
) -> None:
    server.fail("bad", "ship")
    submit(server, "good", "bad")
    server.client().submit("shop", "late")
    server.client().submit("shop", "gone").cancel()
    orders = tmp_path / "orders.jsonl"
    lines = [{"instance_id": each, "flow_id": "shop"} for each in ("good", "bad", "late")]
    orders.write_text("\n".join(map(json.dumps, lines)))
    waited = ["wait", "gone", "good", "--file", str(orders), "--timeout", "0"]
    ends = {end["instance_id"]: end for end in dist_task(*waited, "--json", exit_code=FAILED).json}
    assert {key: end["status"] for key, end in ends.items()} == {
        "gone": "cancelled",
        "good": "success",
        "bad": "failed",
        "late": "pending",
    }
    assert "ship" in ends["bad"]["error"]
    [record] = server.client().exceptions.list()
    assert ends["bad"]["exception_id"] == record.exception_id
    table = dist_task(*waited, exit_code=FAILED).out
    assert "cancelled" in table
    assert str(record.exception_id) in table


def test_waiting_for_nothing(dist_task: Command) -> None:
    assert "--file" in dist_task("wait", exit_code=WRONG_INPUT).err
    assert "no transaction 'nobody'" in dist_task("wait", "nobody", exit_code=FAILED).err


def test_a_transaction_is_shown_whole(server: RealApi, dist_task: Command) -> None:
    server.fail("bad", "ship")
    submit(server, "bad")
    shown = dist_task("status", "bad", "--json").json
    assert set(shown) == {"transaction", "tasks", "logs"}
    assert [each["status"] for each in shown["tasks"]] == ["success", "failed"]
    printed = dist_task("status", "bad").out
    for words in ("shop_v1", "needs_human", "Refused: out of stock", "calling http_request"):
        assert words in printed


def test_transactions_are_listed(server: RealApi, dist_task: Command) -> None:
    server.fail("bad", "ship")
    submit(server, "good", "bad")

    def listed(*arguments: str) -> list[str]:
        found = dist_task("status", *arguments, "--json").json
        return [each["instance_id"] for each in found]

    assert listed() == ["bad", "good"]
    assert listed("--status", "success") == ["good"]
    assert listed("--health", "needs_human", "--flow", "shop_v1") == ["bad"]
    assert listed("--limit", "1") == ["bad"]


def test_the_numbers(server: RealApi, dist_task: Command) -> None:
    server.fail("bad", "ship")
    submit(server, "good", "fine", "bad")
    server.client().submit("shop", "waiting")
    numbers = dist_task("stats", "--json").json
    assert numbers["overview"]["total"] == 4
    assert [each["flow_id"] for each in numbers["flows"]] == ["shop_v1"]
    printed = dist_task("stats").out
    for words in ("2 success", "1 failed", "66.7%", "1 open", "shop_v1", "1 pending"):
        assert words in printed
    assert dist_task("stats", "shop_v1", "--json").json[0]["backlog"] == 1
    assert "no flow 'none_v1'" in dist_task("stats", "none_v1", exit_code=FAILED).err


def test_flows_are_switched_and_deleted(server: RealApi, dist_task: Command) -> None:
    assert dist_task("flow", "deactivate", "shop_v1").out == "shop_v1 is inactive\n"
    assert "not active" in dist_task("submit", "shop", "order-1", exit_code=FAILED).err
    assert dist_task("flow", "activate", "shop_v1", "--json").json["is_active"] is True
    server.client().submit("shop", "order-1")
    assert "settled" in dist_task("flow", "delete", "shop_v1", exit_code=FAILED).err
    server.run()
    assert dist_task("flow", "delete", "shop_v1").out == "shop_v1 is deleted\n"
    assert dist_task("flow", "list", "--json").json == []


def test_who_acts_is_kept(server: RealApi, dist_task: Command) -> None:
    server.fail("bad", "ship")
    submit(server, "bad")
    [record] = server.client().exceptions.list()
    by = ["--remark", "refunded", "--actor", "Zoë"]
    assert "is handled" in dist_task("handle", str(record.exception_id), *by).out
    assert "handled by Zoë" in dist_task("exceptions", "--handled").out


def test_an_exception_is_shown_whole(server: RealApi, dist_task: Command) -> None:
    server._ledger.exceptions.add_messages(
        [
            RefusedMessage(
                "m-1",
                "shop",
                TaskError("InvalidMessage", "must be a JSON object"),
                {"topic": "requests", "body": "deduct 99 from u1"},
            )
        ]
    )
    [listed] = server.client().exceptions.list()
    shown = dist_task("exceptions", str(listed.exception_id)).out.splitlines()
    assert f"exception_id: {listed.exception_id}" in shown
    assert "message: must be a JSON object" in shown
    assert "body: deduct 99 from u1" in shown
    found = dist_task("exceptions", str(listed.exception_id), "--json").json
    assert found["source"]["body"] == "deduct 99 from u1"
    assert "no exception" in dist_task("exceptions", "99", exit_code=FAILED).err


def test_a_command_starts_without_the_server_s_weight(server: RealApi) -> None:
    code = (
        "import sys\nfrom dist_task_pipelines import cli\n"
        f"sys.argv = ['dist-task', 'status', '--url', {server.url!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print(*sorted({set(HEAVY)} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["no transactions", ""]
