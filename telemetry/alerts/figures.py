"""How figures of alerts are written for people. Pure."""

from __future__ import annotations

from datetime import timedelta

#: From here on numbers are written out, with commas: `2.4e+06` tokens are no number to a person.
_LONG = 100_000
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def plain_number(value: float) -> str:
    """Six digits of a number, all of a long one: `99.5`, `8000`, `2,400,000`."""
    return f"{value:,.0f}" if abs(value) >= _LONG else f"{value:g}"


def about(duration: timedelta) -> str:
    """A duration in whole seconds, and of it the two units that tell most: `31m`, `1m 29s`, `2d 4h`."""
    left = round(duration.total_seconds())
    parts = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        parts.append(f"{count}{unit}" if count else "")
    first = next((number for number, part in enumerate(parts) if part), len(parts))
    return " ".join(filter(None, parts[first : first + 2])) or "0s"


def measured(metric: str, statistic: str) -> str:
    """What is measured; what the system has one value of needs no more than its name."""
    return metric if statistic == "value" else f"{metric} {statistic}"
