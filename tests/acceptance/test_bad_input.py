"""Whatever is typed or sent, the answer is a sentence, and what was accepted comes to an end."""

from __future__ import annotations

import os
from urllib.parse import urlencode

import pytest
from fixtures.installations import Answer, Installation

_SAYS = (
    "{id: x, type: validate, with: {rules: [{value: '', required: true, message: '{{ inputs.text | from_json }}'}]}}"
)

#: A step, and a text given to it that neither Postgres nor a terminal likes.
STEPS = {
    "NUL in what a rule says": (_SAYS, r'"why\u0000"'),
    "half a character in what a rule says": (_SAYS, r'"why\ud800"'),
    "NUL in the name of a parameter": (
        "{id: x, type: validate, with: {rules: '{{ inputs.text | from_json }}'}}",
        r'[{"value": 1, "\u0000": 1}]',
    ),
    "NUL in an output": ("{id: x, type: transform, with: {template: '{{ inputs.text | from_json }}'}}", r'"\u0000"'),
    "a date before all dates": (
        "{id: x, type: fragment.query, with: {since: '{{ inputs.text }}'}}",
        "0001-01-01T00:00:00+23:00",
    ),
}


@pytest.mark.req("C-01")
@pytest.mark.parametrize("what", STEPS)
@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry run"])
def test_what_cannot_be_kept_fails_its_execution_and_does_not_leave_it_running(
    what: str, dry_run: bool, installation: Installation
) -> None:
    step, text = STEPS[what]
    source = f"slug: odd\ninputs: {{text: {{type: string}}}}\nsteps:\n  - {step}\n"
    (installation.commands / "odd.yaml").write_text(source, encoding="utf-8")

    answer = installation.request(
        "POST", "/api/commands/odd/executions", {"inputs": {"text": text}, "dry_run": dry_run}, {"Prefer": "wait=2"}
    )

    assert answer.json["state"] == "failed"
    assert answer.json["error"]["category"] == "validation"


def test_a_text_about_a_nul_character_is_a_text(installation: Installation) -> None:
    execution = installation.run("todo.add", {"body": r"what does \u0000 mean?"})

    assert execution["state"] == "succeeded", execution["error"]


def test_a_body_in_broken_chunks_is_the_callers_fault(installation: Installation) -> None:
    post = b"POST /api/commands/todo.add/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    assert installation.send(post + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n\r\n") == 400


def test_the_command_line_says_that_a_body_is_too_large(installation: Installation) -> None:
    ran = installation.weir("run", "note.add", "--input-file", "-", stdin='{"content": "' + 17_000_000 * "x" + '"}')

    assert ran.returncode == 1
    assert "nothing answers" not in ran.stderr


@pytest.mark.req("S-03")
def test_the_longest_filter_has_room_and_a_longer_address_is_refused_as_a_problem(installation: Installation) -> None:
    def asked(text: str) -> Answer:
        return installation.request("GET", "/api/telemetry/events?" + urlencode({"filter": text}))

    # Each character takes three bytes on the way.
    assert asked('user:"' + 494 * "/" + '",' + ",".join(494 * "/" for _ in range(3)) + "/").status == 200
    for refused, code in (
        (asked("command:" + 1990 * "\N{SNOWMAN}"), "request.address_too_long"),
        (installation.request("GET", "/healthz", headers={"X": 9000 * "x"}), "request.headers_too_large"),
    ):
        problem = refused.json
        assert refused.headers["content-type"] == "application/problem+json"
        assert (problem["status"], problem["code"]) == (refused.status, code)
    typed = installation.weir("telemetry", "query", "--filter", "command:" + 1990 * "\N{SNOWMAN}")
    assert typed.returncode == 1
    assert "8,190 bytes" in typed.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["todo.add", "-i", "body=" + os.fsdecode(b"not UTF-8 \xff")], ""),
        ([os.fsdecode(b"not-utf-8-\xff"), "-i", "body=x"], ""),
        (["todo.add", "--input-file", "-"], r'{"body": "half \ud800"}'),
        (["todo.add", "--input-file", "-"], '{"body": NaN}'),
        (["todo.add", "--input-file", "-"], '{"body": ' + 100_000 * "[" + 100_000 * "]" + "}"),
        (["todo.add", "-i", "body=x", "--wait", "nan"], ""),
    ],
    ids=["value not UTF-8", "slug not UTF-8", "half a character", "no number", "too deep", "no time to wait"],
)
def test_the_command_line_foresees_bad_input(arguments: list[str], stdin: str, installation: Installation) -> None:
    ran = installation.weir("run", *arguments, stdin=stdin)

    assert ran.returncode in {1, 2}, ran.stderr
    assert "nobody foresaw" not in ran.stderr
