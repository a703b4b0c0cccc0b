from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migrations import runner
from migrations.runner import MigrationFailed, load_migrations, migrate, require_current, status
from telemetry.connections import connect
from telemetry.errors import SchemaOutOfDate, StoreUnavailable

SCHEMA = Path(runner.__file__).with_name("schema.sql")

#: Everything that makes a schema, as sortable lines. Names of partitions and of what belongs to them included.
CATALOG = """
select 'column', c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '') || concat(a.attidentity, a.attgenerated, a.attstorage)
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = 'public'::regnamespace
union all
select 'relation', c.relname, c.relkind::text, coalesce(pg_get_partkeydef(c.oid), ''),
       coalesce(pg_get_expr(c.relpartbound, c.oid), ''), coalesce(array_to_string(c.reloptions, ','), ''), ''
from pg_class c where c.relnamespace = 'public'::regnamespace
union all
select 'constraint', coalesce(c.conrelid::regclass::text, ''), c.conname, pg_get_constraintdef(c.oid), '', '', ''
from pg_constraint c where c.connamespace = 'public'::regnamespace
union all
select 'index', tablename, indexname, indexdef, '', '', '' from pg_indexes where schemaname = 'public'
union all
select 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', '', '' from pg_trigger
where not tgisinternal
union all
select 'function', proname, pg_get_functiondef(oid), '', '', '', '' from pg_proc
where pronamespace = 'public'::regnamespace and prokind in ('f', 'p')
union all
select 'view', viewname, definition, '', '', '', '' from pg_views where schemaname = 'public'
union all
select 'type', typname, typtype::text, coalesce(format_type(typbasetype, typtypmod), ''), '', '', '' from pg_type
where typnamespace = 'public'::regnamespace
order by 1, 2, 3, 4, 5, 6, 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small migrations."""
    (tmp_path / "0001_create_notes.sql").write_text("create table notes (id bigint primary key);", encoding="utf-8")
    (tmp_path / "0002_add_titles.sql").write_text(
        "alter table notes add title text;\ninsert into notes values (1, 'one');", encoding="utf-8"
    )
    return tmp_path


def states(url: str, folder: Path) -> dict[str, str]:
    return {item.name: item.state for item in status(url, folder=folder)}


def rows(url: str, query: str) -> list[Any]:
    with connect(url, name="test") as connection:
        return connection.execute(query).fetchall()


def test_migrations_apply_once_in_order(empty_database_url: str, folder: Path) -> None:
    assert states(empty_database_url, folder) == {"0001_create_notes": "pending", "0002_add_titles": "pending"}

    assert migrate(empty_database_url, folder=folder) == ["0001_create_notes", "0002_add_titles"]
    assert migrate(empty_database_url, folder=folder) == []

    assert states(empty_database_url, folder) == {"0001_create_notes": "applied", "0002_add_titles": "applied"}
    assert all(item.applied_at is not None for item in status(empty_database_url, folder=folder))
    assert rows(empty_database_url, "select * from notes") == [(1, "one")]
    require_current(empty_database_url, folder=folder)


def test_four_starts_at_once_apply_each_migration_once(empty_database_url: str, folder: Path) -> None:
    together = threading.Barrier(4)

    def start(_number: int) -> list[str]:
        together.wait()
        return migrate(empty_database_url, folder=folder)

    with ThreadPoolExecutor(4) as starts:
        applied = sorted(starts.map(start, range(4)), key=len)

    assert applied == [[], [], [], ["0001_create_notes", "0002_add_titles"]]
    assert rows(empty_database_url, "select count(*) from notes") == [(1,)]


def test_a_start_waits_for_the_one_that_migrates(empty_database_url: str, folder: Path) -> None:
    with connect(empty_database_url, name="first", autocommit=True) as first, ThreadPoolExecutor(1) as pool:
        first.execute("select pg_advisory_lock(%s)", (runner._LOCK_KEY,))
        second = pool.submit(migrate, empty_database_url, folder=folder)
        while rows(empty_database_url, "select count(*) from pg_locks where locktype = 'advisory' and not granted") == [
            (0,)
        ]:
            assert not second.done()
        first.execute("select pg_advisory_unlock(%s)", (runner._LOCK_KEY,))

        assert len(second.result()) == 2


def test_an_edited_migration_is_refused(empty_database_url: str, folder: Path) -> None:
    migrate(empty_database_url, folder=folder)
    (folder / "0001_create_notes.sql").write_text("create table notes (id integer primary key);", encoding="utf-8")

    assert states(empty_database_url, folder)["0001_create_notes"] == "changed"
    for refuse in (migrate, require_current):
        with pytest.raises(SchemaOutOfDate, match="0001_create_notes: edited after being applied"):
            refuse(empty_database_url, folder=folder)


def test_line_ends_of_a_checkout_do_not_count_as_an_edit(empty_database_url: str, folder: Path) -> None:
    migrate(empty_database_url, folder=folder)
    text = (folder / "0002_add_titles.sql").read_bytes()
    (folder / "0002_add_titles.sql").write_bytes(text.replace(b"\n", b"\r\n"))

    assert migrate(empty_database_url, folder=folder) == []


def test_a_newer_schema_is_refused(empty_database_url: str, folder: Path) -> None:
    migrate(empty_database_url, folder=folder)
    (folder / "0002_add_titles.sql").unlink()

    assert states(empty_database_url, folder)["0002_add_titles"] == "unknown"
    for refuse in (migrate, require_current):
        with pytest.raises(SchemaOutOfDate, match="newer than this program; it has 0002_add_titles"):
            refuse(empty_database_url, folder=folder)


def test_an_older_schema_is_refused_with_the_remedy(empty_database_url: str, folder: Path) -> None:
    with pytest.raises(SchemaOutOfDate, match="lacks 2 migration") as raised:
        require_current(empty_database_url, folder=folder)

    assert raised.value.hint == "weir migrate"
    assert raised.value.facts["pending"] == ["0001_create_notes", "0002_add_titles"]


def test_a_migration_that_fails_half_way_leaves_no_trace(empty_database_url: str, folder: Path) -> None:
    (folder / "0003_break_things.sql").write_text("create table half (); select 1 / 0;", encoding="utf-8")

    with pytest.raises(MigrationFailed, match="0003_break_things: division by zero"):
        migrate(empty_database_url, folder=folder)

    assert states(empty_database_url, folder) == {
        "0001_create_notes": "applied",
        "0002_add_titles": "applied",
        "0003_break_things": "pending",
    }
    assert rows(empty_database_url, "select to_regclass('half')") == [(None,)]
    held = "select count(*) from pg_locks join pg_database on oid = database where datname = current_database()"
    assert rows(empty_database_url, f"{held} and locktype = 'advisory'") == [(0,)]


def test_a_migration_gives_up_rather_than_queue_behind_a_lock(
    empty_database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_LOCK_TIMEOUT", "50ms")
    migrate(empty_database_url, folder=folder)
    (folder / "0003_drop_titles.sql").write_text("alter table notes drop title;", encoding="utf-8")

    with connect(empty_database_url, name="reader") as reader:
        reader.execute("select * from notes")
        with pytest.raises(MigrationFailed, match="lock timeout"):
            migrate(empty_database_url, folder=folder)

    assert migrate(empty_database_url, folder=folder) == ["0003_drop_titles"]


def test_a_migration_that_takes_too_long_is_stopped(
    empty_database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_STATEMENT_TIMEOUT", "50ms")
    (folder / "0003_wait_long.sql").write_text("select pg_sleep(60);", encoding="utf-8")

    with pytest.raises(MigrationFailed, match="statement timeout"):
        migrate(empty_database_url, folder=folder)


def test_a_marked_migration_runs_outside_a_transaction(empty_database_url: str, folder: Path) -> None:
    (folder / "0003_index_titles.sql").write_text(
        "-- weir:notx\ncreate index concurrently if not exists notes_by_title on notes (title);", encoding="utf-8"
    )

    assert migrate(empty_database_url, folder=folder)[-1] == "0003_index_titles"
    assert rows(
        empty_database_url, "select indisvalid from pg_index where indexrelid = 'notes_by_title'::regclass"
    ) == [(True,)]


def test_the_callers_connection_comes_back_as_it_was(empty_database_url: str, folder: Path) -> None:
    with connect(empty_database_url, name="mine") as connection:
        assert len(migrate(connection, folder=folder)) == 2
        require_current(connection, folder=folder)

        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert not connection.autocommit
        assert connection.execute(
            "select current_setting('lock_timeout'), current_setting('statement_timeout')"
        ).fetchone() == ("0", "0")


def test_status_changes_nothing(empty_database_url: str, folder: Path) -> None:
    status(empty_database_url, folder=folder)

    assert rows(empty_database_url, "select count(*) from pg_class where relnamespace = 'public'::regnamespace") == [
        (0,)
    ]


def test_no_postgres_is_said_so() -> None:
    with pytest.raises(StoreUnavailable):
        migrate("postgresql://weir@127.0.0.1:1/weir")


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["0001_create.sql"], r"0001_create\.sql: a migration is named NNNN_verb_noun\.sql"),
        (["1_create_notes.sql"], r"1_create_notes\.sql: a migration is named"),
        (["0001_create_notes.sql", "0001_create_tags.sql"], "number 0001 is taken by 0001_create_notes"),
    ],
)
def test_names_of_migrations_are_checked(tmp_path: Path, names: list[str], fault: str) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1;", encoding="utf-8")

    with pytest.raises(ValueError, match=fault):
        load_migrations(tmp_path)


def test_the_template_of_all_tests_is_current(database_url: str) -> None:
    require_current(database_url)


def test_schema_sql_is_the_sum_of_the_migrations(empty_database_url: str, database_url: str) -> None:
    with connect(empty_database_url, name="test", autocommit=True) as summed:
        summed.execute(SCHEMA.read_text(encoding="utf-8"))
        from_schema = summed.execute(CATALOG).fetchall()
        content_from_schema = contents(summed)
    with connect(database_url, name="test", autocommit=True) as migrated:
        from_migrations = migrated.execute(CATALOG).fetchall()
        content_from_migrations = contents(migrated)

    assert from_schema == from_migrations
    assert content_from_schema == content_from_migrations


def contents(connection: psycopg.Connection) -> dict[str, list[Any]]:
    """Rows that the schema itself brings, without the times they were made."""
    tables = connection.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        " and relname <> 'schema_migrations' order by relname"
    ).fetchall()
    return {
        name: connection.execute(
            psycopg.sql.SQL("select to_jsonb(t) - 'created_at' from {} t order by 1").format(
                psycopg.sql.Identifier(name)
            )
        ).fetchall()
        for (name,) in tables
    }
