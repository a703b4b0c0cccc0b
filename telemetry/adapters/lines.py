"""A line of a log as an event, or the reason why it is none. Pure.

An event's id is made of its time and of a hash over the line and where in the file it begins. So a file that is read
again, or has grown, gives the same ids, and what is stored is not stored twice.
"""

from __future__ import annotations

from collections.abc import Mapping as Mapped
from hashlib import sha256
from typing import Any, Final

import msgspec

from telemetry.adapters.catalogue import blanks_of
from telemetry.adapters.fields import Keys, Source, Unfit, read_time, value_at
from telemetry.adapters.mapping import Mapping, Rule
from telemetry.events import ErrorFacts, Event, Scope
from telemetry.ids import mint

#: A longer line is no log line.
MAX_LINE_BYTES: Final = 1 << 20
#: Instants of which there is no id: milliseconds have 48 bits there.
_END_OF_IDS_US: Final = 1000 << 48

_decode = msgspec.json.Decoder().decode

_ERROR_TYPE, _ERROR_CATEGORY, _MEASURE = "error_type", "error_category", "measures."


class Lines:
    """Makes events of lines.

    Args:
        mapping: What they mean.
        keys: What hides users and names.

    Attributes:
        hidden_names: Names that nobody declared, and that were hidden; whoever reports the number resets it.
    """

    def __init__(self, mapping: Mapping, keys: Keys) -> None:
        self._mapping = mapping
        self._keys = keys
        self.hidden_names = 0

    def event(self, line: bytes, offset: int) -> Event | None:
        """The event of a line; none if the mapping says that it is no event.

        Args:
            line: As it stands in the file, without its end.
            offset: Bytes before it.

        Raises:
            Unfit: It is none that the mapping knows; with the reason, which quotes nothing.
        """
        if len(line) > MAX_LINE_BYTES:
            raise Unfit("the line is too long")
        try:
            record = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unfit("not JSON") from None
        if not isinstance(record, dict):
            raise Unfit("not a JSON object")
        mapping = self._mapping
        if mapping.ignores(record):
            return None
        rule = mapping.rule_for(record)
        if rule is None:
            raise Unfit("no event of the mapping")
        occurred_at = value_at(record, mapping.time_path)
        if occurred_at is None:
            raise Unfit("time: missing")
        at_us = read_time(occurred_at, mapping.time_format, mapping.zone)
        if at_us < 0:
            raise Unfit("time: before 1970")
        if at_us >= _END_OF_IDS_US:
            raise Unfit("time: in the future")
        digest = sha256(offset.to_bytes(8) + line).digest()
        return self._make(rule, record, mint(at_us, lambda bits: int.from_bytes(digest) >> (256 - bits)), at_us)

    def _make(self, rule: Rule, line: Mapped[str, Any], event_id: bytes, at_us: int) -> Event:
        scope = {"correlation_id": event_id, **self._read(rule.scope, line)}
        fields = self._read(rule.fields, line)
        names = rule.type.__struct_fields__
        if "error" in names:
            fields["error"] = _error(fields)
        if "measures" in names:
            fields["measures"] = _measures(fields)
        blanks, needed = blanks_of(rule.type)
        for name in needed:
            if fields.get(name) is None:
                raise Unfit(f"{name}: missing")
        return rule.type(event_id, at_us, Scope(request_source="import", **scope), **{**blanks, **fields})

    def _read(self, sources: tuple[Source, ...], line: Mapped[str, Any]) -> dict[str, Any]:
        found = ((source.target.name, source.read(line, self._keys, self._hide)) for source in sources)
        return {name: value for name, value in found if value is not None}

    def _hide(self) -> None:
        self.hidden_names += 1


def _error(fields: dict[str, Any]) -> ErrorFacts | None:
    """What failed; its fingerprint is made of class, category and kind of step: a log has no frames."""
    name, category = fields.pop(_ERROR_TYPE, None), fields.pop(_ERROR_CATEGORY, None)
    if name is None and category is None:
        return None
    if name is None or category is None:
        raise Unfit(f"{_ERROR_TYPE if name is None else _ERROR_CATEGORY}: missing")
    places = f"import\n{name}\n{category}\n{fields.get('step_type', '')}"
    return ErrorFacts(name, category, sha256(places.encode()).digest()[:8])


def _measures(fields: dict[str, Any]) -> dict[str, Any] | None:
    keys = [name for name in fields if name.startswith(_MEASURE)]
    return {name.removeprefix(_MEASURE): fields.pop(name) for name in keys} or None
