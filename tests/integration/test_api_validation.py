"""`POST /api/commands/validate` says of a text what `weir commands validate` says of a file, and keeps nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.apis import Answer, Api, Weir

from api.schemas.answers import VerdictShape
from dsl.library import PACKS

CORPUS = sorted((Path(__file__).parents[1] / "corpus" / "written").glob("*.yaml"))

SOUND = (PACKS / "todo.add.yaml").read_bytes()
FAULTY = b"slug: x\nsteps:\n  - {id: a, type: respnd}\n"


def validated(api: Api, text: bytes, kind: str = "application/yaml") -> Answer:
    return api.open("POST", "/api/commands/validate", data=text, content_type=kind)


@pytest.mark.req("D-04", "S-14")
def test_a_sound_text_is_valid_and_is_not_a_command_for_that(api: Api) -> None:
    answer = validated(api, SOUND.replace(b"slug: todo.add", b"slug: todo.other"))

    assert answer.status_code == 200
    assert VerdictShape().validate(answer.json) == {}
    assert answer.json == {
        "valid": True,
        "source": "text",
        "slug": "todo.other",
        "errors": [],
        "warnings": [],
        "in_place_of": None,
    }
    assert api.get("/api/commands/todo.other").status_code == 404


@pytest.mark.parametrize(
    "kind", ["application/yaml", "text/yaml", "text/x-yaml", "application/x-yaml", "text/plain; charset=utf-8"]
)
def test_every_fault_is_told_with_its_place_and_what_would_be_right(api: Api, kind: str) -> None:
    answer = validated(api, FAULTY, kind)

    assert (answer.status_code, answer.json["valid"], answer.json["slug"]) == (200, False, "x")
    [fault] = answer.json["errors"]
    assert fault["code"] == "command.unknown_step_type"
    assert (fault["path"], fault["line"], fault["nearest"]) == ("steps[0].type", 3, "respond")
    assert fault["column"] > 1


def test_json_may_name_the_text(api: Api) -> None:
    answer = api.post("/api/commands/validate", {"text": FAULTY.decode(), "origin": "commands/x.yaml"})

    assert answer.json == {**validated(api, FAULTY).json, "source": "commands/x.yaml"}


def test_what_a_sound_text_holds_in_vain_is_a_warning(api: Api) -> None:
    text = b"slug: x\nsteps:\n  - {id: a, type: respond, if: 1 > 2, with: {value: hi}}\n"

    answer = validated(api, text)

    assert answer.json["valid"]
    assert len(answer.json["warnings"]) == 1


@pytest.mark.parametrize(
    "text",
    [b"", b"\x00\x01\x02", b"\xff\xfe\x00", b"[" * 100_000, b"a: &a [*a]", b"x" * 2_000_000, b"\t- x"],
    ids=["empty", "binary", "utf-16", "deep", "alias", "large", "tab"],
)
def test_whatever_the_text_is_the_answer_is_its_faults(api: Api, text: bytes) -> None:
    answer = validated(api, text)

    assert answer.status_code == 200
    assert VerdictShape().validate(answer.json) == {}
    assert not answer.json["valid"]
    assert answer.json["errors"]


@pytest.mark.parametrize(
    ("data", "kind", "status", "code"),
    [
        (b"x" * 17_000_000, "application/yaml", 413, "request.too_large"),
        (SOUND, "application/octet-stream", 415, "request.media_type"),
        (SOUND, None, 415, "request.media_type"),
        (b"{", "application/json", 400, "request.malformed"),
        (b"{}", "application/json", 422, "request.invalid"),
        (b'{"text": 5}', "application/json", 422, "request.invalid"),
        (b'{"text": "a", "origin": ""}', "application/json", 422, "request.invalid"),
        (b'{"text": "a", "file": "b"}', "application/json", 422, "request.invalid"),
        (b'{"text": "a\\u0000b"}', "application/json", 422, "request.invalid"),
        (b'{"text": "\\ud800"}', "application/json", 422, "request.invalid"),
    ],
)
def test_a_request_that_holds_no_text_is_refused(
    api: Api, data: bytes, kind: str | None, status: int, code: str
) -> None:
    answer = api.open("POST", "/api/commands/validate", data=data, content_type=kind)

    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_the_api_and_the_command_line_say_the_same_of_every_file_of_the_corpus(api: Api, offline_weir: Weir) -> None:
    typed = offline_weir("commands", "validate", "--format", "json", *map(str, CORPUS))
    said = {item["source"]: item for item in json.loads(typed.out)["items"]}

    for path in CORPUS:
        # A slug that another file has is a fault among files, not of a text.
        of_file = [fault for fault in said[str(path)]["errors"] if fault["code"] != "library.duplicate_slug"]
        of_text = validated(api, path.read_bytes()).json
        assert of_text["errors"] == of_file, path.name
        assert of_text["slug"] == said[str(path)]["slug"], path.name
        assert of_text["valid"] == (not of_file)


def test_the_words_of_a_text_are_in_no_event(api: Api) -> None:
    validated(api, b"slug: kraken-7731\nsteps: kraken-7731\n")

    stored = json.dumps(api.get("/api/telemetry/events").json)
    assert "/api/commands/validate" in stored
    assert "kraken" not in stored
