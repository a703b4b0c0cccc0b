from __future__ import annotations

import json

from telemetry.testing import ManualClock
from workers.stack.lines import MAX_LINE_BYTES, JsonLines, LineSplitter, PrefixedLines


def test_lines_arrive_whole_however_they_were_cut() -> None:
    splitter = LineSplitter()

    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"") == []
    assert splitter.feed(b"o\r\n\nthree") == [b"two", b""]
    assert splitter.finish() == [b"three"]
    assert splitter.finish() == []


def test_a_long_line_is_cut_and_says_by_how_much() -> None:
    splitter = LineSplitter()

    for _ in range(10):
        assert splitter.feed(b"x" * MAX_LINE_BYTES) == []
    (line,) = splitter.feed(b"yz\nnext")

    assert line == b"x" * MAX_LINE_BYTES + b" ... (%d bytes cut)" % (9 * MAX_LINE_BYTES + 2)
    assert splitter.finish() == [b"next"]


def test_a_line_gives_the_terminal_no_orders() -> None:
    assert LineSplitter().feed(b"\x1b[2Jgone\ttab\x00\x7f\n") == [b"?[2Jgone\ttab??"]


def test_other_languages_survive() -> None:
    text = "größer, 日本".encode()

    assert LineSplitter().feed(text + b"\n") == [text]


def test_a_prefix_is_as_wide_as_the_longest_name_and_keeps_its_colour() -> None:
    style = PrefixedLines(6)

    assert style.plain("api", b"up") == b"api    | up\n"
    first, other, again = (style.coloured(name, b"up") for name in ("api", "worker", "api"))
    assert first == again == b"\x1b[36mapi    |\x1b[0m up\n"
    assert other.startswith(b"\x1b[35mworker |")


def test_as_json_an_object_passes_and_anything_else_is_wrapped(clock: ManualClock) -> None:
    style = JsonLines(clock)

    assert style.plain("api", b'{"event": "it"}') == b'{"event": "it"}\n'
    assert json.loads(style.coloured("postgres", b'LOG:  "ready" \xff')) == {
        "timestamp": "2026-01-13T12:00:00.000Z",
        "process": "postgres",
        "event": 'LOG:  "ready" \ufffd',
    }
