"""A file that schedules itself, on a running stack whose scheduler is killed again and again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fixtures.installations import Installation, awaited

FILE = """slug: tell.{slug}
inputs: {{day: {{type: string}}}}
steps: [{{id: say, type: respond, with: {{value: "{{{{ inputs.day }}}}"}}}}]
schedules:
  - id: often
    every: 1s
    overlap: allow
    inputs: {{day: "{{{{ due_at }}}}"}}
"""

#: States of what was run; the others are rows all the same.
RUN = {"waiting", "fired", "late", "caught_up"}

ROWS = """
select o.due_at, o.state, o.correlation_id, o.event_id, e.state, e.schedule_id = o.schedule_id
from schedule_occurrences as o join schedules as s on s.id = o.schedule_id
left join command_executions as e on e.id = o.execution_id
where s.name = %(name)s order by o.due_at
"""


def wait_for_more(installation: Installation, name: str) -> None:
    """Until two more due times have a row."""
    seen = len(installation.rows(ROWS, name=name))
    awaited(lambda: len(installation.rows(ROWS, name=name)) > seen + 1)


@pytest.mark.req("D-04", "S-13", "C-11")
def test_every_second_is_run_once_although_the_scheduler_is_killed(installation: Installation) -> None:
    path, name = installation.commands / "often.yaml", "tell.often:often"
    path.write_text(FILE.format(slug="often"), encoding="utf-8")
    awaited(lambda: installation.rows(ROWS, name=name))  # nobody was told: the file was noticed

    for _ in range(3):
        installation.kill("scheduler")
        installation.wait_healthy()
        wait_for_more(installation, name)
    path.unlink()
    awaited(lambda: installation.rows("select 1 from schedules where name = %(n)s and removed_at is not null", n=name))

    def unfinished() -> list[object]:
        return [row for row in installation.rows(ROWS, name=name) if row[1] in RUN and row[4] != "succeeded"]

    awaited(lambda: not unfinished())
    rows = installation.rows(ROWS, name=name)
    due = [row[0] for row in rows]
    assert due == [due[0] + timedelta(seconds=number) for number in range(len(due))]
    assert all(row[5] for row in rows if row[1] in RUN)
    ids = [row[3] for row in rows]
    stored = "select event_id, correlation_id from telemetry_events where event_id = any(%(ids)s)"
    # An event that died with its scheduler is in the row; those of the living are stored under their row's trace.
    found = awaited(lambda: dict(installation.rows(stored, ids=ids)))
    assert found.items() <= {row[3]: row[2] for row in rows}.items()
