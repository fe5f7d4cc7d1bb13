"""Bells between processes: each who waits is woken, and those of the dead are taken down."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dist_task_pipelines.orchestration.bell import Bell, ring_all

LONG = 60.0  # seconds: a wait that must not last so long


def test_everyone_who_waits_is_woken(tmp_path: Path) -> None:
    bells = [Bell(tmp_path) for _ in range(3)]
    with ThreadPoolExecutor() as threads:
        waits = [threads.submit(bell.wait, LONG) for bell in bells]
        ring_all(tmp_path)
        assert all(wait.result(LONG / 2) for wait in waits)
    for bell in bells:
        bell.close()


def test_who_waits_too_late_is_woken_once(tmp_path: Path) -> None:
    bell = Bell(tmp_path)
    ring_all(tmp_path)
    ring_all(tmp_path)
    assert bell.wait(LONG)
    assert not bell.wait(0)
    bell.close()


def test_a_bell_is_not_taken_for_one_of_the_dead_while_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkfifo

    def make_and_ring(path: Path, mode: int) -> None:
        make(path, mode)
        ring_all(tmp_path)

    monkeypatch.setattr(os, "mkfifo", make_and_ring)
    bell = Bell(tmp_path)
    ring_all(tmp_path)
    assert bell.wait(0)
    bell.close()
    assert not list(tmp_path.iterdir())


def test_ringing_more_than_the_pipe_holds_waits_for_nobody(tmp_path: Path) -> None:
    bell = Bell(tmp_path)
    (path,) = tmp_path.iterdir()
    pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"." * 4096)
    os.close(pipe)
    ring_all(tmp_path)
    assert bell.wait(0)
    bell.close()


def test_the_bell_of_a_process_that_was_killed_is_taken_down(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "of-the-dead")
    living = Bell(tmp_path)
    ring_all(tmp_path)
    assert living.wait(0)
    living.close()
    assert not list(tmp_path.iterdir())
