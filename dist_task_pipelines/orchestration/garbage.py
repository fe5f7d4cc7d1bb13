"""Python's garbage collector in a process that holds much for long and makes much for a moment.

Looking again and again through all that Dagster brings took a quarter of a worker's CPU.
"""

import gc

ALLOCATIONS = 50_000  # of containers that outlive their making, between two looks at the young
LOOKS = 5  # at the young for one at the older, and so on


def spare_what_is_there() -> None:
    """From now on the collector leaves alone what the process holds, and looks less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, LOOKS, LOOKS)
