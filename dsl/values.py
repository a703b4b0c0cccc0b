"""What a value of the language may be: JSON, with whole numbers of 64 bits and finite floats."""

from __future__ import annotations

import json

#: What Postgres' `bigint` and every JSON reader can hold.
MAX_INT = 2**63 - 1
MIN_INT = -(2**63)

#: How deep lists and mappings may nest.
MAX_DEPTH = 64


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
