"""What an idempotency key may be: a header has to hold it."""

from __future__ import annotations

#: Characters, at most.
MAX_KEY = 255

#: What it may be, in words.
EXPECTED = f"1 to {MAX_KEY} printable ASCII characters"


def is_key(text: str) -> bool:
    """Whether a text can be one."""
    return 0 < len(text) <= MAX_KEY and text.isascii() and text.isprintable()
