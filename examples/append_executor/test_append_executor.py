"""How to test an executor: call `execute` as the platform does, and look at the outcome."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from append_executor import AppendExecutor

from dist_task_pipelines.executors import Applied, Outcome, Participants, Registry


def called(folder: Path, key: str = "order_1:note", **config: Any) -> Outcome:
    """The outcome of one call."""
    participants = Participants(options={"append": {"folder": str(folder)}})
    executor = AppendExecutor.connect(participants)
    config = {"file": "notes.txt", "line": "paid", **config}
    return asyncio.run(executor.execute(config, {}, idempotency_key=key, timeout=10))


def test_the_platform_finds_it() -> None:
    assert "append" in Registry.load().config_models()


def test_a_line_is_appended_once_for_each_key(tmp_path: Path) -> None:
    assert called(tmp_path).output == {"line": 1}
    repeated = called(tmp_path)
    assert (repeated.output, repeated.details["repeated"]) == ({"line": 1}, True)
    assert called(tmp_path, "order_2:note").output == {"line": 2}
    assert (tmp_path / "notes.txt").read_text() == "order_1:note\tpaid\norder_2:note\tpaid\n"


def test_a_failure_says_whether_to_repeat_it_and_what_it_did(tmp_path: Path) -> None:
    outcome = called(tmp_path / "missing")
    assert outcome.error
    assert (outcome.error.type, outcome.error.code) == ("FileError", "ENOENT")
    assert (outcome.retryable, outcome.applied) == (False, Applied.NO)


@pytest.mark.parametrize("config", [{"file": "../x"}, {"line": "a\nb"}, {"lines": 2}])
def test_a_config_that_cannot_work_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    outcome = called(tmp_path, **config)
    assert outcome.error
    assert outcome.error.type == "InvalidConfig"
    assert list(tmp_path.iterdir()) == []
