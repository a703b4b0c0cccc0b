"""Batches on disk while the stream does not take them: segment files, bounded, private, and never in anybody's way.

    folder/                  0700; of all processes that share a home
      <epoch, 32 hex digits>/  of one producer, which holds a lock on it (flock) for as long as it lives
        00000001.seg           0600; records one after the other (telemetry/segments.py), oldest segment first

What is appended has left the process: killing it loses nothing of it. A segment is synced to disk when it is closed,
and once a second while it grows, so that a machine without power loses a second at most. A segment is removed when all
of it is in the stream; whoever is killed in between leaves it, and it is sent again: a batch has its number, and the
sink recognises it.

The kernel lets go of the lock of a process that is gone. Then the folder is an orphan: the first to lock it sends what
is in it, as it is, under the epoch of the dead.

Whatever the disk says (full, read-only, broken), nothing here raises it: what cannot be kept is said by the result, and
the disk is left alone for a second.

Both sides of a folder stand here, of whoever fills it and of whoever comes after: they are right only together.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from telemetry.clock import Clock
from telemetry.segments import Record, encode_record, read_records
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

#: Segments that fill the spool; the largest and the smallest one, in bytes.
_SEGMENTS: Final = 16
_MOST_BYTES: Final = 4 << 20
_LEAST_BYTES: Final = 16 << 10
#: How long a record may wait for being synced, and a disk that refused is left alone, in microseconds.
_SYNC_US: Final = 1_000_000
_PAUSE_US: Final = 1_000_000
#: How often orphans are looked for, and what others keep is counted again, in microseconds.
_LOOK_US: Final = 10_000_000
_COUNT_US: Final = 1_000_000
#: Why a file may not be read just now; any other reason will stay.
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
#: Times that the own folder is made anew when somebody took it for an orphan.
_MAKINGS: Final = 10
_EPOCH: Final = re.compile(r"[0-9a-f]{32}")
_SUFFIX: Final = ".seg"


@dataclass(frozen=True, slots=True)
class _Segment:
    """One that is closed."""

    path: Path
    size_bytes: int
    events: int


class Orphan:
    """What a process left that is gone. Locked: nobody else sends it.

    Args:
        path: Of its folder.
        descriptor: Of the same, locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._segments = deque(sorted(path.glob(f"*{_SUFFIX}")))

    def read(self) -> list[Record] | None:
        """What its oldest segment holds, if anything; None if it cannot be read just now."""
        return _read(self._segments[0]) if self._segments else []

    def discard(self) -> None:
        """Remove its oldest segment, if there is one: all of it is in the stream."""
        if self._segments:
            _remove(self._segments.popleft())

    @property
    def is_empty(self) -> bool:
        """Whether all of it was read and discarded."""
        return not self._segments

    def abandon(self) -> None:
        """In a child after a fork: as `Spool.abandon`."""
        os.close(self._descriptor)

    def close(self) -> bool:
        """Let go of it, and remove the folder if nothing is in it; False if it stays."""
        try:
            self.path.rmdir()
        except OSError:
            return False
        finally:
            os.close(self._descriptor)
        return True


class Spool:
    """The segments of one epoch. Made for one thread; makes nothing on disk before something is appended.

    Args:
        folder: Of all spools; made if need be.
        epoch: Of the producer, 16 bytes.
        max_bytes: What all spools in the folder may take together. Each process counts the others' once a second, so
            it may be exceeded by what they write in a second.
        clock: Paces syncing, and looking round.

    Attributes:
        size_bytes: What the segments of this epoch take.
        events: What is in them; those of the oldest count until all of it is discarded.
    """

    def __init__(self, folder: Path, epoch: bytes, *, max_bytes: int, clock: Clock) -> None:
        self._folder = folder
        self._path = folder / epoch.hex()
        self._max_bytes = max_bytes
        self._segment_bytes = min(_MOST_BYTES, max(_LEAST_BYTES, max_bytes // _SEGMENTS))
        self._clock = clock
        self._throttle = Throttle(clock)
        self._lock: int | None = None
        self._closed: deque[_Segment] = deque()
        self._file: int | None = None  # the segment that grows
        self._file_path = self._path
        self._file_bytes = self._file_events = 0
        self._number = 0
        self._others_bytes = 0
        self._count_due_us = self._look_due_us = self._refused_until_us = 0
        self._has_neighbours = False  # when it looked last
        self._sync_due_us: int | None = None
        self._stuck: set[Path] = set()
        self.size_bytes = self.events = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing of this epoch waits here."""
        return not self._closed and self._file is None

    @property
    def sync_due_us(self) -> int | None:
        """When `sync` has something to do, on the monotonic clock."""
        return self._sync_due_us

    @property
    def look_due_us(self) -> int | None:
        """When `adopt` looks again, on the monotonic clock; none while no others are known that may leave something."""
        return self._look_due_us if self._has_neighbours else None

    def has_room(self, size_bytes: int = 0) -> bool:
        """Whether a record of this size may be appended now. The disk may refuse it still."""
        now_us = self._clock.monotonic_us()
        if now_us < self._refused_until_us:
            return False
        if now_us >= self._count_due_us:
            self._count_due_us = now_us + _COUNT_US
            self._others_bytes = self._count_others()
        return self._others_bytes + self.size_bytes + size_bytes <= self._max_bytes

    def append(self, record: Record) -> bool:
        """Keep a record behind all others; False if there is no room, or the disk refused it, and nothing was kept."""
        if not self.has_room(record.size_bytes):
            return False
        try:
            if self._file is not None and self._file_bytes + record.size_bytes > self._segment_bytes:
                self._close_segment()
            self._write(record)
        except OSError as error:
            self._drop_empty()
            self._refuse(error)
            return False
        return True

    def read(self) -> list[Record] | None:
        """What the oldest segment holds, in order, if anything; None if it cannot be read just now.

        Nothing is appended to it any more.
        """
        try:
            if not self._closed and self._file is not None:
                self._close_segment()
        except OSError as error:
            self._refuse(error)
        return _read(self._closed[0].path) if self._closed else []

    def discard(self) -> None:
        """Remove the oldest segment: all of it is in the stream."""
        if self._closed:
            segment = self._closed.popleft()
            _remove(segment.path)
            self.size_bytes -= segment.size_bytes
            self.events -= segment.events

    def sync(self) -> None:
        """Have what was appended written to disk, if a second has passed."""
        if self._file is None or self._sync_due_us is None or self._clock.monotonic_us() < self._sync_due_us:
            return
        self._sync_due_us = None
        try:
            os.fsync(self._file)
        except OSError as error:
            self._refuse(error)

    def adopt(self) -> Orphan | None:
        """The spool of a process that is gone, if there is one; looks at most every ten seconds."""
        now_us = self._clock.monotonic_us()
        if now_us < self._look_due_us:
            return None
        self._has_neighbours = False
        try:
            for path in self.others():
                if path in self._stuck:
                    continue
                descriptor = self._lock_if_allowed(path)
                self._has_neighbours = self._has_neighbours or path not in self._stuck
                if descriptor is not None:
                    return Orphan(path, descriptor)
        except OSError as error:
            self._refuse(error)
        self._look_due_us = now_us + _LOOK_US
        return None

    def _lock_if_allowed(self, path: Path) -> int | None:
        """What may not be opened, or is no folder, is left alone for good: others may lie behind it."""
        try:
            return _lock(path)
        except OSError as error:
            if error.errno in _PASSING:
                raise
            self._stuck.add(path)
            log.warning("telemetry_spool_not_adopted", error=_name_of(error))
            return None

    def look_later(self) -> None:
        """Leave others alone for a while: what one of them left cannot be read just now."""
        self._look_due_us = self._clock.monotonic_us() + _LOOK_US

    def release(self, orphan: Orphan) -> None:
        """Let go of an orphan. What cannot be removed although it was sent is not sent again by this process."""
        is_sent = orphan.is_empty
        if not orphan.close() and is_sent:
            self._stuck.add(orphan.path)

    def others(self) -> Iterator[Path]:
        """The folders of other epochs, of living processes and of dead ones."""
        try:
            paths = sorted(self._folder.iterdir())
        except FileNotFoundError:
            return
        yield from (path for path in paths if _EPOCH.fullmatch(path.name) and path != self._path)

    def close(self) -> None:
        """Sync, and let go of the lock: what is left is an orphan."""
        try:
            if self._file is not None:
                self._close_segment()
        except OSError as error:
            self._refuse(error)
        if self._lock is not None:
            with suppress(OSError):  # something is left in it
                self._path.rmdir()
            self._let_go()

    def abandon(self) -> None:
        """In a child after a fork: let go of the parent's files without a word. Its lock stays the parent's."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def _count_others(self) -> int:
        try:
            return sum(map(_size_of, self.others()))
        except OSError as error:
            self._refuse(error)
            return 0

    def _write(self, record: Record) -> None:
        if self._file is None:
            self._open_segment()
        file, data, at = self._file, memoryview(encode_record(record)), self._file_bytes
        assert file is not None  # noqa: S101 - for the type checker: it was just opened
        try:
            while data:
                written = os.pwrite(file, data, at)
                data, at = data[written:], at + written
        except OSError:
            # Half a record: cut off, or left as a torn end that readers step over.
            with suppress(OSError):
                os.ftruncate(file, self._file_bytes)
            raise
        self._file_bytes = at
        self._file_events += record.events
        self.size_bytes += record.size_bytes
        self.events += record.events
        if self._sync_due_us is None:
            self._sync_due_us = self._clock.monotonic_us() + _SYNC_US

    def _open_segment(self) -> None:
        self._hold_folder()
        self._number += 1
        self._file_path = self._path / f"{self._number:08d}{_SUFFIX}"
        try:
            self._file = os.open(self._file_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            self._let_go()  # somebody removed the folder: the next time it is made again
            raise
        self._file_bytes = self._file_events = 0
        if self._lock is not None:
            os.fsync(self._lock)  # the file's name

    def _close_segment(self) -> None:
        """Closed and listed whatever happens; what could not be synced may be read all the same."""
        file, self._file, self._sync_due_us = self._file, None, None
        if file is None:
            return
        self._closed.append(_Segment(self._file_path, self._file_bytes, self._file_events))
        self._file_bytes = self._file_events = 0
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def _hold_folder(self) -> None:
        """Make the epoch's folder and lock it. Somebody who takes it for an orphan in between removes it: try again."""
        for _ in range(_MAKINGS):
            if self._lock is not None:
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.mkdir(mode=0o700, exist_ok=True)
            self._lock = _lock(self._path)
        if self._lock is None:
            raise BlockingIOError(errno.EWOULDBLOCK, "the folder of the spool is locked by somebody else")

    def _let_go(self) -> None:
        if self._lock is not None:
            # Forgotten first: a child that is forked in between must not close what is another file by then.
            lock, self._lock = self._lock, None
            os.close(lock)

    def _drop_empty(self) -> None:
        """A segment into which nothing could be written is none."""
        if self._file is not None and not self._file_bytes:
            file, self._file, self._sync_due_us = self._file, None, None
            os.close(file)
            _remove(self._file_path)

    def _refuse(self, error: OSError) -> None:
        self._refused_until_us = self._clock.monotonic_us() + _PAUSE_US
        if self._throttle.allows("refused"):
            log.warning("telemetry_spool_refused", error=_name_of(error))


def _lock(path: Path) -> int | None:
    """A descriptor of the folder, locked; None if it is another process's, or no more."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _read(path: Path) -> list[Record] | None:
    try:
        records, lost_bytes = read_records(path.read_bytes())
    except OSError as error:
        log.warning("telemetry_spool_unreadable", error=_name_of(error))
        return None if error.errno in _PASSING else []
    if lost_bytes:
        log.warning("telemetry_spool_damaged", lost_bytes=lost_bytes)
    return records


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        log.warning("telemetry_spool_not_removed", error=_name_of(error))


def _name_of(error: OSError) -> str:
    """`ENOSPC` and the like: the message may hold a path."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _size_of(folder: Path) -> int:
    """Bytes of the files in a folder; of those that go meanwhile, none."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                total += entry.stat().st_size
    return total
