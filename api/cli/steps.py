"""`weir steps`: every step type there is, and what it says of itself. Needs no server."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from api.cli.output import Column, View, item_format, list_format, print_json, show_page
from api.cli.step_types import installed_step_types
from api.cli.terminal import Terminal, clean
from telemetry.errors import WeirError

if TYPE_CHECKING:
    from dsl.reference.parameters import Parameter
    from dsl.reference.step_types import StepType

_VIEW = View(
    (
        Column("TYPE", "name"),
        Column("EFFECT", "effect"),
        Column("WHAT IT DOES", "summary", shrinks=True),
    ),
    ("name", "effect", "summary"),
    "There are no step types.",
)

#: Columns of a text for reading, however wide the terminal is.
_WIDEST = 100


class UnknownStepType(WeirError):
    """There is no step type of this name."""

    code = "step_type.unknown"


@click.group(short_help="List and show step types.")
def steps() -> None:
    """List and show step types: those that come along, and your own."""


@steps.command("list")
@list_format
def list_steps(form: str) -> None:
    """List every step type, its effect, and what it does."""
    items = [_item(described) for described in _all()]
    show_page({"items": items, "next_cursor": None}, _VIEW, form, Terminal.of_stdout())


@steps.command("show")
@click.argument("name", metavar="TYPE")
@item_format
def show_step(name: str, form: str) -> None:
    """Show the step type TYPE: its parameters, what it gives, why it fails, what it measures, and an example."""
    described = _find(name)
    if form == "json":
        print_json(_item(described))
        return
    terminal = Terminal.of_stdout()
    terminal.say(described.name, "bold")
    for line in _page(described, min(terminal.width, _WIDEST)):
        terminal.say(line)


def _all() -> Iterator[StepType]:
    from dsl.reference.step_types import describe

    return (describe(name, step) for name, step in sorted(installed_step_types().items()))


def _find(name: str) -> StepType:
    """One of them.

    Raises:
        UnknownStepType: There is none of this name.
    """
    from dsl.faults import nearest

    known = {described.name: described for described in _all()}
    if name not in known:
        meant = nearest(name, known)
        hint = f"Did you mean {meant}?" if meant else "`weir steps list` shows what there is."
        raise UnknownStepType(f"there is no step type {name[:100]!r}", hint=hint)
    return known[name]


def _item(described: StepType) -> Mapping[str, Any]:
    return asdict(described)


def _page(described: StepType, width: int) -> Iterator[str]:
    for text in (described.summary, described.body):
        if text:
            yield from (*_wrapped(text, width), "")
    yield from ("Effect", *_wrapped(described.effect_meaning, width, "  "), "")
    if described.parameters:
        yield "Parameters (with:)"
        for parameter in described.parameters:
            yield from _parameter(parameter, width)
        yield ""
    if described.output:
        yield from ("Output", *_wrapped(described.output, width, "  "), "")
    for title, entries in (("Fails", described.failures), ("Measures", described.measures)):
        if entries:
            yield title
            for name, text in entries.items():
                yield from _wrapped(f"{name}: {text}", width, "  ", "  ")
            yield ""
    if described.example:
        yield "Example"
        yield from (f"  {clean(line)}" for line in described.example.splitlines())


def _parameter(parameter: Parameter, width: int) -> Iterator[str]:
    facts = [parameter.kind]
    facts += ["required"] if parameter.required else []
    facts += [f"default {parameter.default}"] if parameter.default else []
    facts += ["never a template"] if parameter.reading == "literal" else []
    yield from _wrapped(f"{parameter.name}: {'; '.join(facts)}", width, "  ", "  ")
    yield from _wrapped(parameter.meaning, width, "      ")


def _wrapped(text: str, width: int, indent: str = "", hang: str = "") -> list[str]:
    return textwrap.wrap(
        clean(" ".join(text.split())),
        width,
        initial_indent=indent,
        subsequent_indent=indent + hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
