"""Tables of how often things ran, how often they failed and how long they took."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from api.cli.output import Column, Item
from api.cli.terminal import Terminal, human_duration

#: Of a line in CSV, which only ever grows at its end.
FIELDS: Final = (
    *("type", "name", "count", "failures", "success_percent", "p50_ms", "p95_ms", "p99_ms", "max_ms", "total_ms"),
    *("share_percent", "last_at"),
)

_WHOLE, _NEARLY_WHOLE, _NEARLY_NOTHING = 100, 99.9, 0.1


def timing_columns(title: str, terminal: Terminal, *, with_type: bool = False) -> Sequence[Column]:
    """Columns of a table of them.

    Args:
        title: Heading of their names.
        terminal: Where.
        with_type: Whether there are lines of several types.
    """
    return (
        *((Column("OF", "type"),) if with_type else ()),
        Column(title, lambda item: item["name"] or "(none)", shrinks=True, least=14),
        Column("COUNT", lambda item: f"{item['count']:,}", right=True),
        Column("FAILED", lambda item: f"{item['failures']:,}", right=True, leaves=5, tone=_failed),
        Column("SUCCESS", lambda item: shown_percent(item["success_percent"]), right=True),
        *(
            Column(name.upper(), partial(_duration, f"{name}_ms", terminal.unicode), right=True, leaves=leaves)
            for name, leaves in (("p50", 0), ("p95", 0), ("p99", 3), ("max", 2))
        ),
        Column("TOTAL", partial(_duration, "total_ms", terminal.unicode), right=True, leaves=1),
        Column("SHARE", lambda item: shown_percent(item["share_percent"]), right=True, leaves=4),
    )


def remark_on_percentiles(told: Item) -> None:
    """Say how exact the percentiles of an answer are, below its table."""
    percent = told["percentile_error_percent"]
    Terminal.of_stderr().say(f"percentiles are within {percent:g} %" if percent else "percentiles are exact", "dim")


def shown_percent(value: float | None) -> str:
    """To one decimal; `100 %` and `0 %` are that exactly, and nobody adds up what is next to nothing."""
    if value is None:
        return ""
    if value in {0, _WHOLE}:
        return f"{value:.0f} %"
    if value < _NEARLY_NOTHING:
        return f"< {_NEARLY_NOTHING} %"
    return f"{min(value, _NEARLY_WHOLE):.1f} %"


def _duration(field: str, unicode: bool, item: Item) -> str:
    return human_duration(item[field], unicode=unicode)


def _failed(item: Item) -> str:
    return "failed" if item["failures"] else ""
