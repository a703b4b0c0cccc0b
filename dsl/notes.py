"""Reads a folder of Markdown notes: front matter, title, tags, dates, body. Touches no database.

Nothing is lost silently: a note that cannot be read is a `Fault` with its path. A note that Weir exported says so in
its front matter, and is read to the letter (`dsl.note_export` writes them).
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from dsl.errors import Fault, RecordInvalid
from dsl.front_matter import MAX_BYTES, FrontMatterBroken, body_of, split
from dsl.records import MAX_CONTENT, MAX_TAG, MAX_TAGS, MAX_TITLE, checked_name, checked_tags, checked_text, json_text

#: Bytes of one note, at most: its front matter, and its text in UTF-8.
MAX_NOTE_BYTES = MAX_BYTES + 4 * MAX_CONTENT
#: Type of a note that names none.
DEFAULT_TYPE = "note"

#: Key of the front matter under which an exported note keeps, as JSON, what the rest of the file cannot say.
EXPORT_KEY = "weir"
#: The form of that JSON, in it under `v`.
EXPORT_VERSION = 1

_SUFFIXES = (".md", ".markdown")
#: Keys of the front matter that may hold its times; the first of each that does.
CREATED_KEYS = ("created", "created_at", "date")
UPDATED_KEYS = ("updated", "updated_at", "modified")

#: The first and last year of the calendar leave it in some time zone, which breaks whoever reads them there.
_YEARS = range(2, 9999)

#: Code of the fault that a link out of the folder is.
OUTSIDE = "note.outside"
_OUTSIDE_MESSAGE = "a link that leads out of the folder is not followed: import what it leads to by itself"

_FENCE = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})")
_INLINE_CODE = re.compile(r"`[^`]*`")
_HASHTAG = re.compile(r"(?<!\S)#(?P<tag>[^\W\d_][\w/-]*)")


@dataclass(frozen=True, slots=True)
class Note:
    """One note, fit to be stored.

    Attributes:
        source: Path inside the folder, with `/`; what an import knows it by.
        content: The text below the front matter.
        tags: Of the front matter, then hashtags of the text; each once.
        metadata: What else the front matter says; JSON values.
        created: Aware UTC, if the front matter says it.
        updated: Likewise.
        id: Of the fragment that it was exported from.
        state: Of that fragment; for a fragment that is there already, what commands made of it counts.
    """

    source: str
    title: str
    content: str
    type: str = DEFAULT_TYPE
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None
    updated: datetime | None = None
    id: UUID | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


def read_notes(directory: Path, faults: list[Fault], *, hashtags: bool = True) -> Iterator[Note]:
    """Every `*.md` and `*.markdown` below a folder, folder by folder in the order of names.

    Hidden files and folders are left out. A folder that links lead to too is read once; links that lead out of the
    folder are not followed, for they may lead anywhere.

    Args:
        directory: The folder.
        faults: Gets one for each note or folder that could not be read, and for each link out of the folder; `path` is
            relative to the folder.
        hashtags: Whether `#word` in the text (not in code) is a tag.

    Raises:
        OSError: The folder itself cannot be listed.
    """
    for path in walk(directory, faults):
        source = _source(path, directory)
        note = _read(path, source, hashtags=hashtags)
        if isinstance(note, Fault):
            faults.append(note)
        else:
            yield note


def count_notes(directory: Path) -> int:
    """How many files `read_notes` would look at: the length of a progress bar.

    Raises:
        OSError: The folder itself cannot be listed.
    """
    return sum(1 for _ in walk(directory, []))


def parse_note(data: bytes, source: str, *, hashtags: bool = True) -> Note | Fault:
    """The note in the bytes of a file; never raises, whatever they are.

    Its title is that of the front matter, else the first `# heading`, else the file's name.
    """
    if len(data) > MAX_NOTE_BYTES:
        return _fault("note.too_large", f"the note has more than {MAX_NOTE_BYTES:,} bytes", source)
    try:
        text = data.decode("utf-8-sig")
        front, body = split(text.replace("\r\n", "\n").replace("\r", "\n"))
        kept = _kept(front.get(EXPORT_KEY))
        if kept is not None:
            del front[EXPORT_KEY]
            exact = body_of(text)
            return _exported(front, kept, body if exact is None else exact, source)
        return _note(front, body.lstrip("\n"), source, hashtags=hashtags)
    except UnicodeDecodeError as error:
        return _fault("note.not_utf8", f"the note is not UTF-8: byte {error.start}", source)
    except FrontMatterBroken as error:
        return replace(error.fault, path=_printable(source))
    except RecordInvalid as error:
        return replace(_fault("note.invalid", error.detail, source), expected=error.hint)


def _note(front: dict[str, Any], body: str, source: str, *, hashtags: bool) -> Note:
    """The note, every field of it checked: what is read can be stored."""
    prose = list(_prose(body))
    title = _word("title", front.pop("title", None)) or _heading(prose) or Path(source).stem
    tags = _front_tags(front.pop("tags", None))
    kind = _word("type", front.pop("type", None)) or DEFAULT_TYPE
    if hashtags:
        tags += [tag for tag in _hashtags(prose) if tag not in tags][: max(0, MAX_TAGS - len(tags))]
    note = Note(
        source=checked_text("path", source, MAX_TITLE),
        title=checked_text("title", title, MAX_TITLE),
        content=checked_text("content", body, MAX_CONTENT),
        type=checked_name("type", kind.lower()),
        tags=tuple(checked_tags(tags)),
        created=_take_date(front, CREATED_KEYS),
        updated=_take_date(front, UPDATED_KEYS),
        metadata=front,
    )
    json_text("front matter", note.metadata)
    return note


def _kept(value: object) -> dict[str, Any] | None:
    """What an exported note keeps for itself; none when this is no exported note."""
    if not isinstance(value, str):
        return None
    try:
        kept = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return kept if isinstance(kept, dict) and kept.get("v") == EXPORT_VERSION else None


def _exported(front: dict[str, Any], kept: dict[str, Any], body: str, path: str) -> Note:
    """The note that was exported, with what people changed since: what the front matter keeps as JSON comes first."""
    created, updated = _take_date(front, CREATED_KEYS), _take_date(front, UPDATED_KEYS)
    title, tags = front.pop("title", None), front.pop("tags", None)
    kind = _word("type", front.pop("type", None)) or DEFAULT_TYPE
    metadata = _kept_map(kept, "metadata")
    state = _kept_map(kept, "state")
    note = Note(
        source=checked_text("path", _kept_text(kept, "source", path), MAX_TITLE),
        title=checked_text("title", _kept_text(kept, "title", _word("title", title)), MAX_TITLE),
        content=checked_text("content", body, MAX_CONTENT),
        type=checked_name("type", kind.lower()),
        tags=tuple(checked_tags(_kept_tags(kept) if "tags" in kept else _front_tags(tags))),
        created=_kept_date(kept, "created") or created,
        updated=_kept_date(kept, "updated") or updated,
        metadata={**front, **metadata},
        id=_kept_id(kept),
        state=state,
    )
    json_text("front matter", note.metadata)
    json_text("state", note.state)
    return note


def _kept_text(kept: Mapping[str, Any], name: str, otherwise: str) -> str:
    value = kept.get(name, otherwise)
    return value if isinstance(value, str) else _refuse_kept(name)


def _kept_map(kept: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = kept.get(name, {})
    return value if isinstance(value, dict) else _refuse_kept(name)


def _kept_tags(kept: Mapping[str, Any]) -> list[str]:
    value = kept["tags"]
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        _refuse_kept("tags")
    return list(value)


def _kept_date(kept: Mapping[str, Any], name: str) -> datetime | None:
    if name not in kept:
        return None
    try:
        instant = datetime.fromisoformat(kept[name])
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return _refuse_kept(name)


def _kept_id(kept: Mapping[str, Any]) -> UUID | None:
    try:
        return UUID(kept["id"]) if "id" in kept else None
    except (TypeError, ValueError, AttributeError):
        return _refuse_kept("id")


def _refuse_kept(name: str) -> NoReturn:
    raise FrontMatterBroken(f"`{EXPORT_KEY}` in the front matter does not hold what an export writes: {name}")


def _word(name: str, value: object) -> str:
    """A value of the front matter as one line of text; empty for null."""
    if isinstance(value, list | dict):
        raise FrontMatterBroken(f"the {name} is not a text")
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split())


def _front_tags(value: object) -> list[str]:
    """`[a, b]`, `a, b`, `#a, #b` or a list, one to a line."""
    words = value if isinstance(value, list) else _word("tags", value).split(",")
    tags = (_word("tag", word).removeprefix("#") for word in words)
    return list(dict.fromkeys(tag for tag in tags if tag))


def _take_date(front: dict[str, Any], names: tuple[str, ...]) -> datetime | None:
    """The first of these keys that holds a date or time, taken out; what is neither stays with the metadata."""
    for name in names:
        instant = _instant(front.get(name))
        if instant is not None:
            del front[name]
            return instant
    return None


def _instant(value: object) -> datetime | None:
    """A date or time of ISO 8601 (a space before the offset allowed) in UTC; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(re.sub(r" (?=[-+]\d)", "", value.strip()))
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return instant if instant.year in _YEARS else None


def _prose(body: str) -> Iterator[str]:
    """The lines outside fenced code."""
    fence = ""
    for line in body.split("\n"):
        mark = _FENCE.match(line)
        if mark is not None and not fence:
            fence = mark["marks"]
        elif mark is not None and mark["marks"].startswith(fence):
            fence = ""
        elif not fence:
            yield line


def _heading(prose: list[str]) -> str:
    for line in prose:
        if line.startswith("# "):
            title = line[2:].strip()
            before, _, last = title.rpartition(" ")
            return (before.rstrip() if last.strip("#") == "" else title)[:MAX_TITLE]
    return ""


def _hashtags(prose: list[str]) -> Iterator[str]:
    for line in prose:
        if "#" in line:
            for match in _HASHTAG.finditer(_INLINE_CODE.sub(" ", line)):
                tag = match["tag"].rstrip("/-")
                if len(tag) <= MAX_TAG:
                    yield tag


def _read(path: Path, source: str, *, hashtags: bool) -> Note | Fault:
    try:
        # A named pipe would be waited on for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            return _fault("note.not_a_file", "not a regular file", source)
        with path.open("rb") as file:
            data = file.read(MAX_NOTE_BYTES + 1)
    except OSError as error:
        return _unreadable(error, source)
    return parse_note(data, source, hashtags=hashtags)


def walk(root: Path, faults: list[Fault]) -> Iterator[Path]:
    """Files of notes below a folder, depth first, with a stack of its own: folders may be nested very deep.

    Links to folders come last, so that what they lead to is known by its own name if it has one here.

    Args:
        root: The folder.
        faults: Gets one for each folder that could not be looked into, and for each link out of the folder.

    Raises:
        OSError: The folder itself cannot be listed.
    """
    inside = os.path.realpath(root)
    seen: set[tuple[int, int]] = set()
    waiting = _entries(root, seen)
    links: deque[Path] = deque()
    while waiting or links:
        is_put_off = not waiting
        path = links.popleft() if is_put_off else waiting.pop()
        try:
            is_link, is_folder = path.is_symlink(), path.is_dir()
            if not is_folder and not _is_note(path):
                continue
            if is_link and not Path(os.path.realpath(path)).is_relative_to(inside):
                faults.append(_fault(OUTSIDE, _OUTSIDE_MESSAGE, _source(path, root)))
            elif not is_folder:
                yield path
            elif is_link and not is_put_off:
                links.append(path)
            else:
                waiting += _entries(path, seen)
        except OSError as error:
            faults.append(_unreadable(error, _source(path, root)))


def _is_note(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _entries(folder: Path, seen: set[tuple[int, int]]) -> list[Path]:
    """What is in a folder, last name first; nothing the second time, by whatever links it is reached."""
    found = folder.stat()
    identity = (found.st_dev, found.st_ino)
    if identity in seen:
        return []
    seen.add(identity)
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(visible, key=lambda path: path.name, reverse=True)


def _source(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _unreadable(error: OSError, source: str) -> Fault:
    return _fault("note.unreadable", f"cannot be read: {error.strerror}", source)


def _fault(code: str, message: str, source: str) -> Fault:
    return Fault(code, message, path=_printable(source))


def _printable(source: str) -> str:
    """A path as well as it can be shown; file names need not be UTF-8."""
    return source.encode(errors="replace").decode()
