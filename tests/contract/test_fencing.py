"""Fencing: whoever lost its batch writes nothing, whatever it still believes."""

from typing import Any

import pytest

from dist_task_pipelines.domain.errors import LeaseLost
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch, BatchEnd
from tests.contract.steps import (
    SteppableClock,
    a_flow,
    actions_of,
    call,
    failure,
    finish,
    start,
    status_of,
    success,
    take,
    take_again,
    task_of,
    together,
)


@pytest.fixture
def flow(ledger: Ledger) -> Flow:
    return a_flow(ledger)


@pytest.fixture
def stale(ledger: Ledger, flow: Flow, clock: SteppableClock) -> Batch:
    """A batch that expired in the middle of its first call."""
    batch = take(ledger, flow, "a")
    start(ledger, batch, "deduct")
    clock.step(1000)
    assert ledger.batches.expire() == [batch.id]
    return batch


def everything(ledger: Ledger) -> list[object]:
    """What the ledger says of the transaction."""
    return [
        ledger.transactions.get("a"),
        ledger.transactions.tasks("a"),
        ledger.transactions.logs("a"),
        ledger.exceptions.page(),
    ]


@pytest.mark.parametrize("retaken", [False, True])
def test_a_stale_owner_writes_nothing(
    ledger: Ledger, flow: Flow, stale: Batch, retaken: bool
) -> None:
    if retaken:
        start(ledger, take_again(ledger, flow), "deduct")
    before = everything(ledger)
    assert finish(ledger, stale, "deduct", {"a": success()}) == set()
    assert finish(ledger, stale, "deduct", {"a": failure()}) == set()
    with pytest.raises(LeaseLost, match="has ended; its transactions were handed back"):
        start(ledger, stale, "deduct")
    ledger.batches.end(stale.id, BatchEnd.ERROR)
    assert everything(ledger) == before


def test_a_stale_owner_sees_that_nothing_is_its_own(ledger: Ledger, stale: Batch) -> None:
    assert ledger.attempts.load(stale, "deduct") == {}


def test_the_new_owner_is_not_disturbed(ledger: Ledger, flow: Flow, stale: Batch) -> None:
    owner = take_again(ledger, flow)
    start(ledger, owner, "deduct")
    finish(ledger, stale, "deduct", {"a": failure()})
    assert finish(ledger, owner, "deduct", {"a": success({"by": "the owner"})}) == {"a"}
    assert task_of(ledger, "a", "deduct").output_data == {"by": "the owner"}
    call(ledger, owner, "notify", success())
    assert status_of(ledger, "a") == TransactionStatus.SUCCESS


def test_of_the_end_of_a_call_and_the_end_of_its_lease_one_counts(
    ledger: Ledger, another_ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    batches = [take(ledger, flow, name, run_id=f"run-{name}") for name in "abcdef"]
    for batch in batches:
        start(ledger, batch, "deduct")
    clock.step(1000)

    def finishing(batch: Batch) -> set[str]:
        return finish(ledger, batch, "deduct", {batch.members[0].id: success()})

    answers: list[Any] = together(
        another_ledger.batches.expire, *(lambda batch=batch: finishing(batch) for batch in batches)
    )
    ended = [*answers[0], *ledger.batches.expire()]  # the first passes over what is locked
    assert sorted(ended) == [batch.id for batch in batches]
    for batch, written in zip(batches, answers[1:], strict=True):
        [name] = [member.id for member in batch.members]
        actions = actions_of(ledger, name)
        assert written in ({name}, set())
        assert ("success" in actions, "lost" in actions) == (bool(written), not written)


def test_what_settled_in_its_batch_is_no_longer_its_own(ledger: Ledger, flow: Flow) -> None:
    batch = take(ledger, flow, "a", "b")
    call(ledger, batch, "deduct", failure(), "a")
    assert start(ledger, batch, "deduct") == {"b"}
    assert set(ledger.attempts.load(batch, "deduct")) == {batch.members[1].seq}
