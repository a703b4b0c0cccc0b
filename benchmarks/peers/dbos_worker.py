"""One process of DBOS that takes workflows from a durable queue, as its documentation shows: 5 steps in a workflow.

Run as `python -m benchmarks.peers.dbos_worker DATABASE_URL NAME` until SIGTERM. Its tables, and those its
transactions write to, are in the same database; the latter are Weir's own, so that the effect is the same INSERT.
"""

from __future__ import annotations

import signal
import sys
from threading import Event

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

#: What a workflow and its queue belong to; and the one version of its code.
APPLICATION, VERSION = "bench", "1"
STEPS = 5
#: Workflows that one process runs at a time, in as many threads: the fastest of 4, 8, 16, 32 and 64.
AT_A_TIME = 8
_INSERT = sa.text("""
    insert into fragments (id, space_id, type, title, content, state, metadata, tags, created_at, updated_at)
    values (
        gen_random_uuid(), cast(:space_id as uuid), 'note', :title, :content, '{}', '{}', '{bench}',
        clock_timestamp(), clock_timestamp()
    )
    returning id::text
""")


@DBOS.step()
def light_step(body: str, number: int) -> dict[str, str]:
    """What `transform` does in Weir's light step."""
    return {"text": f"{body.upper()} {number}"}


@DBOS.workflow()
def light(body: str) -> int:
    """Steps without effect."""
    for number in range(1, STEPS + 1):
        light_step(body, number)
    return STEPS


def declare_database(url: str) -> None:
    """The workflow of transactions; before the launch."""
    source = SQLAlchemyDatasource.create(url)

    @source.transaction(isolation_level="READ COMMITTED")
    def database_step(space_id: str, body: str, number: int) -> str:
        values = {"space_id": space_id, "title": body, "content": f"{body} {number}"}
        return str(source.sql_session().execute(_INSERT, values).scalar_one())

    @DBOS.workflow(name="database")
    def database(space_id: str, body: str) -> int:
        for number in range(1, STEPS + 1):
            database_step(space_id, body, number)
        return STEPS


def main(url: str, name: str) -> None:
    """Work until SIGTERM."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    DBOS(
        config={
            "name": APPLICATION,
            "system_database_url": url,
            "executor_id": name,
            "application_version": VERSION,
            "log_level": "WARNING",
            "max_executor_threads": AT_A_TIME,
        }
    )
    declare_database(url)
    DBOS.launch()
    stop.wait()
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
