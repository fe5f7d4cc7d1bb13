"""How the platform does, as `/health` tells it."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

from dist_task_pipelines.api.platform import Platform
from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.schemas import HealthReport, PartHealth, WorkersHealth

PATIENCE = 5.0  # seconds for one part
VERSION = version("dist-task-pipelines")

Part = TypeVar("Part", bound=PartHealth)


async def report(platform: Platform) -> HealthReport:
    """The state of each part, none of them waited for longer than PATIENCE."""
    database, workers, daemon = await asyncio.gather(
        _look(platform, lambda: _database(platform), PartHealth),
        _look(platform, lambda: _workers(platform), WorkersHealth),
        _look(platform, platform.daemon, PartHealth),
    )
    well = database.ok and workers.ok and daemon.ok
    status = "ok" if well else "degraded" if database.ok else "unavailable"
    return HealthReport(
        status=status, version=VERSION, database=database, workers=workers, daemon=daemon
    )


async def _look(platform: Platform, look: Callable[[], Part], part: type[Part]) -> Part:
    try:
        async with asyncio.timeout(PATIENCE):
            return await platform.run(look)
    except DistTaskError as error:
        return part(ok=False, message=str(error))
    except TimeoutError:
        return part(ok=False, message=f"no answer within {PATIENCE:g} s")


def _database(platform: Platform) -> PartHealth:
    platform.ledger.monitoring.check_writable()
    return PartHealth(ok=True, message=platform.ledger.database.display_url)


def _workers(platform: Platform) -> WorkersHealth:
    alive = len(platform.ledger.workers.alive())
    work = platform.ledger.monitoring.in_flight()
    troubles = {
        "no worker is there; `dist-task worker` starts one": not alive,
        f"{work.lost} runs lost their lease and wait to be handed back": work.lost,
    }
    present = [message for message, is_so in troubles.items() if is_so]
    return WorkersHealth(
        ok=not present,
        message="; ".join(present),
        alive=alive,
        runs_in_flight=work.running + work.waiting,
        expired_leases=work.lost,
    )
