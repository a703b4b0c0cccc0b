"""Typed settings: frozen dataclasses whose fields say their own meaning, unit and default.

A field `batch_size` of the section `telemetry` is read from `WEIR_TELEMETRY_BATCH_SIZE`, else from the file that
`WEIR_TELEMETRY_BATCH_SIZE_FILE` names, else from `batch_size` under `[telemetry]` in `weir.toml`, else it has its
default. Fields of the section with an empty name have no middle part (`WEIR_HOME`; top level of the file).
Nothing is read at import: a process calls `api.settings.load_settings` once, at its entry. The sections of telemetry
and retention are lists, and make the file long.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_type_hints
from zoneinfo import ZoneInfo

from telemetry.components import COMPONENTS, component_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>us|ms|s|m|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

S = TypeVar("S")


def parse_duration(text: str) -> timedelta:
    """`50ms`, `30s`, `5m`, `1h`, `14d` as a timedelta.

    Raises:
        ValueError: The text is not a number directly followed by us, ms, s, m, h or d.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        message = "a number and a unit (us, ms, s, m, h, d), such as 50ms"
        raise ValueError(message)
    return timedelta(seconds=float(match["number"]) * _SECONDS[match["unit"]])


def format_duration(duration: timedelta) -> str:
    """The shortest exact form of a duration: `50ms`, `30s`, `14d`."""
    micros = duration // timedelta(microseconds=1)
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)):
        if micros and micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros}us"


def setting(  # noqa: PLR0913 - one keyword per thing a setting can say of itself
    default: Any,  # noqa: ANN401 - the type is the field's own annotation
    description: str,
    *,
    minimum: float | timedelta | None = None,
    maximum: float | timedelta | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A dataclass field that documents itself. `minimum` and `maximum` are inclusive."""
    facts = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "secret": secret,
    }
    return dataclasses.field(default=default, metadata=facts, repr=not secret)


@dataclass(frozen=True)
class TelemetrySettings:
    """How events travel and how long they stay."""

    section: ClassVar[str] = "telemetry"

    enabled: bool = setting(True, "Record events at all. Off, the recorder costs one `if`; commands run unchanged.")
    synchronous: bool = setting(
        False, "Write each event to Postgres before `record()` returns: for tests and very low traffic."
    )
    redis_url: str | None = setting(None, "Redis of the telemetry stream; by default that of the queue.", secret=True)
    stream: str = setting("weir:telemetry", "Key of the stream.")
    stream_max_entries: int = setting(
        1_000_000, "Entries the stream may hold before the recorder stops adding to it.", minimum=1000
    )
    stream_warn_bytes: int = setting(
        536_870_912,
        "Memory of the stream in Redis past which the sink warns, in its log and its health.",
        minimum=1_048_576,
    )
    batch_size: int = setting(100, "Events of one stream entry, at most.", minimum=1, maximum=10_000)
    batch_max_bytes: int = setting(262_144, "Encoded bytes of one stream entry, at most.", minimum=4096)
    flush_interval: timedelta = setting(
        timedelta(milliseconds=50),
        "How long an event may wait in the recorder.",
        minimum=timedelta(milliseconds=1),
        maximum=timedelta(minutes=1),
    )
    buffer_max_events: int = setting(
        50_000,
        "Events the recorder may hold in memory; past it, those that tell of progress are dropped and counted. Errors"
        " and ends have an eighth more room, and then take that of progress.",
        minimum=100,
    )
    spool_dir: Path | None = setting(
        None,
        "Folder where events wait on disk while the stream takes nothing; by default `spool` in the home. Processes"
        " that share it look after what one of them leaves behind.",
    )
    spool_max_bytes: int = setting(
        268_435_456, "Bytes that waiting events may take on disk, all processes of a folder together.", minimum=65_536
    )
    alive_interval: timedelta = setting(
        timedelta(seconds=5),
        "How often a recorder that has recorded something, and has nothing to hand over, says that it is there.",
        minimum=timedelta(milliseconds=10),
        maximum=timedelta(seconds=20),
    )
    producer_silence: timedelta = setting(
        timedelta(seconds=30),
        "How long a recorder may not be heard of before it counts as gone, and how long an event may be on its way"
        " before its row is compared; more than twice `alive_interval`.",
        minimum=timedelta(seconds=1),
        maximum=timedelta(minutes=10),
    )
    stream_timeout: timedelta = setting(
        timedelta(milliseconds=250), "How long one write to the stream may take.", minimum=timedelta(milliseconds=10)
    )
    breaker_pause: timedelta = setting(
        timedelta(seconds=1),
        "How long the recorder leaves a stream alone that failed.",
        minimum=timedelta(milliseconds=10),
    )
    sink_batch_size: int = setting(5000, "Events of one transaction of the sink, at most.", minimum=1, maximum=100_000)
    sink_flush_interval: timedelta = setting(
        timedelta(milliseconds=100),
        "How long the sink may wait for a fuller batch.",
        minimum=timedelta(milliseconds=1),
        maximum=timedelta(minutes=1),
    )
    sink_idle_block: timedelta = setting(
        timedelta(seconds=5), "How long an idle sink waits on the stream before it looks up.", minimum=timedelta(0)
    )
    partitions_ahead: int = setting(7, "Daily partitions of telemetry_events made in advance.", minimum=1, maximum=60)
    pseudonym_key: str | None = setting(
        None, "Key of the hash that stands for a user in telemetry; made by `weir up` when not given.", secret=True
    )
    query_default_limit: int = setting(100, "Rows of a page when none are asked for.", minimum=1)
    query_max_limit: int = setting(10_000, "Rows of a page at most.", minimum=1)
    query_timeout: timedelta = setting(
        timedelta(seconds=5),
        "How long one statement that reads events may run; then the answer is 503. Where"
        " `WEIR_API_STATEMENT_TIMEOUT` is shorter, that counts.",
        minimum=timedelta(milliseconds=10),
    )
    query_cache_bytes: int = setting(
        8_388_608,
        "Bytes of answers to costly queries that a process keeps; 0 keeps none. An answer is used again only while"
        " nothing was stored or removed since.",
        minimum=0,
        maximum=10_000_000,
    )
    query_cache_ttl: timedelta = setting(
        timedelta(minutes=15), "How long such an answer is kept at most.", minimum=timedelta(0)
    )


@dataclass(frozen=True)
class LiveSettings:
    """Figures of requests as they come, in each API process while somebody looks on."""

    section: ClassVar[str] = "live"

    minutes: int = setting(60, "Whole minutes that are kept, so the longest window there is.", minimum=1, maximum=240)
    memory_bytes: int = setting(
        10_485_760,
        "Bytes that they may take in a process, half of them for the figures that take their place each minute. With"
        " more, the smallest series are counted with the others, and then the oldest minutes are left out.",
        minimum=1_048_576,
        maximum=52_428_800,
    )
    series: int = setting(
        20, "Commands, users and spaces that are told apart, of each at most.", minimum=0, maximum=500
    )
    linger: timedelta = setting(
        timedelta(seconds=30), "How long the stream is followed after the last one looked on.", minimum=timedelta(0)
    )
    reread: timedelta = setting(
        timedelta(minutes=1),
        "How often stored figures take the place of those that were counted, although nothing was missed.",
        minimum=timedelta(seconds=1),
    )


@dataclass(frozen=True)
class RetentionSettings:
    """How long everything stays, and how much of it: by age, by number and by bytes, whichever comes first."""

    section: ClassVar[str] = "retention"

    raw_events_days: int = setting(14, "Days that events stay, whole days in UTC.", minimum=1, maximum=3650)
    components: tuple[str, ...] = setting(
        (),
        "Components whose events stay for fewer days than WEIR_RETENTION_RAW_EVENTS_DAYS, each with its days:"
        " `http=3,tool=7`.",
    )
    errors_days: int = setting(
        90, "Days that events of errors stay, beyond those of their trace.", minimum=1, maximum=3650
    )
    minute_metrics_days: int = setting(3, "Days that metrics of each minute stay.", minimum=1, maximum=3650)
    aggregated_metrics_days: int = setting(
        90,
        "Days that metrics of each hour stay, and those of each day with their full precision.",
        minimum=1,
        maximum=3650,
    )
    daily_metrics_days: int = setting(400, "Days that metrics of each day stay.", minimum=1, maximum=36_500)
    health_checks_days: int = setting(30, "Days that health checks stay.", minimum=1, maximum=3650)
    performance_snapshots_days: int = setting(30, "Days that performance snapshots stay.", minimum=1, maximum=3650)
    alerts_days: int = setting(
        90, "Days that alerts stay after they fired, with what became of their messages.", minimum=1, maximum=3650
    )
    quarantine_days: int = setting(
        30, "Days that events in quarantine stay, whether they could be replayed or not.", minimum=1, maximum=3650
    )
    executions_days: int = setting(
        30,
        "Days that executions stay after their end, with inputs, results, steps and mutations; no fewer than events.",
        minimum=1,
        maximum=3650,
    )
    failed_executions_days: int = setting(
        90, "The same for those that failed or are dead; never fewer than the others.", minimum=1, maximum=3650
    )
    notifications_days: int = setting(90, "Days that notifications stay, read or not.", minimum=1, maximum=3650)
    events_max_rows: int = setting(
        50_000_000, "Events that are stored, at most; whole days go until there are fewer, never today.", minimum=1
    )
    events_max_bytes: int = setting(
        21_474_836_480,
        "Bytes of stored events with their indexes, at most; whole days go until there are fewer, never today. What is"
        " kept of days that went may have an eighth of it.",
        minimum=1_048_576,
    )
    executions_max_rows: int = setting(
        2_000_000, "Executions that are stored, at most; the oldest that have ended go.", minimum=1
    )
    executions_max_bytes: int = setting(
        10_737_418_240, "Bytes of executions with all that belongs to them, at most, by a sample.", minimum=1_048_576
    )
    notifications_max_rows: int = setting(100_000, "Notifications that are stored, at most.", minimum=1)
    notifications_max_bytes: int = setting(268_435_456, "Bytes of notifications, at most, by a sample.", minimum=65_536)
    quarantine_max_rows: int = setting(100_000, "Events in quarantine, at most.", minimum=1)
    quarantine_max_bytes: int = setting(268_435_456, "Bytes of the quarantine, at most, by a sample.", minimum=65_536)
    interval: timedelta = setting(
        timedelta(days=1),
        "How often what is too old or too much is deleted; every hour while events take more bytes than they may.",
        minimum=timedelta(seconds=1),
    )

    def component_days(self) -> dict[str, int]:
        """Days by component, of those that have their own.

        Raises:
            ValueError: An entry is not one of `COMPONENTS`, `=` and fewer days than all events have.
        """
        days = {}
        for entry in self.components:
            given, _, number = entry.partition("=")
            name = component_name(given)
            if name not in COMPONENTS or not re.fullmatch(r"[1-9]\d{0,3}", number.strip()):
                known = ", ".join(COMPONENTS)
                raise ValueError(f"{entry!r} is not a component and its days, such as http=3; there are {known}")
            if int(number) >= self.raw_events_days:
                raise ValueError(f"{entry!r} is not fewer days than events have ({self.raw_events_days})")
            days[name] = int(number)
        return days


@dataclass
class SettingsReader:
    """Reads sections from an environment and a parsed `weir.toml`, collecting every fault.

    Attributes:
        environ: The process's environment.
        document: The parsed file; empty when there is none.
        faults: What was wrong so far, one sentence each; raise `SettingsInvalid` with them at the end.
    """

    environ: Mapping[str, str]
    document: Mapping[str, Any]
    faults: list[str] = dataclasses.field(default_factory=list)
    _known: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    _groups: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    _inner: dict[str, set[str]] = dataclasses.field(default_factory=dict)

    def read(self, section: type[S]) -> S:
        """One section; a faulty value is noted and its default taken, so that all faults show at once."""
        name: str = section.section  # type: ignore[attr-defined]
        table = self.document.get(name, {}) if name else self.document
        if not isinstance(table, dict):
            self.faults.append(f"[{name}] in weir.toml must be a table")
            table = {}
        return self._read(section, lambda key: self._find(name, key, table))

    def read_each(self, section: type[S]) -> dict[str, S]:
        """Every table below `[section]` in the file as one of these, by name; the environment has no say in them."""
        name: str = section.section  # type: ignore[attr-defined]
        self._groups[name] = {spec.name for spec in settings_of(section)}
        group = self.document.get(name, {})
        if not isinstance(group, dict) or not all(isinstance(table, dict) for table in group.values()):
            self.faults.append(f"[{name}] in weir.toml holds tables only, such as [{name}.NAME]")
            return {}
        finders = {each: _finder(f"weir.toml [{name}.{each}]", table) for each, table in group.items()}
        return {each: self._read(section, find) for each, find in finders.items()}

    def read_tables(self, section: str, key: str) -> dict[str, Mapping[str, Any]]:
        """The tables `[section.key.NAME]` of the file as they are, by name; the environment has no say in them."""
        self._inner.setdefault(section, set()).add(key)
        outer = self.document.get(section, {})
        tables = outer.get(key, {}) if isinstance(outer, dict) else {}
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            self.faults.append(f"[{section}.{key}] in weir.toml holds tables only, such as [{section}.{key}.NAME]")
            return {}
        return tables

    def _read(self, section: type[S], find: Callable[[str], tuple[str, Any] | None]) -> S:
        hints = get_type_hints(section)
        values: dict[str, Any] = {}
        for spec in settings_of(section):
            found = find(spec.name)
            if found is None:
                continue
            where, raw = found
            try:
                values[spec.name] = _convert(raw, hints[spec.name], spec.metadata)
            except ValueError as fault:
                shown = "(hidden)" if spec.metadata["secret"] else repr(raw)
                self.faults.append(f"{where} = {shown}: expected {fault}")
        return section(**values)

    def finish(self) -> None:
        """Note every variable and every key of the file that names no setting."""
        variables = {variable_of(name, key) for name, keys in self._known.items() for key in keys}
        allowed = variables | {f"{variable}_FILE" for variable in variables}
        for variable in sorted(self.environ):
            if variable.startswith("WEIR_") and variable not in allowed:
                self.faults.append(f"{variable}: there is no such setting{_nearest(variable, variables)}")
        sections = {name for name in self._known if name}
        for key, value in self.document.items():
            if key in sections and isinstance(value, dict):
                self._refuse_unknown(key, value, self._known[key] | self._inner.get(key, set()))
            elif key in self._groups and isinstance(value, dict):
                for name, table in value.items():
                    if isinstance(table, dict):
                        self._refuse_unknown(f"{key}.{name}", table, self._groups[key])
            elif key not in self._known.get("", set()) and key not in self._groups:
                near = _nearest(key, sections | set(self._groups) | self._known.get("", set()))
                self.faults.append(f"weir.toml {key}: there is no such setting or section{near}")

    def _refuse_unknown(self, section: str, table: Mapping[str, Any], known: set[str]) -> None:
        for key in sorted(set(table) - known):
            self.faults.append(f"weir.toml [{section}] {key}: there is no such setting{_nearest(key, known)}")

    def _find(self, section: str, key: str, table: Mapping[str, Any]) -> tuple[str, Any] | None:
        self._known.setdefault(section, set()).add(key)
        name = variable_of(section, key)
        if name in self.environ:
            return name, self.environ[name]
        path = self.environ.get(f"{name}_FILE")
        if path is not None:
            try:
                return f"{name}_FILE", Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                self.faults.append(f"{name}_FILE = {path!r}: cannot be read: {error}")
                return None
        if key in table:
            return f"weir.toml [{section}] {key}" if section else f"weir.toml {key}", table[key]
        return None


def settings_of(section: type[Any]) -> Iterator[dataclasses.Field[Any]]:
    """The fields of a section that are settings, in order (not nested sections)."""
    return (spec for spec in dataclasses.fields(section) if "description" in spec.metadata)


def variable_of(section: str, key: str) -> str:
    """The environment variable of a setting: `WEIR_TELEMETRY_BATCH_SIZE`, or `WEIR_HOME` of the nameless section."""
    return "_".join(part for part in ("WEIR", section, key) if part).upper()


def _finder(where: str, table: Mapping[str, Any]) -> Callable[[str], tuple[str, Any] | None]:
    return lambda key: (f"{where} {key}", table[key]) if key in table else None


def _nearest(name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _convert(raw: Any, kind: Any, facts: Mapping[str, Any]) -> Any:  # noqa: ANN401 - from text or TOML to any setting type
    optional = getattr(kind, "__args__", None)
    if optional and type(None) in optional:
        kind = next(arg for arg in optional if arg is not type(None))
    if raw == "" and optional and kind in {Path, str}:
        raise ValueError("a value; leave it out for the default")
    value = _parse(raw, kind)
    low, high = facts["minimum"], facts["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = [f"at least {_shown(low)}"] * (low is not None) + [f"at most {_shown(high)}"] * (high is not None)
        raise ValueError(" and ".join(bounds))
    given = value if isinstance(value, tuple) else (value,)
    if facts["choices"] and not set(given) <= set(facts["choices"]):
        raise ValueError(("some" if isinstance(value, tuple) else "one") + " of " + ", ".join(facts["choices"]))
    return value


def _shown(bound: float | timedelta) -> str:
    return format_duration(bound) if isinstance(bound, timedelta) else str(bound)


def _parse(raw: Any, kind: Any) -> Any:  # noqa: ANN401 - one return per kind
    if kind in _PARSERS:
        return _PARSERS[kind](raw)
    if kind is int or kind is float:
        if isinstance(raw, bool):
            message = "a number"
            raise ValueError(message)
        try:
            return kind(raw)
        except (TypeError, ValueError):
            message = "a whole number" if kind is int else "a number"
            raise ValueError(message) from None
    if kind == tuple[str, ...]:
        if not isinstance(raw, str | list):
            message = "a list"
            raise ValueError(message)
        parts = raw.split(",") if isinstance(raw, str) else raw
        return tuple(str(part).strip() for part in parts if str(part).strip())
    if not isinstance(raw, str):
        message = "a text"
        raise ValueError(message)  # noqa: TRY004 - a fault of the value, like the others
    return raw


def _parse_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    # What it raises depends on what is wrong with the name: a folder, a null byte, a file that is no zone.
    except (LookupError, ValueError, OSError):
        message = "a time zone, such as Europe/Berlin"
        raise ValueError(message) from None


def _parse_bool(raw: Any) -> bool:  # noqa: ANN401 - from text or TOML
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    message = "true or false"
    raise ValueError(message)


#: How values of some types are read.
_PARSERS: dict[Any, Callable[[Any], Any]] = {
    bool: _parse_bool,
    timedelta: lambda raw: parse_duration(str(raw)),
    Path: lambda raw: Path(str(raw)).expanduser(),
    ZoneInfo: lambda raw: _parse_zone(str(raw)),
}
