"""The peers' environment, `.venv-peers` in the checkout: made once, and used from then on without a network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers import CHECKOUT, BenchmarkFailed

#: What is installed, versions and hashes; `requirements.in` beside it says what was asked for.
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
#: Where.
ENVIRONMENT = CHECKOUT / ".venv-peers"
#: In it: the hash of what was installed, once all of it was.
_STAMP = ".installed"
_PACKAGES = {"DBOS": "dbos", "Celery": "celery", "OpenTelemetry": "opentelemetry-sdk"}
_VERSIONS = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"


def installed_python() -> Path:
    """The Python of an environment that has what `REQUIREMENTS` names; installed now if it was not yet.

    Raises:
        BenchmarkFailed: It could not be installed.
    """
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / _STAMP
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted and python.exists():
        return python
    print(f"Installing DBOS, Celery and OpenTelemetry into {ENVIRONMENT.name} ...", file=sys.stderr, flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if not (_installed_by_uv(python) or _installed_by_pip(python)):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        raise BenchmarkFailed(
            "DBOS, Celery and OpenTelemetry could not be installed (see above). Once, pip has to reach what "
            f"{REQUIREMENTS.relative_to(CHECKOUT)} names; from then on no network is needed. "
            "`make bench` measures Weir without them."
        )
    stamp.write_text(wanted, encoding="ascii")
    return python


def installed_versions(python: Path) -> dict[str, str]:
    """What is installed there: `{"DBOS": "3.4.0", ...}`."""
    asked: list[str | Path] = [python, "-c", _VERSIONS, *_PACKAGES.values()]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - ours
    return dict(zip(_PACKAGES, done.stdout.split(), strict=True))


def _installed_by_uv(python: Path) -> bool:
    uv = Path(sys.executable).with_name("uv")
    return (
        uv.exists()
        and _succeeds([uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT])
        and _succeeds([uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", REQUIREMENTS])
    )


def _installed_by_pip(python: Path) -> bool:
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    return _succeeds([sys.executable, "-m", "venv", "--clear", ENVIRONMENT]) and _succeeds(
        [*pip, "--require-hashes", "--requirement", REQUIREMENTS]
    )


def _succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command did; what it has to say goes to stderr."""
    return subprocess.run(command, stdout=sys.stderr, check=False, timeout=600).returncode == 0  # noqa: S603 - ours
