"""What a `db` task may say in its config."""

from typing import Any

import pytest
from pydantic import ValidationError

from dist_task_pipelines.executors.db_config import DbConfig

BASE = {"database": "warehouse", "table": "stock"}


def faults(**config: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        DbConfig.model_validate({**BASE, **config})
    return str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"operation": "insert", "data": {"sku": None}},
        {"operation": "update", "data": {"held": 1}, "where": {"sku": "a"}, "expect_rows": 0},
        {"operation": "delete", "where": {"sku": ["a", "b"]}, "expect_rows": "any"},
        {"operation": "upsert", "data": {"sku": "a", "held": 1}, "keys": ["sku"]},
        {"operation": "select"},
        {"operation": "select", "columns": ["sku"], "limit": 1, "expect_rows": 1},
        {"operation": "select", "where": {}, "columns": []},
    ],
)
def test_what_is_taken(config: dict[str, Any]) -> None:
    DbConfig.model_validate({**BASE, **config})


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"operation": "drop"}, "operation\n"),
        ({"operation": "insert"}, "insert needs `data`"),
        ({"operation": "insert", "data": {}}, "insert needs `data`"),
        ({"operation": "update", "data": {"a": 1}}, "update needs `where`"),
        ({"operation": "update", "data": {"a": 1}, "where": {}}, "update needs `where`"),
        ({"operation": "delete"}, "delete needs `where`"),
        ({"operation": "delete", "where": {}}, "delete needs `where`"),
        ({"operation": "delete", "where": {"a": None}}, "'a' must be a string, a number"),
        ({"operation": "delete", "where": {"a": []}}, "'a' must be a string, a number"),
        ({"operation": "delete", "where": {"a": {">": 1}}}, "'a' must be a string, a number"),
        ({"operation": "delete", "where": {"a": 1}, "data": {"b": 1}}, "delete takes no `data`"),
        ({"operation": "insert", "data": {"a": 1}, "where": {"a": 1}}, "insert takes no `where`"),
        ({"operation": "insert", "data": {"a": 1}, "expect_rows": 0}, "takes no `expect_rows`"),
        ({"operation": "upsert", "data": {"a": 1}, "keys": ["b"]}, "`data` lacks the key 'b'"),
        ({"operation": "select", "keys": ["a"]}, "select takes no `keys`"),
        ({"operation": "select", "limit": 0}, "limit\n"),
        ({"operation": "select", "limit": 1001}, "limit\n"),
        ({"operation": "select", "limit": 5, "expect_rows": 6}, "not be above `limit` (5)"),
        ({"operation": "select", "expect_rows": -1}, "must be a number of rows from 0 up"),
        ({"operation": "select", "expect_rows": True}, "must be a number of rows from 0 up"),
        ({"operation": "select", "expect_rows": "some"}, "must be a number of rows from 0 up"),
        ({"operation": "select", "sql": "DROP TABLE stock"}, "sql\n"),
    ],
)
def test_what_is_refused(config: dict[str, Any], why: str) -> None:
    assert why in faults(**config)


def test_every_fault_is_named() -> None:
    message = faults(operation="update", keys=["a"], limit=5)
    for fault in ("needs `data`", "needs `where`", "takes no `keys`", "takes no `limit`"):
        assert fault in message
