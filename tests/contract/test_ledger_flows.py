"""Flow versions: created, found, switched."""

import pytest

from dist_task_pipelines.domain.errors import Conflict, NotFound
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import Ledger
from tests.contract.steps import (
    SteppableClock,
    a_failed_transaction,
    a_flow,
    a_task,
    call,
    definition,
    meeting,
    status_of,
    submit,
    success,
    take,
    together,
)

ONE_TASK = definition([a_task("deduct")])
TWO_TASKS = definition([a_task("deduct"), a_task("notify", "deduct")])


def test_versions_are_numbered_and_their_ids_are_identifiers(ledger: Ledger) -> None:
    first = ledger.flows.create(name="pay-out", definition=ONE_TASK, description="out", user="ann")
    second = ledger.flows.create(name="pay-out", definition=TWO_TASKS)
    assert (first.id, first.version, first.create_user) == ("pay_out_v1", 1, "ann")
    assert (second.id, second.version) == ("pay_out_v2", 2)
    assert ledger.flows.get("pay_out_v1") == first


def test_a_definition_keeps_its_key_order_and_its_numbers(ledger: Ledger) -> None:
    odd = {"z": 1, "a": 2**70, "m": 1.5, "\ud800": "\udfff\x00", "emoji": "\U0001f980"}
    record = ledger.flows.create(name="odd", definition=odd)
    assert list(record.definition.items()) == list(odd.items())


def test_an_identical_definition_makes_no_new_version_but_is_active_again(
    ledger: Ledger,
) -> None:
    first = ledger.flows.create(name="payment", definition={"a": 1, "b": 2})
    ledger.flows.set_active(first.id, False)
    again = ledger.flows.create(name="payment", definition={"b": 2.0, "a": 1})
    assert (again.id, again.is_active) == (first.id, True)
    assert len(ledger.flows.page()) == 1


def test_only_the_newest_version_counts_as_identical(ledger: Ledger) -> None:
    for each in (ONE_TASK, TWO_TASKS, ONE_TASK):
        newest = ledger.flows.create(name="payment", definition=each)
    assert newest.id == "payment_v3"


def test_names_that_would_share_a_job_are_refused(ledger: Ledger) -> None:
    ledger.flows.create(name="pay-out", definition=ONE_TASK)
    with pytest.raises(Conflict, match="'pay_out' differs from the flow 'pay-out' only in"):
        ledger.flows.create(name="pay_out", definition=ONE_TASK)


def test_versions_created_at_once_each_get_their_own_number(ledger: Ledger) -> None:
    def creating(number: int) -> str:
        return ledger.flows.create(name="payment", definition={"number": number}).id

    made = together(*(lambda n=n: creating(n) for n in range(8)))
    assert sorted(map(str, made)) == [f"payment_v{n}" for n in range(1, 9)]


@pytest.mark.parametrize("ledger_url", ["mysql"], indirect=True)  # SQLite's writers never meet
def test_versions_whose_makers_all_read_the_same_newest_get_their_own_number(
    ledger: Ledger,
) -> None:
    def creating(number: int) -> str:
        return ledger.flows.create(name="payment", definition={"number": number}).id

    with meeting(ledger, "INSERT INTO task_group_flow", 3):
        made = together(*(lambda n=n: creating(n) for n in range(3)))
    assert sorted(map(str, made)) == ["payment_v1", "payment_v2", "payment_v3"]


def test_a_name_means_its_newest_active_version(ledger: Ledger) -> None:
    first = ledger.flows.create(name="payment", definition=ONE_TASK)
    second = ledger.flows.create(name="payment", definition=TWO_TASKS)
    assert ledger.flows.find("payment").id == second.id
    ledger.flows.set_active(second.id, False)
    assert ledger.flows.find("payment").id == first.id
    ledger.flows.set_active(first.id, False)
    assert ledger.flows.find("payment").id == second.id
    assert ledger.flows.find("payment_v1").id == first.id


@pytest.mark.parametrize("reference", ["Payment", "payment ", "paymen", "payment_v2", "\ud800"])
def test_what_is_not_there_is_not_found(ledger: Ledger, reference: str) -> None:
    a_flow(ledger, name="payment")
    with pytest.raises(NotFound):
        ledger.flows.find(reference)
    with pytest.raises(NotFound):
        ledger.flows.get(reference)
    with pytest.raises(NotFound):
        ledger.flows.set_active(reference, True)


def test_pages_go_by_name_and_newest_first(ledger: Ledger) -> None:
    for name, each in (("b", ONE_TASK), ("a", ONE_TASK), ("b", TWO_TASKS)):
        ledger.flows.create(name=name, definition=each)
    ledger.flows.set_active("a_v1", False)
    assert [record.id for record in ledger.flows.page()] == ["a_v1", "b_v2", "b_v1"]
    assert [record.id for record in ledger.flows.page(name="b")] == ["b_v2", "b_v1"]
    assert [record.id for record in ledger.flows.page(is_active=False)] == ["a_v1"]


def test_the_revision_changes_with_each_version_and_each_switch(
    ledger: Ledger, clock: SteppableClock
) -> None:
    seen = [ledger.flows.revision()]

    def changed() -> bool:
        seen.append(ledger.flows.revision())
        return seen[-1] not in seen[:-1]

    first = ledger.flows.create(name="payment", definition=ONE_TASK)
    assert changed()
    clock.step(1)
    ledger.flows.set_active(first.id, True)
    assert not changed(), "it was active already"
    ledger.flows.set_active(first.id, False, user="ann")
    assert changed()
    clock.step(1)
    ledger.flows.create(name="payment", definition=ONE_TASK)
    assert changed(), "it is active again"


def test_switching_is_stamped(ledger: Ledger, clock: SteppableClock) -> None:
    record = ledger.flows.create(name="payment", definition=ONE_TASK, user="ann")
    clock.step(60)
    switched = ledger.flows.set_active(record.id, False, user="bob")
    assert (switched.updated_at, switched.updated_user) == (clock.now(), "bob")
    assert (switched.created_at, switched.create_user) == (record.created_at, "ann")


def test_each_change_leaves_an_audit_row(ledger: Ledger, clock: SteppableClock) -> None:
    ledger.flows.create(name="payment", definition=ONE_TASK, user="ann")
    ledger.flows.create(name="payment", definition=ONE_TASK, user="nobody")
    ledger.flows.create(name="payment", definition=TWO_TASKS, user="bob")
    ledger.flows.set_active("payment_v1", False, user="cleo")
    ledger.flows.set_active("payment_v1", False, user="nobody")
    ledger.flows.set_active("payment_v1", True, user="dan")
    trail = ledger.audit.page()[::-1]
    assert [(row.actor, row.action, row.target) for row in trail] == [
        ("ann", "apply", "flow:payment_v1"),
        ("bob", "apply", "flow:payment_v2"),
        ("cleo", "deactivate", "flow:payment_v1"),
        ("dan", "activate", "flow:payment_v1"),
    ]
    assert [(row.before, row.after) for row in trail] == [
        ({"newest": None}, {"is_active": True}),
        ({"newest": "payment_v1"}, {"is_active": True}),
        ({"is_active": True}, {"is_active": False}),
        ({"is_active": False}, {"is_active": True}),
    ]
    assert {row.created_at for row in trail} == {clock.now()}


def test_the_revision_changes_with_what_is_in_use(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batch = take(ledger, flow, "a")
    ledger.flows.set_active(flow.id, False)
    before = ledger.flows.revision()
    call(ledger, batch, "deduct", success())
    assert ledger.flows.in_use() == []
    assert ledger.flows.revision() != before


def test_versions_in_use_are_the_active_ones_and_those_that_may_go_on(ledger: Ledger) -> None:
    idle, waiting, working, failed, done = (
        a_flow(ledger, a_task("deduct"), name=name)
        for name in ("idle", "waiting", "working", "failed", "done")
    )
    submit(ledger, waiting, "w")
    take(ledger, working, "x")
    a_failed_transaction(ledger, failed, "f")
    call(ledger, take(ledger, done, "d"), "deduct", success())
    assert status_of(ledger, "d") == TransactionStatus.SUCCESS
    for flow in (idle, waiting, working, failed, done):
        ledger.flows.set_active(flow.id, False)
    active = a_flow(ledger, name="active")
    in_use = {record.id for record in ledger.flows.in_use()}
    assert in_use == {waiting.id, working.id, failed.id, active.id}


def test_a_version_is_built_once(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    assert ledger.flows.load(flow.id) is flow
