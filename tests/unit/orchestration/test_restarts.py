"""Restarts of a process that ends by itself: the pauses grow, and there is an end to it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.orchestration.processes import ManagedProcess
from dist_task_pipelines.orchestration.restarts import GIVE_UP_AFTER, Restarts

NOTHING: Mapping[str, str] = {}


class Fragile(ManagedProcess):
    """A process of which a test says whether it is there, and how long it has been."""

    def __init__(self, logs: Path) -> None:
        super().__init__("worker 1", NOTHING, logs)
        self.is_there = True
        self.lifetime = 0.0
        self.begun = 0
        self.start()

    @property
    def ran_for(self) -> float:
        return self.lifetime

    def _begin(self) -> int:
        self.is_there = True
        self.begun += 1
        self.log_file.write_text("no database")
        return 1

    def _is_there(self) -> bool:
        return self.is_there

    def _wait(self, seconds: float | None) -> None:
        raise AssertionError("nobody waits")


@pytest.fixture
def process(tmp_path: Path) -> Fragile:
    return Fragile(tmp_path)


def pauses(process: Fragile, restarts: Restarts, count: int, began: float = 100.0) -> list[float]:
    """How long each of so many restarts is waited for, where the process ends at once."""
    found: list[float] = []
    now = began
    for _ in range(count):
        process.is_there = False
        ended = now
        while not process.is_there:
            restarts.look(now)
            now += 0.5
        found.append(now - 0.5 - ended)
    return found


def test_what_is_there_is_left_alone(process: Fragile) -> None:
    Restarts(process).look(100)
    assert process.begun == 1


def test_the_pauses_grow(process: Fragile) -> None:
    assert pauses(process, Restarts(process), 9) == [0, 1, 2, 4, 8, 15, 30, 30, 30]


def test_one_that_ran_for_long_is_started_at_once(process: Fragile) -> None:
    restarts = Restarts(process)
    pauses(process, restarts, 5)
    process.lifetime = 61
    assert pauses(process, restarts, 3, began=200) == [0, 0, 0]


def test_in_the_end_it_is_given_up(process: Fragile) -> None:
    restarts = Restarts(process)
    with pytest.raises(DistTaskError, match=r"worker 1 ended \d+ times in 3\d\d s:\nno database"):
        pauses(process, restarts, 99)
    assert process.begun > GIVE_UP_AFTER / 30
