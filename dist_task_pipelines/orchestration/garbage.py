"""Garbage-collector settings for a process with a large permanent heap and short-lived objects.

Looking again and again through all that Dagster brings took a quarter of a worker's CPU. Looking
too seldom takes memory: Dagster makes a few classes for every run, and only the collector frees
those.
"""

import gc

ALLOCATIONS = 20_000  # of containers that outlive their making, between two looks at the young
LOOKS = 2  # at the young alone; the next takes in the older
OLDER_LOOKS = 5  # at the older, likewise; the next takes in the oldest


def tune_garbage_collector() -> None:
    """From now on the collector leaves alone what the process holds, and looks less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, LOOKS, OLDER_LOOKS)
