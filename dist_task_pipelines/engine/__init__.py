"""The engine: accepts transactions and runs a batch of them, task by task.

Knows the ledger, the executors and the flows; knows nothing of Dagster, whose ops are a thin
layer over `BatchRun`.
"""
