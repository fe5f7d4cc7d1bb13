"""Alembic's entry: applies the ledger's migrations over the connection it is handed.

`dist-task migrate` is the way in; see dist_task_pipelines/ledger/schema.py.
"""

from alembic import context

from dist_task_pipelines.ledger.schema import VERSION_TABLE
from dist_task_pipelines.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=False,
)
with context.begin_transaction():
    context.run_migrations()
