"""Dagster's storage, trimmed: pooled connections, no reflection twice, events written together.

Subclasses of Dagster's own storages, which `dagster.yaml` names; what they store is what Dagster
would. Losing it loses history, never a transaction.
"""
