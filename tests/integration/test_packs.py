"""The built-in commands, each run by the real executor on a real database: what they store, answer and record."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dsl import fragments, notifications
from dsl.check import load
from dsl.command import Command
from dsl.executor import Executor, Outcome
from dsl.fragment_selection import Filter
from dsl.fragments import Fragment
from dsl.inputs import check_inputs
from dsl.instrumentation import StepMeter
from dsl.library import PACKS
from dsl.notes import Note
from dsl.plan import Plan
from dsl.settings import DslSettings
from dsl.step import ExecutionInfo
from dsl.steps import REGISTRY
from dsl.testing import DEFAULT_SPACE_ID, PlainTools
from telemetry.events import StepExecuted, StepFailed
from telemetry.testing import ManualClock
from workers.dry_run import DryRunLedger
from workers.failures import Failures
from workers.ledger import RunLedger, WriteBehindLedger
from workers.testing import World

Connection = psycopg.Connection[Any]

FILES = {path.stem: path for path in sorted(PACKS.glob("*.yaml"))}
SETTINGS = DslSettings()


def pack(slug: str) -> Command:
    return load(FILES[slug].read_text(encoding="utf-8"), REGISTRY, SETTINGS, origin="pack")


def run(world: World, slug: str, *, dry_run: bool = False, **inputs: Any) -> Outcome:  # noqa: ANN401 - of any command
    """Submit, claim and run a pack, as a worker does."""
    command = pack(slug)
    claim = world.claim(command=command, inputs=check_inputs(command, inputs), dry_run=dry_run)
    fence = world.fence(claim)
    ledger: RunLedger = DryRunLedger(fence, timedelta(seconds=1)) if dry_run else WriteBehindLedger(fence)
    meter = StepMeter(
        world.clock,
        claim.attempt,
        Failures(),
        telemetry_on=True,
        dry_run=dry_run,
        max_output_bytes=SETTINGS.max_output_bytes,
        max_total_bytes=SETTINGS.max_execution_output_bytes,
    )
    info = ExecutionInfo(
        id=claim.id,
        correlation_id=claim.correlation_id,
        slug=slug,
        user=claim.user_name,
        space=claim.space,
        space_id=claim.space_id,
        dry_run=dry_run,
        now=claim.started_at,
    )
    plan = Plan.of(command, info, claim.inputs)
    outcome = Executor(REGISTRY, PlainTools(world.clock), meter, ledger, plan).execute()
    ledger.finish(outcome)
    return outcome


def done(world: World, slug: str, **options: Any) -> Any:  # noqa: ANN401 - the command's result
    outcome = run(world, slug, **options)
    assert outcome.error is None, outcome.error
    return outcome.result


def stored(connection: Connection, **filters: Any) -> list[Fragment]:  # noqa: ANN401 - fields of Filter
    return fragments.page(connection, Filter(**filters), limit=1000)


def messages(connection: Connection) -> list[tuple[str, str]]:
    found = notifications.newest(connection, notifications.Which(DEFAULT_SPACE_ID), limit=100)
    return [(one.level, one.message) for one in found]


def import_many(connection: Connection, count: int, clock: ManualClock) -> None:
    notes = [
        Note(
            source=f"{number}.md",
            title=f"Note {number}",
            content="- [ ] do it\n" if number % 3 == 0 else "Some text. " * 200,
            tags=("todo",) if number % 5 == 0 else ("reading",),
        )
        for number in range(count)
    ]
    assert fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, clock.now()).created == count


@pytest.mark.parametrize("slug", FILES)
def test_a_pack_is_named_like_its_file_and_described(slug: str) -> None:
    command = pack(slug)
    assert command.slug == slug
    assert command.name
    assert command.version
    assert command.description
    for declared in command.inputs["properties"].values():
        assert declared["description"]


@pytest.mark.parametrize("slug", FILES)
def test_a_pack_is_on_its_reference_page_with_every_input_and_step(slug: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "packs.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {slug}\n")[2].partition("\n## ")[0]
    command = pack(slug)
    assert [name for name in command.inputs["properties"] if f"| `{name}` |" not in section] == []
    assert [step.id for step in command.steps if f"| `{step.id}` | [{step.type}]" not in section] == []


# Adding a to-do


@pytest.mark.req("C-02", "C-08")
def test_a_todo_is_added_and_only_an_urgent_one_is_announced(world: World, connection: Connection) -> None:
    result = done(world, "todo.add", body="buy  milk\n\nand bread", tags=["home"])
    [todo] = stored(connection)
    assert result == {"fragment_id": str(todo.id), "title": "buy milk and bread"}
    assert (todo.type, todo.content, todo.tags) == ("todo", "buy  milk\n\nand bread", ["home"])
    assert todo.state == {"status": "open", "priority": "medium"}
    assert messages(connection) == []
    counts = Counter(world.recorder.types)
    assert counts["dsl.step.executed"] == 4
    assert counts["dsl.step.skipped"] == 1
    assert counts["fragment.created"] == 1

    done(world, "todo.add", body="now!", priority="high")
    assert messages(connection) == [("warning", "To-do of high priority: now!")]


def test_a_todo_of_nothing_but_spaces_fails_before_anything_is_stored(world: World, connection: Connection) -> None:
    outcome = run(world, "todo.add", body="   \n")
    assert outcome.failed_path == "check"
    assert (outcome.totals.count("succeeded"), outcome.totals.count("failed")) == (1, 1)
    assert stored(connection) == []
    [failed] = [event for event in world.recorder.events if isinstance(event, StepFailed)]
    assert failed.measures == {"faults": 1}


@pytest.mark.req("C-10")
def test_a_dry_run_of_a_todo_counts_what_it_would_have_stored_and_stores_nothing(
    world: World, connection: Connection
) -> None:
    outcome = run(world, "todo.add", dry_run=True, body="maybe", priority="high")
    assert outcome.error is None
    assert outcome.totals.mutations == 2
    assert stored(connection) == []
    assert messages(connection) == []
    assert "fragment.created" not in world.recorder.types


# Adding a note


def test_a_note_is_added_under_its_title_or_its_beginning(world: World, connection: Connection) -> None:
    done(world, "note.add", content="A long text about weirs.\n" * 10, title="Weirs", tags=["water"])
    result = done(world, "note.add", content="A long text about weirs.\n" * 10)
    assert result["title"].startswith("A long text about weirs. A long")
    assert len(result["title"]) == 80
    notes = stored(connection, type="note")
    assert sorted(note.title for note in notes) == sorted(["Weirs", result["title"]])
    assert {note.state["status"] for note in notes} == {"inbox"}
    assert run(world, "note.add", content=" ").failed_path == "check"


# Triage


def test_triage_of_an_empty_inbox_does_nothing(world: World, connection: Connection) -> None:
    assert done(world, "inbox.triage") == {"found": 0, "triaged": 0, "failed": 0}
    assert messages(connection) == []


@pytest.mark.req("C-08")
def test_triage_sorts_more_than_a_hundred_notes_once(world: World, connection: Connection, clock: ManualClock) -> None:
    import_many(connection, 150, clock)
    assert done(world, "inbox.triage") == {"found": 150, "triaged": 150, "failed": 0}
    open_ones = stored(connection, tags=["triaged", "action"], state={"status": "open"})
    filed = stored(connection, tags=["triaged", "reference"], state={"status": "filed"})
    expected = sum(number % 3 == 0 or number % 5 == 0 for number in range(150))
    assert (len(open_ones), len(filed)) == (expected, 150 - expected)
    assert messages(connection) == [("info", "150 of 150 notes triaged")]

    steps = [event for event in world.recorder.events if isinstance(event, StepExecuted)]
    by_path = {event.step_path: event for event in steps}
    assert by_path["each"].measures == {"items": 150, "succeeded": 150, "failed": 0}
    assert by_path["each[149].sort"].step_type == "condition"
    assert Counter(event.step_type for event in steps)["fragment.update"] == 150
    counts = Counter(world.recorder.types)
    assert counts["dsl.step.skipped"] == 150
    assert counts["fragment.updated"] == 150

    assert done(world, "inbox.triage") == {"found": 0, "triaged": 0, "failed": 0}
    done(world, "note.add", content="TODO: more")
    assert done(world, "inbox.triage") == {"found": 1, "triaged": 1, "failed": 0}


@pytest.mark.req("C-10")
def test_a_dry_run_of_triage_says_what_it_would_do_and_changes_nothing(
    world: World, connection: Connection, clock: ManualClock
) -> None:
    import_many(connection, 110, clock)
    before = stored(connection)
    outcome = run(world, "inbox.triage", dry_run=True)
    assert outcome.result == {"found": 110, "triaged": 110, "failed": 0}
    assert outcome.totals.mutations == 111
    assert stored(connection) == before


# The digest


def test_a_digest_of_nothing_is_none(world: World, connection: Connection) -> None:
    assert done(world, "digest.daily") == {"count": 0, "digest": None}
    assert stored(connection) == []
    assert messages(connection) == []


def test_a_digest_lists_what_was_added_lately(world: World, connection: Connection, clock: ManualClock) -> None:
    done(world, "note.add", content="old")
    clock.advance(timedelta(hours=30))
    done(world, "note.add", content="first", tags=["a", "b"])
    clock.advance(timedelta(minutes=1))
    done(world, "note.add", content="second")
    result = done(world, "digest.daily")
    [digest] = stored(connection, type="digest")
    assert result == {"count": 2, "digest": str(digest.id)}
    assert digest.title == "Digest of 2026-01-14"
    assert digest.content == "- first (a, b)\n- second\n"
    assert (digest.state, digest.tags) == ({"count": 2}, ["digest"])
    assert messages(connection) == [("info", "Digest of 2026-01-14: 2 new")]
    assert done(world, "digest.daily", since="7d")["count"] == 3


def test_a_digest_of_hundreds_of_notes_fits(world: World, connection: Connection, clock: ManualClock) -> None:
    import_many(connection, 400, clock)
    assert done(world, "digest.daily")["count"] == 400
    [digest] = stored(connection, type="digest")
    lines = digest.content.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (400, "- Note 0 (todo)", "- Note 399 (reading)")


def test_a_digest_asked_for_a_time_that_is_none_fails(world: World) -> None:
    assert run(world, "digest.daily", since="yesterday").failed_path == "find"


# Closing a to-do


def test_a_todo_is_closed_by_its_id_or_by_its_text(world: World, connection: Connection) -> None:
    first = done(world, "todo.add", body="buy milk")["fragment_id"]
    second = done(world, "todo.add", body="buy bread", priority="high")["fragment_id"]
    assert done(world, "todo.done", text="MILK") == {"fragment_id": first}
    assert done(world, "todo.done", id=second) == {"fragment_id": second}
    for todo in stored(connection, type="todo"):
        assert todo.state["status"] == "done"
        assert todo.state["done_at"].startswith("2026-01-13T12:00")
        assert "priority" in todo.state


def test_a_todo_that_is_not_clear_is_left_open(world: World, connection: Connection) -> None:
    for body in ("buy milk", "buy bread"):
        done(world, "todo.add", body=body)
    assert run(world, "todo.done").failed_path == "asked"
    assert run(world, "todo.done", text="buy").failed_path == "check"
    assert run(world, "todo.done", text="cheese").failed_path == "check"
    assert run(world, "todo.done", id=str(DEFAULT_SPACE_ID)).failed_path == "close"
    assert {todo.state["status"] for todo in stored(connection, type="todo")} == {"open"}


# Reminders


def test_a_reminder_lists_what_has_been_open_for_a_while(
    world: World, connection: Connection, clock: ManualClock
) -> None:
    assert done(world, "remind") == {"count": 0, "todos": []}
    assert messages(connection) == []
    done(world, "todo.add", body="old")
    clock.advance(timedelta(minutes=5))
    done(world, "todo.add", body="newer")
    done(world, "todo.done", text="newer")
    clock.advance(timedelta(days=2))
    done(world, "todo.add", body="new")
    told = done(world, "remind")
    assert (told["count"], [todo["title"] for todo in told["todos"]]) == (1, ["old"])
    assert messages(connection) == [("warning", "Still open, 1:\n- old (since 2026-01-13)\n")]
    clock.advance(timedelta(minutes=1))
    assert done(world, "remind", older_than="1s")["count"] == 2


# Searching


def test_a_search_finds_the_best_first(world: World, connection: Connection) -> None:
    done(world, "note.add", content="Weirs measure streams.", title="Weirs", tags=["water"])
    done(world, "note.add", content="A dam is not a weir.", title="Dams")
    found = done(world, "search", text="weir")
    assert [item["title"] for item in found["items"]] == ["Weirs", "Dams"]
    assert done(world, "search", text="weir", tags=["water"])["count"] == 1
    assert done(world, "search", text="weir", type="todo") == {"items": [], "count": 0}


def test_what_is_known_is_recalled_as_one_text(world: World) -> None:
    first = done(world, "note.add", content="Weirs measure streams.", title="Weirs")["fragment_id"]
    second = done(world, "note.add", content="A dam is not a weir.", title="Dams")["fragment_id"]
    assert done(world, "recall", about="weir") == {
        "count": 2,
        "text": "## Weirs\n\nWeirs measure streams.\n\n## Dams\n\nA dam is not a weir.",
        "sources": [first, second],
    }
    assert done(world, "recall", about="bridges") == {"count": 0, "text": "", "sources": []}


# Keeping order


@pytest.mark.req("C-08")
def test_a_tag_is_replaced_or_taken_away_everywhere(world: World, connection: Connection) -> None:
    for number in range(3):
        done(world, "note.add", content=f"note {number}", tags=["a", "b"] if number else ["b"])
    assert done(world, "fragments.retag", **{"from": "a", "to": "c"}) == {"found": 2, "retagged": 2, "failed": 0}
    assert sorted(sorted(note.tags) for note in stored(connection)) == [["b"], ["b", "c"], ["b", "c"]]
    assert done(world, "fragments.retag", **{"from": "b"})["retagged"] == 3
    assert sorted(note.tags for note in stored(connection)) == [[], ["c"], ["c"]]
    assert done(world, "fragments.retag", **{"from": "nothing"})["found"] == 0


@pytest.mark.req("C-08")
def test_what_is_done_is_archived_and_in_the_end_purged(
    world: World, connection: Connection, clock: ManualClock
) -> None:
    for number in range(4):
        done(world, "todo.add", body=f"todo {number}", priority="low")
    for number in range(3):
        done(world, "todo.done", text=f"todo {number}")
    assert done(world, "fragments.archive") == {"archived": 0}
    clock.advance(timedelta(days=31))
    assert run(world, "fragments.archive", limit=2).failed_path == "archive"
    assert done(world, "fragments.archive") == {"archived": 3}
    archived = stored(connection, state={"status": "archived"})
    assert {(todo.state["priority"], "done_at" in todo.state) for todo in archived} == {("low", True)}
    events = [event for event in world.recorder.events if isinstance(event, StepExecuted)]
    assert events[-2].measures == {"rows": 3, "fields": 1, "model": "fragments"}
    assert events[-2].mutations_count == 3
    assert done(world, "fragments.purge") == {"removed": 0}
    clock.advance(timedelta(days=366))
    assert run(world, "fragments.purge", limit=2).failed_path == "purge"
    assert done(world, "fragments.purge") == {"removed": 3}
    assert [todo.title for todo in stored(connection)] == ["todo 3"]
    assert Counter(world.recorder.types)["fragment.deleted"] == 3
