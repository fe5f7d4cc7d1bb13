"""Distributed-transaction observability on Dagster: define a flow once, run it for every order."""
