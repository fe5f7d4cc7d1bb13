"""Dagster: flows as jobs, batches as runs, and the processes that carry them.

The only package of the library that imports Dagster; the application's `definitions.py`,
`resources/` and `sensors/` wire what is here.
"""
