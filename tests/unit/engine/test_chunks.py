"""Many rows in few writes: chunks bounded in rows and bytes, refused rows found one by one."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.errors import LedgerUnavailable, RowRefused
from dist_task_pipelines.engine.chunks import CHUNK_BYTES, CHUNK_ROWS, chunks, write_all

Write = Callable[[Sequence[int]], None]


def refusing(bad: set[int], written: list[int], writes: list[int]) -> Write:
    """A table that refuses some rows, and with them their whole chunk."""

    def write(chunk: Sequence[int]) -> None:
        writes.append(len(chunk))
        if bad & set(chunk):
            raise RowRefused("no")
        written.extend(chunk)

    return write


def no_size(_item: int) -> int:
    return 0


@given(sizes=st.lists(st.integers(0, CHUNK_BYTES * 2), max_size=60))
def test_chunks_keep_the_order_and_their_bounds(sizes: list[int]) -> None:
    made = list(chunks(range(len(sizes)), lambda item: sizes[item]))
    assert [item for chunk in made for item in chunk] == list(range(len(sizes)))
    for chunk in made:
        assert chunk
        assert len(chunk) == 1 or sum(sizes[item] for item in chunk) <= CHUNK_BYTES


def test_a_chunk_is_bounded_in_rows() -> None:
    assert [len(chunk) for chunk in chunks(range(1001), no_size)] == [CHUNK_ROWS, CHUNK_ROWS, 1]


def test_what_fits_into_one_chunk_is_written_once() -> None:
    written: list[int] = []
    writes: list[int] = []
    assert write_all(refusing(set(), written, writes), range(300), lambda _: 1000) == []
    assert (written, writes) == (list(range(300)), [300])


def test_nothing_is_written_for_nothing() -> None:
    writes: list[int] = []
    assert write_all(refusing(set(), [], writes), [], no_size) == []
    assert writes == []


def test_one_refused_row_is_found_in_few_writes() -> None:
    written: list[int] = []
    writes: list[int] = []
    assert write_all(refusing({217}, written, writes), range(300), no_size) == [217]
    assert written == [number for number in range(300) if number != 217]
    assert len(writes) <= 2 * 9 + 1


@given(bad=st.sets(st.integers(0, 39)), count=st.integers(0, 40))
def test_the_refused_rows_are_given_and_all_others_written_once(bad: set[int], count: int) -> None:
    written: list[int] = []
    refused = write_all(refusing(bad, written, []), range(count), no_size)
    assert refused == sorted(each for each in bad if each < count)
    assert sorted(written + refused) == list(range(count))


def test_another_error_ends_the_writing() -> None:
    def write(chunk: Sequence[int]) -> None:
        raise LedgerUnavailable("away")

    with pytest.raises(LedgerUnavailable):
        write_all(write, range(3), no_size)
