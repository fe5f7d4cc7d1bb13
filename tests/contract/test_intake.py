"""Requests that come as messages: what becomes of each, and when it is acknowledged."""

import base64
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dist_task_pipelines.domain.errors import (
    Conflict,
    InvalidMessage,
    LedgerUnavailable,
    NotAllowed,
    NotFound,
    RowRefused,
)
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.engine.intake import ENVELOPE_BYTES, Intake, retry_exception
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import ExceptionRecord
from tests.contract.steps import a_failed_transaction, a_flow, a_task, audited, status_of, submit

LIMIT = 1024  # bytes of params


@dataclass(frozen=True)
class Note:
    """A message."""

    id: str
    body: bytes


@dataclass
class Pigeonhole:
    """A topic in memory that gives out a few messages at a time."""

    topic = "requests"
    waiting: list[Note] = field(default_factory=list)
    gone: list[Note] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def receive(self) -> list[Note]:
        with self.lock:
            given, self.waiting = self.waiting[:3], self.waiting[3:]
            return given

    def acknowledge(self, messages: Sequence[Note]) -> None:
        self.gone += messages


def a_note(identifier: str, flow: str = "payment", **fields: Any) -> Note:
    """A message that asks for a transaction."""
    request = {"instance_id": identifier, "flow_id": flow, **fields}
    return Note(f"m-{identifier}", json.dumps(request).encode())


def take(ledger: Ledger, *notes: Note, seconds: float = 60) -> Pigeonhole:
    """Take in these messages; gives the topic as it is left."""
    topic = Pigeonhole([*notes])
    Intake(ledger, topic, LIMIT).drain(seconds)
    return topic


def messages_of(ledger: Ledger) -> dict[str, ExceptionRecord]:
    """The exceptions of messages, by the message's id."""
    records = [ledger.exceptions.get(each.id) for each in ledger.exceptions.page()]
    return {str(each.source["message_id"]): each for each in records if each.source}


def retry(ledger: Ledger, exception_id: int) -> Any:
    return retry_exception(
        ledger, exception_id, max_params_bytes=LIMIT, actor="ann", reason="mended"
    )


def test_every_request_becomes_a_transaction_and_is_acknowledged(ledger: Ledger) -> None:
    a_flow(ledger, a_task("deduct"))
    notes = [a_note(f"order-{n}", params={"deduct": {"n": n}}) for n in range(20)]
    topic = take(ledger, *notes)
    assert topic.waiting == []
    assert sorted(note.id for note in topic.gone) == sorted(note.id for note in notes)
    record = ledger.transactions.get("order-7")
    assert (record.flow_id, record.params) == ("payment_v1", {"deduct": {"n": 7}})
    assert ledger.exceptions.page() == []


def test_a_message_that_comes_again_changes_nothing(ledger: Ledger) -> None:
    a_flow(ledger, a_task("deduct"))
    refused = a_note("b", "nowhere")
    topic = take(ledger, a_note("a"), a_note("a"), refused, refused)
    take(ledger, a_note("a"), refused)
    assert len(topic.gone) == 4
    assert [each.id for each in ledger.transactions.page()] == ["a"]
    assert len(ledger.exceptions.page()) == 1


@pytest.mark.parametrize(
    ("note", "error_type", "words", "flow_id"),
    [
        (Note("m", b"deduct 99 from u1"), "InvalidJson", "not valid JSON", ""),
        (Note("m", b"\xff\xfe\x00"), "InvalidJson", "not valid UTF-8", ""),
        (Note("m", b""), "InvalidJson", "not valid JSON", ""),
        (Note("m", b"[1, 2]"), "InvalidMessage", "must be a JSON object", ""),
        (Note("m", b'{"flow_id": "payment"}'), "InvalidMessage", "instance_id: Field required", ""),
        (a_note("x", amount=9), "InvalidMessage", "amount: Extra inputs are not permitted", ""),
        (a_note("x", params=[1]), "InvalidMessage", "params", ""),
        (a_note("x", "nowhere"), "NotFound", "no flow 'nowhere'", "nowhere"),
        (a_note("x", "retired_v1"), "NotAllowed", "is not active", "retired_v1"),
        (a_note("x", params={"nobody": {}}), "InvalidParams", "nobody", "payment"),
        (a_note(" x"), "InvalidInput", "must not begin or end with white space", "payment"),
        (a_note("taken", params={"deduct": {"n": 2}}), "Conflict", "an id stands for", "payment"),
        (a_note("x", params={"deduct": {"n": "y" * LIMIT}}), "InvalidParams", "bytes", "payment"),
        (a_note("x", "f" * 300), "NotFound", "no flow", ""),
    ],
)
def test_what_can_never_be_a_transaction_becomes_an_exception_with_its_body(
    ledger: Ledger, note: Note, error_type: str, words: str, flow_id: str
) -> None:
    a_flow(ledger, a_task("deduct"))
    ledger.flows.set_active(a_flow(ledger, name="retired").id, active=False, user="ann")
    take(ledger, a_note("taken", params={"deduct": {"n": 1}}))
    topic = take(ledger, a_note("before"), note, a_note("behind"))
    assert len(topic.gone) == 3
    assert {"before", "behind"} <= {each.id for each in ledger.transactions.page()}
    [record] = messages_of(ledger).values()
    assert (record.transaction_id, record.error_type, record.flow_id) == (None, error_type, flow_id)
    assert (words in record.message, record.handled) == (True, False)
    assert body_of(record.source or {}) == note.body


def body_of(source: JsonObject) -> bytes:
    assert source["topic"] == "requests"
    text = source.get("body")
    return base64.b64decode(source["body_base64"]) if text is None else text.encode()


def test_without_the_ledger_nothing_is_acknowledged(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise LedgerUnavailable("away")

    a_flow(ledger, a_task("deduct"))
    topic = Pigeonhole([a_note("a"), Note("m", b"no JSON")])
    monkeypatch.setattr(ledger.exceptions, "add_messages", away)
    with pytest.raises(LedgerUnavailable):
        Intake(ledger, topic, LIMIT).drain(60)
    assert topic.gone == []


def test_it_stops_when_its_time_is_over(ledger: Ledger) -> None:
    a_flow(ledger, a_task("deduct"))
    topic = take(ledger, *(a_note(f"order-{n}") for n in range(20)), seconds=0)
    assert (len(topic.gone), len(topic.waiting)) == (3, 17)


def test_a_row_that_the_database_refuses_does_not_keep_its_neighbours_out(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_flow(ledger, a_task("deduct"))
    add = ledger.transactions.add

    def refuse(submissions: Any) -> Any:
        if any(each.id == "bad" for each in submissions):
            raise RowRefused("no")
        return add(submissions)

    monkeypatch.setattr(ledger.transactions, "add", refuse)
    topic = take(ledger, a_note("a"), a_note("bad"), a_note("b"))
    assert len(topic.gone) == 3
    assert {each.id for each in ledger.transactions.page()} == {"a", "b"}
    assert messages_of(ledger)["m-bad"].error_type == "RowRefused"


def test_the_exception_of_a_message_is_handled_like_any_other(ledger: Ledger) -> None:
    take(ledger, Note("m", b"no JSON"))
    record = messages_of(ledger)["m"]
    ledger.operators.handle(record.id, actor="ann", remark="told the sender")
    settled = ledger.exceptions.get(record.id)
    assert (settled.handled, settled.handled_by) == (True, "ann")
    assert [(row.action, row.target) for row in audited(ledger)] == [
        ("handle", f"exception:{record.id}")
    ]
    with pytest.raises(NotAllowed, match="handled by ann already"):
        ledger.operators.handle(record.id, actor="bob")
    with pytest.raises(NotAllowed, match="no message that could be submitted"):
        retry(ledger, record.id)


def test_lists_leave_the_message_out(ledger: Ledger) -> None:
    take(ledger, Note("m", b"no JSON"))
    [listed] = ledger.exceptions.page()
    found = ledger.exceptions.get(listed.id)
    assert listed == replace(found, source=None)
    assert body_of(found.source or {}) == b"no JSON"


def test_retrying_the_exception_of_a_message_submits_it_again(ledger: Ledger) -> None:
    take(ledger, a_note("a", params={"deduct": {"amount": 9}}))
    record = messages_of(ledger)["m-a"]
    with pytest.raises(NotFound, match="payment"):
        retry(ledger, record.id)
    assert not ledger.exceptions.get(record.id).handled
    a_flow(ledger, a_task("deduct"))
    retry(ledger, record.id)
    assert ledger.transactions.get("a").params == {"deduct": {"amount": 9}}
    settled = ledger.exceptions.get(record.id)
    assert (settled.handled_by, settled.handled_remark) == ("ann", "submitted as a")
    [row] = audited(ledger)
    assert (row.action, row.reason, row.after["submitted"]) == ("retry", "mended", "a")


def test_what_a_person_handles_meanwhile_is_not_submitted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(ledger, a_note("a"))
    record = messages_of(ledger)["m-a"]
    a_flow(ledger, a_task("deduct"))
    find = ledger.flows.find

    def find_late(reference: str) -> Any:
        ledger.operators.handle(record.id, actor="bob", remark="done by hand")
        return find(reference)

    monkeypatch.setattr(ledger.flows, "find", find_late)
    with pytest.raises(NotAllowed, match="handled by bob already"):
        retry(ledger, record.id)
    assert ledger.transactions.page() == []


def test_an_id_that_another_request_takes_meanwhile_leaves_the_exception_open(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(ledger, a_note("a"))
    record = messages_of(ledger)["m-a"]
    flow = a_flow(ledger, a_task("deduct"))
    find = ledger.flows.find

    def find_late(reference: str) -> Any:
        submit(ledger, flow, "a", request_hash="of another request")
        return find(reference)

    monkeypatch.setattr(ledger.flows, "find", find_late)
    with pytest.raises(Conflict, match="exists with another flow or other params"):
        retry(ledger, record.id)
    assert not ledger.exceptions.get(record.id).handled


def test_a_message_that_was_accepted_another_way_closes_its_exception(ledger: Ledger) -> None:
    take(ledger, a_note("a"))
    record = messages_of(ledger)["m-a"]
    a_flow(ledger, a_task("deduct"))
    take(ledger, replace(a_note("a"), id="again"))
    assert retry(ledger, record.id) == ledger.transactions.get("a").created_at
    assert ledger.exceptions.get(record.id).handled_remark == "submitted as a"


def test_what_is_no_request_is_refused_again(ledger: Ledger) -> None:
    take(ledger, Note("m", b"{}"), Note("long", b" " * (LIMIT + ENVELOPE_BYTES + 1)))
    records = messages_of(ledger)
    with pytest.raises(InvalidMessage, match="flow_id"):
        retry(ledger, records["m"].id)
    assert (records["long"].source or {})["cut_from_bytes"] == LIMIT + ENVELOPE_BYTES + 1
    with pytest.raises(NotAllowed, match="too large to be kept"):
        retry(ledger, records["long"].id)


def test_retrying_the_exception_of_a_task_is_as_ever(ledger: Ledger) -> None:
    failed = a_failed_transaction(ledger, a_flow(ledger, a_task("deduct")), "a")
    assert retry(ledger, failed.id) == ledger.clock.now()
    assert status_of(ledger, "a") == "running"
