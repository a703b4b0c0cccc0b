from __future__ import annotations

import io

import pytest

from api.cli.progress import progress, sized
from api.cli.terminal import cells


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_file_gets_a_line_every_ten_seconds_and_none_before(seconds: Seconds) -> None:
    stream = io.StringIO()

    with progress("making samples", 5000, stream=stream, clock=seconds) as bar:
        for _ in range(50):
            seconds.now += 0.5
            bar.advance(100)

    assert stream.getvalue().splitlines() == [
        "making samples: 2,000 of 5,000, 40%, 15 s left",
        "making samples: 4,000 of 5,000, 80%, 5.0 s left",
    ]


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind(seconds: Seconds) -> None:
    stream = Tty()

    with progress("importing", 4_000_000, shown=sized, stream=stream, clock=seconds) as bar:
        seconds.now += 1
        bar.advance(1_000_000)
        drawn = stream.getvalue()

    assert drawn.startswith("\rimporting  ███")
    assert "░  1 MB of 4 MB  25%" in drawn
    again, blank, rest = stream.getvalue().removeprefix(drawn).removeprefix("\r").split("\r")
    assert again == drawn.strip("\r")
    assert blank.strip() == ""
    assert len(blank) >= cells(again)
    assert rest == ""


def test_what_is_interrupted_leaves_nothing_behind_either(seconds: Seconds) -> None:
    stream = Tty()

    with pytest.raises(KeyboardInterrupt), progress("cleaning", stream=stream, clock=seconds) as bar:
        seconds.now += 1
        bar.advance()
        raise KeyboardInterrupt

    assert stream.getvalue().rpartition("cleaning")[2].endswith("\r")


@pytest.mark.parametrize("width", [10, 30, 40, 80, 300])
def test_a_bar_fits_the_terminal(seconds: Seconds, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Tty()

    with progress("making samples", 10_000_000, stream=stream, clock=seconds) as bar:
        for note in ("", "events of 2026-11-20", "日本" * 100):
            seconds.now += 5
            bar.note(note)
            bar.advance(1_234_567)

    assert all(cells(drawn) < width for drawn in stream.getvalue().split("\r"))


def test_more_than_was_expected_is_not_more_than_all(seconds: Seconds) -> None:
    stream = io.StringIO()

    with progress("exporting", 10, stream=stream, clock=seconds) as bar:
        seconds.now += 11
        bar.advance(15)

    assert stream.getvalue() == "exporting: 15 of 10, 100%\n"


def test_what_nobody_knows_the_length_of_says_how_long_it_takes_and_at_what_it_is(seconds: Seconds) -> None:
    stream = io.StringIO()

    with progress("cleaning", stream=stream, clock=seconds) as bar:
        seconds.now += 125
        bar.note("events of 2026-11-20\x1b[31m")

    assert stream.getvalue() == "cleaning: 2 min 5 s, events of 2026-11-20?[31m\n"


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (12_345, "12 kB"), (7_000_000, "7 MB"), (3_400_000_000, "3.4 GB")]
)
def test_bytes_are_in_the_unit_a_person_would_say(count: int, shown: str) -> None:
    assert sized(count) == shown
