"""Column types that make every database behave alike."""

import json as stdlib_json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Row, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from dist_task_pipelines.domain import json

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

TEXT_LIMIT = 8000  # characters kept of a message or stack
LARGEST_KEY = 2**63 - 1


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time with microseconds, kept as a naive UTC DATETIME(6)."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """DATETIME(6) on MySQL, which keeps whole seconds otherwise."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def bind_processor(self, dialect: Dialect) -> Any:
        """The rows of a write share their times, so each is written out once."""
        process = super().bind_processor(dialect)
        return process and lru_cache(maxsize=64)(process)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the ledger keeps UTC")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back."""
        return None if value is None else value.replace(tzinfo=UTC)


class Encoded(str):
    """A JSON value that somebody has written as text already."""

    __slots__ = ()


class Json(TypeDecorator[Any]):
    """A JSON value kept as ASCII text: key order, big integers and lone surrogates survive."""

    impl = Text().with_variant(
        mysql.LONGTEXT(charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Absent stays NULL; JSON's own null is not kept apart from it."""
        if isinstance(value, Encoded):
            return str(value)
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The value as it went in; it was checked then."""
        return None if value is None else stdlib_json.loads(value)


class Words(TypeDecorator[str]):
    """Text for people: bounded, with whatever a database cannot keep written as escapes."""

    impl = Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4"), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape lone surrogates and NULs; cut at TEXT_LIMIT and say so."""
        if value is None:
            return None
        text = storable(value)
        if len(text) <= TEXT_LIMIT:
            return text
        return f"{text[:TEXT_LIMIT]}... ({len(text) - TEXT_LIMIT} characters more)"


class Identifier(TypeDecorator[str]):
    """Text compared by code point on every database, blanks at the end included."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The binary collation that does not pad with blanks, as each server calls it."""
        if dialect.name not in ("mysql", "mariadb"):
            return dialect.type_descriptor(String(self.length))
        is_mariadb = getattr(dialect, "is_mariadb", False)
        collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
        varchar = mysql.VARCHAR(self.length, charset="utf8mb4", collation=collation)
        return dialect.type_descriptor(varchar)


class Label(Identifier):
    """A short name from outside, such as an error's type: one that is too long is cut."""

    cache_ok = True

    def __init__(self, length: int = 100) -> None:
        super().__init__(length)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Cut to length, the cut shown by an ellipsis."""
        if value is None:
            return None
        text = storable(value)
        return text if len(text) <= self.length else f"{text[: self.length - 3]}..."


def is_key(number: int) -> bool:
    """Whether a row may have that key."""
    return 0 < number <= LARGEST_KEY


def is_storable(text: str) -> bool:
    """Whether a database can keep the text as it is; what it cannot keep, it cannot hold."""
    return storable(text) == text


def storable(text: str) -> str:
    """The text with what a database cannot keep (lone surrogates, NULs) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def ascii_word(length: int) -> String:
    """A short ASCII word: a status, a hash, a revision."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


BigKey = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys itself
