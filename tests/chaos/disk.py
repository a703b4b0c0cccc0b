"""The disk on which recorders keep what the stream does not take: small, and now and then full."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from telemetry.settings import TelemetrySettings, settings_of

#: All of the disk, and the most of it that a spool may take where no disk can be made.
_SIZE = 8 << 20
_CHUNK = bytes(1 << 16)


def spools() -> bool:
    """Whether recorders have a spool at all."""
    return "spool_dir" in {spec.name for spec in settings_of(TelemetrySettings)}


class Disk:
    """A file system in memory, if this process may mount one; else a folder, and a bound that is soon reached.

    Args:
        folder: Where; made by `open`.

    Attributes:
        most_bytes: The most that was found in the spool.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        self._is_mounted = False
        self.most_bytes = 0

    @property
    def spool(self) -> Path:
        """The folder of the spool itself."""
        return self._folder / "telemetry"

    def settings(self) -> dict[str, str]:
        """As environment variables. What is mounted is full before the spool has as much as it may."""
        most = 2 * _SIZE if self._is_mounted else _SIZE // 64
        return {"WEIR_TELEMETRY_SPOOL_DIR": str(self.spool), "WEIR_TELEMETRY_SPOOL_MAX_BYTES": str(most)}

    def open(self) -> None:
        """Make it."""
        self._folder.mkdir(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0755", "tmpfs", str(self._folder)]
        if os.geteuid() == 0:
            self._is_mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0  # noqa: S603 - ours
        self.spool.mkdir(0o700)

    def look(self) -> None:
        """See how much is in the spool now."""
        found = 0
        for path in self.spool.rglob("*"):
            with suppress(FileNotFoundError):  # it was handed over just now
                found += path.stat().st_size
        self.most_bytes = max(self.most_bytes, found)

    def fill(self) -> None:
        """Leave no room; where nothing is mounted the bound does it."""
        if not self._is_mounted:
            return
        try:
            with self._ballast.open("ab", buffering=0) as file:
                while True:
                    file.write(_CHUNK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def empty(self) -> None:
        """Make room again; idempotent."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Take it away, if it is ours to; what was kept there is gone. Idempotent."""
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)  # noqa: S603, S607 - ours
            self._is_mounted = False
