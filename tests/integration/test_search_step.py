"""`search.query` on a real index: what it finds, in which order, and what it shows of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dsl import fragments
from dsl.errors import RecordInvalid, StepFailed
from dsl.fragment_search import MAX_TEXT
from dsl.fragments import Draft, Fragment, Space
from dsl.records import MAX_CONTENT
from dsl.steps.search_query import SearchQuery
from dsl.testing import DEFAULT_SPACE_ID, PlainTools, run_step
from telemetry.testing import NOON

Connection = psycopg.Connection[Any]

SPACE = Space(DEFAULT_SPACE_ID, "default")


def store(connection: Connection, title: str, content: str = "", **fields: Any) -> Fragment:  # noqa: ANN401
    return fragments.insert(connection, Draft(**{"type": "note"} | fields, title=title, content=content), SPACE, NOON)


def search(connection: Connection, text: str, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - the step's own
    result = run_step(SearchQuery(), {"text": text} | params, connection=connection)
    assert result.output["count"] == len(result.output["items"]) == result.measures["rows"]
    assert result.mutations == ()
    items: list[dict[str, Any]] = result.output["items"]
    return items


def found(connection: Connection, text: str, **params: Any) -> set[str]:  # noqa: ANN401 - the step's own
    return {item["title"] for item in search(connection, text, **params)}


@pytest.fixture
def library(connection: Connection) -> Connection:
    """A few notes."""
    store(connection, "Weirs", "A weir is a low wall across a stream that measures what flows through it.", tags=["w"])
    store(connection, "Streams", "Rivers and streams. A mill wall stands beside the stream.")
    store(connection, "Buy milk", "and bread, at the mill", type="todo", state={"status": "open"})
    store(connection, "Größe", "ÄPFEL und Birnen; foo-bar@example.org; it's")
    return connection


@pytest.mark.req("C-08")
@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("weir", {"Weirs"}),
        ("WEIR", {"Weirs"}),
        ("wall stream", {"Weirs", "Streams"}),
        ("wall -flows", {"Streams"}),
        ("milk or flows", {"Weirs", "Buy milk"}),
        ('"low wall"', {"Weirs"}),
        ('"wall low"', set()),
        ('"mill wall"', {"Streams"}),
        ("mil", {"Streams", "Buy milk"}),
        ('"mil"', set()),
        ('"mill"', {"Streams", "Buy milk"}),
        ('"mil" or bread', {"Buy milk"}),
        ("-mill stream", {"Weirs"}),
        ("-mil stream", {"Weirs", "Streams"}),
        ("größe", {"Größe"}),
        ("äpfel", {"Größe"}),
        ("foo-bar@example.org", {"Größe"}),
        ("nothing", set()),
        ("", set()),
        ("   ", set()),
        ("!&|:*<->()'\"\\", set()),
        ("'", set()),
        ("it's", {"Größe"}),
        ("-", set()),
        ("or or or", set()),
    ],
)
def test_words_are_found_as_in_a_search_engine(library: Connection, text: str, titles: set[str]) -> None:
    assert found(library, text) == titles


def test_without_prefixes_words_are_found_whole(library: Connection) -> None:
    assert found(library, "mil", prefix=False) == set()
    assert found(library, "mill", prefix=False) == {"Streams", "Buy milk"}
    assert found(library, "stream", prefix=False) == {"Weirs", "Streams"}


def test_the_best_comes_first_and_is_shown_in_parts(library: Connection) -> None:
    first, second = search(library, "stream")
    assert (first["title"], second["title"]) == ("Streams", "Weirs")
    assert first["rank"] > second["rank"] > 0
    assert first["snippet"].count("**stream") == 2
    assert "**stream**" in second["snippet"]
    assert set(first) == {"id", "type", "title", "tags", "snippet", "rank", "created_at", "updated_at"}


def test_a_snippet_is_short_however_long_the_content(connection: Connection) -> None:
    store(connection, "long", "word " * 19_000 + "needle " + "word " * 100_000)
    store(connection, "too far", "word " * 20_000 + "needle")
    [item] = search(connection, "needle")
    assert item["title"] == "long"
    assert "**needle**" in item["snippet"]
    assert len(item["snippet"]) < 500


def test_a_title_counts_more_than_a_content_and_the_newest_breaks_a_tie(connection: Connection) -> None:
    store(connection, "other", "apple pie with apple")
    store(connection, "apple", "nothing more")
    for minute, title in enumerate(("old", "new")):
        draft = Draft(type="note", title=title, content="pear")
        fragments.insert(connection, draft, SPACE, NOON + timedelta(minutes=minute))
    assert [item["title"] for item in search(connection, "apple")] == ["apple", "other"]
    assert [item["title"] for item in search(connection, "pear")] == ["new", "old"]


def test_a_search_keeps_to_its_filters_and_its_space(library: Connection) -> None:
    garden = Space(fragments.space_id(library, "garden"), "garden")
    fragments.insert(library, Draft(type="note", title="Mill in the garden"), garden, NOON)
    assert found(library, "mill", type="todo") == {"Buy milk"}
    assert found(library, "mill", state={"status": "open"}) == {"Buy milk"}
    assert found(library, "stream", tags=["w"]) == {"Weirs"}
    assert found(library, "stream", without_tags=["w"]) == {"Streams"}
    assert found(library, "mill", space="garden") == {"Mill in the garden"}
    assert found(library, "mill", until="2020-01-01") == set()
    assert len(search(library, "stream", limit=1)) == 1


def test_what_changes_is_found_as_it_is_now(library: Connection) -> None:
    [weirs] = search(library, "weir")
    fragments.update(library, UUID(weirs["id"]), fragments.Change(title="Dams", content="A dam."), NOON)
    assert found(library, "weir") == set()
    assert found(library, "dam") == {"Dams"}


@pytest.mark.parametrize(
    "content",
    [
        "x" * MAX_CONTENT,
        "\U0001f600 " * 300_000,
        " ".join(f"w{number}" for number in range(150_000)),
        " ".join(chr(0x20000 + number) for number in range(40_000)),
        "a:1 " * 250_000,
    ],
    ids=["one word", "emoji", "many words", "rare characters", "many alike"],
)
def test_the_largest_content_can_be_stored_and_searched(connection: Connection, content: str) -> None:
    store(connection, "large", content[:MAX_CONTENT])
    assert found(connection, "large") == {"large"}


def test_a_search_that_cannot_be_is_refused(connection: Connection) -> None:
    for wrong in ({"text": None}, {"text": "x" * (MAX_TEXT + 1)}, {"text": "x", "limit": 0}, {"text": "x", "order": 1}):
        with pytest.raises(ValidationError):
            run_step(SearchQuery(), wrong, connection=connection)
    with pytest.raises(StepFailed, match="at most 10"):
        run_step(SearchQuery(), {"text": "x", "limit": 11}, connection=connection, tools=PlainTools(query_max_rows=10))
    for text in ("a\0b", "\ud800"):
        with pytest.raises((RecordInvalid, ValidationError)):
            search(connection, text)


def test_the_index_is_used(connection: Connection) -> None:
    connection.execute("set enable_seqscan = off")
    plan = connection.execute("explain select id from fragments where search @@ to_tsquery('simple', 'a:*')").fetchall()
    assert "fragments_by_word" in str(plan)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    text=st.text(max_size=40)
    | st.text(alphabet="ab -\"'\\!&|():*<>@./or", max_size=60)
    | st.lists(st.sampled_from(["or", "-", '"', "a", "b'c", "-d", '"e f"', "g:*", "<->"]), max_size=12).map(" ".join)
)
def test_whatever_is_looked_for_is_answered(connection: Connection, text: str) -> None:
    try:
        search(connection, text)
    except (RecordInvalid, ValidationError):
        assert "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)
