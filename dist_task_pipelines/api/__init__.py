"""REST over the ledger: FastAPI routes, the envelope, one table of errors.

Knows the ledger, the settings and how transactions are accepted; nothing of Dagster.
"""

from dist_task_pipelines.api.app import create_app

__all__ = ["create_app"]
