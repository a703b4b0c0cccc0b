"""The one JSON shape of a check-up, for REST and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from workers.checkup.finding import Finding, worst


def report(everything: Iterable[Finding], shown: Sequence[Finding], now: datetime) -> dict[str, Any]:
    """What was found.

    Args:
        everything: All findings: the account of events is among them.
        shown: Those that were asked for; `overall_health` is theirs.
        now: When that was.
    """
    account = {finding.name: finding for finding in everything if finding.component == "account"}
    checks = {name: "ok" if finding.status == "healthy" else finding.detail for name, finding in account.items()}
    components = dict.fromkeys(finding.component for finding in shown)
    overall = worst(shown)
    is_well = all(state == "ok" for state in checks.values()) and overall != "critical"
    return {
        "status": "ok" if is_well else "degraded",
        "checks": checks,
        "overall_health": overall,
        "looked_at": now,
        "components": [
            {"component": each, "status": worst(finding for finding in shown if finding.component == each)}
            for each in components
        ],
        "findings": [asdict(finding) for finding in shown],
    }
