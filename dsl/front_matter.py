"""The YAML block at the top of a note, read by the same rules as command files (`dsl.document`)."""

from __future__ import annotations

import re
from typing import Any

from dsl.document import read
from dsl.errors import Fault
from dsl.settings import DslSettings

#: Notes are other people's files: their front matter holds far fewer values than a command. It may be long all the
#: same, for an exported note keeps in it what the rest of the file cannot say (dsl.note_export): state and metadata, in
#: which each of 262,144 characters may become twelve.
MAX_BYTES = 8_388_608
_LIMITS = DslSettings(max_file_bytes=MAX_BYTES, max_depth=16, max_nodes=2000)

#: What `dsl.document` says of a command file, said of a note.
_MESSAGES = {
    "file.too_large": f"the front matter has more than {_LIMITS.max_file_bytes:,} bytes",
    "file.forbidden_character": "a control or invisible character may not be in front matter",
    "yaml.several_documents": "front matter holds one YAML document",
    "yaml.alias": "aliases are not used in front matter: repeat the value",
    "yaml.anchor": "anchors are not used in front matter",
    "yaml.tag": "YAML tags are not used in front matter",
    "yaml.merge_key": "merge keys are not used in front matter",
    "yaml.unquoted_template": "a text that begins with { has to be quoted",
}

_OPENING = re.compile(r"---[ \t]*(?:\n|\Z)")
_BLOCK = re.compile(r"---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class FrontMatterBroken(Exception):
    """The block cannot be read.

    Attributes:
        fault: The first thing that is wrong with it; lines are those of the note.
    """

    def __init__(self, message: str, line: int | None = 1, column: int | None = None) -> None:
        super().__init__(message)
        self.fault = Fault("note.front_matter_broken", message, line=line, column=column)


def split(text: str) -> tuple[dict[str, Any], str]:
    """A note's front matter and its body; an empty map and the whole text when it has none.

    Raises:
        FrontMatterBroken: It is not closed, too large or too deep, not YAML, or not a map.
    """
    if not _OPENING.match(text):
        return {}, text
    block = _BLOCK.match(text)
    if block is None:
        raise FrontMatterBroken("the front matter that begins with --- is not closed with another ---")
    return _read(block["yaml"]), text[block.end() :]


def body_of(text: str) -> str | None:
    """What stands below a front matter, to the letter; none without one, or when its line ends are foreign."""
    block = _BLOCK.match(text)
    return None if block is None else text[block.end() :]


def _read(block: str) -> dict[str, Any]:
    document = read(block, _LIMITS)
    for fault in document.faults:
        if fault.code == "file.empty":
            return {}
        # The block begins on the note's second line.
        message = _MESSAGES.get(fault.code, fault.message)
        raise FrontMatterBroken(message, None if fault.line is None else fault.line + 1, fault.column)
    value = None if document.root is None else document.root.value()
    if not isinstance(value, dict):
        raise FrontMatterBroken("the front matter is not a map of names to values")
    return value
