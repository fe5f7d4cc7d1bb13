"""The warehouse: an SQLite database with stock, and reservations that take from it.

The platform's db tasks insert reservations; a trigger keeps the stock.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

STOCK = 100  # of each article at first

# No key on reservations on purpose: should one be made twice, the books must show it.
TABLES = """
CREATE TABLE stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL);
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, sku TEXT NOT NULL, quantity INTEGER NOT NULL
);
CREATE TRIGGER reserved AFTER INSERT ON reservations BEGIN
    UPDATE stock SET available = available - NEW.quantity WHERE sku = NEW.sku;
END;
"""


def create(file: Path, articles: Sequence[str]) -> None:
    """Make the database, with the articles in stock."""
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript(TABLES)
        rows = [(sku, STOCK) for sku in articles]
        database.executemany("INSERT INTO stock VALUES (?, ?)", rows)


def reservations(file: Path) -> dict[str, int]:
    """How many reservations there are for each order."""
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT order_id, COUNT(*) FROM reservations GROUP BY order_id"
        return dict(database.execute(query).fetchall())


def taken(file: Path) -> int:
    """How many articles are gone from the stock."""
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT SUM(? - available) FROM stock"
        (count,) = database.execute(query, [STOCK]).fetchone()
        return int(count)
