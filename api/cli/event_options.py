"""Options that say which events are meant, the same ones wherever `weir telemetry` looks at events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from api.cli.completion import components, event_types, slugs
from api.cli.faults import render
from api.cli.instants import instant_of
from api.cli.options import F, together
from api.cli.output import Item
from api.cli.terminal import Terminal
from api.client import ApiRefused
from dsl.errors import Fault

#: Longer than there has been time, and as long as the API reads.
_ALL = "999999999d"

_USAGE = 2
_TYPED = "weir.typed_times"


def of_findings() -> Sequence[str]:
    """The components that a check-up may find something of; those of events are among them."""
    from api.schemas.checkup import COMPONENTS

    return COMPONENTS


class Component(click.ParamType[str]):
    """A part of Weir; names of other systems are understood (`telemetry/components.py`).

    Args:
        known: Gives those there are beside those that events have; called for what is none of these.
    """

    name = "component"

    def __init__(self, known: Callable[[], Sequence[str]] = tuple) -> None:
        self._known = known

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from telemetry.components import COMPONENTS, component_name, nearest

        found = component_name(value)
        if found not in COMPONENTS and found not in (known := self._known() or COMPONENTS):
            near = nearest(found, known)
            meant = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            self.fail(f"there is no component {value!r}; {meant}", param, ctx)
        return found


class Id(click.ParamType[str]):
    """An id of Weir."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from telemetry.filters.kinds import ID

        try:
            ID.read(value.strip())
        except ValueError:
            self.fail(f"{value!r} is not an id: 32 hexadecimal digits, with hyphens or without", param, ctx)
        return value.strip()


#: Those that events have.
OF_EVENTS = Component()


class EventType(click.ParamType[str]):
    """A type of events, or the first words of some."""

    name = "type"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from telemetry.event_types import is_event_type, nearest_event_type

        if not is_event_type(value):
            near = nearest_event_type(value)
            meant = f"did you mean {near}?" if near else "docs/reference/events.md has them all"
            self.fail(f"there is no type of events {value!r}; {meant}", param, ctx)
        return value


class Word(click.ParamType[str]):
    """One of a few words, of a field of filters; upper and lower case do not matter."""

    def __init__(self, field: str) -> None:
        self.name = field

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from telemetry.filters.fields import BY_NAME

        field = BY_NAME[self.name]
        word = value.strip().lower()
        if word not in field.kind.words:
            near = field.kind.nearest(word)
            meant = f"did you mean {near}?" if near else f"there are {', '.join(field.kind.words)}"
            self.fail(f"there is no {self.name} {value!r}; {meant}", param, ctx)
        return word


def time_range(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """How far back, as the API takes it.

    Raises:
        BadParameter: It is no duration.
        UsageError: There is a beginning already.
    """
    from telemetry.settings import parse_duration

    if text is None:
        return None
    _require_alone(context, "start")
    try:
        parse_duration(text)
    except OverflowError:
        return _ALL
    except ValueError as error:
        message = f"{text!r} is not a number and a unit (us, ms, s, m, h, d), such as 15m, 1h or 7d"
        raise click.BadParameter(message, param_hint=option.opts[0]) from error
    return text.strip()


def instant(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """A time, or how long ago, as the API takes it.

    Raises:
        BadParameter: It is neither.
        UsageError: There is a beginning already, or it is not before the end.
    """
    if text is None:
        return None
    if option.name == "start":
        _require_alone(context, "time_range")
    found = instant_of(text, option.opts[0])
    context.meta.setdefault(_TYPED, {})[option.name] = text
    ends = {"start": context.params.get("start"), "end": context.params.get("end"), option.name: found}
    if ends["start"] and ends["end"] and datetime.fromisoformat(ends["start"]) >= datetime.fromisoformat(ends["end"]):
        raise click.UsageError("--start is not before --end")
    return found


def usual_time(last: str = "") -> Callable[[F], F]:
    """The options of a stretch of time; `--last` and `--time-range` are the same everywhere.

    Args:
        last: How far back the API looks unless told, for the help; all there is, if none.
    """
    unless = f"; {last} unless given" if last else ""
    return together(
        click.option(
            "--last",
            "--time-range",
            "time_range",
            metavar="DURATION",
            callback=time_range,
            help=f"As far back as this: 15m, 1h, 7d{unless}.",
        ),
        click.option("--start", metavar="TIME", callback=instant, help="From this time: `now`, `3d` ago, or RFC 3339."),
        click.option("--end", metavar="TIME", callback=instant, help="Before this time, told likewise."),
    )


def _filters(component: click.ParamType[str]) -> Callable[[F], F]:
    return together(
        click.option(
            "--filter", "-f", metavar="FILTER", help="As in 'command:x outcome:failed duration:>2s -type:transform'."
        ),
        click.option(
            "--component",
            type=component,
            shell_complete=components,
            help="Only of this component: command, dsl, fragment, http, ...",
        ),
        click.option(
            "--event-type",
            type=EventType(),
            shell_complete=event_types,
            help="Only of this type; a prefix such as `dsl.step` will do.",
        ),
        click.option("--level", type=Word("level"), help="Only at this level."),
        click.option("--correlation-id", type=Id(), help="Only of this trace."),
        click.option("--execution-id", type=Id(), help="Only of this execution."),
        click.option("--command", metavar="SLUG", shell_complete=slugs, help="Only of this command."),
        click.option("--step-type", metavar="TYPE", help="Only of steps of this type."),
        click.option("--user", help="Only of this user (the plain name; what is stored is its hash)."),
        click.option("--space", help="Only of this space."),
        click.option("--outcome", type=Word("outcome"), help="Only with this outcome."),
    )


#: All that says which events but when. The values, by name, are parameters of the API; what is not given is None.
filter_options = _filters(OF_EVENTS)


def which_events(usual: str = "", component: click.ParamType[str] = OF_EVENTS) -> Callable[[F], F]:
    """All that says which events: `filter_options` and `usual_time`.

    Args:
        usual: How far back the API looks unless told, for the help; all there is, if none.
        component: What `--component` takes.
    """
    return together(_filters(component), usual_time(usual))


@contextmanager
def explained(text: str | None) -> Iterator[None]:
    """Inside, a filter that the API finds wrong is shown with the place, and ends the command.

    Raises:
        Exit: With the code of a command line that is wrong.
        ApiRefused: It was refused for another reason.
    """
    try:
        yield
    except ApiRefused as refused:
        if refused.problem.get("code") != "filter.invalid" or text is None:
            raise
        raise click.exceptions.Exit(explain_filter(refused.problem, text)) from refused


def explain_filter(problem: Item, text: str) -> int:
    """Show where the filter is wrong; the exit code."""
    for told in problem["errors"]:
        fault = Fault(**{name: told.get(name) for name in Fault.__dataclass_fields__})
        for line in render(fault, "--filter", text.split("\n")):
            Terminal.of_stderr().say(line)
    return _USAGE


def as_typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with times as they were typed: what asks for the same again is the same."""
    return {**given, **click.get_current_context().meta.get(_TYPED, {})}


def _require_alone(context: click.Context, other: str) -> None:
    """How far back and from when are two ways to say the same."""
    if context.params.get(other) is not None:
        raise click.UsageError("--last and --start exclude each other")
