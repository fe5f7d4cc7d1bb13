"""A process that carries one batch and says on its output how far it is; a test kills it.

`python -m tests.integration.engine.engine_process LEDGER_URL WAREHOUSE_URL BATCH_ID`
"""

import sys
from typing import Any

from tests.integration.engine.bench import LEASE, Bench


def main(ledger_url: str, warehouse_url: str, batch_id: str) -> None:
    bench = Bench(ledger_url, databases={"warehouse": warehouse_url})
    batch = bench.ledger.batches.acquire(
        int(batch_id), run_id="the-killed", worker="the-killed", lease=LEASE
    )
    with bench.running(batch) as run:
        tell(run._writer, "start")
        tell(run._writer, "record")
        for task in run.flow.tasks:
            run.run_task(task.id)


def tell(writer: Any, name: str) -> None:
    """Say when a write of the engine begins, and how many attempts it has written."""
    write = getattr(writer, name)

    def telling(task: Any, attempts: Any) -> Any:
        say(name, "begins", task.id)
        written = write(task, attempts)
        say(name, "ended", task.id, str(len(written)))
        return written

    setattr(writer, name, telling)


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
