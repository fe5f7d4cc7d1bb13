"""Workers that change a database through the `db` executor and are killed around their COMMIT.

    python -m tests.integration.executors.killed_changes URL COUNT before|after

COUNT processes each insert one row into `notes` under a key of their own, and SIGKILL themselves
right before or right after the server has answered the COMMIT, so that nobody hears of it. Then
every key is tried once more, and what that came to is printed as JSON: how many were made then,
and how many had been made before.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors import Participants
from dist_task_pipelines.executors.db import DbExecutor


def main() -> None:
    """Kill, repeat, and tell."""
    url, count, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    changed(url, -1)  # the barrier table is there: the only COMMIT left is that of the change
    for number in range(count):
        child = os.fork()
        if child == 0:
            _die_at_commit(when)
            changed(url, number)
            os._exit(1)  # it should be dead
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, status
    told = Counter(_told(outcome) for outcome in changed(url, *range(count)))
    sys.stdout.write(json.dumps(told))


def changed(url: str, *numbers: int) -> list[Outcome]:
    """Make the changes with these numbers, each under its key."""
    executor = DbExecutor.connect(Participants(databases={"d": url}, ledger_uuid="ours"))

    async def make() -> list[Outcome]:
        outcomes = [
            await executor.execute(
                {
                    "database": "d",
                    "table": "notes",
                    "operation": "insert",
                    "data": {"line": str(number)},
                },
                {},
                idempotency_key=f"{number}:x",
                timeout=60,
            )
            for number in numbers
        ]
        await executor.close()
        return outcomes

    return asyncio.run(make())


def _die_at_commit(when: str) -> None:
    commit: Callable[..., None] = DefaultDialect.do_commit

    def dying(dialect: DefaultDialect, connection: Any) -> None:
        if when == "after":
            commit(dialect, connection)
        os.kill(os.getpid(), signal.SIGKILL)

    DefaultDialect.do_commit = dying  # type: ignore[method-assign]


def _told(outcome: Outcome) -> str:
    assert outcome.succeeded, outcome
    return "before" if outcome.details.get("repeated") else "now"


if __name__ == "__main__":
    main()
