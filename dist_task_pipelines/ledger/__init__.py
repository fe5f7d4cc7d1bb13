"""The ledger: the platform's own tables, and the only truth about transactions.

Each store is one concern, its contract in its docstrings. Every public operation is one
database transaction, but for `BatchStore.expire`, which is one for each batch. Imports `domain`
and SQLAlchemy; knows nothing of executors or Dagster.
"""

from dist_task_pipelines.ledger.ledger import Ledger

__all__ = ["Ledger"]
