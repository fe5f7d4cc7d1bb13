"""The ledger as jobs, ticks and runs hold it: one for all where the process keeps things open."""

from contextlib import AbstractContextManager, closing

from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.keeping import kept
from dist_task_pipelines.settings import Settings


def shared_ledger(settings: Settings) -> AbstractContextManager[Ledger]:
    """The ledger, closed after this use or kept open.

    Raises:
        LedgerUnavailable: on entering, it cannot be opened.
    """
    return kept("ledger", lambda: closing(open_ledger(settings)))
