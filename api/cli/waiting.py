"""Why an execution does not run, as a person reads it."""

from __future__ import annotations

from api.cli.output import Item, local_time


def waits_for(waiting: Item) -> str:
    """Why an execution does not run, in words."""
    named = ", ".join(waiting.get("executions", ()))
    until = f" until {local_time(waiting['until'])}" if "until" in waiting else ""
    key = f" of the key {waiting['key']!r}" if waiting.get("key") else ""
    said = {
        "worker": "its turn" if waiting.get("workers") else "a worker: none takes from its lane",
        "lane_paused": f"its lane, which {waiting.get('by')} paused{until}",
        "command_paused": f"its command, which {waiting.get('by')} paused{until}",
        "concurrency": f"one of {waiting.get('max')} places{key}, held by {named}",
        "lane_limit": f"one of the {waiting.get('max')} places of its lane",
        "children": f"the end of {named}",
        "run_at": "the time it is to run at",
        "retry": "the time of its next attempt",
        "alone": f"the end of {named}, to run alone",
    }
    return said[waiting["reason"]]
