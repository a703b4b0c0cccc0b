"""Lines of others' logs: events of the catalogue, or a reason; nothing in between, and no text of theirs anywhere."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from telemetry.adapters.catalogue import TYPES, targets_of
from telemetry.adapters.fields import Unfit
from telemetry.adapters.lines import MAX_LINE_BYTES, Lines
from telemetry.adapters.mapping import MappingFault, parse
from telemetry.clock import to_unix_us
from telemetry.events import Event, event_type
from telemetry.ids import unix_ms_of
from telemetry.privacy import Pseudonyms
from telemetry.rows import RowEncoder

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "import-logs.md").read_text(encoding="utf-8")
KEYS = Pseudonyms(b"a key for tests")
CORRELATION = "0199b0de-5c00-7000-8000-000000000001"


def fenced(info: str) -> str:
    match = re.search(rf"^```{info}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


EXAMPLE = yaml.safe_load(fenced("yaml mapping"))
LOG = fenced("json").encode().splitlines()

STEP = {
    "type": "dsl.step.executed",
    "if": {"event": "step"},
    "fields": {
        "step_path": {"field": "step", "names": ["make"]},
        "step_type": {"value": "transform"},
        "duration_us": {"field": "ms", "unit": "ms"},
    },
}
LINE = {"event": "step", "at": "2026-03-01T10:00:00.123456Z", "step": "make", "ms": 2.5}


def mapping_of(rule: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any part of a mapping
    return {"time": {"field": "at"}, "events": [rule or STEP], **more}


def lines_of(given: dict[str, Any]) -> Lines:
    mapping, faults = parse(given)
    assert mapping is not None, faults
    return Lines(mapping, KEYS)


def make(given: dict[str, Any], **changes: Any) -> Any:  # noqa: ANN401 - an event of any type
    """The event of a line that was changed; what is None is not in it."""
    line = {key: value for key, value in {**LINE, **changes}.items() if value is not None}
    return lines_of(given).event(json.dumps(line).encode(), 0)


def with_field(name: str, source: object) -> dict[str, Any]:
    return mapping_of({**STEP, "fields": {**STEP["fields"], name: source}})  # type: ignore[dict-item]  # a mapping


@pytest.mark.req("S-04")
def test_the_worked_example_is_as_the_page_says() -> None:
    lines = lines_of(EXAMPLE)

    events: list[Any] = [lines.event(line, number) for number, line in enumerate(LOG[:5])]

    assert [event and event_type(event) for event in events] == [
        "command.execution.started",
        "dsl.step.executed",
        "dsl.step.failed",
        "command.execution.completed",
        None,
    ]
    with pytest.raises(Unfit, match="no event of the mapping"):
        lines.event(LOG[5], 5)
    started, executed, failed, completed, _ = events
    for event in events[:4]:
        assert event.scope.correlation_id.hex() == CORRELATION.replace("-", "")
        assert event.scope.request_source == "import"
        assert event.scope.command_slug == "fragment.update"
        assert event.scope.user_id == KEYS.user("local-default")
        assert unix_ms_of(event.event_id) == event.occurred_at_us // 1000
        RowEncoder().encode(event)
    assert started.occurred_at_us == to_unix_us(datetime(2026, 10, 4, 12, 0, 0, 100_000, tzinfo=UTC))
    assert (executed.step_type, executed.duration_us, executed.mutations_count) == ("database.update", 45_200, 3)
    assert (failed.error.error_type, failed.error.error_category) == ("RuntimeException", "internal")
    assert (completed.total_duration_us, completed.steps_executed) == (1_250_800, 2)
    assert lines.hidden_names == 0


@pytest.mark.req("S-04")
def test_the_same_line_at_the_same_place_has_the_same_id() -> None:
    line = json.dumps(LINE).encode()

    ids = {(lines_of(mapping_of()).event(line, offset) or EVENT).event_id for offset in (0, 0, 7)}

    assert len(ids) == 2


EVENT = Event(b"", 0, None)  # type: ignore[arg-type]  # stands for nothing


@pytest.mark.req("S-04")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ms": "2.5"}, "duration_us: not a number"),
        ({"ms": True}, "duration_us: not a number"),
        ({"ms": -1}, "duration_us: out of range"),
        ({"ms": 1e300}, "duration_us: not a number"),
        ({"ms": 10**400}, "duration_us: not a number"),
        ({"ms": None}, "duration_us: missing"),
        ({"step": 7}, "step_path: not a text"),
        ({"step": None}, "step_path: missing"),
        ({"at": None}, "time: missing"),
        ({"at": 5}, "time: not a text"),
        ({"at": "yesterday"}, "time: of another form"),
        ({"at": "2026-03-01 10:00:00"}, "time: without an offset, and the mapping names no zone"),
        ({"at": "1969-12-31T00:00:00Z"}, "time: before 1970"),
        ({"event": "other"}, "no event of the mapping"),
    ],
)
def test_what_does_not_fit_has_a_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit, match=f"^{re.escape(reason)}$"):
        make(mapping_of(), **changes)


@pytest.mark.req("S-04")
@pytest.mark.parametrize(
    ("at", "reason"),
    [(10**400, "time: not a number"), (1e308, "time: not a number"), (1e14, "time: in the future")],
    ids=["more than a float", "a large float", "more than an id"],
)
def test_no_number_is_too_large_to_be_refused(at: float, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        make(mapping_of(time={"field": "at", "format": "unix_s"}), at=at)


@pytest.mark.req("S-04")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b" " * (MAX_LINE_BYTES + 1), "the line is too long"),
    ],
)
def test_what_is_no_record_has_a_reason(line: bytes, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        lines_of(mapping_of()).event(line, 0)


@pytest.mark.req("S-04")
@pytest.mark.parametrize(
    ("time", "at"),
    [
        ({"format": "unix_s"}, 1_772_359_200.5),
        ({"format": "unix_ms"}, 1_772_359_200_500),
        ({"format": "unix_us"}, 1_772_359_200_500_000),
        ({"format": "%d.%m.%Y %H:%M:%S.%f", "zone": "Europe/Berlin"}, "01.03.2026 11:00:00.5"),
        ({"zone": "UTC"}, "2026-03-01 10:00:00.500"),
        ({"zone": "Europe/Berlin"}, "2026-03-01T10:00:00.500Z"),
    ],
)
def test_times_are_read_in_many_forms(time: dict[str, Any], at: object) -> None:
    event = make(mapping_of(time={"field": "at", **time}), at=at)

    assert event.occurred_at_us == 1_772_359_200_500_000


@pytest.mark.req("S-04", "C-14")
def test_a_name_that_nobody_declared_is_hidden() -> None:
    lines = lines_of(mapping_of())
    line = json.dumps({**LINE, "step": "dear-diary"}).encode()

    event: Any = lines.event(line, 0)

    assert re.fullmatch("hidden-[0-9a-f]{16}", event.step_path)
    assert lines.hidden_names == 1


@pytest.mark.req("S-04")
def test_ids_are_uuids_unless_the_mapping_has_them_hashed() -> None:
    given = with_field("execution_id", {"field": "run", "hash": True})
    strict = with_field("execution_id", "run")

    assert make(given, run="corr_12345").scope.execution_id == make(given, run="corr_12345").scope.execution_id
    assert make(given, run=7).scope.execution_id != make(given, run=8).scope.execution_id
    parent = with_field("parent_id", {"field": "run", "hash": True})
    assert make(parent, run=7).scope.parent_id == make(given, run=7).scope.execution_id
    with pytest.raises(Unfit, match="execution_id: not a UUID"):
        make(strict, run="corr_12345")
    assert make(strict, run=CORRELATION).scope.execution_id.hex() == CORRELATION.replace("-", "")


@pytest.mark.req("S-04")
def test_a_line_without_correlation_is_a_trace_of_its_own() -> None:
    event = make(mapping_of())

    assert event.scope.correlation_id == event.event_id


@pytest.mark.req("S-04")
def test_maps_measures_and_lists_of_keys() -> None:
    rule = {
        **STEP,
        "if": {"event": ["step", "done"], "ok": True},
        "fields": {
            **STEP["fields"],  # type: ignore[dict-item]  # a mapping
            "measures.rows": {"field": ["my.counts", "rows"]},
            "measures.branch": {"field": "way", "map": {"1": "then", "false": "else"}},
        },
    }

    event = make(mapping_of(rule), event="done", ok=True, way=False, **{"my.counts": {"rows": 3}})

    assert event.measures == {"rows": 3, "branch": "else"}
    with pytest.raises(Unfit, match=r"measures.branch: not in its map"):
        make(mapping_of(rule), ok=True, way=2)
    with pytest.raises(Unfit, match="no event of the mapping"):
        make(mapping_of(rule), ok=False)


@pytest.mark.req("S-04")
@pytest.mark.parametrize(
    ("given", "code", "path", "nearest"),
    [
        ([], "mapping.wrong_type", (), None),
        ({"events": [STEP]}, "mapping.key_missing", (), None),
        (mapping_of(evnts=[]), "mapping.unknown_key", ("evnts",), "events"),
        (mapping_of(events=[]), "mapping.empty", ("events",), None),
        (mapping_of(events=[STEP] * 201), "mapping.too_long", ("events",), None),
        (mapping_of(time={"field": "at", "zone": "Mars"}), "mapping.unknown_zone", ("time", "zone"), None),
        (mapping_of(time={"field": "at", "format": "rfc339"}), "mapping.unknown_format", ("time", "format"), "rfc3339"),
        (mapping_of(time={"field": ""}), "mapping.no_place", ("time", "field"), None),
        (mapping_of(ignore=[{}]), "mapping.empty", ("ignore", 0), None),
        (mapping_of(ignore=[{"a": {}}]), "mapping.wrong_type", ("ignore", 0, "a"), None),
        (mapping_of(common={"comand_slug": "x"}), "mapping.unknown_field", ("common", "comand_slug"), "command_slug"),
        (
            mapping_of({**STEP, "type": "dsl.step.execute"}),
            "mapping.unknown_type",
            ("events", 0, "type"),
            "dsl.step.executed",
        ),
        (mapping_of({**STEP, "if": {}}), "mapping.empty", ("events", 0, "if"), None),
        (mapping_of({**STEP, "fields": {}}), "mapping.field_missing", ("events", 0), None),
        (with_field("outcome", {"value": "suceeded"}), "mapping.wrong_value", ("outcome", "value"), "succeeded"),
        (
            with_field("outcome", {"field": "o", "map": {"ok": 1}}),
            "mapping.wrong_value",
            ("outcome", "map", "ok"),
            None,
        ),
        (with_field("outcome", {}), "mapping.no_source", ("outcome",), None),
        (with_field("duration_us", "ms"), "mapping.no_unit", ("duration_us",), None),
        (
            with_field("duration_us", {"field": "ms", "unit": "mss"}),
            "mapping.unknown_unit",
            ("duration_us", "unit"),
            "ms",
        ),
        (with_field("step_try", {"field": "n", "unit": "ms"}), "mapping.misplaced", ("step_try", "unit"), None),
        (with_field("user_id", {"value": "Ada"}), "mapping.misplaced", ("user_id", "value"), None),
        (with_field("fragment_id", {"field": "f", "hash": "no"}), "mapping.wrong_type", ("fragment_id", "hash"), None),
        (with_field("step_type", {"field": "t", "names": [1]}), "mapping.wrong_type", ("step_type", "names", 0), None),
    ],
)
def test_what_is_wrong_with_a_mapping_is_said_with_its_place(
    given: object, code: str, path: tuple[object, ...], nearest: str | None
) -> None:
    mapping, faults = parse(given)

    assert mapping is None
    found = [fault for fault in faults if fault.code == code]
    assert found, faults
    assert any(fault.path[-len(path) :] == path if path else fault.path == () for fault in found)
    assert nearest in {None, *(fault.nearest for fault in found)}


def test_all_faults_are_said_at_once() -> None:
    _, faults = parse({"time": {}, "events": [{"type": "x", "if": {}}, {"if": 1}], "more": 1})

    assert {fault.code for fault in faults} >= {"mapping.key_missing", "mapping.unknown_type", "mapping.unknown_key"}
    assert len(set(faults)) == len(faults)
    assert all(isinstance(fault, MappingFault) for fault in faults)


def a_source(kind: str, words: tuple[str, ...]) -> dict[str, Any]:
    """A constant that fits."""
    value: object = {"id": CORRELATION, "name": "x", "flag": True, "word": words[0] if words else ""}.get(kind, 1)
    return {"value": value, **({"unit": "ms"} if kind == "duration" else {})}


@pytest.mark.req("S-04")
@pytest.mark.parametrize("name", TYPES)
def test_every_event_type_can_be_brought_in_with_every_field(name: str) -> None:
    sources = {field: a_source(target.kind, target.words) for field, target in targets_of(name).items()}

    event = make(mapping_of({"type": name, "if": {"event": "step"}, "fields": sources}))

    assert event_type(event) == name
    RowEncoder().encode(event)
    filled = {each.name for each in msgspec.structs.fields(type(event)) if getattr(event, each.name) is not None}
    assert filled | {"failed_fields"} >= {each.name for each in msgspec.structs.fields(type(event))}


TEXTS = st.text("abcé \0\n09-.:%/\U0001f600", max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.req("S-04", "C-14")
@given(line=st.dictionaries(st.sampled_from(["event", "at", "step", "ms", "run", "who"]), JSON))
def test_whatever_a_line_holds_it_is_an_event_or_a_reason(line: dict[str, Any]) -> None:
    rule = {**STEP, "fields": {**STEP["fields"], "execution_id": "run", "user_id": "who"}}  # type: ignore[dict-item]
    text = json.dumps({**LINE, **line}).encode()

    try:
        event: Any = lines_of(mapping_of(rule)).event(text, 0)
    except Unfit as unfit:
        told = unfit.reason.split(":")[0]
    else:
        told = event.step_path.partition("-")[0]

    assert told in {"make", "hidden", "no event of the mapping", "not JSON", "time", *KNOWN}


KNOWN = {"step_path", "duration_us", "execution_id", "user_id"}


@given(JSON)
def test_whatever_a_mapping_holds_it_is_one_or_has_faults(given: object) -> None:
    for candidate in (given, {"time": given, "events": given}, mapping_of({**STEP, "fields": given, "if": given})):
        mapping, faults = parse(candidate)
        assert (mapping is None) == bool(faults)
