"""A filter that is wrong, shown where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from api.cli.faults import render
from api.cli.terminal import Terminal
from api.client import ApiRefused
from dsl.errors import Fault

_USAGE = 2


@contextmanager
def shown_in(text: str | None) -> Iterator[None]:
    """Whatever of the filter `text` the API refuses meanwhile is shown on standard error.

    Raises:
        Exit: It was refused: the command line was wrong.
        ApiRefused: It was not because of the filter.
    """
    try:
        yield
    except ApiRefused as refused:
        if refused.problem.get("code") != "filter.invalid" or text is None:
            raise
        for told in refused.problem["errors"]:
            fault = Fault(**{name: told.get(name) for name in Fault.__dataclass_fields__})
            for line in render(fault, "--filter", text.split("\n")):
                Terminal.of_stderr().say(line)
        raise click.exceptions.Exit(_USAGE) from refused
