"""`python -m api.cli` is `weir`."""

from __future__ import annotations

from api.cli.entry import run

run()
