"""The program of the page about measuring one's own requests works as it is written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.apis import Api, Weir
from fixtures.stacks import eventually

from telemetry.clock import SystemClock
from telemetry.pipeline import open_sink
from telemetry.settings import TelemetrySettings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "measure-your-own-requests.md"


@pytest.mark.req("A-04")
def test_requests_of_a_program_of_ones_own_are_in_the_figures(
    weir: Weir, busy_api: Api, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    [program] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    typed, *commands = re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    (tmp_path / "answers.py").write_text(program, encoding="utf-8")
    python, file, *questions = shlex.split(typed)
    assert (python, file) == (".venv/bin/python", "answers.py")

    telemetry = busy_api.settings.telemetry
    given = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "HOME": str(tmp_path / "home")}
    given["TELEMETRY_PSEUDONYM_KEY"] = telemetry.pseudonym_key or ""
    ran = subprocess.run(  # noqa: S603 - our own page
        [sys.executable, file, *questions],
        cwd=tmp_path,
        env={**os.environ, **{f"WEIR_{name}": value for name, value in given.items()}},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "all of it was taken\n", "")
    sink = open_sink(TelemetrySettings(), database_url=database_url, redis_url=redis_url, clock=SystemClock())
    sink.start()
    try:
        eventually(lambda: len(busy_api.get("/api/telemetry/events", component="chat").json["items"]) == 6)
    finally:
        assert sink.stop()

    rate, errors, events = (weir(*shlex.split(command)[1:]) for command in commands)
    assert rate.json["items"] != []
    assert sum(point["value"] for point in rate.json["items"]) > 0
    assert "error_rate" in errors.out
    assert events.out.count("chat.request.started") == 3
    assert events.out.count("chat.request.failed") == 1
