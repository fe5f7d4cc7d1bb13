"""The flow that is measured, and the orders for it: three HTTP tasks, one after another."""

from typing import Any

FLOW = "bench"
TASKS = ("deduct", "inventory", "notify")
PARAMS: dict[str, Any] = {
    "deduct": {"user_id": "u1", "amount": 99, "order_id": "order_001"},
    "inventory": {"sku": "A-1", "count": 2},
    "notify": {"to": "u1"},
}


def definition(participant: str, length: int = len(TASKS)) -> dict[str, Any]:
    """The flow's definition: so many of its tasks."""
    deduct, inventory, notify = (
        {"id": name, "task_name": "http_request", "config": {"url": f"{participant}/{name}"}}
        for name in TASKS
    )
    inventory |= {"depends_on": ["deduct"], "input_from": {"receipt": "$.deduct.receipt_no"}}
    notify |= {"depends_on": ["inventory"]}
    return {"tasks": [deduct, inventory, notify][:length]}


def order(identifier: str, flow: str = FLOW, length: int = len(TASKS)) -> dict[str, Any]:
    """A request for one transaction of a flow of so many tasks, as REST takes it."""
    params = {name: PARAMS[name] for name in TASKS[:length]}
    return {"instance_id": identifier, "flow_id": flow, "params": params}
