"""A stack with telemetry switched off runs commands as any other, and keeps nothing about them but the ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fixtures.installations import Installation, make_installation


@pytest.fixture(scope="module")
def silent() -> Iterator[Installation]:
    """A running stack without telemetry."""
    with make_installation(WEIR_TELEMETRY_ENABLED="false") as installation:
        installation.up()
        yield installation


@pytest.mark.req("S-02", "C-13")
def test_without_telemetry_commands_run_and_leave_neither_events_nor_event_ids(silent: Installation) -> None:
    execution = silent.run("todo.add", {"body": "unobserved", "priority": "high"})
    dry = silent.run("todo.add", {"body": "unobserved"}, dry_run=True)
    shown = silent.weir("run", "note.add", "-i", "content=unobserved")
    refused = silent.request("POST", "/api/commands/todo.add/executions", {"inputs": {}})

    assert shown.returncode == 0, shown.stderr
    assert refused.status == 422
    assert (execution["state"], execution["steps_successful"], execution["mutations_count"]) == ("succeeded", 5, 2)
    assert (dry["state"], dry["mutations_count"]) == ("succeeded", 1)
    executions = [execution["id"], dry["id"]]
    assert silent.ledger_events(executions) == []
    assert silent.rows("select count(*) from command_steps") == [(14,)]
    assert silent.rows("select count(*) from telemetry_events") == [(0,)]
    with silent.redis() as redis:
        assert redis.xlen("weir:telemetry") == 0
    assert silent.request("GET", f"/api/telemetry/traces/{execution['id']}").status == 404
    assert silent.get("/api/telemetry/events")["items"] == []
