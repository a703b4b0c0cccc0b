"""Idempotency keys that are typed."""

from __future__ import annotations

import click

from api.idempotency_key import EXPECTED, is_key


def key_header(key: str | None) -> dict[str, str]:
    """The header of an idempotency key, which holds no other characters; nothing without one.

    Raises:
        BadParameter: It can be none.
    """
    if key is not None and not is_key(key):
        raise click.BadParameter(f"expected {EXPECTED}", param_hint="--idempotency-key")
    return {} if key is None else {"Idempotency-Key": key}
