"""A Postgres that is alive and silent, or busy for too long, holds up nobody."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from fixtures.apis import Api
from fixtures.running import Servers
from fixtures.stacks import eventually
from psycopg import Connection

from telemetry.ids import new_id

#: Seconds within which everybody is answered: as long as the command line waits.
BOUND_S = 10


@contextmanager
def standing_still(api: Api, admin: psycopg.Connection) -> Iterator[None]:
    """Every server process that the API is connected to is stopped, without a word to its client."""
    name = urlsplit(api.settings.servers.database_url or "").path.removeprefix("/")
    found = admin.execute("select pid from pg_stat_activity where datname = %s", (name,)).fetchall()
    pids = [pid for (pid,) in found]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.req("C-13")
def test_a_postgres_that_hangs_is_answered_for_in_time_and_forgotten_after(
    hasty_api: Api, servers: Servers, admin: psycopg.Connection
) -> None:
    if servers.origin != "embedded":
        pytest.skip("the processes of this Postgres are not ours to stop")
    assert hasty_api.submit("todo.add", {"body": "x"}).status_code == 202

    with standing_still(hasty_api, admin):
        began = time.monotonic()
        refused = hasty_api.submit("todo.add", {"body": "x"})
        took_s = time.monotonic() - began
        again = hasty_api.submit("todo.add", {"body": "x"})

    assert (refused.status_code, refused.json["code"]) == (503, "store.unavailable")
    assert refused.headers["Retry-After"] == "2"
    assert took_s < BOUND_S
    assert again.status_code == 202  # over a new connection


def test_readiness_notices_a_postgres_that_hangs(hasty_api: Api, servers: Servers, admin: psycopg.Connection) -> None:
    if servers.origin != "embedded":
        pytest.skip("the processes of this Postgres are not ours to stop")
    eventually(lambda: hasty_api.get("/readyz").status_code == 200)

    with standing_still(hasty_api, admin):
        refused = hasty_api.get("/readyz")

    assert (refused.status_code, refused.json["checks"]["postgres"]) == (503, "does not answer")


def test_a_statement_that_waits_too_long_is_answered_with_when_to_come_back(
    hasty_api: Api, connection: Connection
) -> None:
    with connection.transaction():
        connection.execute("lock table command_executions in access exclusive mode")
        refused = hasty_api.get(f"/api/executions/{new_id(1)}")

    assert (refused.status_code, refused.json["code"]) == (503, "store.too_slow")
    assert refused.headers["Retry-After"] == "2"
