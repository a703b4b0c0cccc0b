"""The spool on a real disk: bounded, private, owned by one process at a time, and never an exception to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from telemetry.clock import SystemClock
from telemetry.ids import mint
from telemetry.segments import Record
from telemetry.spool import Spool
from telemetry.testing import ManualClock

MEGABYTE = 1 << 20
SECOND = timedelta(seconds=1)


class Spools:
    """Makes spools of one folder."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.folder = folder
        self._clock = clock
        self._made: list[Spool] = []

    def make(self, max_bytes: int = MEGABYTE) -> Spool:
        epoch = mint(SystemClock().unix_us())
        self._made.append(Spool(self.folder, epoch, max_bytes=max_bytes, clock=self._clock))
        return self._made[-1]

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def close(self) -> None:
        for spool in self._made:
            spool.close()


@pytest.fixture
def spools(tmp_path: Path, clock: ManualClock) -> Iterator[Spools]:
    spools = Spools(tmp_path / "state" / "spool", clock)
    yield spools
    spools.close()


def record(number: int, size_bytes: int = 1000) -> Record:
    return Record(number.to_bytes(4) * (size_bytes // 4), number)


def drain(spool: Spool) -> list[Record]:
    """All that is in it, segment by segment."""
    found: list[Record] = []
    while not spool.is_empty:
        found += spool.read() or []
        spool.discard()
    return found


@pytest.mark.req("C-13")
def test_what_was_kept_comes_back_in_order_over_many_segments(spools: Spools) -> None:
    spool = spools.make()
    records = [record(number) for number in range(1, 301)]

    assert all(spool.append(each) for each in records)

    assert len(spools.files()) > 3
    assert spool.events == sum(each.events for each in records)
    assert spool.size_bytes == sum(path.stat().st_size for path in spools.files())
    assert drain(spool) == records
    assert (spool.events, spool.size_bytes, spools.files()) == (0, 0, [])


@pytest.mark.req("C-13")
def test_what_is_appended_while_it_is_read_comes_behind(spools: Spools) -> None:
    spool = spools.make()
    spool.append(record(1))

    assert spool.read() == [record(1)]
    spool.append(record(2))
    assert spool.read() == [record(1)]
    spool.discard()

    assert drain(spool) == [record(2)]


@pytest.mark.req("C-13")
def test_nobody_else_may_look_into_it(spools: Spools) -> None:
    mask = os.umask(0)
    try:
        spools.make().append(record(1))
    finally:
        os.umask(mask)

    (file,) = spools.files()
    modes = [oct(path.stat().st_mode & 0o777) for path in (file, file.parent, spools.folder)]
    assert modes == ["0o600", "0o700", "0o700"]


@pytest.mark.req("C-13")
def test_nothing_is_made_before_something_is_kept(spools: Spools) -> None:
    spool = spools.make()

    assert spool.has_room()
    assert spool.adopt() is None
    assert spool.is_empty
    assert not spools.folder.exists()


@pytest.mark.req("C-13")
def test_a_full_spool_takes_nothing_until_there_is_room_again(spools: Spools) -> None:
    spool = spools.make(max_bytes=65_536)
    kept = 0
    while spool.append(record(1)):
        kept += 1

    assert kept == 65_536 // record(1).size_bytes
    assert not spool.has_room(record(1).size_bytes)
    spool.read()
    spool.discard()
    assert spool.append(record(2))
    assert sum(path.stat().st_size for path in spools.files()) <= 65_536


@pytest.mark.req("C-13")
def test_the_bound_is_that_of_all_in_the_folder(spools: Spools, clock: ManualClock) -> None:
    first, second = spools.make(max_bytes=65_536), spools.make(max_bytes=65_536)
    while first.append(record(1)):
        pass

    assert not second.append(record(2))
    clock.advance(SECOND)
    drain(first)
    assert second.append(record(2))


@pytest.mark.req("C-13")
def test_what_grows_is_synced_after_a_second_and_not_before(
    spools: Spools, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spools.make()
    synced: list[int] = []
    spool.append(record(1))
    monkeypatch.setattr(os, "fsync", synced.append)

    spool.sync()
    assert synced == []
    clock.advance(SECOND)
    spool.append(record(2))
    spool.sync()
    spool.sync()
    assert len(synced) == 1
    assert spool.sync_due_us is None
    spool.read()
    assert len(synced) == 2  # a segment that is closed is synced


@pytest.mark.req("C-13")
def test_the_living_are_left_alone_and_the_dead_are_adopted(spools: Spools, clock: ManualClock) -> None:
    living, heir = spools.make(), spools.make()
    living.append(record(1))
    living.append(record(2))

    before = heir.look_due_us
    assert before is None  # nobody that it knows of
    assert heir.adopt() is None
    assert heir.look_due_us == clock.monotonic_us() + 10_000_000
    living.close()
    assert heir.adopt() is None  # it looked a moment ago
    clock.advance(10 * SECOND)
    orphan = heir.adopt()

    assert orphan is not None
    assert orphan.read() == [record(1), record(2)]
    assert spools.make().adopt() is None  # one has it
    orphan.discard()
    assert orphan.is_empty
    heir.release(orphan)
    assert list(spools.folder.iterdir()) == []


@pytest.mark.req("C-13")
def test_what_may_not_be_opened_keeps_nobody_from_what_lies_behind_it(spools: Spools) -> None:
    """Somebody else's folder, say, of when all this was started once as another user; here a file, and a link."""
    dead, heir = spools.make(), spools.make()
    dead.append(record(1))
    dead.close()
    (spools.folder / ("0" * 32)).touch()
    (spools.folder / ("1" * 32)).symlink_to(spools.folder)

    orphan = heir.adopt()

    assert orphan is not None
    assert orphan.read() == [record(1)]
    orphan.discard()
    heir.release(orphan)
    assert heir.adopt() is None
    assert heir.append(record(2))  # the disk has refused nothing


@pytest.mark.req("C-13")
def test_an_heir_that_could_not_send_it_all_leaves_it_to_the_next(spools: Spools) -> None:
    dead = spools.make()
    dead.append(record(1))
    dead.close()
    first, second = spools.make(), spools.make()

    orphan = first.adopt()
    assert orphan is not None
    first.release(orphan)

    again = second.adopt()
    assert again is not None
    assert again.read() == [record(1)]
    second.release(again)


@pytest.mark.req("C-13")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the very thing that is tested
def test_a_child_does_not_keep_what_its_dead_parent_held(spools: Spools) -> None:
    parent, heir = spools.make(), spools.make()
    parent.append(record(1))
    (done_reading, done_writing), (ready_reading, ready_writing) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        parent.abandon()
        os.close(done_writing)
        os.write(ready_writing, b".")
        os.read(done_reading, 1)  # lives on
        os._exit(0)
    for descriptor in (done_reading, ready_writing):
        os.close(descriptor)
    try:
        assert os.read(ready_reading, 1)
        parent.append(record(2))  # it is the parent's as before
        assert heir.adopt() is None
        parent.close()
        orphan = spools.make().adopt()
        assert orphan is not None
        assert orphan.read() == [record(1), record(2)]
        orphan.close()
    finally:
        for descriptor in (done_writing, ready_reading):
            os.close(descriptor)
        os.waitpid(child, 0)


@pytest.mark.req("C-13")
def test_a_folder_that_cannot_be_made_is_no_room(spools: Spools, clock: ManualClock) -> None:
    spools.folder.parent.mkdir(parents=True)
    spools.folder.write_text("in the way")
    spool = spools.make()

    assert not spool.append(record(1))
    assert not spool.has_room()  # for a second
    assert spool.is_empty
    spools.folder.unlink()
    assert not spool.append(record(1))
    clock.advance(SECOND)
    assert spool.append(record(1))


@pytest.mark.req("C-13")
def test_a_folder_that_somebody_removed_is_made_again(spools: Spools, clock: ManualClock) -> None:
    spool = spools.make()
    spool.append(record(1))
    (file,) = spools.files()
    file.unlink()
    file.parent.rmdir()
    assert spool.read() == []
    spool.discard()

    assert not spool.append(record(2))
    clock.advance(SECOND)
    assert spool.append(record(2))
    assert drain(spool) == [record(2)]


@pytest.mark.req("C-13")
def test_a_torn_end_and_what_is_no_segment_are_stepped_over(spools: Spools) -> None:
    dead = spools.make()
    dead.append(record(1))
    dead.append(record(2))
    dead.close()
    (file,) = spools.files()
    file.write_bytes(file.read_bytes()[:-7])
    (spools.folder / "notes.txt").write_text("not ours")

    orphan = spools.make().adopt()

    assert orphan is not None
    assert orphan.read() == [record(1)]
    orphan.close()


#: What a disk without room leaves behind: files may not grow beyond 20,000 bytes, which is in the middle of a record.
FULL_DISK = """
import resource, sys
from pathlib import Path
from telemetry.clock import SystemClock
from telemetry.segments import Record
from telemetry.spool import Spool

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
spool = Spool(Path(sys.argv[1]), bytes(16), max_bytes=1 << 30, clock=SystemClock())
kept = [number for number in range(1, 100) if spool.append(Record(number.to_bytes(4) * 750, number))]
found = [record.events for record in spool.read() or []]
print(kept == found, len(kept), spool.has_room())
"""


@pytest.mark.req("C-13")
def test_a_disk_that_is_full_in_the_middle_of_a_record_keeps_what_is_whole(tmp_path: Path) -> None:
    """A limit of the process behaves as a full disk does: half a write, then an error."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.splitlines()[-1] == "True 6 False"
