"""Lists of many rows: newest first, by key, their totals counted up to a cap.

Every query here reads an index in its order and stops early. Where a filter's index has
another column before the key, the query is a union over that column's few values, so that
nothing is ever sorted.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.ledger import tables

Condition = ColumnElement[bool]

CLOCK_SLACK = timedelta(minutes=15)  # keys and times of rows may disagree by so much

_transaction = tables.transaction.c


def newest_keys(
    connection: Connection,
    key: sa.Column[int],
    variants: Sequence[Sequence[Condition]],
    *,
    before: int | None,
    offset: int,
    limit: int,
) -> list[int]:
    """The keys of the newest rows that meet one of the variants, of which no row meets two.

    Args:
        before: only keys below this one.
        offset: how many of the rows to leave out first.
        limit: how many to give at the most.
    """
    below = [] if before is None else [key < before]
    parts = [
        sa.select(key.label("key"))
        .where(*variant, *below)
        .order_by(key.desc())
        .limit(offset + limit)
        .subquery()
        for variant in variants
    ]
    union = sa.union_all(*(sa.select(part.c.key) for part in parts)).subquery()
    query = sa.select(union.c.key).order_by(union.c.key.desc()).limit(limit).offset(offset)
    return list(connection.scalars(query))


def count(
    connection: Connection,
    key: sa.Column[Any],
    variants: Sequence[Sequence[Condition]],
    most: int,
) -> CappedCount:
    """How many rows meet any of the variants, counted up to `most`."""
    number = 0
    for variant in variants:
        found = sa.select(key).where(*variant).limit(most + 1 - number).subquery()
        number += connection.scalar(sa.select(sa.func.count()).select_from(found)) or 0
        if number > most:
            return CappedCount(most, is_capped=True)
    return CappedCount(number)


def created_within(
    connection: Connection, since: datetime | None, until: datetime | None
) -> list[Condition]:
    """The condition that a transaction was created in that time, `until` not included.

    Keys follow time but for some slack, so two bounds on the key spare reading what lies
    outside; they are found by bisection, which needs no index on the time.
    """
    conditions: list[Condition] = []
    if since is not None:
        first = _first_key_at(connection, since - CLOCK_SLACK)
        conditions += [_transaction.created_at >= since, _transaction.seq >= first]
    if until is not None:
        first = _first_key_at(connection, until + CLOCK_SLACK)
        conditions += [_transaction.created_at < until, _transaction.seq < first]
    return conditions


def _first_key_at(connection: Connection, moment: datetime) -> int:
    """The first key created at or after the moment, or one behind the last."""
    low, high = _ends(connection)
    while low < high:
        middle = (low + high) // 2
        query = sa.select(_transaction.seq, _transaction.created_at).where(
            _transaction.seq >= middle
        )
        row = connection.execute(query.order_by(_transaction.seq).limit(1)).one()
        if row.created_at < moment:
            low = row.seq + 1
        else:
            high = middle
    return low


def _ends(connection: Connection) -> tuple[int, int]:
    """The first key and the one behind the last."""
    lowest, highest = (
        connection.scalar(sa.select(_transaction.seq).order_by(order).limit(1))
        for order in (_transaction.seq, _transaction.seq.desc())
    )
    return (lowest or 0, highest + 1 if highest else 0)
