"""Idempotency under concurrency, and commits that many submits share."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event

from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.domain.errors import RowRefused
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.settings import Settings
from tests.integration.api.serving import Answer, Api, request

PARAMS = {"deduct": {"amount": 99}}
SERVER = """
import sys
from pathlib import Path
from tests.integration.api.serving import serving

with serving(Path(sys.argv[1])) as api:
    api.a_flow()
    print(api.port, flush=True)
    sys.stdin.read()
"""


def submit_to(port: int, identifier: str) -> int:
    """Submit to a server of another process; the status."""
    body = {"instance_id": identifier, "flow_id": "order", "params": PARAMS}
    return request(port, "POST", "/api/v1/transactions", json.dumps(body).encode()).status


def at_once(api: Api, *sent: dict[str, Any]) -> list[Answer]:
    """Send these requests at the same moment, each over a connection of its own."""
    barrier = Barrier(len(sent))

    def send(body: dict[str, Any]) -> Answer:
        barrier.wait()
        return api.post("transactions", body)

    with ThreadPoolExecutor(len(sent)) as pool:
        return list(pool.map(send, sent))


def test_the_same_submit_many_times_at_once(api: Api, order: Flow) -> None:
    sent = {"instance_id": "a", "flow_id": "order", "params": PARAMS}
    answers = at_once(api, *[sent] * 50)
    assert {(answer.status, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert len(api.ledger.transactions.page()) == 1
    assert len(api.ledger.transactions.logs("a")) == 1


def test_other_requests_under_one_id_at_once(api: Api, order: Flow) -> None:
    requests = [
        {"instance_id": "a", "flow_id": "order", "params": {"deduct": {"amount": amount}}}
        for amount in range(20)
    ]
    answers = at_once(api, *requests)
    assert Counter(answer.status for answer in answers) == {200: 1, 409: 19}
    again = [api.post("transactions", request).status for request in requests]
    assert again == [answer.status for answer in answers]


def test_submits_share_commits_and_each_gets_its_own_answer(api: Api, order: Flow) -> None:
    commits: list[object] = []
    event.listen(api.ledger.database.engine, "commit", commits.append)
    requests = [{"instance_id": str(number), "flow_id": "order"} for number in range(60)]
    requests[7]["flow_id"] = "nope"
    answers = at_once(api, *requests)
    assert [answer.status for answer in answers] == [200] * 7 + [404] + [200] * 52
    ids = [answer.data["instance_id"] for answer in answers if answer.status == 200]
    assert ids == [request["instance_id"] for request in requests if request["flow_id"] == "order"]
    assert len(commits) < 59


def test_a_row_that_is_refused_does_not_keep_others_out(
    api: Api, order: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = api.ledger.transactions.add

    def refusing(submissions: Any) -> Any:
        if any(each.id == "odd" for each in submissions):
            raise RowRefused("refused")
        return add(submissions)

    monkeypatch.setattr(api.ledger.transactions, "add", refusing)
    requests = [{"instance_id": name, "flow_id": "order"} for name in ("a", "odd", "b", "c")]
    assert [each.status for each in at_once(api, *requests)] == [200, 400, 200, 200]


def test_a_flow_that_cannot_be_read_does_not_keep_others_submits_from_being_accepted(
    api: Api, order: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that a newer version of the platform stored."""
    other = api.a_flow("other").id
    load = api.ledger.flows.load

    def loading(identifier: str) -> Flow:
        if identifier == other:
            raise TypeError("got an unexpected keyword argument")
        return load(identifier)

    monkeypatch.setattr(api.ledger.flows, "load", loading)
    requests = [
        {"instance_id": str(number), "flow_id": other if number % 8 == 0 else "order"}
        for number in range(32)
    ]
    answers = at_once(api, *requests)
    assert [each.status for each in answers] == [500, *[200] * 7] * 4


def test_an_accepted_submit_outlives_the_server(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        port = int(process.stdout.readline())
        status = submit_to(port, "a")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert status == 200
    ledger = open_ledger(Settings.load(None, home))
    try:
        assert ledger.transactions.get("a").params == PARAMS
    finally:
        ledger.close()
