from __future__ import annotations

import io

import pytest

from api.cli.output import Column, View, one_line, print_csv, print_json, show_page, table
from api.cli.terminal import Counter, Terminal, cells, clean, clip, human_duration, pad, plural


@pytest.mark.parametrize(
    ("duration_ms", "shown"),
    [
        (None, ""),
        (0, "0 µs"),
        (0.0004, "0 µs"),
        (0.85, "850 µs"),
        (0.9999, "1.0 ms"),
        (4.21, "4.2 ms"),
        (9.96, "10 ms"),
        (45.4, "45 ms"),
        (999.4, "999 ms"),
        (999.7, "1.0 s"),
        (1340, "1.3 s"),
        (59_400, "59 s"),
        (59_700, "1 min 0 s"),
        (125_000, "2 min 5 s"),
        (3_600_000, "1 h 0 min"),
        (86_340_000, "23 h 59 min"),
        (90_061_000, "1 d 1 h"),
        (22_840_620_000, "264 d 8 h"),
    ],
)
def test_durations_are_in_the_unit_a_person_would_say(duration_ms: float | None, shown: str) -> None:
    assert human_duration(duration_ms) == shown


def test_durations_have_an_ascii_form() -> None:
    assert human_duration(0.5, unicode=False) == "500 us"


@pytest.mark.parametrize("steering", ["\x1b[31mred", "a\x07b", "a\u202eb", "\x9bm", "line\u2028break"])
def test_nothing_that_could_steer_the_terminal_passes(steering: str) -> None:
    assert "?" in clean(steering)
    assert clean(steering).isprintable()


def test_ordinary_text_of_any_language_passes_unchanged() -> None:
    text = "Übung: 日本語, עברית и ещё 🙂"

    assert clean(text) == text


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert cells("日本") == 4
    assert cells("e\u0301") == 1
    assert pad("日本", 6) == "日本  "
    assert pad("ab", 4, right=True) == "  ab"


@pytest.mark.parametrize(("width", "clipped"), [(5, "hello"), (4, "hel…"), (1, "h"), (0, "")])
def test_clipped_text_fits_and_says_that_it_was_cut(width: int, clipped: str) -> None:
    assert clip("hello", width) == clipped


def test_clipping_never_splits_a_wide_character() -> None:
    assert clip("日本語", 4) == "日…"


def test_one_is_singular() -> None:
    assert (plural(1, "step"), plural(2, "step"), plural(1200, "step")) == ("1 step", "2 steps", "1,200 steps")


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colour_is_only_for_a_terminal_and_not_where_it_is_unwanted() -> None:
    assert Terminal.of(Tty(), {}).colour
    assert not Terminal.of(Tty(), {"NO_COLOR": "1"}).colour
    assert not Terminal.of(Tty(), {"TERM": "dumb"}).colour
    assert not Terminal.of(io.StringIO(), {}).colour


def test_a_stream_without_unicode_gets_ascii_marks_and_no_errors() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    terminal = Terminal.of(stream, {})

    terminal.say("Übung")

    assert raw.getvalue() == b"?bung\n"
    assert terminal.marks.failed == "x"


COLUMNS = (
    Column("NAME", "name", shrinks=True),
    Column("COUNT", "count", right=True),
)


def test_a_table_lines_up_its_columns() -> None:
    items = [{"name": "a", "count": 1}, {"name": "日本", "count": 100}]

    assert table(items, COLUMNS, Terminal()) == ["NAME  COUNT", "a         1", "日本    100"]


def test_a_table_is_cut_to_the_width_only_where_a_person_looks_at_it() -> None:
    items = [{"name": "x" * 100, "count": 1}]

    assert len(table(items, COLUMNS, Terminal(width=40, interactive=True))[1]) == 40
    assert "x" * 100 in table(items, COLUMNS, Terminal(width=40))[1]


def test_columns_are_left_out_in_their_order_where_there_is_no_room_for_all() -> None:
    columns = (
        Column("NAME", "name", shrinks=True, least=10),
        Column("TIMES", "times", leaves=2),
        Column("STEPS", "steps", leaves=1),
        Column("ID", "id"),
    )
    items = [{"name": "x" * 50, "times": "t" * 10, "steps": "1", "id": "i" * 20}]

    def heading(width: int) -> list[str]:
        lines = table(items, columns, Terminal(width=width, interactive=True))
        assert all(len(line) <= width for line in lines)
        assert lines[1].endswith("i" * 20)
        return lines[0].split()

    assert heading(51) == ["NAME", "TIMES", "STEPS", "ID"]
    assert heading(50) == ["NAME", "TIMES", "ID"]
    assert heading(44) == ["NAME", "TIMES", "ID"]
    assert heading(43) == ["NAME", "ID"]
    assert len(table(items, columns, Terminal(width=43))[0].split()) == 4


def test_what_takes_two_lines_anyway_is_not_cut_as_if_it_were_one() -> None:
    columns = (Column("COMMAND", "command", shrinks=True), Column("ID", "id"))
    items = [{"command": "c" * 20, "id": "i" * 36}, {"command": "d" * 60, "id": "i" * 36}]

    short, long = table(items, columns, Terminal(width=40, interactive=True))[1:]

    assert short.startswith("c" * 20 + " ")
    assert len(long) == 80


VIEW = View(COLUMNS, ("name", "count", "tags"), "nothing here")


def test_an_empty_list_teaches_the_command_that_fills_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_page({"items": [], "next_cursor": None}, VIEW, "table", Terminal())

    assert capsys.readouterr().out == "nothing here\n"


def test_a_page_that_goes_on_says_how_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_page({"items": [{"name": "a", "count": 1}], "next_cursor": "abc"}, VIEW, "table", Terminal())

    assert capsys.readouterr().err == "more with --cursor abc\n"


def test_csv_has_a_heading_even_without_items_and_json_in_nested_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([], VIEW.fields)
    print_csv([{"name": 'a,"b"', "count": None, "tags": ["x"]}], VIEW.fields)

    assert capsys.readouterr().out.splitlines() == ["name,count,tags", "name,count,tags", '"a,""b""",,"[""x""]"']


def test_json_is_the_same_as_over_rest(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"items": [{"name": "ü"}], "next_cursor": None})

    assert (
        capsys.readouterr().out == '{\n  "items": [\n    {\n      "name": "ü"\n    }\n  ],\n  "next_cursor": null\n}\n'
    )


def test_any_value_fits_on_one_line() -> None:
    assert one_line("a\nb") == "a b"
    assert one_line({"a": [1, None]}) == '{"a": [1, null]}'


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_count_is_on_the_last_line_of_a_terminal_and_is_taken_away() -> None:
    screen = Screen()
    counter = Counter(Terminal.of(screen, {}), "files looked at")
    for _ in range(1049):
        counter.add()
    assert screen.getvalue().endswith("\r1,000 files looked at")
    counter.clear()
    assert screen.getvalue().endswith(f"\r{' ' * len('1,000 files looked at')}\r")


def test_a_count_is_shown_to_nobody_who_does_not_look() -> None:
    pipe = io.StringIO()
    counter = Counter(Terminal.of(pipe, {}), "files looked at")
    for _ in range(200):
        counter.add()
    counter.clear()
    assert pipe.getvalue() == ""
