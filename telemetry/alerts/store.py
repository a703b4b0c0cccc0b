"""Rules, how each stands, alerts and silences, in Postgres. Everything runs in the transaction of its caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final, Literal
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from telemetry.alerts.errors import (
    AlertNotFound,
    RuleDeclared,
    RuleExists,
    RuleInvalid,
    RuleNotFound,
    SilenceInvalid,
    SilenceNotFound,
)
from telemetry.alerts.policy import Quiet
from telemetry.alerts.rule import Rule, Severity, make_rule, words_of
from telemetry.alerts.states import Track
from telemetry.clock import to_unix_us
from telemetry.ids import new_id
from telemetry.sql import queries

log = structlog.get_logger(__name__)

SQL = queries(__file__)

Origin = Literal["weir", "file", "user"]

#: How long a silence may be, and how far ahead it may begin.
LONGEST_SILENCE: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule, and where it is from.

    Attributes:
        rule: As it is meant now, switched on or off by whoever did so last.
        origin: Weir's own, of `weir.toml`, or a user's.
        changed_at: When it was last changed, or switched.
    """

    rule: Rule
    origin: Origin
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule stands.

    Attributes:
        track: What is remembered from one window to the next.
        evaluated_until: End of the last window that was looked at.
        skipped_windows: How many were not, for they were too many at once.
        notified_at: When people were last told that an alert of it had begun.
    """

    track: Track = field(default_factory=Track)
    evaluated_until: datetime | None = None
    skipped_windows: int = 0
    notified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """A time that a rule fired: a row of `telemetry_alerts`."""

    id: UUID
    rule: str
    metric: str
    statistic: str
    unit: str
    severity: Severity
    operator: str
    threshold: float
    value: float | None
    window_ended_at: datetime
    fired_at: datetime
    message: str
    state: Literal["firing", "resolved"]
    channels: list[str]
    notified_at: datetime | None = None
    withheld: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: bytes | None = None
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """Quiet for a while: a row of `telemetry_alert_silences`."""

    id: UUID
    rule: str | None
    severity: Severity | None
    starts_at: datetime
    ends_at: datetime
    created_at: datetime
    created_by: bytes | None

    @property
    def quiet(self) -> Quiet:
        """What it keeps back, and when."""
        return Quiet(self.starts_at, self.ends_at, self.rule, self.severity)


def list_rules(connection: Connection[Any], *, hold: bool = False) -> list[StoredRule]:
    """All rules, by name; `hold` keeps them as they are until the transaction ends.

    One that cannot be read (a newer Weir wrote it) is left out, and logged.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["hold_rules"]) if hold else cursor.execute(SQL["rules"], {"name": None})
        return [rule for row in rows if (rule := _stored(row)) is not None]


def get_rule(connection: Connection[Any], name: str) -> StoredRule:
    """One rule.

    Raises:
        RuleNotFound: There is none of this name.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["rules"], {"name": name}).fetchone()
    found = None if row is None else _stored(row)
    if found is None:
        names = [each for (each,) in connection.execute(SQL["rule_names"]).fetchall()]
        near = get_close_matches(name, names, n=1)
        meant = f"Did you mean {near[0]}?" if near else "`weir alerts rules list` shows them all."
        raise RuleNotFound("there is no such rule", hint=meant)
    return found


def add_rule(connection: Connection[Any], rule: Rule, now: datetime) -> None:
    """A rule of a user's.

    Raises:
        RuleExists: The name is taken.
    """
    words = {"name": rule.name, "origin": "user", "words": Jsonb(words_of(rule)), "now": now}
    if connection.execute(SQL["add_rule"], words).fetchone() is None:
        raise RuleExists(f"there is a rule {rule.name} already")


def remove_rule(connection: Connection[Any], name: str, now: datetime) -> None:
    """A rule of a user's goes; an alert of it that is open ends, and nobody is told.

    Raises:
        RuleNotFound: There is none of this name.
        RuleDeclared: It is not a user's.
    """
    connection.execute(SQL["hold_to_change"], {"name": name})
    if get_rule(connection, name).origin != "user":
        raise RuleDeclared(f"the rule {name} is declared, and cannot be removed here; it can be disabled")
    _forget(connection, name, now)
    connection.execute(SQL["remove_rule"], {"name": name})


def switch_rule(connection: Connection[Any], name: str, *, enabled: bool, now: datetime) -> StoredRule:
    """Switch a rule on or off, whosever it is; off, its open alert ends, and nobody is told.

    Raises:
        RuleNotFound: There is none of this name.
    """
    get_rule(connection, name)
    connection.execute(SQL["switch_rule"], {"name": name, "is_enabled": enabled, "now": now})
    if not enabled:
        _forget(connection, name, now)
    return get_rule(connection, name)


def declare(connection: Connection[Any], rules: Iterable[tuple[Rule, Origin]], now: datetime) -> int:
    """Bring declared rules in line with what is declared; how many changed. What was switched stays switched.

    A rule that reads otherwise than before begins anew; an alert of it that is open ends, and nobody is told.
    """
    connection.execute(SQL["hold_to_change"], {"name": None})
    changed = 0
    names = []
    for rule, origin in rules:
        names.append(rule.name)
        words = {"name": rule.name, "origin": origin, "words": Jsonb(words_of(rule)), "now": now}
        if connection.execute(SQL["declare_rule"], words).fetchone() is not None:
            _forget(connection, rule.name, now)
            changed += 1
    for (name,) in connection.execute(SQL["undeclared"], {"names": names}).fetchall():
        _forget(connection, name, now)
        connection.execute(SQL["remove_rule"], {"name": name})
        changed += 1
    return changed


def standings(connection: Connection[Any], *, hold: bool = False) -> dict[str, Standing]:
    """How rules stand, by name; `hold` keeps it so until the transaction ends."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["states" if hold else "states_seen"]).fetchall()
    return {row["rule"]: _standing(row) for row in rows}


def put_standing(connection: Connection[Any], rule: str, standing: Standing) -> None:
    """How a rule stands from now on."""
    rest = {name: getattr(standing, name) for name in ("evaluated_until", "skipped_windows", "notified_at")}
    connection.execute(SQL["put_state"], {"rule": rule, **asdict(standing.track), **rest})


def open_alert(
    connection: Connection[Any], rule: Rule, value: float | None, ended_at: datetime, now: datetime
) -> Alert:
    """A rule fires.

    Raises:
        psycopg.errors.UniqueViolation: It has an open alert; whoever holds its state knows that it has none.
    """
    nothing = f"{rule.name}: {rule.metric} has no data"
    alert = Alert(
        id=new_id(to_unix_us(now)),
        rule=rule.name,
        metric=rule.metric,
        statistic=rule.measured,
        unit=rule.unit,
        severity=rule.severity,
        operator=rule.operator,
        threshold=rule.threshold,
        value=value,
        window_ended_at=ended_at,
        fired_at=now,
        message=nothing if value is None else rule.message(value),
        state="firing",
        channels=list(rule.channels),
    )
    connection.execute(SQL["open_alert"], asdict(alert))
    return alert


def resolve_alert(connection: Connection[Any], rule: str, now: datetime) -> Alert | None:
    """The open alert of a rule ends; none if there is none."""
    cursor = connection.cursor(row_factory=class_row(Alert))
    return cursor.execute(SQL["resolve_alert"], {"rule": rule, "now": now}).fetchone()


def open_alerts(connection: Connection[Any]) -> list[Alert]:
    """Alerts that have not ended, oldest first, held until the transaction ends."""
    return connection.cursor(row_factory=class_row(Alert)).execute(SQL["open_alerts"]).fetchall()


def note_notified(connection: Connection[Any], alert: Alert, now: datetime) -> None:
    """People are told of an alert."""
    connection.execute(SQL["note_notified"], {"id": alert.id, "now": now})


def note_withheld(connection: Connection[Any], alert: Alert, withheld: str) -> None:
    """Something of an alert is kept back: what, and why."""
    connection.execute(SQL["note_withheld"], {"id": alert.id, "withheld": withheld})


def list_alerts(  # noqa: PLR0913 - one for each filter
    connection: Connection[Any],
    *,
    limit: int,
    before: UUID | None = None,
    state: str | None = None,
    rule: str | None = None,
    severity: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Alert]:
    """A page of alerts, newest first; the next one begins with `before` set to the last id of this one."""
    values = {"before": before, "state": state, "rule": rule, "severity": severity, "since": since, "until": until}
    cursor = connection.cursor(row_factory=class_row(Alert))
    return cursor.execute(SQL["alerts"], {**values, "limit": limit}).fetchall()


def get_alert(connection: Connection[Any], alert_id: UUID) -> Alert:
    """One alert.

    Raises:
        AlertNotFound: There is none of this id.
    """
    return _found(connection.cursor(row_factory=class_row(Alert)).execute(SQL["alert"], {"id": alert_id}).fetchone())


def acknowledge(connection: Connection[Any], alert_id: UUID, by: bytes | None, now: datetime) -> Alert:
    """Somebody has it in hand: they are not told again that it is there. Who said so first stays named.

    Raises:
        AlertNotFound: There is none of this id.
    """
    cursor = connection.cursor(row_factory=class_row(Alert))
    return _found(cursor.execute(SQL["acknowledge"], {"id": alert_id, "by": by, "now": now}).fetchone())


def list_silences(connection: Connection[Any], now: datetime) -> list[Silence]:
    """Silences that hold or will hold, by their end."""
    return connection.cursor(row_factory=class_row(Silence)).execute(SQL["silences"], {"now": now}).fetchall()


def make_silence(  # noqa: PLR0913 - one for each thing it says
    *,
    rule: str | None,
    severity: Severity | None,
    starts_at: datetime | None,
    ends_at: datetime,
    by: bytes | None,
    now: datetime,
) -> Silence:
    """A silence that is not stored yet.

    Raises:
        SilenceInvalid: It ends before it begins, has ended, is too long or too far ahead.
    """
    begins = starts_at or now
    if ends_at <= max(begins, now) or ends_at - begins > LONGEST_SILENCE or begins - now > LONGEST_SILENCE:
        raise SilenceInvalid("a silence ends later than it begins and later than now, and within 31 days")
    return Silence(new_id(to_unix_us(now)), rule, severity, begins, ends_at, now, by)


def add_silence(connection: Connection[Any], silence: Silence) -> None:
    """Keep a silence."""
    connection.execute(SQL["add_silence"], asdict(silence))


def end_silence(connection: Connection[Any], silence_id: UUID, now: datetime) -> Silence:
    """A silence ends now.

    Raises:
        SilenceNotFound: It has ended, or there never was one of this id.
    """
    cursor = connection.cursor(row_factory=class_row(Silence))
    found = cursor.execute(SQL["end_silence"], {"id": silence_id, "now": now}).fetchone()
    if found is None:
        raise SilenceNotFound("no silence with this id holds or will hold")
    return found


def kept_back(rules: Sequence[StoredRule], silence: Silence) -> list[str]:
    """Names of the enabled rules that a silence is about."""
    return [each.rule.name for each in rules if each.rule.enabled and silence.quiet.is_about(each.rule)]


def _found(alert: Alert | None) -> Alert:
    if alert is None:
        raise AlertNotFound("no alert has this id", hint="`weir alerts list` shows them.")
    return alert


def _forget(connection: Connection[Any], rule: str, now: datetime) -> None:
    resolve_alert(connection, rule, now)
    connection.execute(SQL["drop_state"], {"rule": rule})


def _stored(row: dict[str, Any]) -> StoredRule | None:
    try:
        rule = make_rule(row["name"], row["words"])
    except RuleInvalid as error:
        log.warning("alert_rule_unreadable", rule=row["name"], faults=len(error.sentences))
        return None
    if row["is_enabled"] is not None:
        rule = replace(rule, enabled=row["is_enabled"])
    return StoredRule(rule, row["origin"], row["changed_at"])


def _standing(row: dict[str, Any]) -> Standing:
    rest = {name: row.pop(name) for name in ("evaluated_until", "skipped_windows", "notified_at")}
    del row["rule"]
    return Standing(Track(**row), **rest)
