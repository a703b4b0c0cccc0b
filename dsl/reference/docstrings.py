"""Google-style docstrings, taken apart."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

_HEADING = re.compile(r"(?P<name>[A-Z][A-Za-z ]+):")
_ITEM = re.compile(r"(?P<name>[A-Za-z_]\w*): (?P<text>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Docstring:
    """What an object says of itself.

    Attributes:
        summary: The first paragraph, on one line.
        body: The other paragraphs before the first section, as written.
        sections: Text under each heading (`Output:`), dedented.
    """

    summary: str
    body: str
    sections: Mapping[str, str]

    def items(self, section: str) -> dict[str, str]:
        """The `name: text` entries of a section, each on one line; an entry goes on while lines are indented."""
        entries = re.split(r"\n(?=\S)", self.sections.get(section, ""))
        matches = (_ITEM.fullmatch(entry) for entry in entries)
        return {match["name"]: " ".join(match["text"].split()) for match in matches if match}


def docstring_of(subject: object) -> Docstring:
    """The docstring of a class, function or module.

    Raises:
        ValueError: It has none of its own.
    """
    own = getattr(subject, "__doc__", None)
    if not own:
        raise ValueError(f"{subject!r} has no docstring")
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in inspect.cleandoc(own).splitlines():
        heading = _HEADING.fullmatch(line)
        if heading:
            current = heading["name"]
            sections[current] = []
        else:
            sections[current].append(line)
    summary, _, body = "\n".join(sections.pop("")).partition("\n\n")
    texts = {name: textwrap.dedent("\n".join(lines)).strip() for name, lines in sections.items()}
    return Docstring(" ".join(summary.split()), body.strip(), texts)


def docstring_if_any(subject: object) -> Docstring:
    """As `docstring_of`; an empty one where there is none, as a user's own class may do without."""
    return docstring_of(subject) if getattr(subject, "__doc__", None) else Docstring("", "", {})
