"""Writes fragments as a folder of Markdown notes, which `dsl.notes` reads back without losing anything.

What front matter can say in words that people use (title, type, tags, dates, metadata) it says so. What it cannot, or
not so that it is read back the same, is kept as JSON under one key of it: the fragment's id and state, a title with two
spaces in a row, a source that is no path. The text below is the content, to the letter.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from errno import EEXIST
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dsl.errors import Fault
from dsl.front_matter import FrontMatterBroken, split
from dsl.notes import (
    CREATED_KEYS,
    DEFAULT_TYPE,
    EXPORT_KEY,
    EXPORT_VERSION,
    MAX_NOTE_BYTES,
    OUTSIDE,
    UPDATED_KEYS,
    parse_note,
    walk,
)
from dsl.records import is_same
from dsl.values import MAX_INT, MIN_INT

#: Keys of the front matter that mean something; metadata of the same name is kept apart.
_RESERVED = frozenset({"title", "type", "tags", *CREATED_KEYS, *UPDATED_KEYS, EXPORT_KEY})
#: How an exported note begins what it keeps: with the id of its fragment.
_MARK = re.compile(rf'^{EXPORT_KEY}: \'{{"v": {EXPORT_VERSION}, "id": "(?P<id>[0-9a-f-]{{36}})"'.encode(), re.MULTILINE)
#: The first and last year that is read as a date.
_YEARS = ("0001", "9999")

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
#: A text that means itself without quotes, in a list too.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[ ./_-][A-Za-z0-9]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})

_SUFFIXES = (".md", ".markdown")
_MAX_PART_BYTES = 255
_MAX_SLUG = 60

#: What became of a fragment's file.
Written = Literal["written", "unchanged"]


@dataclass(slots=True)
class NoteFolder:
    """A folder that fragments are exported to; made when it is missing.

    A fragment that was exported here before keeps its file. Others get the path they were imported from, where that can
    be one, else one of their title and the end of their id. A file that no export wrote is left alone.

    Attributes:
        root: The folder.
        replace: Whether files that no export wrote are replaced, too.
        faults: Gets one for each fragment that could not be written; `path` is relative to the folder.
    """

    root: Path
    replace: bool = False
    faults: list[Fault] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _folders: set[str] = field(default_factory=set)
    _before: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look for what an earlier export wrote.

        Raises:
            OSError: The folder cannot be made, or not be listed.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        met: list[Fault] = []
        for path in walk(self.root, met):
            with suppress(OSError):  # what cannot be read is told when it is to be written
                mark = _MARK.search(_content(path) or b"")
                if mark is not None:
                    self._before.setdefault(mark["id"].decode(), path.relative_to(self.root).as_posix())
        # A link out of the folder is no fault of an export, which writes nothing beyond it.
        self.faults += [fault for fault in met if fault.code != OUTSIDE]

    def write(self, fragment: Mapping[str, Any]) -> Written | None:
        """Write a fragment, as JSON (`Fragment.to_json`), in one piece: its file is there whole, or as it was.

        Returns:
            What became of it; none when it could not be written, which is a fault.
        """
        name = self._name(fragment)
        data = render(fragment, name)
        path = self.root / name
        try:
            before = _content(path)
            if before == data:
                return "unchanged"
            if before is not None and not self.replace and not is_exported(before):
                message = "a file that no export wrote is there already; --force replaces it"
                self.faults.append(Fault("note.exists", message, path=name))
                return None
            _replace(path, data, str(fragment["id"]))
        except OSError as error:
            message = f"cannot be written: {error.strerror or type(error).__name__}"
            self.faults.append(Fault("note.unwritable", message, path=name))
            return None
        return "written"

    def _name(self, fragment: Mapping[str, Any]) -> str:
        """Its path in the folder; no other fragment of this export has it, nor a file where it has a folder."""
        before = self._before.get(str(fragment["id"]))
        for name in [*([before] if before else []), *_names(fragment)]:
            folded = _folded(name)
            above = {str(folder) for folder in PurePosixPath(folded).parents if str(folder) != "."}
            if folded in self._taken or folded in self._folders or above & self._taken or self._leaves(name):
                continue
            self._taken.add(folded)
            self._folders |= above
            return name
        message = f"fragment {fragment['id']} was given twice"
        raise ValueError(message)

    def _leaves(self, name: str) -> bool:
        """Whether a link on the way leads out of the folder."""
        folder = (self.root / name).parent
        return not folder.resolve().is_relative_to(self.root.resolve())


def render(fragment: Mapping[str, Any], name: str) -> bytes:
    """The file of a fragment.

    Args:
        fragment: As JSON.
        name: Where the file goes; the source of who imports it, unless the fragment has another.
    """
    lines, kept = [], {"v": EXPORT_VERSION, "id": fragment["id"]}
    title, tags = fragment["title"], fragment["tags"]
    if title and title == " ".join(title.split()):
        lines.append(f"title: {_text(title)}")
    else:
        kept["title"] = title
    if fragment["type"] != DEFAULT_TYPE:
        lines.append(f"type: {_text(fragment['type'])}")
    if tags and all(_is_word(tag) for tag in tags):
        lines.append(f"tags: [{', '.join(map(_text, tags))}]")
    elif tags:
        kept["tags"] = tags
    for key in ("created", "updated"):
        instant = fragment[f"{key}_at"]
        if _YEARS[0] < instant[:4] < _YEARS[1]:
            lines.append(f"{key}: {instant}")
        else:
            kept[key] = instant
    said, unsaid = _said(fragment["metadata"], lines)
    lines += said
    if unsaid:
        kept["metadata"] = unsaid
    if fragment["state"]:
        kept["state"] = fragment["state"]
    if fragment["source"] not in {None, name}:
        kept["source"] = fragment["source"]
    marked = json.dumps(kept, allow_nan=False).replace("'", "''")
    front = "\n".join([*lines, f"{EXPORT_KEY}: '{marked}'"])
    return f"---\n{front}\n---\n{fragment['content']}".encode()


def is_exported(data: bytes) -> bool:
    """Whether an export wrote these bytes."""
    if not data.startswith(b"---") or f"\n{EXPORT_KEY}: ".encode() not in data or len(data) > MAX_NOTE_BYTES:
        return False
    note = parse_note(data, "note.md")
    return not isinstance(note, Fault) and note.id is not None


def _said(metadata: Mapping[str, Any], others: list[str]) -> tuple[list[str], Mapping[str, Any]]:
    """Lines of front matter for as much of the metadata as is read back the same, and the rest of it.

    Args:
        metadata: Of the fragment.
        others: Lines above, which count where front matter has a limit.
    """
    plain = {key: value for key, value in metadata.items() if _KEY.fullmatch(key) and key not in _RESERVED}
    lines = [f"{key}: {_value(value)}" for key, value in plain.items()]
    try:
        front, _ = split("\n".join(["---", *others, *lines, f"{EXPORT_KEY}: ''", "---", ""]))
    except FrontMatterBroken:
        return [], metadata
    if not is_same({key: value for key, value in front.items() if key not in _RESERVED}, plain):
        return [], metadata
    return lines, {key: value for key, value in metadata.items() if key not in plain}


def _value(value: object) -> str:
    """A JSON value in YAML, on one line."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(key))}: {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and not MIN_INT <= value <= MAX_INT:
        return _quoted(str(value))  # read back as a text, which is noticed
    return json.dumps(value)


def _text(text: str) -> str:
    """A text in YAML: as it is where that is understood, else in double quotes."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    """A character inside double quotes; what does not show, or YAML does not like, is escaped."""
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    if 0x20 <= code < 0x7F or (code > 0xA0 and unicodedata.category(character) not in _UNSEEN):  # noqa: PLR2004 - ASCII
        return character
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


#: Unicode categories of what is not seen: controls, formats, surrogates, private use, unassigned, line separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


def _is_word(tag: str) -> bool:
    """Whether a tag is read back the same from a list of them."""
    return bool(tag) and tag == " ".join(tag.split()) and not tag.startswith("#")


def _names(fragment: Mapping[str, Any]) -> Iterable[str]:
    """Paths a fragment may have, the best first."""
    source = fragment["source"]
    if source is not None and _is_path(source):
        yield source
    plain = unicodedata.normalize("NFKD", fragment["title"]).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:_MAX_SLUG].strip("-") or fragment["type"]
    identity = str(fragment["id"]).replace("-", "")
    yield f"{slug}-{identity[-8:]}.md"
    yield f"{slug}-{identity}.md"


def _is_path(source: str) -> bool:
    """Whether a file can be there on any system that notes are likely to be on, and an import finds it there."""
    parts = source.split("/")
    return source.lower().endswith(_SUFFIXES) and all(
        part and not part.startswith(".") and part.isprintable() and len(part.encode()) <= _MAX_PART_BYTES
        for part in parts
    )


def _folded(name: str) -> str:
    """The name as file systems see it that do not tell upper from lower case, or forms of the same letters."""
    return unicodedata.normalize("NFC", name).casefold()


def _content(path: Path) -> bytes | None:
    """What is in a file, a byte more than a note may have at most; none when there is no file.

    Raises:
        OSError: It cannot be read, or is no regular file: reading a pipe would never end.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise OSError(EEXIST, "what is there is no regular file")
    with path.open("rb") as file:
        return file.read(MAX_NOTE_BYTES + 1)


def _replace(path: Path, data: bytes, identity: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that no import sees it, and beside the file, so that it can take its place in one step.
    beside = path.parent / f".weir-{identity}.tmp"
    try:
        beside.unlink(missing_ok=True)  # of an export that was killed; a link would lead who knows where
        with beside.open("xb") as file:
            file.write(data)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
