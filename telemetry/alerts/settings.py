"""How alerts are evaluated, how often people are told, and the rules that are there from the beginning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final

from telemetry.alerts.errors import RuleInvalid
from telemetry.alerts.policy import Pace
from telemetry.alerts.rule import CHANNELS, ChannelName, Rule, make_rule
from telemetry.settings import setting

_MINUTE: Final = timedelta(minutes=1)
#: Stands for a pseudonym while words are only checked.
_SOMEBODY: Final = "0" * 32


@dataclass(frozen=True)
class AlertSettings:
    """When figures are looked at for alerts, and how often people are told of one."""

    section: ClassVar[str] = "alerts"

    #: Of `[alerts.rules.NAME]` in `weir.toml`, as they are written.
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    interval: timedelta = setting(
        timedelta(seconds=30),
        "How often rules are evaluated.",
        minimum=timedelta(seconds=1),
        maximum=timedelta(minutes=5),
    )
    channels: tuple[str, ...] = setting(
        ("log", "inbox"), "Channels of the rules that are there from the beginning.", choices=CHANNELS
    )
    daily_token_budget: int | None = setting(
        None, "Tokens a day; the rule `daily-tokens` fires 20 % above. Without it there is no such rule.", minimum=1
    )
    request_capacity: int | None = setting(
        None,
        "Requests a minute that the installation is made for; the rule `request-rate` fires 50 % above. Without it"
        " there is no such rule.",
        minimum=1,
    )
    duplicates: timedelta = setting(
        timedelta(minutes=30),
        "For how long after telling of an alert no other one of its rule is told of.",
        minimum=timedelta(0),
        maximum=timedelta(days=7),
    )
    renotify: timedelta = setting(
        timedelta(hours=4),
        "After how long one that is still there, and that nobody acknowledged, is told of again; 0s is never.",
        minimum=timedelta(0),
        maximum=timedelta(days=7),
    )
    hourly_cap: int = setting(
        20, "Messages a channel is given in any hour; the rest is told in one summary.", minimum=1, maximum=1000
    )
    give_up: timedelta = setting(
        timedelta(hours=6),
        "How long a channel that fails is tried.",
        minimum=timedelta(minutes=1),
        maximum=timedelta(days=7),
    )
    inbox_user: str = setting("operator", "Whose inbox alerts are put into, in the space `default`.")

    @property
    def pace(self) -> Pace:
        """How often people are told."""
        return Pace(self.duplicates, self.renotify)


def check_rules(tables: Mapping[str, Mapping[str, Any]], faults: list[str]) -> Mapping[str, Mapping[str, Any]]:
    """The rules of `weir.toml`, those that cannot be meant left out; what is wrong is noted."""
    fine = {}
    for name, words in tables.items():
        try:
            make_rule(name, {**words, "user": _SOMEBODY} if "user" in words else words)
        except RuleInvalid as error:
            faults.extend(f"weir.toml [alerts.rules.{name}]: {fault}" for fault in error.sentences)
        else:
            fine[name] = words
    return fine


def own_rules(settings: AlertSettings) -> list[Rule]:
    """Rules that are there from the beginning. One of the same name in `weir.toml` takes its place."""
    channels: tuple[ChannelName, ...] = tuple(name for name in CHANNELS if name in settings.channels)
    return [make_rule(name, {**words, "channels": channels}) for name, words in _own(settings)]


def _own(settings: AlertSettings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    quiet: Iterable[str] = ("sink-lag",)
    yield (
        "error-rate",
        {"metric": "error_rate", "threshold": 10, "violations": 2, "least_requests": 10, "parents": quiet},
    )
    yield (
        "latency",
        {"metric": "total_latency", "threshold": 5000, "violations": 2, "least_requests": 10, "parents": quiet},
    )
    if settings.daily_token_budget is not None:
        most = settings.daily_token_budget * 1.2
        yield "daily-tokens", {"metric": "total_tokens", "threshold": most, "window": "1d", "parents": quiet}
    if settings.request_capacity is not None:
        most = settings.request_capacity * 1.5
        yield "request-rate", {"metric": "request_rate", "threshold": most, "parents": quiet}
    yield "sink-lag", {"metric": "sink_lag", "threshold": 120, "for": "1m", "severity": "critical"}
    yield "spooling", {"metric": "spooling", "threshold": 0, "for": "1m"}
    yield "missed-schedules", {"metric": "missed_schedules", "threshold": 0}
    yield "new-errors", {"metric": "new_errors", "threshold": 0, "severity": "info"}
