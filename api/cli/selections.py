"""Dealing with many at once, dead letters or quarantined events: what is found is confirmed first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from api.cli.options import F, together
from api.cli.output import Column, Item, print_json, table
from api.cli.terminal import Terminal, plural
from api.client import Client


def confirmation(everything: str) -> Callable[[F], F]:
    """The options of what deals with many.

    Args:
        everything: What `--all` is.
    """
    return together(
        click.option("--all", "everything", is_flag=True, help=everything),
        click.option("--dry-run", is_flag=True, help="Only say how many that would be, and show some."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--count", type=click.IntRange(0), help="Only if it is exactly as many, and do not ask."),
    )


def require_names_or_filters(ids: Sequence[str], filters: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Either those named or those that filters find, and all of them only when that is said."""
    if ids and (filters or given["everything"]):
        raise click.UsageError("IDs and filters exclude each other.")
    if not ids and not filters and not given["everything"]:
        raise click.UsageError("Name some by ID or filter, or say --all.")


@dataclass(frozen=True, slots=True)
class Selection:
    """What can be dealt with in bulk.

    Args:
        path: Of the API; below it are `preview` and each verb.
        noun: One of them.
        done: What was done to them, by verb.
        columns: Of the samples of a preview.
    """

    path: str
    noun: str
    done: Mapping[str, str]
    columns: Sequence[Column]

    def preview(self, client: Client, asked: Mapping[str, Any]) -> Item:
        """How many that is, some of them, and the newest there is."""
        found: Item = client.post(f"{self.path}/preview", asked).body
        return found

    def deal(self, client: Client, verb: str, asked: Mapping[str, Any], count: int) -> tuple[list[Any], list[Item]]:
        """Part after part, until nothing is left; interrupted, the same command goes on. Those done, those refused."""
        done: list[Any] = []
        refused: list[Item] = []
        where: dict[str, Any] = {"count": count}
        while where:
            part = client.post(f"{self.path}/{verb}", {**asked, **where}).body
            done += part["done"]
            refused += part["refused"]
            where = {"cursor": part["next_cursor"]} if part["next_cursor"] else {}
        return done, refused

    def confirm(self, preview: Item, verb: str, form: str) -> None:
        """Ask a person to type how many; somebody who cannot be asked has to say it with the command."""
        count = preview["count"]
        if form == "json" or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError(f"{self._would_be(count, verb)}: confirm with --count {count} or --yes.")
        self.show_preview(preview, verb, form)
        if click.prompt(f"Type {count} to {verb} them", default="", show_default=False) != str(count):
            raise click.Abort

    def show_preview(self, preview: Item, verb: str, form: str) -> None:
        """How many, and some of them."""
        if form == "json":
            print_json(preview)
            return
        terminal, samples = Terminal.of_stdout(), preview["samples"]
        terminal.say(self._would_be(preview["count"], verb))
        if samples:
            for line in table(samples, self.columns, terminal):
                terminal.say(line)
        if preview["count"] > len(samples):
            terminal.say(f"and {preview['count'] - len(samples)} more", "dim")

    def show_done(self, verb: str, done: Sequence[Any], refused: Sequence[Item], form: str) -> None:
        """How many it was."""
        if form == "json":
            print_json({"done": done, "refused": refused})
        else:
            print(f"{plural(len(done), self.noun)} {self.done[verb]}")

    def _would_be(self, count: int, verb: str) -> str:
        return f"{plural(count, self.noun)} would be {self.done[verb]}"
