"""Stacks with telemetry switched off, and with telemetry that goes straight into the store."""

from __future__ import annotations

import pytest
from fixtures.installations import make_installation


@pytest.mark.req("S-02", "C-13")
def test_without_telemetry_commands_run_and_leave_neither_events_nor_event_ids() -> None:
    with make_installation(WEIR_TELEMETRY_ENABLED="false") as silent:
        silent.up()
        execution = silent.run("todo.add", {"body": "unobserved", "priority": "high"})
        dry = silent.run("todo.add", {"body": "unobserved"}, dry_run=True)
        shown = silent.weir("run", "note.add", "-i", "content=unobserved")
        refused = silent.request("POST", "/api/commands/todo.add/executions", {"inputs": {}})

        assert shown.returncode == 0, shown.stderr
        assert refused.status == 422
        assert (execution["state"], execution["steps_successful"], execution["mutations_count"]) == ("succeeded", 5, 2)
        assert (dry["state"], dry["mutations_count"]) == ("succeeded", 1)
        assert silent.ledger_events([execution["id"], dry["id"]]) == []
        assert silent.rows("select count(*) from command_steps") == [(14,)]
        assert silent.rows("select count(*) from telemetry_events") == [(0,)]
        with silent.redis() as redis:
            assert redis.xlen("weir:telemetry") == 0
        assert silent.request("GET", f"/api/telemetry/traces/{execution['id']}").status == 404
        assert silent.get("/api/telemetry/events")["items"] == []


@pytest.mark.req("S-02")
def test_in_synchronous_mode_events_need_neither_stream_nor_sink() -> None:
    with make_installation(WEIR_TELEMETRY_SYNCHRONOUS="true") as synchronous:
        synchronous.up()
        with synchronous.paused("sink"):
            execution = synchronous.run("todo.add", {"body": "written at once"})
            synchronous.wait_stored([execution["id"]])
            stored = synchronous.stored_events([execution["id"]])

    assert len(stored) == 9
