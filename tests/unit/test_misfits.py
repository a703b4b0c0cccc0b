"""What is said of events that cannot be stored, and which of them may be kept."""

from __future__ import annotations

from typing import Any, get_args

import click
import msgspec
import pytest
from fixtures.samples import encoded, make_step, one_of_each

from api.cli.quarantine import list_quarantined
from telemetry.ids import mint
from telemetry.misfits import Examiner, Reason
from telemetry.rows import decode_event

EXAMINER = Examiner()
encode = msgspec.msgpack.encode


def builtins(event: Any) -> list[Any]:  # noqa: ANN401 - any event
    found: list[Any] = msgspec.to_builtins(event, builtin_types=(bytes,))
    return found


def of_a_newer_type(*more: object) -> list[object]:
    return ["dsl.step.rewound", *builtins(make_step())[1:4], *more]


def test_what_is_no_value_at_all_is_bytes() -> None:
    misfit = EXAMINER.event(b"\xc1hunter2")

    assert (misfit.reason, misfit.shape, misfit.payload) == ("undecodable", {"type": "bytes", "size": 8}, None)


def test_nesting_that_no_decoder_follows_is_bytes_too() -> None:
    assert EXAMINER.event(b"\x91" * 100_000 + b"\xc0").reason == "undecodable"
    assert EXAMINER.entry(b"\x91" * 100_000 + b"\xc0").shape == {"type": "bytes", "size": 100_001}


@pytest.mark.req("C-14")
def test_the_shape_of_an_event_names_its_fields_and_not_what_is_in_them() -> None:
    data = encoded(make_step(step_path="hunter2 is my password", measures={"hunter2": "hunter2"}))[0]

    misfit = EXAMINER.event(data)

    assert (misfit.reason, misfit.event_type, misfit.payload) == ("malformed", "dsl.step.executed", None)
    fields = {field["name"]: field for field in misfit.shape["fields"]}
    assert fields["step_path"] == {"name": "step_path", "type": "text", "size": 22}
    assert fields["measures"] == {"name": "measures", "type": "map", "size": 1}
    assert fields["scope"]["fields"][0] == {"name": "correlation_id", "type": "bytes", "size": 16}
    assert b"hunter2" not in encode(misfit)


def test_an_id_that_was_not_minted_from_its_time_is_not_told() -> None:
    misfit = EXAMINER.event(encoded(make_step(event_id=b"sixteen bytes of"))[0])

    assert (misfit.reason, misfit.event_id, misfit.event_type) == ("malformed", None, None)


@pytest.mark.req("C-13")
def test_an_event_with_more_fields_than_are_known_is_kept_whole() -> None:
    for event in one_of_each():
        newer = [*builtins(event), *([None] * (len(event.__struct_fields__) + 1 - len(builtins(event)))), "a.word", 7]

        with pytest.raises(msgspec.ValidationError):
            decode_event(encode(newer))
        misfit = EXAMINER.event(encode(newer))

        assert (misfit.reason, misfit.event_id) == ("newer_version", event.event_id)
        assert misfit.payload is not None
        assert misfit.payload == encode(newer)


@pytest.mark.req("C-13")
def test_an_event_whose_scope_has_more_fields_is_kept_whole() -> None:
    newer = builtins(make_step())
    newer[3] = [*newer[3], b"8 bytes."]

    with pytest.raises(msgspec.ValidationError):
        decode_event(encode(newer))
    misfit = EXAMINER.event(encode(newer))

    assert misfit.reason == "newer_version"
    assert misfit.payload == encode(newer)


@pytest.mark.req("C-13")
def test_an_event_of_an_unknown_type_is_kept_whole() -> None:
    newer = of_a_newer_type("triage[17].note", 3, None, [["inputs.body", "required"]])

    misfit = EXAMINER.event(encode(newer))

    assert (misfit.reason, misfit.event_type, misfit.payload) == ("unknown_type", "dsl.step.rewound", encode(newer))


@pytest.mark.req("C-14")
@pytest.mark.parametrize(
    "newer",
    [
        of_a_newer_type("my password is hunter2"),
        of_a_newer_type(["deep", ["in", ["a", ["nest", ["of", ["hunter2"]]]]]]),
        of_a_newer_type(b"hunter2" * 10),
        of_a_newer_type([{"hunter2": 1}]),
        [*builtins(make_step()), None, None, "hunter2 is text"],
        ["dsl.step.rewound", mint(0), 5_000_000, builtins(make_step())[3]],
        ["dsl.step.rewound", *builtins(make_step())[1:3], ["no", "scope"]],
        ["Hunter2.Said", *builtins(make_step())[1:]],
        {"event_type": "hunter2"},
    ],
)
def test_what_does_not_look_like_a_newer_event_is_not_kept(newer: object) -> None:
    misfit = EXAMINER.event(encode(newer))

    assert (misfit.reason, misfit.payload) == ("malformed", None)
    assert b"unter2" not in encode(misfit)


@pytest.mark.req("C-14")
def test_measures_that_are_not_registered_are_left_out_of_what_is_kept() -> None:
    step = make_step(measures={"rows": 3, "hunter2": 1, "branch": "then", "model": "hunter2"})

    refused = EXAMINER.refused(encoded(step)[0])
    newer = EXAMINER.event(encode(of_a_newer_type({"rows": 3, "hunter2": 1})))

    assert refused.payload is not None
    assert newer.payload is not None
    assert decode_event(refused.payload) == msgspec.structs.replace(step, measures={"rows": 3, "branch": "then"})
    assert msgspec.msgpack.decode(newer.payload)[4] == {"rows": 3}


def test_what_is_too_large_is_not_kept() -> None:
    assert EXAMINER.event(encode(of_a_newer_type(*["a-name"] * 20_000))).payload is None


def test_of_an_entry_only_the_outer_shape_is_told() -> None:
    misfit = EXAMINER.entry(encode([1, "hunter2", {"hunter2": True}]))

    assert misfit.reason == "entry_malformed"
    assert misfit.shape == {
        "type": "array",
        "size": 3,
        "fields": [{"type": "int"}, {"type": "text", "size": 7}, {"type": "map", "size": 1}],
    }


def test_the_command_line_takes_every_reason_there_is() -> None:
    [taken] = [option.type for option in list_quarantined.params if option.name == "reason"]

    assert isinstance(taken, click.Choice)
    assert set(taken.choices) == set(get_args(Reason))
