"""What a database error means: worth repeating or final, and whether the change took effect.

Knows SQLAlchemy's errors and the codes of MySQL, MariaDB, PostgreSQL and SQLite; a database
it does not know is judged by SQLAlchemy's classes alone.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exc

from dist_task_pipelines.domain.errors import by_class
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied


class Refused(Exception):
    """The operation cannot be done, now or later; `type` is its class of causes."""

    def __init__(self, type: str, message: str) -> None:
        self.type = type
        super().__init__(message)


class Contended(Exception):
    """Another call with the same key was under way and went back."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error means. `retryable` None: the database's own code decides."""

    type: str
    retryable: bool | None


_CONSTRAINT = Meaning("ConstraintViolation", retryable=False)
_BAD_DATA = Meaning("InvalidValue", retryable=False)
_BAD_STATEMENT = Meaning("InvalidStatement", retryable=False)
_BAD_SETUP = Meaning("InvalidConfig", retryable=False)
_BY_CODE = Meaning("DatabaseError", retryable=None)
_UNAVAILABLE = Meaning("DatabaseUnavailable", retryable=True)

# The most specific class decides.
MEANINGS: Mapping[type[BaseException], Meaning] = {
    # what the database says, by its driver
    exc.IntegrityError: _CONSTRAINT,
    exc.DataError: _BAD_DATA,
    exc.ProgrammingError: _BAD_STATEMENT,
    exc.NotSupportedError: _BAD_STATEMENT,
    exc.OperationalError: _BY_CODE,
    exc.InternalError: _BY_CODE,
    exc.DatabaseError: _BY_CODE,
    exc.DBAPIError: _BY_CODE,
    exc.InterfaceError: _UNAVAILABLE,
    # others, and connections
    Contended: Meaning("Contended", retryable=True),
    exc.TimeoutError: _UNAVAILABLE,
    exc.DisconnectionError: _UNAVAILABLE,
    exc.InvalidatePoolError: _UNAVAILABLE,
    exc.PendingRollbackError: _UNAVAILABLE,
    exc.ResourceClosedError: _UNAVAILABLE,
    OSError: _UNAVAILABLE,
    # the configured URL
    exc.ArgumentError: _BAD_SETUP,
    exc.NoSuchModuleError: _BAD_SETUP,
    exc.NoDBAPILoaded: _BAD_SETUP,
    ImportError: _BAD_SETUP,
    # the statement or its values
    exc.StatementError: _BAD_DATA,
    exc.NoSuchTableError: _BAD_STATEMENT,
    exc.UnreflectableTableError: _BAD_STATEMENT,
    exc.CompileError: _BAD_STATEMENT,
    exc.UnsupportedCompilationError: _BAD_STATEMENT,
    exc.IdentifierError: _BAD_STATEMENT,
    exc.InvalidRequestError: _BAD_STATEMENT,
    exc.SQLAlchemyError: _BAD_STATEMENT,
    ValueError: _BAD_DATA,  # a driver's: a lone surrogate, a date SQLite holds as some text
    OverflowError: _BAD_DATA,
}

# MySQL and MariaDB: server errors that pass, and with them nothing of the transaction stays.
PASSING_MYSQL = frozenset(
    {
        1020,  # record has changed since last read (MariaDB's snapshot isolation)
        1021,  # disk full
        1040,  # too many connections
        1041,  # out of memory
        1053,  # server shutdown in progress
        1152,  # aborted connection
        1158,  # network errors, to
        1159,
        1160,
        1161,
        1203,  # too many connections of this user
        1205,  # lock wait timeout
        1206,  # lock table full
        1213,  # deadlock
        1290,  # read-only: a failover is under way
        1297,  # temporary error
        1317,  # query interrupted
        1614,  # transaction branch rolled back: deadlock
        1792,  # read-only transaction: a failover is under way
        1836,  # read-only mode: a failover is under way
        1927,  # connection killed
        3024,  # statement took too long
        3572,  # lock not available at once
        4031,  # disconnected after having been idle
    }
)
_MYSQL_CLIENT = range(2000, 3000)  # the client's own errors: no connection, or a lost one

PASSING_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_SCHEMA,
    }
)

# PostgreSQL: SQLSTATEs that pass, whole classes by their two letters.
PASSING_POSTGRESQL = frozenset(
    {
        "08",  # connection
        "25006",  # read-only transaction: a failover is under way
        "40",  # rolled back: deadlock, serialization failure
        "53",  # no memory, disk full, too many connections
        "55006",  # object in use
        "55P03",  # lock not available in time
        "57014",  # statement took too long, or was cancelled
        "57P",  # server shutdown or start, idle too long
        "58",  # input or output error of the system
    }
)
# Why a connection was refused for good; psycopg has no SQLSTATE for these.
_NO_LOGIN = ("authentication failed", "no pg_hba.conf entry", "does not exist", "permission denied")


def meaning_of(error: BaseException) -> Meaning | None:
    """What the error means, None when no one foresaw it."""
    meaning = by_class(MEANINGS, error)
    if meaning and meaning.retryable is None:
        return _UNAVAILABLE if _passes(error) else Meaning(meaning.type, retryable=False)
    return meaning


def failure(error: Exception, applied: Applied) -> Outcome:
    """The outcome of a call that ended with this error; `applied` as far as the call got.

    Only a lost connection leaves a commit in doubt: a final error is the database's own
    word that it did not take place.

    Raises:
        Exception: the error itself, when no one foresaw it.
    """
    if isinstance(error, Refused):
        return Outcome.failure(error.type, str(error), retryable=False, applied=Applied.NO)
    meaning = meaning_of(error)
    if meaning is None:
        raise error
    return Outcome.failure(
        meaning.type,
        message_of(error),
        code=_code(error),
        retryable=bool(meaning.retryable),
        applied=applied if meaning.retryable else Applied.NO,
    )


def message_of(error: BaseException) -> str:
    """What the database said, without the statement and its values."""
    origin = getattr(error, "orig", None) or error
    arguments = origin.args
    if len(arguments) == 2 and isinstance(arguments[0], int):  # MySQL: code, text
        return f"{arguments[1] or type(origin).__name__} ({arguments[0]})"
    return str(arguments[0] if arguments else "") or type(origin).__name__


def _passes(error: BaseException) -> bool:
    if getattr(error, "connection_invalidated", False):
        return True
    origin = getattr(error, "orig", None)
    if isinstance(origin, sqlite3.Error):
        return getattr(origin, "sqlite_errorcode", 0) & 0xFF in PASSING_SQLITE
    number = _mysql_number(origin)
    if number is not None:
        return number in PASSING_MYSQL or number in _MYSQL_CLIENT
    return type(origin).__module__.startswith("psycopg") and _passes_postgresql(origin)


def _passes_postgresql(origin: Any) -> bool:
    if origin.sqlstate is None:  # there is no connection
        return not any(text in str(origin) for text in _NO_LOGIN)
    return any(origin.sqlstate.startswith(passing) for passing in PASSING_POSTGRESQL)


def _code(error: BaseException) -> str:
    origin = getattr(error, "orig", None)
    if isinstance(origin, sqlite3.Error):
        return str(getattr(origin, "sqlite_errorname", ""))
    number = _mysql_number(origin)
    return str(getattr(origin, "sqlstate", None) or "" if number is None else number)


def _mysql_number(origin: BaseException | None) -> int | None:
    number = origin.args[0] if origin is not None and origin.args else None
    return number if isinstance(number, int) else None
