"""`weir queues dead`: executions that ended as dead or failed, until somebody runs them again or drops them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from api.cli.completion import slugs
from api.cli.instants import instant_of
from api.cli.main import EXPECTED
from api.cli.options import together
from api.cli.outcome import tries
from api.cli.output import Column, Item, View, item_format, list_format, local_time, print_json, show_page
from api.cli.selections import Selection, confirmation, require_names_or_filters
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, plural
from api.client import ApiRefused, Client, segment

_PATH = "/api/queues/dead"

_FIELDS = (
    "id", "command", "state", "lane", "fingerprint", "last_step", "error", "attempts", "failures", "deaths",
    "deaths_alone", "user", "correlation_id", "parent_id", "queued_at", "started_at", "finished_at", "next_action",
)  # fmt: skip
_CAUSE_FIELDS = (
    "command", "fingerprint", "letters", "dead", "failed", "first_at", "last_at", "newest_id", "error",
)  # fmt: skip

#: What filters of the API are given, by option.
_FILTERS = ("state", "command", "fingerprint", "lane", "start", "end")


@click.group(short_help="List dead letters, run them again, drop them.")
def dead() -> None:
    """Deal with executions that ended as dead, because they killed their workers, or as failed.

    A dead letter is in the list until somebody requeues or drops it; its execution stays.
    """


#: The options that say which dead letters.
_filters = together(
    click.option(
        "--state",
        type=click.Choice(["dead", "failed", "all"]),
        help="What killed its workers, what ended with an error, or both; dead unless given.",
    ),
    click.option("--command", shell_complete=slugs, metavar="SLUG", help="Only those of this command."),
    click.option("--fingerprint", help="Only those with this cause: see `list --by fingerprint`."),
    click.option("--lane", help="Only those of this lane."),
    click.option("--since", "start", metavar="TIME", help="Only those that ended since then: 2h ago, or a time."),
    click.option("--until", "end", metavar="TIME", help="Only those that ended before; likewise."),
)


_user = click.option("--user", help="Who deals with them.")


@dead.command("list")
@_filters
@click.option("--by", type=click.Choice(["fingerprint"]), help="One line for all of a command with one cause.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def list_dead(by: str | None, limit: int, cursor: str | None, form: str, **given: Any) -> None:  # noqa: ANN401 - one per filter
    """List dead letters that nobody has dealt with, that which ended last first."""
    query = {**_body(given), "limit": limit, "cursor": cursor}
    with open_client() as client:
        page = client.get(f"{_PATH}/causes" if by else _PATH, query)
    if form == "csv":  # the particulars of an error have no place in a cell
        page = {**page, "items": [{**item, "error": _error_text(item["error"])} for item in page["items"]]}
    show_page(page, _causes_view(given) if by else _view(given), form, Terminal.of_stdout())


@dead.command("show")
@click.argument("execution_id", metavar="ID")
@item_format
def show_dead(execution_id: str, form: str) -> None:
    """Show one: what happened, at which step, and what to do about it."""
    with open_client() as client:
        letter = client.get(f"{_PATH}/{segment(execution_id)}")
    if form == "json":
        print_json(letter)
        return
    terminal = Terminal.of_stdout()
    terminal.say(f"{terminal.marks.of(letter['state'])} {clean(letter['command'])} {letter['state']}", "failed")
    for label, value in _facts(letter):
        terminal.say(f"{label:<12} {clean(value)}")
    terminal.say(f"  weir executions show {letter['id']} --steps", "dim")


@dead.command("requeue")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_filters
@click.option("--from-start", is_flag=True, help="From the beginning, instead of the step that failed.")
@confirmation("All of that state, without another filter.")
@_user
@item_format
def requeue(ids: tuple[str, ...], from_start: bool, form: str, **given: Any) -> None:  # noqa: ANN401 - one per option
    """Run dead letters again, each as a new execution: those named, or all that the filters find.

    Steps that are done are taken over. A dead letter is requeued once; asked again, it names what follows it.
    """
    _deal("requeue", ids, given, {"from_start": from_start}, form)


@dead.command("drop")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_filters
@confirmation("All of that state, without another filter.")
@_user
@item_format
def drop(ids: tuple[str, ...], form: str, **given: Any) -> None:  # noqa: ANN401 - one per option
    """Take dead letters out of the list: those named, or all that the filters find.

    Their executions stay, and say who dropped them and when.
    """
    _deal("drop", ids, given, {}, form)


def _deal(verb: str, ids: Sequence[str], given: Mapping[str, Any], more: Mapping[str, Any], form: str) -> None:
    """Requeue or drop: what is named at once, what filters find once its number is confirmed."""
    filters = _body(given)
    require_names_or_filters(ids, filters, given)
    if ids and given["count"] is not None and given["count"] != len(ids):
        raise click.BadParameter(f"{given['count']}, and {plural(len(ids), 'ID')} named", param_hint="--count")
    by = {} if given["user"] is None else {"user": given["user"]}
    with open_client() as client:
        if given["dry_run"]:
            named = {"ids": list(ids), "state": "all"} if ids else filters
            _LETTERS.show_preview(_LETTERS.preview(client, named), verb, form)
            return
        if ids:
            failed = _deal_with_named(client, verb, ids, {**more, **by}, form)
        else:
            failed = _deal_with_found(client, verb, filters, {**more, **by}, given, form)
    if failed:
        raise click.exceptions.Exit(EXPECTED)


def _deal_with_named(client: Client, verb: str, ids: Sequence[str], body: Mapping[str, Any], form: str) -> int:
    """One after the other; one that is refused keeps none of the others out. How many were refused."""
    done: list[Item] = []
    refused = 0
    for each in ids:
        try:
            done.append(client.post(f"{_PATH}/{segment(each)}/{verb}", body).body)
        except ApiRefused as error:
            if len(ids) == 1:
                raise
            refused += 1
            Terminal.of_stderr().say(clean(f"weir: {each}: {error.detail}"), "failed")
            continue
        if form != "json":
            _tell(verb, each, done[-1])
    if form == "json":
        print_json(done[0] if len(ids) == 1 else {"items": done, "next_cursor": None})
    return refused


def _deal_with_found(  # noqa: PLR0913 - what is asked, of whom, and how to say it
    client: Client, verb: str, filters: Mapping[str, Any], body: Mapping[str, Any], given: Mapping[str, Any], form: str
) -> int:
    """Part after part, until nothing is left; interrupted, the same command goes on. How many were refused."""
    preview = _LETTERS.preview(client, filters)
    count = preview["count"] if given["count"] is None else given["count"]
    if not preview["count"] and given["count"] is None:
        print_json({"done": [], "refused": []}) if form == "json" else print("No dead letter fits.")
        return 0
    if not given["yes"] and given["count"] is None:
        _LETTERS.confirm(preview, verb, form)
    done, refused = _LETTERS.deal(client, verb, {**filters, **body, "up_to": preview["up_to"]}, count)
    _LETTERS.show_done(verb, done, refused, form)
    for each in refused:
        Terminal.of_stderr().say(clean(f"weir: {each['id']}: {each['detail']} ({each['code']})"), "failed")
    return len(refused)


def _tell(verb: str, letter_id: str, answer: Item) -> None:
    terminal = Terminal.of_stdout()
    if verb == "drop":
        terminal.say(clean(f"{answer['command']} is dropped: {letter_id}"))
        return
    terminal.say(clean(f"{answer['command']} will run, in place of {letter_id}: {answer['id']}"))
    terminal.say(f"  weir executions show {answer['id']}")


def _body(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that were given, as the API takes them."""
    found = {name: given[name] for name in _FILTERS if given[name] is not None}
    for name, option in (("start", "--since"), ("end", "--until")):
        if name in found:
            found[name] = instant_of(found[name], option)
    return found


def _facts(letter: Item) -> list[tuple[str, str]]:
    error = letter["error"] or {}
    facts = [
        ("id", letter["id"]),
        ("asked by", f"{letter['user']}, lane {letter['lane']}, priority {letter['priority']}"),
        ("ended", local_time(letter["finished_at"])),
        ("last step", letter["last_step"] or "none"),
        (
            "error",
            f"{error.get('message') or error.get('type', '')} ({error.get('code') or error.get('category', '')})",
        ),
        ("fingerprint", letter["fingerprint"] or ""),
        ("tries", _tries(letter)),
        ("trace", letter["correlation_id"]),
        ("next", letter["next_action"]),
    ]
    handled = letter["handled"]
    if handled is not None:
        facts.append((handled["action"], f"{local_time(handled['at'])} by {handled['user'] or 'somebody'}"))
    return facts


def _error_text(error: Item | None) -> str:
    """An error as `ValueError: no number`: its type and its message."""
    said = (error or {}).get("type"), (error or {}).get("message")
    return ": ".join(str(part) for part in said if part)


def _tries(letter: Item) -> str:
    alone = f" ({letter['deaths_alone']} of them with nothing else in the process)" if letter["deaths"] else ""
    return f"{tries(letter) or 'none failed'}{alone}"


def _cause(item: Item) -> str:
    error = item["error"] or {}
    return str(error.get("message") or error.get("type", ""))


_COLUMNS = (
    Column("STATE", "state", tone=lambda _: "failed"),
    Column("COMMAND", "command", shrinks=True),
    Column("ENDED", lambda item: local_time(item["finished_at"]), leaves=3),
    Column("LAST STEP", "last_step", shrinks=True, leaves=1),
    Column("TRIES", tries, leaves=2),
    Column("ERROR", _cause, shrinks=True, least=20),
    Column("ID", "id"),
)

_LETTERS = Selection(_PATH, "dead letter", {"requeue": "requeued", "drop": "dropped"}, _COLUMNS)

_CAUSE_COLUMNS = (
    Column("COMMAND", "command", shrinks=True),
    Column("LETTERS", lambda item: str(item["letters"]), right=True),
    Column("DEAD", lambda item: str(item["dead"]), right=True, leaves=2),
    Column("FIRST", lambda item: local_time(item["first_at"]), leaves=1),
    Column("LAST", lambda item: local_time(item["last_at"]), leaves=3),
    Column("ERROR", _cause, shrinks=True, least=20),
    Column("FINGERPRINT", "fingerprint"),
)


def _empty(given: Mapping[str, Any]) -> str:
    if given["state"] in {None, "dead"}:
        return "Nothing is dead. What failed is listed with --state failed."
    return "No dead letter fits."


def _view(given: Mapping[str, Any]) -> View:
    return View(_COLUMNS, _FIELDS, _empty(given))


def _causes_view(given: Mapping[str, Any]) -> View:
    return View(_CAUSE_COLUMNS, _CAUSE_FIELDS, _empty(given))
