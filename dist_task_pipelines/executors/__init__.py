"""Calling participants: one executor for each type of task.

An executor knows nothing of the ledger or of Dagster. It takes a task's resolved config,
its input and its idempotency key, and says what the call came to.
"""
