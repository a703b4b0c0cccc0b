"""What is not as it must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it must be.

    Attributes:
        check: What was looked at.
        about: An id or a token.
        expected: What must be.
        found: What is.
    """

    check: str
    about: str
    expected: object
    found: object
