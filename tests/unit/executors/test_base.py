"""What every executor gets from the base: a checked config, a bound, and always an outcome."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest
from pydantic import Field

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import (
    Executor,
    ExecutorConfig,
    GivenUp,
    Participants,
    Progress,
    Request,
    RocketMQ,
)

Call = Callable[[Request["Config"]], Awaitable[Outcome]]


class Nested(ExecutorConfig):
    size: int


class Config(ExecutorConfig):
    name: str = Field(default="x", min_length=1)
    boxes: list[Nested] = Field(default=[])


class Own(Executor[Config]):
    task_type = "own"
    config_model = Config

    def __init__(self, call: Call) -> None:
        self._call = call

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        raise NotImplementedError

    async def call(self, request: Request[Config]) -> Outcome:
        return await self._call(request)


def executed(call: Call, config: dict[str, Any] | None = None, *, timeout: float = 5) -> Outcome:
    work = Own(call).execute(config or {}, {"a": 1}, idempotency_key="t:x", timeout=timeout)
    return asyncio.run(work)


def test_the_call_gets_its_request() -> None:
    async def call(request: Request[Config]) -> Outcome:
        assert request.config == Config(name="y")
        assert (request.input, request.idempotency_key, request.timeout) == ({"a": 1}, "t:x", 5)
        return Outcome.success({"ok": True}, status=200)

    outcome = executed(call, {"name": "y"})
    assert outcome.output == {"ok": True}
    assert set(outcome.details) == {"status", "duration_ms"}


def test_a_bad_config_is_refused_with_every_fault_and_its_path() -> None:
    async def call(request: Request[Config]) -> Outcome:
        raise AssertionError("must not be called")

    outcome = executed(call, {"name": 5, "boxes": [{}, {"size": "7"}], "colour": "red"})
    assert outcome.error is not None
    assert outcome.error.type == "InvalidConfig"
    assert (outcome.retryable, outcome.applied) == (False, Applied.NO)
    for path in (
        "config.name: ",
        "config.boxes[0].size: ",
        "config.boxes[1].size",
        "config.colour",
    ):
        assert path in outcome.error.message


def test_an_unforeseen_error_is_an_outcome_with_its_stack() -> None:
    async def call(request: Request[Config]) -> Outcome:
        return Outcome.success(request.input["missing"])

    outcome = executed(call)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("KeyError", "'missing'")
    assert "in call" in outcome.error.stack
    assert (outcome.retryable, outcome.applied) == (False, Applied.MAYBE)


def test_an_executor_that_returns_no_outcome_is_one_that_failed() -> None:
    async def call(request: Request[Config]) -> Any:
        return {"ok": True}

    outcome = executed(call)
    assert outcome.error is not None
    assert "instead of an Outcome" in outcome.error.message


def test_a_timeout_error_of_its_own_is_not_taken_for_the_bound() -> None:
    async def call(request: Request[Config]) -> Outcome:
        request.progress.prepare()
        raise TimeoutError("lock wait")

    outcome = executed(call)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("TimeoutError", "lock wait")
    assert outcome.applied is Applied.NO


@pytest.mark.parametrize(
    ("steps", "applied", "message"),
    [
        ((), Applied.MAYBE, "no reply within 0.01 s"),
        (("prepare",), Applied.NO, "the request could not be sent within 0.01 s"),
        (("prepare", "send"), Applied.MAYBE, "no reply within 0.01 s"),
    ],
)
def test_a_timeout_means_what_the_progress_says(
    steps: tuple[str, ...], applied: Applied, message: str
) -> None:
    async def call(request: Request[Config]) -> Outcome:
        for step in steps:
            getattr(request.progress, step)()
        await asyncio.Event().wait()
        raise AssertionError

    outcome = executed(call, timeout=0.01)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("Timeout", message)
    assert (outcome.retryable, outcome.applied) == (True, applied)


def test_a_cancelled_call_is_cancelled_and_never_sent() -> None:
    kept: list[Progress] = []

    async def call(request: Request[Config]) -> Outcome:
        request.progress.prepare()
        kept.append(request.progress)
        await asyncio.Event().wait()
        raise AssertionError

    async def cancelled() -> None:
        work = Own(call).execute({}, {}, idempotency_key="t:x", timeout=60)
        task = asyncio.create_task(work)
        while not kept:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    with pytest.raises(GivenUp):
        kept[0].send()


def test_a_thread_whose_caller_timed_out_does_not_send() -> None:
    """The caller was told that nothing happened, so nothing may happen afterwards."""
    told = threading.Event()
    results: list[str] = []

    def work(progress: Progress) -> None:
        assert told.wait(10)
        try:
            progress.send()
        except GivenUp:
            results.append("given up")
        else:
            results.append("sent")

    async def call(request: Request[Config]) -> Outcome:
        request.progress.prepare()
        thread = threading.Thread(target=work, args=(request.progress,))
        thread.start()
        threads.append(thread)
        await asyncio.Event().wait()
        raise AssertionError

    threads: list[threading.Thread] = []
    outcome = executed(call, timeout=0.01)
    assert outcome.applied is Applied.NO
    told.set()
    threads[0].join()
    assert results == ["given up"]


def test_passwords_do_not_show() -> None:
    participants = Participants(
        databases={"shop": "mysql://me:hidden@h/shop"}, rocketmq=RocketMQ("h:1", "me", "hidden")
    )
    assert "hidden" not in repr(participants)
