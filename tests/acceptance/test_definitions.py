"""A command file may be edited at any time: what was accepted keeps the definition it was accepted with."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.installations import Installation, awaited

SAYS = """
slug: {slug}
steps:
  - {{id: say, type: respond, with: {{value: {text}}}}}
"""

#: Waits, in its second step, for whoever holds the fragment's row.
CHANGES = """
slug: changes
inputs: {{fragment: {{type: string, required: true}}}}
steps:
  - {{id: before, type: transform, with: {{template: "{text}"}}}}
  - {{id: change, type: fragment.update, with: {{id: "{{{{ inputs.fragment }}}}", state: {{seen: "{text}"}}}}}}
  - {{id: say, type: respond, with: {{value: "{text}, and {{{{ steps.before.output }}}} before"}}}}
"""


@pytest.mark.req("D-01")
def test_a_queued_execution_keeps_its_definition_and_the_next_submission_has_the_new_one(
    installation: Installation,
) -> None:
    path = installation.commands / "says.yaml"
    path.write_text(SAYS.format(slug="says", text="old"), encoding="utf-8")
    with installation.paused("worker"):
        queued = installation.submit("says")
        path.write_text(SAYS.format(slug="says", text="new"), encoding="utf-8")
        next_one = installation.submit("says")
        path.unlink()

    first, second = installation.ended(queued), installation.ended(next_one)

    assert (first["result"], second["result"]) == ("old", "new")
    assert first["definition_hash"] != second["definition_hash"]
    events = installation.events_of(queued)
    assert {event["definition_hash"] for event in events} == {first["definition_hash"]}
    assert installation.request("POST", "/api/commands/says/executions", {}).status == 404


@pytest.mark.req("D-01")
def test_a_running_execution_never_sees_an_edit(installation: Installation) -> None:
    path = installation.commands / "changes.yaml"
    path.write_text(CHANGES.format(text="old"), encoding="utf-8")
    fragment = installation.run("note.add", {"content": "to be held"})["result"]["fragment_id"]

    def at_its_second_step() -> list[Any]:
        return installation.rows(
            "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%%fragments%%'"
        )

    with installation.database() as holder, holder.transaction():
        holder.execute("select 1 from fragments where id = %s for update", [fragment])
        running = installation.submit("changes", {"fragment": fragment})
        awaited(at_its_second_step)
        assert installation.get(f"/api/executions/{running}")["state"] == "running"
        path.write_text(CHANGES.format(text="new"), encoding="utf-8")
        next_one = installation.submit("changes", {"fragment": fragment})

    assert installation.ended(running)["result"] == "old, and old before"
    assert installation.ended(next_one)["result"] == "new, and new before"
