"""What the routes work with: the ledger on threads of its own, the settings, the hooks."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fastapi import Request

from dist_task_pipelines.api.submitting import SubmitQueue
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.schemas import PartHealth
from dist_task_pipelines.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

LEDGER_THREADS = 8

Probe = Callable[[], PartHealth]


def nobody_to_tell() -> None:
    """The hook where nothing waits for accepted work."""


def always_well() -> PartHealth:
    """The probe of a part that is not there."""
    return PartHealth(ok=True, message="not watched from here")


class Platform:
    """One server's hold on the platform.

    Args:
        on_accepted: called, on any thread, after a commit that made work due.
        daemon: tells how Dagster's daemon does.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        *,
        on_accepted: Callable[[], None] = nobody_to_tell,
        daemon: Probe = always_well,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.registry = Registry.load()
        self.on_accepted = on_accepted
        self.daemon = daemon
        self.submits = SubmitQueue(ledger, settings.limits.max_params_bytes, on_accepted)
        self._threads = ThreadPoolExecutor(LEDGER_THREADS, thread_name_prefix="ledger")

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do blocking work on a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(work, *args, **kwargs))

    def close(self) -> None:
        """Wait for the work under way; the ledger stays open, as it is the caller's."""
        self.submits.close()
        self._threads.shutdown()


async def platform_of(request: Request) -> Platform:
    """The platform behind this request."""
    platform: Platform = request.app.state.platform
    return platform
