"""The executors by the type of task they execute: the built-in ones and third parties'.

A package adds a type through an entry point of the group `dist_task_pipelines.executors`,
whose name is the type and whose object is a subclass of `Executor`.
"""

import asyncio
import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Self

from dist_task_pipelines.domain.errors import Fault, InvalidConfiguration, InvalidInput
from dist_task_pipelines.executors.base import Executor, ExecutorConfig, Participants
from dist_task_pipelines.executors.db import DbExecutor
from dist_task_pipelines.executors.http import HttpExecutor
from dist_task_pipelines.executors.mq import MqExecutor
from dist_task_pipelines.executors.rpc import RpcExecutor

ENTRY_POINT_GROUP = "dist_task_pipelines.executors"

ExecutorType = type[Executor[Any]]

BUILT_IN: Mapping[str, ExecutorType] = {
    executor.task_type: executor for executor in (HttpExecutor, RpcExecutor, MqExecutor, DbExecutor)
}

_NO_PARTICIPANTS = Participants()


class Registry:
    """Executors by type of task; each is connected to its participants at its first use.

    A connected registry serves one event loop.
    """

    def __init__(
        self, types: Mapping[str, ExecutorType], participants: Participants = _NO_PARTICIPANTS
    ) -> None:
        self._types = dict(types)
        self._participants = participants
        self._connected: dict[str, Executor[Any]] = {}

    @classmethod
    def load(cls) -> Self:
        """The built-in types and those of the installed packages.

        Raises:
            InvalidConfiguration: an entry point is broken, or two want the same type; names
                every one.
        """
        return cls(_with_installed(entry_points(group=ENTRY_POINT_GROUP)))

    def config_models(self) -> dict[str, type[ExecutorConfig]]:
        """What a task's config must fit, by type."""
        return {name: executor.config_model for name, executor in self._types.items()}

    @property
    def secrets(self) -> frozenset[str]:
        """The participants' secrets, which nothing may repeat."""
        return self._participants.secrets

    def connect(self, participants: Participants) -> Self:
        """A registry of the same types for these participants."""
        return type(self)(self._types, participants)

    def get(self, task_type: str) -> Executor[Any]:
        """The executor of a type of task.

        Raises:
            InvalidInput: there is none, or it cannot be connected.
        """
        if task_type not in self._connected:
            self._connected[task_type] = self._new(task_type)
        return self._connected[task_type]

    async def close(self) -> None:
        """Close every executor that was used.

        Raises:
            ExceptionGroup: what went wrong; the others are closed all the same.
        """
        used, self._connected = self._connected, {}
        closing = (executor.close() for executor in used.values())
        results = await asyncio.gather(*closing, return_exceptions=True)
        if errors := [result for result in results if isinstance(result, Exception)]:
            raise ExceptionGroup("some executors could not be closed", errors)

    def _new(self, task_type: str) -> Executor[Any]:
        if task_type not in self._types:
            known = ", ".join(sorted(self._types))
            raise InvalidInput.at("type", f"nothing executes {task_type!r}; there are: {known}")
        try:
            return self._types[task_type].connect(self._participants)
        except Exception as error:  # a third party's, which must not take a batch down
            message = f"the executor of {task_type!r} cannot be connected: {error!r}"
            raise InvalidInput.at("type", message) from error


def _with_installed(points: Iterable[EntryPoint]) -> dict[str, ExecutorType]:
    types = dict(BUILT_IN)
    owners = dict.fromkeys(BUILT_IN, "the platform")
    faults: list[Fault] = []
    for point in points:
        if point.name in owners:
            problems = [f"{owners[point.name]} has the type {point.name!r} already"]
        else:
            owners[point.name] = _label(point)
            types[point.name], problems = _loaded(point)
        faults += [Fault(_label(point), problem) for problem in problems]
    if faults:
        raise InvalidConfiguration(faults)
    return types


def _loaded(point: EntryPoint) -> tuple[Any, list[str]]:
    try:
        executor = point.load()
    except Exception as error:  # importing a third party's module runs any code
        return None, [f"cannot be loaded: {error!r}"]
    return executor, list(_problems(executor, point.name))


def _problems(executor: object, name: str) -> Iterator[str]:
    if not (isinstance(executor, type) and issubclass(executor, Executor)):
        yield f"is {executor!r}, not a subclass of Executor"
        return
    if inspect.isabstract(executor):
        missing = ", ".join(sorted(executor.__abstractmethods__))
        yield f"{executor.__name__} does not define {missing}"
    if getattr(executor, "task_type", None) != name:
        yield f"{executor.__name__}.task_type must be {name!r}, the name of the entry point"
    model = getattr(executor, "config_model", None)
    if not (isinstance(model, type) and issubclass(model, ExecutorConfig)):
        yield f"{executor.__name__}.config_model must be a subclass of ExecutorConfig"


def _label(point: EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist else ""
    return f"entry point {point.name} = {point.value}{package}"
