"""How an execution ended, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from api.cli.follow import FINAL_STATES
from api.cli.output import Item, block
from api.cli.remarks import slowest_step
from api.cli.terminal import Terminal, clean, human_duration, plural

#: Entities of our own, whose names are singular.
_COUNTED = ("fragment", "notification", "execution")

#: Milliseconds of waiting of which nothing is said.
_OVERLOOKED_MS = 100


def show_outcome(execution: Item, terminal: Terminal) -> None:
    """How it ended, in a line; what it changed; its result or its error."""
    state = execution["state"]
    mark = terminal.marks.of(state if state in FINAL_STATES else "running")
    duration = human_duration(execution["total_duration_ms"], unicode=terminal.unicode)
    line = f"{mark} {execution['command']} {state}"
    if state in FINAL_STATES:
        line += f" in {duration}{_waited(execution, terminal)}"
    terminal.say(line + (" (dry run: nothing was kept)" if execution["dry_run"] else ""), tone_of(execution))
    if execution.get("slow"):
        step = slowest_step(execution["slowest_step"], unicode=terminal.unicode)
        terminal.say(clean(f"  slow: {step}" if step else "  slow"), "slow")
    for effect in execution.get("effects", ()):
        verb = "would have been" if execution["dry_run"] else "were" if effect["rows"] != 1 else "was"
        terminal.say(clean(f"  {_rows(effect)} {verb} {effect['operation']}"))
    if execution["error"] is not None:
        for line in _error_lines(execution["error"]):
            terminal.say(line, "failed")
    elif execution["result"] is not None:
        terminal.say(block(execution["result"]))


def _waited(execution: Item, terminal: Terminal) -> str:
    """How long it took with all its waiting, where that is longer than anybody would overlook."""
    elapsed_ms, running_ms = execution.get("elapsed_ms"), execution["total_duration_ms"]
    if elapsed_ms is None or elapsed_ms - (running_ms or 0) < _OVERLOOKED_MS:
        return ""
    return f", {human_duration(elapsed_ms, unicode=terminal.unicode)} with waiting"


def tries(item: Item) -> str:
    """`3 tries failed, 2 workers lost`; nothing where all went well. That it waited and went on is not a try."""
    failed = failed_tries(item)
    said = [f"{plural(failed, 'try', 'tries')} failed"] if failed else []
    return ", ".join([*said, f"{plural(item['deaths'], 'worker')} lost"] if item["deaths"] else said)


def failed_tries(item: Item) -> int:
    """Tries that failed: those that were followed by another, and the one that ended it."""
    began = item.get("attempts", item.get("attempt"))
    return int(item["failures"]) + (item["state"] == "failed" and bool(began))


def _rows(effect: Item) -> str:
    """`2 fragments`, `1 row of tasks`: what a table of one's own is called need not be a singular."""
    if effect["entity"] in _COUNTED:
        return plural(effect["rows"], effect["entity"])
    return f"{plural(effect['rows'], 'row')} of {effect['entity']}"


def _error_lines(error: Item) -> Iterator[str]:
    """Where, what, every fault that has a place, and what to do: the particulars are in `--format json`."""
    where = f"{error['step']}: " if error.get("step") else ""
    yield clean(f"  {where}{error.get('message') or error.get('type', '')}")
    for fault in error.get("faults", ()):
        if "path" in fault:  # those of `validate` have none, and are in the message
            yield clean(f"    {fault['path']}: {fault.get('message', '')}")
    if error.get("hint"):
        yield clean(f"  {error['hint']}")


def tone_of(execution: Item) -> str:
    """In which colour its state is shown."""
    state: str = execution["state"]
    if state not in FINAL_STATES:
        return "running"
    return "succeeded" if state == "succeeded" else "failed"
