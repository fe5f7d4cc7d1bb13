"""The demo's orders: what is arranged to go wrong with each, and what must come of it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

FLOW = "order_flow"
ARTICLES = ("lamp", "chair", "clock")
EVERY_TASK = ("payment", "stock", "fraud_check", "shipping", "notify")


class Story(StrEnum):
    """What is arranged for an order."""

    SMOOTH = "nothing goes wrong"
    CARRIER_DOWN = "its carrier is down at first"
    SLOW_CHECK = "the fraud check answers too late"
    DECLINED = "the payment is declined"
    NO_ADDRESS = "it has no address"
    FROZEN = "the account is frozen, then freed"


COUNTS = {
    Story.SMOOTH: 31,
    Story.CARRIER_DOWN: 8,
    Story.SLOW_CHECK: 5,
    Story.DECLINED: 3,
    Story.NO_ADDRESS: 2,
    Story.FROZEN: 1,
}

# How far an order comes that stays failed; the others come to their end.
_DONE_BEFORE_FAILING: Mapping[Story, tuple[str, ...]] = {
    Story.DECLINED: (),
    Story.NO_ADDRESS: ("payment", "stock", "fraud_check"),
}


@dataclass(frozen=True, slots=True)
class Order:
    """An order and its story."""

    id: str
    number: int
    story: Story

    @property
    def user(self) -> str:
        """Whose account is charged."""
        return f"user-{self.number}"

    @property
    def expected_status(self) -> str:
        """The transaction status that it must end in."""
        return "failed" if self.story in _DONE_BEFORE_FAILING else "success"

    @property
    def expected_effects(self) -> tuple[str, ...]:
        """The tasks that must have taken effect in the end, once; no other may have."""
        return _DONE_BEFORE_FAILING.get(self.story, EVERY_TASK)


def all_orders() -> list[Order]:
    """Every order of the demo, story by story."""
    stories = [story for story, count in COUNTS.items() for _ in range(count)]
    return [Order(f"order-{n:03}", n, story) for n, story in enumerate(stories, 1)]


def of_story(orders: Sequence[Order], story: Story) -> Iterator[Order]:
    """The orders with that story."""
    return (order for order in orders if order.story is story)


def submission(order: Order, carriers: Mapping[str, str]) -> dict[str, Any]:
    """The order as `dist-task submit --file` takes it.

    Args:
        carriers: the URLs of the carriers `north` and `south`.
    """
    carrier = carriers["south" if order.story is Story.CARRIER_DOWN else "north"]
    shipping = {"carrier": carrier, "address": f"{order.number} High Street"}
    if order.story is Story.NO_ADDRESS:
        del shipping["address"]
    amount = 5000.0 if order.story is Story.DECLINED else 10.0 + order.number
    params = {
        "payment": {"user_id": order.user, "amount": amount, "order_id": order.id},
        "stock": {"sku": ARTICLES[order.number % len(ARTICLES)], "quantity": 1},
        "fraud_check": {"new_customer": order.story is Story.SLOW_CHECK},
        "shipping": shipping,
    }
    return {"instance_id": order.id, "flow_id": FLOW, "params": params}
