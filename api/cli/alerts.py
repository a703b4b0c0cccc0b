"""`weir alerts`: what fired, who was told, the rules, and quiet for a while."""

from __future__ import annotations

from typing import Any

import click

from api.cli.main import EXPECTED
from api.cli.options import together
from api.cli.output import Column, Item, View, item_format, list_format, local_time, print_json, show_page
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, plural
from api.cli.times import instant, span
from api.client import segment
from telemetry.alerts.figures import measured, plain_number

_ALERT_FIELDS = (
    "id", "rule", "metric", "statistic", "severity", "value", "operator", "threshold", "unit", "state", "fired_at",
    "resolved_at", "acknowledged_at", "notified_at", "withheld", "message",
)  # fmt: skip
_RULE_FIELDS = (
    "name", "origin", "enabled", "state", "metric", "statistic", "operator", "threshold", "window", "violations", "for",
    "severity", "channels", "no_data", "value", "unit", "component", "command", "user", "space", "least_requests",
    "parents",
)  # fmt: skip
_SILENCE_FIELDS = ("id", "rule", "severity", "starts_at", "ends_at")

_TONES = {"firing": "red", "resolved": "green", "pending": "yellow", "stale": "yellow", "error": "red"}


def _tone(item: Item) -> str:
    return _TONES.get(str(item["state"]), "")


_ALERTS = View(
    (
        Column("FIRED", lambda item: local_time(item["fired_at"])),
        Column("STATE", "state", tone=_tone),
        Column("SEVERITY", "severity", leaves=1),
        Column("MESSAGE", "message", shrinks=True),
        Column("ID", "id"),
    ),
    _ALERT_FIELDS,
    "Nothing fired.",
)
_RULES = View(
    (
        Column("RULE", "name"),
        Column("STATE", lambda item: str(item["state"]) if item["enabled"] else "disabled", tone=_tone),
        Column("METRIC", lambda item: measured(item["metric"], item["statistic"]), shrinks=True, least=14),
        Column("FIRES", lambda item: _bound(item), shrinks=True, least=12),
        Column("ONLY", lambda item: _only(item), shrinks=True, leaves=1),
        Column("OVER", "window", leaves=3),
        Column("SEVERITY", "severity", leaves=2),
        Column("FROM", "origin", leaves=4),
    ),
    _RULE_FIELDS,
    "There are no rules.",
)
_SILENCES = View(
    (
        Column("RULE", lambda item: str(item["rule"] or "all")),
        Column("SEVERITY", lambda item: str(item["severity"] or "all")),
        Column("FROM", lambda item: local_time(item["starts_at"])),
        Column("UNTIL", lambda item: local_time(item["ends_at"])),
        Column("ID", "id"),
    ),
    _SILENCE_FIELDS,
    "Nothing is silenced.",
)


@click.group(short_help="See what fired, and say what should.")
def alerts() -> None:
    """See what fired and who was told, have it in hand, want quiet for a while, and say what should fire."""


@alerts.command("list")
@click.option("--state", type=click.Choice(["firing", "resolved"]), help="Only those in this state.")
@click.option("--rule", help="Only those of this rule.")
@click.option("--severity", type=click.Choice(["info", "warning", "critical"]), help="Only those of this severity.")
@click.option("--last", "time_range", metavar="DURATION", help="Only those that fired since: 1h, 7d.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def list_alerts(form: str, **query: Any) -> None:  # noqa: ANN401 - one per option
    """List every time that a rule fired, newest first."""
    with open_client() as client:
        page = client.get("/api/alerts", query)
    show_page(page, _ALERTS, form, Terminal.of_stdout())


@alerts.command("show")
@click.argument("alert")
@item_format
def show_alert(alert: str, form: str) -> None:
    """Show ALERT, by its id, and what became of each message of it."""
    with open_client() as client:
        found = client.get(f"/api/alerts/{segment(alert)}")
    if form == "json":
        print_json(found)
        return
    _show_alert(found)
    for told in found["deliveries"]:
        reason = f" ({clean(told['reason'])})" if told["reason"] else ""
        tried = f", {plural(len(told['attempts']), 'attempt')}" if told["attempts"] else ""
        print(f"  {local_time(told['created_at'])}  {told['channel']}  {told['kind']}  {told['status']}{reason}{tried}")


@alerts.command("ack")
@click.argument("alert")
@click.option("--user", help="On whose behalf.")
@item_format
def acknowledge(alert: str, user: str | None, form: str) -> None:
    """Have ALERT in hand: nobody is told again that it is still there."""
    with open_client() as client:
        found = client.post(f"/api/alerts/{segment(alert)}/ack", _given(user=user)).body
    print_json(found) if form == "json" else _show_alert(found)


@alerts.command("silence")
@click.option("--rule", help="Of this rule only.")
@click.option("--severity", type=click.Choice(["info", "warning", "critical"]), help="Of this severity only.")
@click.option("--for", "duration", metavar="DURATION", help="How long: 2h, at most 31d.")
@click.option("--from", "start", metavar="TIME", help="From then on: 2026-03-01T09:00; now unless given.")
@click.option("--until", "end", metavar="TIME", help="Or until then.")
@click.option("--user", help="On whose behalf.")
@click.option("--preview", is_flag=True, help="Only say what it would keep back.")
@item_format
def silence(form: str, *, preview: bool, **words: str | None) -> None:
    """Have no notifications for a while, of a rule, of a severity or of all; one of --for and --until is needed.

    What fires is noted all the same, and what is still there at the end is told of then.
    """
    if (words["duration"] is None) == (words["end"] is None):
        message = "give either --for or --until: a silence ends"
        raise click.UsageError(message)
    body = _given(rule=words["rule"], severity=words["severity"], user=words["user"], preview=preview)
    if words["duration"] is not None:
        span(words["duration"], "--for")
        body["for"] = words["duration"]
    for key, option in (("starts_at", "start"), ("ends_at", "end")):
        if (given := words[option]) is not None:
            body[key] = instant(given, "--from" if option == "start" else "--until")
    with open_client() as client:
        found = client.post("/api/alerts/silences", body).body
    if form == "json":
        print_json(found)
        return
    verb = "would be" if preview else "is" if len(found["rules"]) == 1 else "are"
    print(f"{plural(len(found['rules']), 'rule')} {verb} quiet until {local_time(found['ends_at'])}:")
    print(f"  {', '.join(map(clean, found['rules'])) or 'none'}")
    print(f"{plural(len(found['firing']), 'alert')} of these {'is' if len(found['firing']) == 1 else 'are'} open")
    if not preview:
        print(f"weir alerts unsilence {found['id']} ends it")


@alerts.command("silences")
@list_format
def list_silences(form: str) -> None:
    """List silences that hold or will hold."""
    with open_client() as client:
        page = client.get("/api/alerts/silences")
    show_page(page, _SILENCES, form, Terminal.of_stdout())


@alerts.command("unsilence")
@click.argument("silence_id", metavar="SILENCE")
@item_format
def unsilence(silence_id: str, form: str) -> None:
    """End SILENCE, by its id, now."""
    with open_client() as client:
        found = client.delete(f"/api/alerts/silences/{segment(silence_id)}")
    print_json(found) if form == "json" else print(f"ended {local_time(found['ends_at'])}")


@alerts.command("test")
@click.argument("rule")
@item_format
def test_rule(rule: str, form: str) -> None:
    """Send a test through each channel of RULE, and say what became of it; exit code 1 if one did not take it."""
    with open_client() as client:
        found = client.post(f"/api/alerts/rules/{segment(rule)}/test", {}).body
    if form == "json":
        print_json(found)
    else:
        for told in found["channels"]:
            reason = f" ({clean(told['reason'])})" if told["reason"] else ""
            hint = f": {clean(told['hint'])}" if told["hint"] else ""
            print(f"{told['channel']}: {told['status']}{reason}{hint}")
    if any(told["status"] == "failed" for told in found["channels"]):
        raise click.exceptions.Exit(EXPECTED)


@alerts.group("rules", short_help="See what fires when; add, switch and remove rules.")
def rules() -> None:
    """See what fires when. Rules of weir.toml and Weir's own can be switched; others added and removed, too."""


@rules.command("list")
@list_format
def list_rules(form: str) -> None:
    """List every rule, and how it stands."""
    with open_client() as client:
        page = client.get("/api/alerts/rules")
    show_page(page, _RULES, form, Terminal.of_stdout())


@rules.command("show")
@click.argument("rule")
@item_format
def show_rule(rule: str, form: str) -> None:
    """Show RULE and how it stands."""
    with open_client() as client:
        _show_rule(client.get(_path(rule)), form)


_words = together(
    click.option("--metric", required=True, help="What is watched: error_rate, total_latency, sink_lag ..."),
    click.option("--threshold", required=True, type=float, help="In the unit of the statistic."),
    click.option("--statistic", help="Of the metric: p95, count, average_per_request ..."),
    click.option(
        "--operator", type=click.Choice([">", ">=", "<", "<="]), help="As the value is to it; > unless given."
    ),
    click.option("--window", metavar="DURATION", help="Whole minutes of requests; 5m unless given."),
    click.option("--violations", type=click.IntRange(1, 1000), help="So many windows in a row; 1 unless given."),
    click.option("--for", "hold", metavar="DURATION", help="And for so long."),
    click.option("--severity", type=click.Choice(["info", "warning", "critical"]), help="warning unless given."),
    click.option("--channel", "channels", multiple=True, help="Who is told: log, inbox, webhook, email; repeatable."),
    click.option("--no-data", type=click.Choice(["keep", "ok", "alert"]), help="What no data means."),
    click.option("--parent", "parents", multiple=True, help="A rule that mutes it while it fires; repeatable."),
    click.option("--component", type=click.Choice(["chat", "command"]), help="Only requests of this."),
    click.option("--command", help="Only those of this command."),
    click.option("--user", help="Only those of this user."),
    click.option("--space", help="Only those in this space."),
    click.option("--least-requests", type=click.IntRange(0), help="A window with fewer has no data."),
)


@rules.command("add")
@click.argument("name")
@_words
@item_format
def add_rule(name: str, form: str, **words: Any) -> None:  # noqa: ANN401 - one per option
    """Add the rule NAME. What it names and is not there yet, such as a space, is accepted, and said."""
    hold = words.pop("hold")
    body = {"name": name, **_given(**words, **{"for": hold})}
    body |= {key: list(body[key]) for key in ("channels", "parents") if key in body}
    with open_client() as client:
        made = client.post("/api/alerts/rules", body).body
    _show_rule(made, form)
    for warning in made["warnings"]:
        Terminal.of_stderr().say(clean(f"weir: {warning}"), "slow")


@rules.command("remove")
@click.argument("rule")
def remove_rule(rule: str) -> None:
    """Remove RULE, if a user added it; what fired is kept."""
    with open_client() as client:
        client.delete(_path(rule))
    print(f"{clean(rule)} is removed")


@rules.command("enable")
@click.argument("rule")
@item_format
def enable_rule(rule: str, form: str) -> None:
    """Look at RULE."""
    with open_client() as client:
        _show_rule(client.post(f"{_path(rule)}/enable", {}).body, form)


@rules.command("disable")
@click.argument("rule")
@item_format
def disable_rule(rule: str, form: str) -> None:
    """Look at RULE no more; an alert of it that is open ends, and nobody is told."""
    with open_client() as client:
        _show_rule(client.post(f"{_path(rule)}/disable", {}).body, form)


def _path(rule: str) -> str:
    return f"/api/alerts/rules/{segment(rule)}"


def _given(**words: Any) -> dict[str, Any]:  # noqa: ANN401 - of a body
    """What was given of a body."""
    return {key: value for key, value in words.items() if value is not None and value != ()}


def _show_alert(found: Item) -> None:
    print(f"{clean(found['message'])}")
    print(f"{found['state']}, {found['severity']}, fired {local_time(found['fired_at'])}")
    for key, said in (("acknowledged_at", "in hand since"), ("resolved_at", "resolved"), ("notified_at", "told")):
        if found[key]:
            print(f"{said} {local_time(found[key])}")
    if found["withheld"]:
        print(f"kept back: {found['withheld']}")


def _show_rule(found: Item, form: str) -> None:
    if form == "json":
        print_json(found)
        return
    held = f", for {found['for']}" if found["for"] != "0s" else ""
    print(f"{clean(found['name'])}: {found['state'] if found['enabled'] else 'disabled'}")
    print(
        f"fires when {measured(found['metric'], found['statistic'])} {_bound(found)} over"
        f" {found['window']}, {plural(found['violations'], 'time')} in a row{held}"
    )
    print(f"{found['severity']}, through {', '.join(found['channels'])}; without data: {found['no_data']}")
    if _only(found):
        print(f"only of {clean(_only(found))}")
    if found["least_requests"]:
        print(f"no data with fewer than {plural(found['least_requests'], 'request')}")
    if found["parents"]:
        print(f"kept quiet while one of these fires: {', '.join(map(clean, found['parents']))}")
    if found["value"] is not None:
        print(f"last measured: {plain_number(found['value'])} {found.get('unit', '')}".rstrip())


def _bound(rule: Item) -> str:
    """What is out of bounds, with its unit: nobody has to know that latencies are milliseconds."""
    return f"{rule['operator']} {plain_number(rule['threshold'])} {rule.get('unit', '')}".rstrip()


def _only(rule: Item) -> str:
    """Whose requests a rule is about, if not all."""
    named = ("component", "command", "user", "space")
    return ", ".join(f"{name} {rule[name]}" for name in named if rule[name] is not None)
