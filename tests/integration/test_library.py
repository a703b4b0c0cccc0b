"""Command files on a disk: found, read again when they change, and never run as they were before."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dsl.errors import CommandInvalid, UnknownCommand
from dsl.library import PACKS, Library
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from telemetry.testing import ManualClock


def text(slug: str, value: object = 1) -> str:
    return f"slug: {slug}\nsteps: [{{id: s, type: respond, with: {{value: {value}}}}}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "commands"


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], Path]:
    """Writes a file with a time of its own, as a person's editor would."""
    written = 0

    def write(name: str, content: str) -> Path:
        nonlocal written
        written += 1
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(content, encoding="utf-8")
        os.utime(path, ns=(written * 10**9, written * 10**9))
        return path

    return write


@pytest.fixture
def library(folder: Path) -> Library:
    return Library([PACKS, folder], REGISTRY, DslSettings(), ManualClock())


def value_of(library: Library, slug: str) -> object:
    return library.get(slug).document["steps"][0]["with"]["value"]


def test_packs_load_and_say_that_they_are_packs(library: Library) -> None:
    commands = library.all()
    assert {"todo.add", "note.add", "inbox.triage", "digest.daily"} <= {command.slug for command in commands}
    assert {command.origin for command in commands} == {"pack"}
    assert [command.slug for command in commands] == sorted(command.slug for command in commands)
    assert library.faults() == ()


def test_files_are_picked_up_changed_and_forgotten_without_a_restart(
    library: Library, write: Callable[[str, str], Path]
) -> None:
    with pytest.raises(UnknownCommand):
        library.get("hello")
    path = write("hello.yaml", text("hello", 1))
    assert value_of(library, "hello") == 1
    assert library.get("hello").origin == str(path)
    write("hello.yaml", text("hello", 2))
    assert value_of(library, "hello") == 2
    path.rename(path.with_name("other.yml"))
    assert library.get("hello").origin.endswith("other.yml")
    path.with_name("other.yml").unlink()
    with pytest.raises(UnknownCommand):
        library.get("hello")


def test_what_did_not_change_is_not_read_again(library: Library, write: Callable[[str, str], Path]) -> None:
    write("a.yaml", text("a"))
    write("b.yaml", text("b"))
    first_a, first_b = library.get("a"), library.get("b")
    write("b.yaml", text("b", 2))
    assert library.get("a") is first_a
    assert library.get("b") is not first_b


def test_a_file_written_within_the_same_tick_of_the_file_system_is_read_again(
    folder: Path, write: Callable[[str, str], Path]
) -> None:
    path = write("a.yaml", text("a", 1))
    clock = ManualClock()
    library = Library([folder], REGISTRY, DslSettings(), clock)
    stamp = clock.unix_us() * 1000
    os.utime(path, ns=(stamp, stamp))
    assert value_of(library, "a") == 1
    path.write_text(text("a", 2), encoding="utf-8")
    os.utime(path, ns=(stamp, stamp))
    assert value_of(library, "a") == 2


def test_a_file_that_became_faulty_is_not_run_as_it_was(library: Library, write: Callable[[str, str], Path]) -> None:
    write("hello.yaml", text("hello"))
    library.get("hello")
    path = write("hello.yaml", "slug: hello\nsteps: [\n")
    with pytest.raises(CommandInvalid) as caught:
        library.get("hello")
    assert caught.value.source == str(path)
    assert [invalid.source for invalid in library.faults()] == [str(path)]
    assert "hello" not in {command.slug for command in library.all()}
    write("hello.yaml", "nothing: here\n")
    with pytest.raises(CommandInvalid):
        library.get("hello")
    write("hello.yaml", text("hello", 3))
    assert value_of(library, "hello") == 3
    assert library.faults() == ()


def test_a_faulty_file_that_says_no_slug_is_asked_for_by_its_name(
    library: Library, write: Callable[[str, str], Path]
) -> None:
    write("new-one.yaml", "slg: x\n")
    with pytest.raises(CommandInvalid):
        library.get("new-one")
    write("other.yaml", text("new-one"))
    assert value_of(library, "new-one") == 1


def test_a_file_may_stand_in_for_a_pack_and_says_so(library: Library, write: Callable[[str, str], Path]) -> None:
    path = write("mine.yaml", text("todo.add"))
    assert library.get("todo.add").origin == f"{path} (instead of the pack)"
    assert library.faults() == ()
    write("mine.yaml", "slug: todo.add\nsteps: 1\n")
    with pytest.raises(CommandInvalid):
        library.get("todo.add")
    path.unlink()
    assert library.get("todo.add").origin == "pack"


def test_a_slug_taken_twice_is_a_fault_of_the_later_file(library: Library, write: Callable[[str, str], Path]) -> None:
    write("a.yaml", text("same", 1))
    later = write("b.yaml", "# a remark\n" + text("same", 2))
    assert value_of(library, "same") == 1
    (invalid,) = library.faults()
    assert invalid.source == str(later)
    assert (invalid.faults[0].code, invalid.faults[0].line) == ("library.duplicate_slug", 2)
    write("b.yaml", "slug: same\nsteps: 1\n")
    assert value_of(library, "same") == 1
    write("a.yaml", "slug: same\nsteps: 1\n")
    write("b.yaml", text("same", 2))
    with pytest.raises(CommandInvalid):
        library.get("same")


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.yaml").write_text(text("x", value), encoding="utf-8")
    library = Library([tmp_path / "one", tmp_path / "two"], REGISTRY, DslSettings())
    assert value_of(library, "x") == 1
    assert [Path(invalid.source).parent.name for invalid in library.faults()] == ["two"]


@pytest.mark.parametrize("name", [".x.yaml.swp", ".x.yaml", "x.yaml~", "#x.yaml#", "x.txt", "x.yaml.bak", "x"])
def test_what_editors_leave_behind_is_no_command(
    library: Library, write: Callable[[str, str], Path], name: str
) -> None:
    write(name, "not: [a command")
    assert library.faults() == ()


def test_links_folders_pipes_and_what_cannot_be_read(
    library: Library, folder: Path, write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    target.write_text(text("linked"), encoding="utf-8")
    write("plain.yaml", text("plain"))
    (folder / "linked.yaml").symlink_to(target)
    (folder / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (folder / "around.yaml").symlink_to(folder / "around.yaml")
    (folder / "folder.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    assert value_of(library, "linked") == 1
    assert value_of(library, "plain") == 1
    assert {(Path(invalid.source).name, invalid.faults[0].code) for invalid in library.faults()} == {
        ("gone.yaml", "file.unreadable"),
        ("around.yaml", "file.unreadable"),
        ("pipe.yaml", "file.unreadable"),
    }
    with pytest.raises(CommandInvalid):
        library.get("gone")
    (tmp_path / "nowhere").write_text(text("found"), encoding="utf-8")
    assert value_of(library, "found") == 1


def test_a_folder_that_is_no_folder_is_a_fault_and_one_that_is_missing_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    library = Library([tmp_path / "file", tmp_path / "missing"], REGISTRY, DslSettings())
    assert library.all() == ()
    assert [invalid.faults[0].code for invalid in library.faults()] == ["folder.unreadable"]


def test_a_file_of_any_size_is_refused_without_being_read_whole(library: Library, folder: Path) -> None:
    folder.mkdir()
    with (folder / "huge.yaml").open("wb") as file:
        file.truncate(20 * 2**30)
    assert [invalid.faults[0].code for invalid in library.faults()] == ["file.too_large"]


def test_an_unknown_command_brings_the_nearest(library: Library) -> None:
    with pytest.raises(UnknownCommand) as caught:
        library.get("todo.ad")
    assert caught.value.hint == "Did you mean todo.add?"
    assert caught.value.facts["nearest"] == "todo.add"


def test_a_stored_definition_is_compiled_once_and_must_be_what_its_hash_says(library: Library) -> None:
    command = library.get("todo.add")
    stored = library.from_source(command.source, command.definition_hash)
    assert (stored.slug, stored.definition_hash) == ("todo.add", command.definition_hash)
    assert library.from_source(command.source, command.definition_hash) is stored
    with pytest.raises(CommandInvalid) as caught:
        library.from_source(command.source, b"\0" * 16)
    assert caught.value.faults[0].code == "definition.wrong_hash"
    with pytest.raises(CommandInvalid):
        library.from_source("slug: x\nsteps: [{id: a, type: gone}]", b"\0" * 16)


def test_threads_may_ask_while_files_change(library: Library, write: Callable[[str, str], Path]) -> None:
    write("hello.yaml", text("hello", 0))
    problems: list[BaseException] = []
    seen: set[object] = set()

    def ask() -> None:
        try:
            for _ in range(200):
                seen.add(value_of(library, "hello"))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    staging = write("staging.tmp", "")
    for value in range(1, 20):
        staging = write("staging.tmp", text("hello", value))
        staging.replace(staging.with_name("hello.yaml"))
    for thread in threads:
        thread.join()
    assert problems == []
    assert seen <= set(range(20))
    assert value_of(library, "hello") == 19


def test_a_file_whose_name_is_not_text_is_a_fault_and_spoils_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("slug: good\nsteps: [{id: a, type: respond, with: {value: 1}}]")
    (tmp_path / os.fsdecode(b"bad\xff.yaml")).write_text("slug: bad\nsteps: [{id: a, type: respond, with: {value: 1}}]")
    library = Library([tmp_path], REGISTRY, DslSettings())

    assert [command.slug for command in library.all()] == ["good"]
    (invalid,) = library.faults()
    assert invalid.faults[0].code == "file.misnamed"
    invalid.source.encode()
