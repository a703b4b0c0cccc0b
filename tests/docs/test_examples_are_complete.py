"""Whoever comes from another system finds each of its command lines among the examples of the command line."""

from __future__ import annotations

import pytest
from fixtures.examples import documented

#: As others write it, and as it is written here.
SPELLINGS = {
    "telemetry:overview --last=1h": "weir telemetry overview --last=1h",
    "telemetry:performance --type=chat --last=24h": "weir telemetry performance --type=chat --last=24h",
    "telemetry:query --export=/path/to/results.json --format=json": (
        "weir telemetry query --export=results.json --format=json"
    ),
    "telemetry:export --time-range=7d --format=json": "weir telemetry export --time-range=7d --format=json",
    "telemetry:export --compress --format=csv": "weir telemetry export --compress --format=csv",
    "telemetry:export --split-by=component --time-range=24h": (
        "weir telemetry export --split-by=component --time-range=24h"
    ),
    "telemetry:export --include-metrics --include-health --include-performance": (
        "weir telemetry export --include-metrics --include-health --include-performance"
    ),
    "telemetry:export --component=fragment_telemetry --format=csv": (
        "weir telemetry export --component=fragment_telemetry --format=csv"
    ),
    "telemetry:export --component=tool_telemetry --include-performance": (
        "weir telemetry export --component=tool_telemetry --include-performance"
    ),
    "telemetry:export --level=error --format=csv": "weir telemetry export --level=error --format=csv",
    "telemetry:export --time-range=1h": "weir telemetry export --time-range=1h",
    "telemetry:trace {correlation-id}": 'weir telemetry trace "$ID"',
    "telemetry:errors --last=6h": "weir telemetry errors --last=6h",
    "telemetry:query --time-range=24h --limit=100": "weir telemetry query --time-range=24h --limit=100",
    "telemetry:query --component=tool_telemetry --level=error": (
        "weir telemetry query --component=tool_telemetry --level=error"
    ),
    "telemetry:query --correlation-id=corr_12345": 'weir telemetry query --correlation-id="$ID"',
    "telemetry:query --correlation-id=corr_abc123 --format=json": (
        'weir telemetry query --correlation-id="$ID" --format=json'
    ),
    "telemetry:query --type=metrics --component=fragment_telemetry": (
        "weir telemetry query --type=metrics --component=fragment_telemetry"
    ),
    "telemetry:query --type=health": "weir telemetry query --type=health",
    "telemetry:query --type=performance --time-range=6h": "weir telemetry query --type=performance --time-range=6h",
    "telemetry:query --type=performance --time-range=24h | grep slow": (
        "weir telemetry query --type=performance --time-range=24h | grep slow"
    ),
    "telemetry:query --type=chains --correlation-id=chain_id": (
        'weir telemetry query --type=chains --correlation-id="$ID"'
    ),
    "telemetry:query --type=chains --time-range=1h": "weir telemetry query --type=chains --time-range=1h",
    "telemetry:query --event-type=tool --time-range=6h --format=json": (
        "weir telemetry query --event-type=tool --time-range=6h --format=json"
    ),
    "telemetry:query --level=error --time-range=24h": "weir telemetry query --level=error --time-range=24h",
    "telemetry:query --type=stats --time-range=7d": "weir telemetry query --type=stats --time-range=7d",
    "telemetry:query --limit=10": "weir telemetry query --limit=10",
    "telemetry:health": "weir telemetry health",
    "telemetry:health --watch": "weir telemetry health --watch",
    "telemetry:health --component=tool_telemetry": "weir telemetry health --component=tool_telemetry",
    "telemetry:health --format=json": "weir telemetry health --format=json",
    "telemetry:health --format=json | jq .overall_health": "weir telemetry health --format=json | jq .overall_health",
    "telemetry:cleanup --dry-run": "weir telemetry cleanup --dry-run",
    "telemetry:cleanup --older-than=30d --force": "weir telemetry cleanup --older-than=30d --force",
    "telemetry:cleanup --component=tool_telemetry --dry-run": (
        "weir telemetry cleanup --component=tool_telemetry --dry-run"
    ),
    "telemetry:test --count=50": "weir telemetry test --count=50",
    "telemetry:test --count=100": "weir telemetry test --count=100",
    "telemetry:test --count=25 --components=tool,command": "weir telemetry test --count=25 --components=tool,command",
    "migrate": "weir migrate",
    "count the rows of each table": (
        "weir telemetry cleanup --dry-run --format=json | jq -r '.kinds[] | \"\\(.table): \\(.rows)\"'"
    ),
}


@pytest.mark.req("S-05", "S-06", "S-07", "S-08", "S-09", "S-10")
@pytest.mark.parametrize("theirs", SPELLINGS)
def test_what_others_write_has_its_like_here(theirs: str) -> None:
    assert SPELLINGS[theirs] in documented()


def test_no_example_stands_there_twice() -> None:
    assert len(documented()) == len(set(documented()))
