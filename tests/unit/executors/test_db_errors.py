"""Every database error has a meaning of its own."""

import sqlite3

import psycopg
import pymysql
import pytest
from sqlalchemy import exc

from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.db_errors import (
    MEANINGS,
    Contended,
    Refused,
    failure,
    meaning_of,
    message_of,
)

NOT_OF_OUR_STATEMENTS = {
    "AmbiguousColumnError",
    "AmbiguousForeignKeysError",
    "AwaitRequired",  # asynchronous engines
    "CircularDependencyError",  # ordering tables
    "ConstraintColumnNotFoundError",
    "DuplicateColumnError",  # of a table made by hand
    "EmulatedDBAPIException",
    "IllegalStateChangeError",  # the ORM's sessions
    "MissingGreenlet",
    "MultipleResultsFound",  # `one()` is not used
    "NoForeignKeysError",  # joins
    "NoInspectionAvailable",
    "NoReferenceError",
    "NoReferencedColumnError",
    "NoReferencedTableError",
    "NoResultFound",
    "NoSuchColumnError",
    "ObjectNotExecutableError",
    "UnboundExecutionError",
}


def of_sqlalchemy() -> list[type[BaseException]]:
    return [
        kind
        for name, kind in vars(exc).items()
        if isinstance(kind, type)
        and issubclass(kind, Exception)
        and not issubclass(kind, Warning)
        and kind.__module__ == exc.__name__
        and name not in NOT_OF_OUR_STATEMENTS
    ]


@pytest.mark.parametrize("kind", [*of_sqlalchemy(), Contended, OSError, ImportError, ValueError])
def test_the_error_stands_in_the_table(kind: type[BaseException]) -> None:
    assert kind in MEANINGS


def said(origin: Exception, *, lost: bool = False) -> exc.DBAPIError:
    """The error as SQLAlchemy raises it."""
    error = exc.DBAPIError.instance(
        "UPDATE stock SET held=:h", {"h": "secret"}, origin, pymysql.Error
    )
    for driver in (sqlite3.Error, psycopg.Error):
        if not isinstance(error, exc.DBAPIError):
            error = exc.DBAPIError.instance("UPDATE stock", {}, origin, driver)
    assert isinstance(error, exc.DBAPIError)
    error.connection_invalidated = lost
    return error


def sqlite_error(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = kind("said so")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_NAME"
    return error


OPERATIONAL, INTERNAL = pymysql.err.OperationalError, pymysql.err.InternalError


@pytest.mark.parametrize(
    ("origin", "type", "retryable"),
    [
        (pymysql.err.IntegrityError(1062, "duplicate"), "ConstraintViolation", False),
        (pymysql.err.DataError(1406, "too long"), "InvalidValue", False),
        (pymysql.err.ProgrammingError(1064, "syntax"), "InvalidStatement", False),
        (pymysql.err.NotSupportedError(1235, "not yet"), "InvalidStatement", False),
        (pymysql.err.InterfaceError(0, ""), "DatabaseUnavailable", True),
        (OPERATIONAL(1213, "deadlock"), "DatabaseUnavailable", True),
        (OPERATIONAL(1205, "lock wait timeout"), "DatabaseUnavailable", True),
        (INTERNAL(1205, "lock wait timeout"), "DatabaseUnavailable", True),
        (OPERATIONAL(2003, "cannot connect"), "DatabaseUnavailable", True),
        (OPERATIONAL(2013, "lost"), "DatabaseUnavailable", True),
        (OPERATIONAL(1040, "too many connections"), "DatabaseUnavailable", True),
        (OPERATIONAL(1290, "read only"), "DatabaseUnavailable", True),
        (OPERATIONAL(1045, "access denied"), "DatabaseError", False),
        (OPERATIONAL(1049, "unknown database"), "DatabaseError", False),
        (OPERATIONAL(3819, "check constraint"), "DatabaseError", False),
        (OPERATIONAL(4025, "check constraint"), "DatabaseError", False),
        (INTERNAL("no code"), "DatabaseError", False),
        (psycopg.errors.UniqueViolation("duplicate"), "ConstraintViolation", False),
        (psycopg.errors.NumericValueOutOfRange("too large"), "InvalidValue", False),
        (psycopg.errors.UndefinedTable("no table"), "InvalidStatement", False),
        (psycopg.errors.DeadlockDetected("deadlock"), "DatabaseUnavailable", True),
        (psycopg.errors.SerializationFailure("again"), "DatabaseUnavailable", True),
        (psycopg.errors.LockNotAvailable("lock timeout"), "DatabaseUnavailable", True),
        (psycopg.errors.QueryCanceled("statement timeout"), "DatabaseUnavailable", True),
        (psycopg.errors.AdminShutdown("terminated"), "DatabaseUnavailable", True),
        (psycopg.errors.TooManyConnections("too many"), "DatabaseUnavailable", True),
        (psycopg.errors.ReadOnlySqlTransaction("read only"), "DatabaseUnavailable", True),
        (psycopg.OperationalError("connection refused"), "DatabaseUnavailable", True),
        (psycopg.OperationalError("the connection is lost"), "DatabaseUnavailable", True),
        (psycopg.OperationalError("FATAL: password authentication failed"), "DatabaseError", False),
        (psycopg.OperationalError('FATAL: database "x" does not exist'), "DatabaseError", False),
        (psycopg.errors.InsufficientPrivilege("permission denied"), "InvalidStatement", False),
        (psycopg.InterfaceError("closed"), "DatabaseUnavailable", True),
        (sqlite_error(sqlite3.OperationalError, 5), "DatabaseUnavailable", True),
        (sqlite_error(sqlite3.OperationalError, 517), "DatabaseUnavailable", True),
        (sqlite_error(sqlite3.OperationalError, 6), "DatabaseUnavailable", True),
        (sqlite_error(sqlite3.OperationalError, 13), "DatabaseUnavailable", True),
        (sqlite_error(sqlite3.OperationalError, 14), "DatabaseUnavailable", True),
        (sqlite_error(sqlite3.OperationalError, 1), "DatabaseError", False),
        (sqlite_error(sqlite3.OperationalError, 8), "DatabaseError", False),
        (sqlite_error(sqlite3.DatabaseError, 11), "DatabaseError", False),
        (sqlite_error(sqlite3.IntegrityError, 2067), "ConstraintViolation", False),
    ],
)
def test_what_databases_say(origin: Exception, type: str, retryable: bool) -> None:
    meaning = meaning_of(said(origin))
    assert meaning is not None
    assert (meaning.type, meaning.retryable) == (type, retryable)


def test_a_lost_connection_passes_whatever_its_code() -> None:
    meaning = meaning_of(said(OPERATIONAL(1, "?"), lost=True))
    assert meaning is not None
    assert meaning.retryable


def test_a_failure_tells_the_code_and_not_the_statement() -> None:
    outcome = failure(said(pymysql.err.IntegrityError(1062, "duplicate 'x'")), Applied.MAYBE)
    assert outcome.error is not None
    assert (outcome.error.message, outcome.error.code) == ("duplicate 'x' (1062)", "1062")
    outcome = failure(said(psycopg.errors.UniqueViolation("duplicate 'x'")), Applied.NO)
    assert outcome.error is not None
    assert (outcome.error.message, outcome.error.code) == ("duplicate 'x'", "23505")
    outcome = failure(said(sqlite_error(sqlite3.IntegrityError, 19)), Applied.NO)
    assert outcome.error is not None
    assert (outcome.error.message, outcome.error.code) == ("said so", "SQLITE_NAME")


def test_only_what_may_pass_leaves_a_commit_in_doubt() -> None:
    lost = said(OPERATIONAL(2013, "lost"))
    assert failure(lost, Applied.MAYBE).applied is Applied.MAYBE
    assert failure(lost, Applied.NO).applied is Applied.NO
    denied = said(pymysql.err.IntegrityError(1452, "a deferred key"))
    assert failure(denied, Applied.MAYBE).applied is Applied.NO


def test_a_refusal_is_final() -> None:
    outcome = failure(Refused("RowCount", "found 0"), Applied.MAYBE)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("RowCount", "found 0")
    assert (outcome.retryable, outcome.applied) == (False, Applied.NO)


def test_a_bug_is_not_taken_for_the_databases_fault() -> None:
    error = KeyError("x")
    with pytest.raises(KeyError) as caught:
        failure(error, Applied.NO)
    assert caught.value is error


def test_an_error_without_words_has_its_name() -> None:
    assert message_of(OSError()) == "OSError"
