"""Secrets are found in whatever form they are given away, wherever that is, and nothing else is taken for one."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable

import pytest
from fixtures.canaries import Secrets

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "upper case": bytes.upper,
    "hexadecimal": lambda secret: secret.hex().encode(),
    "UTF-16": lambda secret: secret.decode().encode("utf-16-le"),
    "base64": base64.b64encode,
    "base64, one later": lambda secret: base64.b64encode(b"." + secret),
    "base64, two later": lambda secret: base64.b64encode(b".." + secret),
    **{
        f"{name}, {form.__name__}": lambda secret, name=name, form=form: bytes(form(hashlib.new(name, secret).digest()))  # type: ignore[misc]
        for name in ("md5", "sha1", "sha256")
        for form in (bytes, binascii.hexlify)
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", range(9))
def test_each_form_is_found_at_every_offset(form: str, before: int) -> None:
    secrets = Secrets(7)
    planted = [secrets.new(f"place {number}") for number in range(20)]

    [(number, said)] = secrets.numbers_in(b"x" * before + FORMS[form](planted[11].encode()) + b" and on")

    assert number == 11
    assert said.startswith("place 11 (")


def test_nothing_else_is_found() -> None:
    secrets = Secrets(7)
    secret = secrets.new("here")

    assert secrets.found_in(b"") == secrets.found_in(secret[:-1].encode()) == secrets.found_in(bytes(range(256))) == []
    assert Secrets(8).found_in(secret.encode()) == []
