"""Accepting transactions: once each, whoever asks and however often."""

import unicodedata
from datetime import timedelta

import pytest

from dist_task_pipelines.domain.errors import NotFound
from dist_task_pipelines.domain.status import Health, LogAction, TaskStatus, TransactionStatus
from dist_task_pipelines.ledger import Ledger
from tests.contract.steps import (
    SteppableClock,
    a_flow,
    a_submission,
    a_task,
    actions_of,
    ask,
    call,
    dispatch,
    failure,
    meeting,
    submit,
    success,
    take,
    together,
)


def test_an_accepted_transaction_is_pending_and_due(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    [record] = submit(ledger, flow, "order-1", params={"b": 1, "a": [1.5]}, request_hash="h1")
    assert record.status is TransactionStatus.PENDING
    assert record.health is Health.HEALTHY
    assert record.params == {"b": 1, "a": [1.5]}
    assert list(record.params) == ["b", "a"]
    assert record.created_at == record.updated_at == record.next_due_at == clock.now()
    assert (record.flow_id, record.request_hash) == (flow.id, "h1")
    assert (record.batch_id, record.run_id, record.started_at) == (None, None, None)
    assert actions_of(ledger, "order-1") == [LogAction.SUBMIT]
    assert ledger.transactions.get("order-1") == record


def test_a_transaction_that_exists_is_left_as_it_is(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    [first] = submit(ledger, flow, "order-1", params={"a": 1}, request_hash="h1")
    clock.step(1)
    [again] = submit(ledger, flow, "order-1", params={"a": 2}, request_hash="h2")
    assert again == first
    assert actions_of(ledger, "order-1") == [LogAction.SUBMIT]


def test_records_come_in_the_order_asked_new_ones_and_old_ones(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "b")
    records = submit(ledger, flow, "c", "b", "a")
    assert [record.id for record in records] == ["c", "b", "a"]
    assert records[0].seq < records[2].seq


def test_nothing_is_accepted_when_nothing_is_asked(ledger: Ledger) -> None:
    assert ledger.transactions.add([]) == []


def test_fifty_adds_of_one_id_at_once_make_one_row(ledger: Ledger) -> None:
    flow = a_flow(ledger)

    def adding(number: int) -> str:
        [record] = submit(ledger, flow, "order-1", request_hash=f"h{number}")
        return record.request_hash

    answers = together(*(lambda n=n: adding(n) for n in range(50)))
    assert len(set(map(str, answers))) == 1, "one request won, and everybody is told which"
    assert str(answers[0]).startswith("h")
    assert ask(ledger, "SELECT COUNT(*) FROM task_group_instance") == [(1,)]
    assert actions_of(ledger, "order-1") == [LogAction.SUBMIT]


@pytest.mark.parametrize("ledger_url", ["mysql"], indirect=True)  # SQLite's writers never meet
def test_adds_that_all_found_nothing_make_one_row(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    with meeting(ledger, "INSERT INTO task_group_instance", 8):
        answers = together(*(lambda: submit(ledger, flow, "order-1", "order-2") for _ in range(8)))
    assert answers == [answers[0]] * 8
    assert ask(ledger, "SELECT COUNT(*) FROM task_group_instance") == [(2,)]
    assert actions_of(ledger, "order-1") == [LogAction.SUBMIT]


def test_adds_of_overlapping_lists_at_once_make_one_row_for_each_id(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    ids = [f"order-{number}" for number in range(20)]
    lists = [ids[place:] + ids[:place] for place in range(0, 20, 3)]
    answers = together(*(lambda each=each: len(submit(ledger, flow, *each)) for each in lists))
    assert answers == [20] * len(lists)
    assert ask(ledger, "SELECT COUNT(*), COUNT(DISTINCT id) FROM task_group_instance") == [(20, 20)]
    assert ask(ledger, "SELECT COUNT(*) FROM execution_log") == [(20,)]


LOOKALIKES = [
    "x",
    "X",
    "x\u0301",  # a combining accent
    "x y",
    unicodedata.normalize("NFC", "caf\u00e9"),
    unicodedata.normalize("NFD", "caf\u00e9"),
    "cafe",
    "stra\u00dfe",
    "strasse",
    "a\u200bb",  # a space of no width
    "ab",
    "\U0001f980",
    "\U0001f990",
    "/a'b\"c\\%_?#;--",
    "\u4e2d\u6587",
    "\u212b",  # the sign for angstrom, and the letter
    "\u00c5",
    "\uff41",  # a wide a
    "a",
]


def test_ids_compare_by_code_point(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    records = submit(ledger, flow, *LOOKALIKES)
    assert [record.id for record in records] == LOOKALIKES
    assert len({record.seq for record in records}) == len(LOOKALIKES)
    for record in records:
        assert ledger.transactions.get(record.id) == record
    assert set(ledger.transactions.find(LOOKALIKES)) == set(LOOKALIKES)


@pytest.mark.parametrize("wrong", ["X", "x ", " x", "x\u0301", "\ud800", "x\x00", "", "y" * 5000])
def test_what_is_not_there_is_not_found(ledger: Ledger, wrong: str) -> None:
    submit(ledger, a_flow(ledger), "x")
    assert ledger.transactions.find([wrong]) == {}
    assert set(ledger.transactions.find([wrong, "x"])) == {"x"}
    for look in (ledger.transactions.get, ledger.transactions.tasks, ledger.transactions.logs):
        with pytest.raises(NotFound):
            look(wrong)


def test_the_longest_id_is_kept(ledger: Ledger) -> None:
    longest = "\U0001f980" * 128
    [record] = submit(ledger, a_flow(ledger), longest)
    assert ledger.transactions.get(longest) == record


def test_params_come_out_as_they_went_in(ledger: Ledger) -> None:
    params = {
        "z": [2**64, -(2**53) - 1, 0.1, 1e-300, True, None],
        "a": {"lone": "\ud800", "nul": "\x00", "emoji": "\U0001f980", "text": "'\"\\\r\n\u2028"},
        "": {"deep": [[[{}]]]},
        "big": "x" * 300_000,
    }
    submit(ledger, a_flow(ledger), "order-1", params=params)
    kept = ledger.transactions.get("order-1").params
    assert kept == params
    assert list(kept) == list(params)
    assert ask(ledger, "SELECT params_bytes FROM task_group_instance")[0][0] > 300_000


def test_a_delayed_transaction_is_dispatched_when_it_is_due(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    [record] = submit(ledger, flow, "order-1", delay=60)
    assert record.next_due_at == clock.now() + timedelta(seconds=60)
    clock.step(59.999999)
    assert dispatch(ledger, flow) == []
    clock.step(0.000001)
    assert [batch.transaction_id for batch in dispatch(ledger, flow)] == ["order-1"]


def test_pages_go_by_key_newest_first(ledger: Ledger) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    submit(ledger, flow, "a", "b", "c")
    submit(ledger, other, "d")
    page = ledger.transactions.page(limit=2)
    assert [record.id for record in page] == ["d", "c"]
    assert [r.id for r in ledger.transactions.page(before=page[-1].seq)] == ["b", "a"]
    assert [r.id for r in ledger.transactions.page(flow_id=other.id)] == ["d"]
    assert len(ledger.transactions.page(status=TransactionStatus.PENDING)) == 4
    assert ledger.transactions.page(status=TransactionStatus.FAILED) == []


def test_tasks_stand_in_the_flows_order_those_not_started_included(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("z"), a_task("a", "z"), a_task("m", "z"))
    batch = take(ledger, flow, "order-1")
    call(ledger, batch, "z", success({"receipt": 7}))
    call(ledger, batch, "m", failure("no"))
    tasks = ledger.transactions.tasks("order-1")
    assert [(task.task_id, task.status, task.attempts) for task in tasks] == [
        ("z", TaskStatus.SUCCESS, 1),
        ("a", TaskStatus.PENDING, 0),
        ("m", TaskStatus.FAILED, 1),
    ]
    assert tasks[0].output_data == {"receipt": 7}
    assert (tasks[0].name, tasks[0].type) == ("call z", "http")


def test_the_same_list_again_changes_nothing(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    submissions = [a_submission(f"order-{number}", flow) for number in range(700)]
    first = ledger.transactions.add(submissions)
    assert ledger.transactions.add(submissions) == first
    assert ask(ledger, "SELECT COUNT(*) FROM execution_log") == [(700,)]
