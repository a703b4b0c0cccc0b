from __future__ import annotations

import pytest

from api.cli.checkup import show_findings
from api.cli.terminal import Terminal


def test_what_is_wrong_is_read_in_full_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "2 are wrong: " + "; ".join(f"WEIR_SETTING_{number} = 'x': expected a number" for number in (1, 2))
    well = "all is as well as it has been for a long time, and that is more than fits here"
    findings = [
        {"name": "settings", "component": "machine", "status": "critical", "detail": wrong, "fix": None},
        {"name": "disk", "component": "disk", "status": "healthy", "detail": well, "fix": None},
    ]

    show_findings(findings, Terminal(width=80, interactive=True))
    narrow = capsys.readouterr().out
    show_findings(findings, Terminal())
    wide = capsys.readouterr().out

    assert wrong in narrow
    assert well not in narrow
    assert wide.count(wrong) == 1
