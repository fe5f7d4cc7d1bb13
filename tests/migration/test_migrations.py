"""A migrated database is what the code says it is, whoever migrated it and however often."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from dist_task_pipelines.domain.errors import LedgerOutOfStep, LedgerUnavailable
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.ledger import Ledger, schema, tables
from dist_task_pipelines.ledger.database import Database
from dist_task_pipelines.ledger.records import FlowRecord


def never_built(record: FlowRecord) -> Flow:
    raise AssertionError(f"{record.id} is not needed here")


@pytest.fixture
def migrated(database: Database, migrations: Path) -> Database:
    schema.migrate(database, migrations)
    return database


def set_revision(database: Database, revision: str) -> None:
    """Pretend that the last migration applied was this one."""
    change = sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = :revision")
    database.write(lambda connection: connection.execute(change, {"revision": revision}))


def move(
    database: Database, migrations: Path, way: Callable[[Config, str], None], revision: str
) -> None:
    """Up- or downgrade to a revision."""
    config = Config()
    config.set_main_option("script_location", str(migrations))
    with database.alone() as connection:
        config.attributes["connection"] = connection
        way(config, revision)


def table_names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def created(database: Database) -> dict[str, list[str]]:
    """How the database itself would create each table and index, line by line, sorted."""
    with database.read() as connection:
        if database.is_mysql:
            shown = {
                name: connection.execute(sa.text(f"SHOW CREATE TABLE {name}")).all()[0][1]
                for name in table_names(database) - {schema.VERSION_TABLE}
            }
        else:
            rows = connection.execute(
                sa.text("SELECT name, sql FROM sqlite_master WHERE tbl_name != :versions"),
                {"versions": schema.VERSION_TABLE},
            )
            shown = {name: statement or "" for name, statement in rows}
    return {name: sorted(lines_of(statement)) for name, statement in shown.items()}


def lines_of(statement: str) -> list[str]:
    counted = re.sub(r" AUTO_INCREMENT=\d+", "", statement)
    # A table that SQLite had to make anew has its name in quotes.
    return [line.strip().rstrip(",").replace('"', "") for line in counted.splitlines()]


def test_migrated_is_what_the_tables_say(migrated: Database) -> None:
    with migrated.read() as connection:
        options = {"compare_type": True, "version_table": schema.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_migrated_is_the_same_as_created_down_to_collations(
    migrated: Database,
) -> None:
    """What Alembic does not compare: collations, precision, the order of an index's columns."""
    by_migrations = created(migrated)
    with migrated.engine.connect() as connection:
        tables.metadata.drop_all(connection)
        tables.metadata.create_all(connection)
        connection.commit()
    assert by_migrations == created(migrated)


def test_the_code_needs_the_newest_migration(migrations: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.REVISION]


def test_migrating_again_changes_nothing(migrated: Database, url: str, migrations: Path) -> None:
    before = created(migrated), Ledger(url, never_built)
    schema.migrate(migrated, migrations)
    after = created(migrated), Ledger(url, never_built)
    assert after[0] == before[0]
    assert after[1].uuid == before[1].uuid
    for ledger in (before[1], after[1]):
        ledger.close()


def test_each_ledger_has_an_identity_of_its_own(
    migrated: Database, tmp_path: Path, migrations: Path, url: str
) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    other = Database(other_url)
    schema.migrate(other, migrations)
    other.dispose()
    ledgers = Ledger(url, never_built), Ledger(other_url, never_built)
    assert ledgers[0].uuid != ledgers[1].uuid
    for ledger in ledgers:
        ledger.close()


def test_migrators_at_once_take_turns(url: str, migrations: Path) -> None:
    barrier = Barrier(4)

    def migrate() -> None:
        database = Database(url)
        barrier.wait()
        try:
            schema.migrate(database, migrations)
        finally:
            database.dispose()

    with ThreadPoolExecutor(4) as pool:
        for migrating in [pool.submit(migrate) for _ in range(4)]:
            migrating.result()
    ledger = Ledger(url, never_built)
    with ledger.database.read() as connection:
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM ledger_identity")) == 1
    ledger.close()


def test_a_downgrade_leaves_nothing_and_can_be_taken_back(
    migrated: Database, migrations: Path, url: str
) -> None:
    before = created(migrated)
    move(migrated, migrations, command.downgrade, "base")
    assert table_names(migrated) == {schema.VERSION_TABLE}
    with pytest.raises(LedgerOutOfStep, match="not migrated yet"):
        Ledger(url, never_built)
    schema.migrate(migrated, migrations)
    assert created(migrated) == before


def test_what_was_counted_by_the_minute_is_counted_by_day_and_for_all_time(
    database: Database, migrations: Path
) -> None:
    move(database, migrations, command.upgrade, "0001")
    counted = [("2030-01-31 23:59:00", 2), ("2030-02-01 00:00:00", 3), ("2030-02-01 09:30:00", 4)]
    insert = sa.text("INSERT INTO flow_stats VALUES ('shop_v1', :minute, 'success', :total)")
    rows = [{"minute": minute, "total": total} for minute, total in counted]
    database.write(lambda connection: connection.execute(insert, rows))
    schema.migrate(database, migrations)
    with database.read() as connection:
        found = connection.execute(sa.select(tables.flow_totals)).all()
    totals = {(row.period, row.flow_id, row.task_id, row.measure): row.total for row in found}
    assert totals == {
        ("2030-01-31", "shop_v1", "", "success"): 2,
        ("2030-02-01", "shop_v1", "", "success"): 7,
        ("all", "shop_v1", "", "success"): 9,
    }


def test_an_exception_whose_task_succeeded_is_closed(
    database: Database, migrations: Path, url: str
) -> None:
    move(database, migrations, command.upgrade, "0005")
    task = {"name": "n", "type": "http", "attempts": 1, "max_retry": 3, "handled": False}
    exception = {
        **dict.fromkeys(["flow_id", "task_name", "error_type", "error_code"], "x"),
        **dict.fromkeys(["message", "stack", "fingerprint"], "x"),
        **dict.fromkeys(["retry_times", "retry_max", "retry_interval"], 0),
        "retry_strategy": "manual",
        "handled": False,
        "is_open": True,
        "occurred_at": datetime(2030, 1, 1, tzinfo=UTC),
        "task_id": "deduct",
    }

    def write(connection: sa.Connection) -> None:
        for seq, status in enumerate(("success", "failed", "skipped"), 1):
            row = {**task, "seq": seq, "task_id": "deduct", "status": status}
            connection.execute(sa.insert(tables.task), {**row, "idempotency_key": "k"})
            connection.execute(sa.insert(tables.exception), {**exception, "seq": seq})

    database.write(write)
    schema.migrate(database, migrations)
    with database.read() as connection:
        found = connection.execute(sa.select(tables.exception).order_by("seq")).all()
    assert [(row.is_open, row.handled, row.handled_by) for row in found] == [
        (None, True, "system"),
        (True, False, None),
        (True, False, None),
    ]


def test_a_database_that_others_use_too_keeps_what_is_theirs(
    database: Database, migrations: Path, url: str
) -> None:
    def theirs(connection: sa.Connection) -> None:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('d34db33f')"))

    database.write(theirs)
    schema.migrate(database, migrations)
    Ledger(url, never_built).close()
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "d34db33f"


def test_an_unmigrated_database_is_refused(database: Database, url: str) -> None:
    with pytest.raises(LedgerOutOfStep) as caught:
        Ledger(url, never_built)
    assert str(caught.value) == (
        f"the ledger {database.display_url} is not migrated yet, this version needs "
        f"{schema.REVISION}; run `dist-task migrate`"
    )
    assert table_names(database) == set(), "looking changes nothing"


def test_a_database_behind_is_refused_until_it_is_migrated(migrated: Database, url: str) -> None:
    set_revision(migrated, "0000")
    with pytest.raises(LedgerOutOfStep) as caught:
        Ledger(url, never_built)
    assert str(caught.value) == (
        f"the ledger {migrated.display_url} is at revision 0000, this version needs "
        f"{schema.REVISION}; run `dist-task migrate`"
    )


def test_a_database_ahead_is_refused_and_not_touched(
    migrated: Database, url: str, migrations: Path
) -> None:
    set_revision(migrated, "9999")
    attempts: list[Callable[[], object]] = [
        lambda: Ledger(url, never_built),
        lambda: schema.migrate(migrated, migrations),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerOutOfStep) as caught:
            attempt()
        assert str(caught.value) == (
            f"the ledger {migrated.display_url} is at revision 9999, this version of the "
            f"platform knows {schema.REVISION} and nothing newer; upgrade dist-task-pipelines"
        )
    assert schema.revision(migrated) == "9999"


UNREACHABLE = {
    "sqlite": "sqlite:////nowhere/at/all/ledger.db",
    "mysql": "mysql+pymysql://user:secret@127.0.0.1:1/ledger",
}


@pytest.mark.parametrize("unreachable", UNREACHABLE.values(), ids=UNREACHABLE)
def test_an_unreachable_database_is_unavailable(unreachable: str, migrations: Path) -> None:
    database = Database(unreachable)
    attempts: list[Callable[[], object]] = [
        lambda: Ledger(unreachable, never_built),
        lambda: schema.check(database),
        lambda: schema.migrate(database, migrations),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerUnavailable) as caught:
            attempt()
        message = str(caught.value)
        assert not isinstance(caught.value, LedgerOutOfStep)
        assert "check that it is running and that `database.url` is right" in message
        assert "secret" not in message
        assert database.display_url in message
    database.dispose()


def test_a_password_is_hidden_where_a_migration_is_asked_for(mysql_database: str) -> None:
    server = sa.make_url(mysql_database)
    user, password = "migrating", "not-to-be-seen"
    admin = Database(mysql_database)
    admin.write(
        lambda connection: [
            connection.execute(sa.text(f"CREATE USER {user} IDENTIFIED BY '{password}'")),
            connection.execute(sa.text(f"GRANT ALL ON {server.database}.* TO {user}")),
        ]
    )
    url = server.set(username=user, password=password)
    try:
        with pytest.raises(LedgerOutOfStep) as caught:
            Ledger(url.render_as_string(hide_password=False), never_built)
    finally:
        admin.write(lambda connection: connection.execute(sa.text(f"DROP USER {user}")))
        admin.dispose()
    assert f"//{user}:***@" in str(caught.value)
    assert password not in str(caught.value)
