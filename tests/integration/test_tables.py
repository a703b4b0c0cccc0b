"""Declared tables are compared with those the database has, and told apart from Weir's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from structlog.testing import capture_logs

from dsl.declarations import Table
from dsl.errors import StepFailed
from dsl.tables import Tables
from dsl.testing import TASKS
from migrations.own_tables import own_tables
from telemetry.connections import open_pool
from workers.boot import check_tables

Connection = psycopg.Connection[Any]


def table(relation: str, *, schema: str | None = "public", **facts: Any) -> Table:  # noqa: ANN401 - fields of Table
    return Table(
        name="mine", schema=schema, relation=relation, **{"key": "id", "readable": ("id",), "writable": ()} | facts
    )


def faults(connection: Connection, declared: Table) -> list[str]:
    return Tables([declared]).faults(connection)


def test_the_list_of_weirs_own_tables_is_that_of_the_database(connection: Connection) -> None:
    rows = connection.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')"
        " and not relispartition"
    )
    assert {name for (name,) in rows} == own_tables()


def test_a_table_that_is_as_it_was_declared_has_no_fault(tasks: Connection) -> None:
    tables = Tables([TASKS])
    assert tables.names == ("fragments", "tasks")
    assert tables.faults(tasks) == []
    with tables.using(tasks, "tasks") as opened:
        assert opened.kinds == {
            "id": "plain",
            "title": "plain",
            "done": "plain",
            "due_on": "instant",
            "effort": "plain",
            "labels": "array",
            "details": "json",
            "created_at": "instant",
        }


def test_every_difference_is_told_at_once(tasks: Connection) -> None:
    tasks.execute("create table loose (id int, title text, twice int generated always as (id * 2) stored)")
    declared = [
        replace(TASKS, readable=("id", "titel"), writable=("title", "id", "due")),
        table("loose", readable=("id", "title"), writable=("twice",)),
        table("nowhere"),
    ]
    found = Tables([declared[0], replace(declared[1], name="loose"), declared[2]]).faults(tasks)
    assert found == [
        "the column id of the table tasks (app.tasks) is generated, and cannot be writable",
        "the table tasks (app.tasks) has no column titel; did you mean title?",
        "the table tasks (app.tasks) has no column due; did you mean due_on?",
        "the column twice of the table loose (public.loose) is generated, and cannot be writable",
        "the key id of the table loose (public.loose) has no unique index of its own",
        "the table mine is declared as public.nowhere, which the database does not have",
    ]


@pytest.mark.parametrize(
    "index",
    [
        "create index on loose (id)",
        "create unique index on loose (id, title)",
        "create unique index on loose (id) where id > 0",
        "create unique index on loose ((id + 0))",
    ],
)
def test_a_key_needs_a_unique_index_of_its_own(connection: Connection, index: str) -> None:
    connection.execute("create table loose (id int, title text)")
    connection.execute(index.encode())
    assert "unique" in faults(connection, table("loose"))[0]
    connection.execute("create unique index on loose (id) include (title)")
    assert faults(connection, table("loose")) == []


def test_only_tables_can_be_declared(connection: Connection) -> None:
    connection.execute("create view seen as select id from fragments")
    connection.execute("create materialized view kept as select id from fragments")
    connection.execute("create sequence counted")
    for name in ("seen", "kept", "counted"):
        assert "is no table" in faults(connection, table(name))[0]
    connection.execute("create table split (id int primary key) partition by range (id)")
    assert faults(connection, table("split")) == []


def test_weirs_own_tables_are_found_by_what_they_are_not_by_how_they_are_called(connection: Connection) -> None:
    connection.execute("create schema weir; alter table notifications set schema weir")
    connection.execute("set search_path = weir, public")
    assert "Weir's own notifications" in faults(connection, table("notifications", schema="weir"))[0]
    connection.execute("create schema app; create table app.notifications (id int primary key)")
    assert faults(connection, table("notifications", schema="app")) == []


def test_a_part_of_weirs_own_tables_is_theirs(connection: Connection) -> None:
    connection.execute("create table part partition of telemetry_events default")
    connection.execute("create table heir () inherits (spaces)")
    connection.execute("create table forebear (id uuid unique, name text); alter table heir add unique (id)")
    connection.execute("alter table spaces alter id set not null, inherit forebear")
    assert "telemetry_events" in faults(connection, table("part", key="event_id", readable=("event_id",)))[0]
    assert "spaces" in faults(connection, table("heir"))[0]
    assert "spaces" in faults(connection, table("forebear"))[0]


def test_a_table_that_is_not_right_yet_is_looked_at_again(connection: Connection) -> None:
    tables = Tables([table("late")])
    with pytest.raises(StepFailed, match="does not have") as caught, tables.using(connection, "mine"):
        pass
    assert caught.value.hint == "Correct [tables.mine] in weir.toml, or the table."
    connection.execute("create table late (id int primary key)")
    with tables.using(connection, "mine") as opened:
        assert opened.kinds == {"id": "plain"}


def test_a_table_that_changed_meanwhile_fails_the_step_and_is_looked_at_again(connection: Connection) -> None:
    connection.execute("create table moving (id int primary key, note text)")
    tables = Tables([table("moving", readable=("id", "note"))])
    with tables.using(connection, "mine"):
        pass
    connection.execute("alter table moving drop column note")
    with pytest.raises(StepFailed, match="refused"), tables.using(connection, "mine"):
        connection.execute("select note from moving")
    with pytest.raises(StepFailed, match="no column note"), tables.using(connection, "mine"):
        pass


def test_a_table_that_may_not_be_touched_is_a_fault(connection: Connection) -> None:
    connection.execute("create table secret (id int primary key); create role nobody_special")
    try:
        connection.execute("set role nobody_special")
        tables = Tables([table("secret")])
        with pytest.raises(StepFailed, match="permission denied"), tables.using(connection, "mine"):
            connection.execute("select id from secret")
    finally:
        connection.execute("reset role")
        connection.execute("drop role nobody_special")


def test_a_worker_says_at_its_start_what_is_wrong(autocommit_pool: ConnectionPool[Any]) -> None:
    with capture_logs() as lines:
        check_tables(Tables([table("nowhere")]), autocommit_pool)
    assert [line["event"] for line in lines] == ["table_declaration_wrong"]
    assert "public.nowhere" in lines[0]["fault"]


def test_a_worker_starts_although_postgres_is_away() -> None:
    nowhere = open_pool("postgresql://127.0.0.1:1/none", name="test", max_size=1, wait=None)
    nowhere.timeout = 0.1
    with nowhere as pool, capture_logs() as lines:
        check_tables(Tables([table("nowhere")]), pool)
    assert [line["event"] for line in lines if line["event"].startswith("tables")] == ["tables_not_checked"]
