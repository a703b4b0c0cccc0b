"""Collecting what is wrong with a file, and finding the name that was meant."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from dsl.command import Position
from dsl.errors import Fault
from dsl.nodes import Path, format_path

#: Characters of a found value that a fault shows.
_SHOWN = 60
#: Comparing names is slow (0.1 ms for ten): past these, no name is suggested.
_MAX_NAME = 64
_MAX_CANDIDATES = 200
_MAX_SUGGESTIONS = 100
#: Faults of a file that are told; a megabyte can hold half a million.
_MAX_FAULTS = 1000


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like a name, if one is like it."""
    if len(name) > _MAX_NAME:
        return None
    matches = get_close_matches(name, list(islice(candidates, _MAX_CANDIDATES)), n=1)
    return matches[0] if matches else None


def shown(value: object) -> str:
    """A value as JSON, shortened, as it is shown in a fault."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


@dataclass(frozen=True, slots=True)
class Wrong:
    """What a step type finds wrong with one of its steps in a file, beyond what its models can say.

    Attributes:
        place: Where, below `with:`.
        message: One sentence.
        found: What was there.
        known: Valid names of which the one nearest to `found` is suggested.
        is_key: Whether it is the last key of the place that is wrong, and not what it maps to.
        expected: What should be there; by default one of `known`.
    """

    place: Path
    message: str
    found: str | None = None
    known: Sequence[str] = ()
    is_key: bool = False
    expected: str | None = None


class TooManyFaults(Exception):
    """Checking stops here: a person has enough to do, and the rest could take minutes."""


class Faults:
    """The faults of one file, as they are found.

    Args:
        faults: Of the text as YAML: nothing more is told of what stands in their places, which nobody can read.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self._unreadable = {(fault.line, fault.column) for fault in self._faults}
        self._suggestions = 0

    def add(  # noqa: PLR0913 - what a fault can say
        self,
        code: str,
        message: str,
        path: Path,
        position: Position,
        *,
        found: str | None = None,
        expected: str | None = None,
        known: Iterable[str] = (),
    ) -> str | None:
        """Note one; returns the name that was suggested.

        Args:
            code: Stable name of the kind.
            message: One sentence.
            path: Where in the document.
            position: Where in the text.
            found: What was there.
            expected: What should be.
            known: Valid names of which the one nearest to `found` is suggested.

        Raises:
            TooManyFaults: There are a thousand already; the last one says so.
        """
        if (position.line, position.column) in self._unreadable:
            return None
        if len(self._faults) >= _MAX_FAULTS:
            self._faults.append(Fault("file.too_many_faults", "there are more faults than these"))
            raise TooManyFaults
        suggestion = None
        if found is not None and self._suggestions < _MAX_SUGGESTIONS:
            candidates = list(islice(known, _MAX_CANDIDATES))
            self._suggestions += bool(candidates)
            suggestion = nearest(found, candidates)
        self._faults.append(
            Fault(
                code,
                message,
                format_path(path),
                position.line,
                position.column,
                None if found is None else shown(found),
                expected,
                suggestion,
            )
        )
        return suggestion

    def sorted(self) -> tuple[Fault, ...]:
        """All of them, in the order of the text."""
        end = float("inf")
        return tuple(sorted(self._faults, key=lambda fault: (fault.line or end, fault.column or end)))

    def __len__(self) -> int:
        return len(self._faults)


def listed(names: Sequence[str]) -> str:
    """`one of a, b, c`."""
    return f"one of {', '.join(names)}" if len(names) > 1 else names[0] if names else "nothing"
