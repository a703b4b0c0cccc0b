"""Statistics over events as one list: a line for each component, command, tool and type of chat event."""

from __future__ import annotations

from typing import Final

from api.cli.output import Column, Item, View, local_time

#: Lists of the API's answer, and what names their items.
_LISTS: Final = (("components", "component"), ("commands", "command"), ("tools", "tool"))

#: How the list is shown.
STATS: Final = View(
    (
        Column("OF", "of"),
        Column("NAME", lambda line: str(line["name"]), shrinks=True),
        Column("COUNT", "count", right=True),
        Column("FAILED", "failed", right=True),
        Column("AVERAGE MS", "average_ms", right=True),
        Column("LAST", lambda line: local_time(line["last_at"])),
    ),
    ("of", "name", "count", "failed", "average_ms", "last_at"),
    "No events here. Look further back (--last 7d).",
)


def stat_lines(told: Item) -> list[Item]:
    """The lines. Of commands and tools, what did not succeed has failed; of the others, what is at level `error`."""
    lines = [_line(name, item, item[name]) for plural, name in _LISTS for item in told[plural]]
    return lines + [_line("chat", item, item["event_type"]) for item in told["chat"]["types"]]


def _line(of: str, item: Item, name: str | None) -> Item:
    count = item["count"] if "count" in item else item["events"]
    failed = item["errors"] if "errors" in item else count - item["outcomes"].get("succeeded", 0)
    return {
        "of": of,
        "name": name,
        "count": count,
        "failed": failed,
        "average_ms": item.get("average_ms"),
        "last_at": item.get("last_at"),
    }
