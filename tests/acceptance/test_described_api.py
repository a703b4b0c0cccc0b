"""The API does what its own description says: schemathesis reads the description, and asks the running API of it all.

`WEIRTEST_API_EXAMPLES=1000 make test ARGS='-k description'` looks longer, elsewhere each time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.installations import Installation
from fixtures.stacks import without_weir

FIXTURES = Path(__file__).parents[1] / "fixtures"

#: Cases of one operation and phase; more are asked for by the environment.
EXAMPLES = "8"

#: Operations that schemathesis.toml leaves out: streams that never end.
ENDLESS = 1

#: Seconds a long look may take.
PATIENCE = 3600


@pytest.mark.req("D-04", "S-14")
@pytest.mark.timeout(PATIENCE)
def test_the_api_is_as_its_description_says(empty_installation: Installation, tmp_path: Path) -> None:
    empty_installation.up()
    longer = os.environ.get("WEIRTEST_API_EXAMPLES")
    how = ["--max-examples", longer] if longer else ["--max-examples", EXAMPLES, "--generation-deterministic"]

    looked = subprocess.run(  # noqa: S603 - of our own environment
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(FIXTURES / "schemathesis.toml"),
            "run",
            f"http://{empty_installation.address}/api/openapi.json",
            *how,
        ],
        cwd=tmp_path,
        env={**without_weir(os.environ), "PYTHONPATH": str(FIXTURES), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert looked.returncode == 0, looked.stdout + looked.stderr
    paths = empty_installation.get("/api/openapi.json")["paths"].values()
    operations = sum(name != "parameters" for path in paths for name in path)
    assert f"{operations - ENDLESS} selected / {operations} total" in looked.stdout
    assert "request_crashed" not in empty_installation.log()
