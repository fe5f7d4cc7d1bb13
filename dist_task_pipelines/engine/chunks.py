"""Writing many rows in few database transactions, without one row harming the others.

Knows nothing of what is written.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from dist_task_pipelines.domain.errors import RowRefused

CHUNK_ROWS = 500  # in one database transaction
CHUNK_BYTES = 2_000_000  # of requests or outputs in one database transaction

T = TypeVar("T")


def write_all(
    write: Callable[[Sequence[T]], None], items: Iterable[T], size: Callable[[T], int]
) -> list[T]:
    """Write the items in chunks; a refused chunk is halved until the rows at fault stand alone.

    Args:
        write: writes one chunk, whole or not at all.
        size: of an item, in bytes.

    Returns:
        the items that the database refuses.
    """
    refused: list[T] = []
    for chunk in chunks(items, size):
        refused += _write_narrowed(write, chunk)
    return refused


def chunks(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in runs of at most CHUNK_ROWS and CHUNK_BYTES; a larger one stands alone."""
    chunk: list[T] = []
    total = 0
    for item in items:
        total += (bytes_ := size(item))
        if chunk and (len(chunk) == CHUNK_ROWS or total > CHUNK_BYTES):
            yield chunk
            chunk, total = [], bytes_
        chunk.append(item)
    if chunk:
        yield chunk


def _write_narrowed(write: Callable[[Sequence[T]], None], items: Sequence[T]) -> list[T]:
    try:
        write(items)
    except RowRefused:
        if len(items) == 1:
            return list(items)
        middle = len(items) // 2
        return _write_narrowed(write, items[:middle]) + _write_narrowed(write, items[middle:])
    return []
