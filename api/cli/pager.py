"""Long lists page by page: where a person looks at them on a terminal, and they are longer than it is.

As git does it: the program of `WEIR_PAGER`, else of `PAGER`, else `less`; `cat` is none. `LESS` is `FRX` unless it is
set: colours are kept, and what fits on the screen stays there.
"""

from __future__ import annotations

import functools
import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TextIO, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

#: What pagers are told unless the environment tells them otherwise.
_USUAL: Mapping[str, str] = {"LESS": "FRX", "LV": "-c"}
#: Options under which a command goes on printing: nothing of it is kept back.
_ENDLESS = ("is_followed", "watch")


class _Kept(io.StringIO):
    """Standard output that is kept back: to whoever asks, the terminal that it is for.

    Args:
        terminal: That one.
    """

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it writable
        return self._terminal.encoding

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._terminal.fileno()


def paged(function: Callable[P, R]) -> Callable[P, R]:
    """A command whose output is paged, with `--no-pager` to have it as it is."""

    @click.option("--no-pager", is_flag=True, help="Print everything at once, on a terminal too.")
    @functools.wraps(function)
    def command(*args: Any, no_pager: bool, **options: Any) -> R:  # noqa: ANN401 - of the command
        program = None if no_pager or any(options.get(name) for name in _ENDLESS) else pager_of(os.environ)
        if program is None or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            return function(*args, **options)
        with _paging(program):
            return function(*args, **options)

    return command  # type: ignore[return-value]  # click adds the option that it takes more


def pager_of(environ: Mapping[str, str]) -> list[str] | None:
    """Program and arguments; none if there is none, or nobody wants one."""
    named = next((environ[name] for name in ("WEIR_PAGER", "PAGER") if name in environ), "less")
    try:
        words = shlex.split(named)
    except ValueError:
        return None
    return words if words and words[0] != "cat" and shutil.which(words[0]) else None


@contextmanager
def _paging(program: list[str]) -> Iterator[None]:
    """Keeps what is printed inside; shows it afterwards, also when something was raised."""
    terminal, kept = sys.stdout, _Kept(sys.stdout)
    sys.stdout = kept
    try:
        yield
    finally:
        sys.stdout = terminal
        text = kept.getvalue()
        if text.count("\n") < shutil.get_terminal_size().lines or not _show(program, text, terminal):
            terminal.write(text)
            terminal.flush()


def _show(program: list[str], text: str, terminal: TextIO) -> bool:
    """Whether the pager took the text. Whoever leaves it before the end has seen enough."""
    import subprocess

    terminal.flush()
    environment = {**_USUAL, **os.environ}
    try:
        process = subprocess.Popen(program, stdin=subprocess.PIPE, env=environment)  # noqa: S603 - the user's own choice
    except OSError:
        return False
    # Ctrl-C is the pager's while it is there.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.communicate(text.encode(terminal.encoding or "utf-8", "replace"))
    finally:
        signal.signal(signal.SIGINT, before)
    return True
