"""`python -m api.cli` is `weir`."""

from __future__ import annotations

import sys

from api.cli.main import main

sys.exit(main())
