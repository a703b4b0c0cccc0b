"""Evaluates rules: looks at what is new of each, says what follows, and has people told.

Looking takes one view of the database and changes nothing. What follows is one transaction: states, alerts, and what
channels are to tell. Killed before its commit, the next round looks at the same windows again; killed after it, nothing
is left to do but to record the events of what fired. A window that was taken in is not taken in again, so several
evaluators are no harm: one at a time gets the lock, and the other's windows are old.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool

from telemetry.alerts import ledger, store
from telemetry.alerts.measuring import Probe, lag, observe, observed
from telemetry.alerts.policy import Decision, Kind, decide, held_back, muting
from telemetry.alerts.policy import Standing as AlertStanding
from telemetry.alerts.rule import Rule
from telemetry.alerts.settings import AlertSettings
from telemetry.alerts.states import Observation, advance, forget_row
from telemetry.alerts.store import Alert, Standing
from telemetry.alerts.windows import ends
from telemetry.clock import Clock
from telemetry.events import AlertFired, AlertResolved, Scope
from telemetry.ids import mint
from telemetry.reading import reading
from telemetry.recorder import Recorder
from telemetry.transport import SILENCE
from workers.executions import reaching_store

log = structlog.get_logger(__name__)

#: Key of the advisory lock of whoever settles what follows; any number that nothing else here uses.
LOCK: Final = 7_420_011
#: How far events may be behind before rules about requests say that they cannot see.
STALE: Final = timedelta(minutes=2)
#: How far ahead of this clock what was noted may be, for two schedulers may not agree. More was noted by a clock that
#: was wrong, and has been set right since.
_APART: Final = timedelta(minutes=5)
#: Instants of what is measured now are rounded down to this, so that two evaluators do not count it twice.
_GRID: Final = timedelta(seconds=30)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Look:
    """What is new of a rule.

    Attributes:
        rule: As it was when it was looked at.
        observations: In order.
        skipped: Windows before them that were not looked at.
    """

    rule: Rule
    observations: Sequence[Observation]
    skipped: int = 0


@dataclass(slots=True)
class Outcome:
    """What a round came to.

    Attributes:
        looked: Rules that something new was seen of.
        fired: Alerts that began.
        resolved: Alerts that ended.
        sent: Messages for channels.
        withheld: Messages that were kept back.
        is_alone: Whether no other evaluator was at it; if one was, nothing was done.
    """

    looked: int = 0
    fired: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    sent: int = 0
    withheld: int = 0
    is_alone: bool = True


class Evaluator:
    """Looks, and settles what follows.

    Args:
        pool: Postgres, in autocommit mode.
        clock: This machine's: windows end by it, and how far events are behind is the database's word.
        recorder: Takes the events of what fired and ended.
        settings: How often people are told.
        probes: How each metric of the system is measured.
        query_timeout: How long one statement that measures may run; a rule whose does is in `error`.
        silence: After which a producer of events is not waited for.
    """

    def __init__(  # noqa: PLR0913 - as `Occurrences`
        self,
        pool: ConnectionPool[Any],
        clock: Clock,
        recorder: Recorder,
        settings: AlertSettings,
        probes: Mapping[str, Probe],
        *,
        query_timeout: timedelta = timedelta(seconds=5),
        silence: timedelta = SILENCE,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._recorder = recorder
        self._settings = settings
        self._probes = probes
        self._query_timeout = query_timeout
        self._silence = silence

    def run_once(self) -> Outcome:
        """One round.

        Raises:
            StoreUnavailable: Postgres did not answer; nothing was changed, and the next round goes on from there.
        """
        now = self._clock.now()
        looks = self.look(now)
        outcome = self.settle(looks, now)
        for alert in outcome.fired:
            log.warning("alert_fired", rule=alert.rule, value=alert.value, threshold=alert.threshold)
            self._record(AlertFired, alert)
        for alert in outcome.resolved:
            log.info("alert_resolved", rule=alert.rule)
            self._record(AlertResolved, alert)
        return outcome

    def look(self, now: datetime) -> list[Look]:
        """What is new of every rule; changes nothing.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), reading(self._pool, self._query_timeout) as connection:
            rules = [each.rule for each in store.list_rules(connection) if each.rule.enabled]
            standings = _by_clock(store.standings(connection), now)
            behind = lag(connection, self._silence)
            return [
                self._look_at_requests(connection, rule, standings.get(rule.name), now, behind)
                if rule.subject.kind == "requests"
                else Look(rule, [self._look_at_system(connection, rule, now)])
                for rule in rules
            ]

    def settle(self, looks: Sequence[Look], now: datetime) -> Outcome:
        """What follows, in one transaction.

        Raises:
            StoreUnavailable: Postgres did not answer; nothing was changed.
        """
        outcome = Outcome()
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            row = connection.execute("select pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone()
            if row is None or not row[0]:
                outcome.is_alone = False
                return outcome
            rules = {each.rule.name: each.rule for each in store.list_rules(connection, hold=True)}
            standings = _by_clock(store.standings(connection, hold=True), now)
            for look in looks:
                # Changed or removed since it was looked at: the next round looks at what it is now.
                if rules.get(look.rule.name) == look.rule:
                    before = standings.get(look.rule.name, Standing())
                    standings[look.rule.name] = self._apply(connection, look, before, now, outcome)
            self._tell(connection, rules, standings, now, outcome)
            for name, standing in standings.items():
                store.put_standing(connection, name, standing)
        return outcome

    def _look_at_requests(
        self, connection: Connection[Any], rule: Rule, standing: Standing | None, now: datetime, behind: timedelta
    ) -> Look:
        found, skipped = ends(standing.evaluated_until if standing else None, now - behind)
        if skipped:
            log.warning("alert_windows_skipped", rule=rule.name, windows=skipped)
        observations: list[Observation] = []
        for ends_at in found:
            try:
                with connection.transaction():
                    observations.append(observe(connection, rule, ends_at))
            except psycopg.Error as error:
                observations.append(_failed(connection, rule, now, error))
                break
        if behind > STALE:
            observations.append(Observation(now, "behind"))
        return Look(rule, observations, skipped)

    def _look_at_system(self, connection: Connection[Any], rule: Rule, now: datetime) -> Observation:
        at = now - (now - _EPOCH) % _GRID
        try:
            with connection.transaction():
                return observed(rule, at, self._probes[rule.metric](connection, now, rule.window))
        except (psycopg.Error, OSError) as error:
            return _failed(connection, rule, now, error)

    def _apply(
        self, connection: Connection[Any], look: Look, standing: Standing, now: datetime, outcome: Outcome
    ) -> Standing:
        """How a rule stands after what was seen of it; alerts that begin and end by it are written."""
        if look.skipped:
            standing = replace(
                standing, track=forget_row(standing.track), skipped_windows=standing.skipped_windows + look.skipped
            )
        for observation in look.observations:
            is_window = observation.seen not in {"behind", "failed"}
            if is_window and standing.evaluated_until is not None and observation.at <= standing.evaluated_until:
                continue
            track, effect = advance(standing.track, look.rule, observation)
            until = observation.at if is_window else standing.evaluated_until
            standing = replace(standing, track=track, evaluated_until=until)
            if effect == "fire":
                outcome.fired.append(store.open_alert(connection, look.rule, observation.value, observation.at, now))
            elif effect == "resolve" and (ended := store.resolve_alert(connection, look.rule.name, now)) is not None:
                outcome.resolved.append(ended)
        outcome.looked += bool(look.observations)
        return standing

    def _tell(
        self,
        connection: Connection[Any],
        rules: Mapping[str, Rule],
        standings: dict[str, Standing],
        now: datetime,
        outcome: Outcome,
    ) -> None:
        """Decide who is told of what: alerts that are open, and those that ended in this round."""
        silences = [silence.quiet for silence in store.list_silences(connection, now)]
        firing = [name for name, standing in standings.items() if standing.track.is_open]
        decided: dict[Decision, list[Alert]] = defaultdict(list)
        for alert in (*store.open_alerts(connection), *outcome.resolved):
            rule = rules.get(alert.rule)
            standing = standings.get(alert.rule)
            if rule is None or standing is None:
                continue
            stands = AlertStanding(
                is_open=alert.state == "firing",
                is_acknowledged=alert.acknowledged_at is not None,
                notified_at=alert.notified_at,
                rule_notified_at=standing.notified_at,
            )
            kept_back = held_back(rule, silences, muting(rule, rules, firing), now)
            decision = decide(stands, self._settings.pace, now, kept_back)
            if decision is None:
                continue
            decided[decision].append(alert)
            if decision == Decision("fire"):
                standings[alert.rule] = replace(standing, notified_at=now)
        for decision, alerts in decided.items():
            if decision.withheld is None:
                self._send(connection, decision.kind, alerts, now, outcome)
            else:
                _withhold(connection, decision, alerts, now, outcome)

    def _send(
        self, connection: Connection[Any], kind: Kind, alerts: Sequence[Alert], now: datetime, outcome: Outcome
    ) -> None:
        """One message to each channel, of all alerts that it is to tell of."""
        for channel, told in _by_channel(alerts).items():
            ledger.send(connection, channel, kind, told, now, self._settings.hourly_cap)
            outcome.sent += 1
        for alert in alerts:
            store.note_notified(connection, alert, now)

    def _record(self, kind: type[AlertFired | AlertResolved], alert: Alert) -> None:
        at_us = self._clock.unix_us()
        scope = Scope(correlation_id=alert.id.bytes, request_source="weir")
        facts = (alert.rule, alert.metric, alert.severity, alert.value, alert.threshold)
        self._recorder.record(kind(mint(at_us), at_us, scope, *facts))


def _withhold(
    connection: Connection[Any], decision: Decision, alerts: Iterable[Alert], now: datetime, outcome: Outcome
) -> None:
    """Note what is kept back and why, once for each reason; of what was never told, not that it had ended, too."""
    said = f"{decision.kind}:{decision.withheld}"
    news = [
        alert for alert in alerts if alert.withheld != said and not (decision.withheld == "ended" and alert.withheld)
    ]
    for channel, kept in _by_channel(news).items():
        ledger.withhold(connection, channel, decision.kind, kept, now, str(decision.withheld))
        outcome.withheld += 1
    for alert in news:
        store.note_withheld(connection, alert, said)


def _by_channel(alerts: Iterable[Alert]) -> dict[str, list[Alert]]:
    found: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        for channel in alert.channels:
            found[channel].append(alert)
    return found


def _by_clock(standings: Mapping[str, Standing], now: datetime) -> dict[str, Standing]:
    """How rules stand, by a clock that may have been ahead and was set right: they are looked at from now on again.

    Else nothing would be seen, and nobody told, until the time has come that the clock once showed.
    """
    return {name: replace(standing, **_from_later(standing, now)) for name, standing in standings.items()}


def _from_later(standing: Standing, now: datetime) -> dict[str, Any]:
    """What is noted of times that are still to come, put right."""
    latest = now + _APART
    right: dict[str, Any] = {}
    if standing.evaluated_until is not None and standing.evaluated_until > latest:
        right = {"evaluated_until": None, "track": forget_row(standing.track)}
    if standing.notified_at is not None and standing.notified_at > latest:
        right["notified_at"] = None
    return right


def _failed(connection: Connection[Any], rule: Rule, now: datetime, error: Exception) -> Observation:
    """A rule that could not be measured is in error; the others go on, unless nothing can be asked any more."""
    if connection.closed:
        raise error
    log.warning("alert_not_measured", rule=rule.name, reason=type(error).__name__)
    return Observation(now, "failed")
