"""A corpus of broken command files: every fault of each is told where it is, with what should be there instead.

`tests/corpus/written` is written by hand, `tests/corpus/mutated` is made of the packs by tests/corpus/generate.py; the
JSON beside each says what must be told, in the order of the text. What is said of those written by hand was read, and
found helpful, by a person.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from dsl.check import load
from dsl.errors import CommandInvalid, Fault
from dsl.library import PACKS
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.validation import validate

CORPUS = Path(__file__).parents[1] / "corpus"
SETTINGS = DslSettings()


def entries() -> list[tuple[Path, list[dict[str, Any]]]]:
    return [
        (CORPUS / kind / name, told)
        for kind in ("written", "mutated")
        for name, told in json.loads((CORPUS / f"{kind}.json").read_text(encoding="utf-8")).items()
    ]


def faults_of(data: bytes) -> tuple[Fault, ...]:
    with pytest.raises(CommandInvalid) as caught:
        load(data, REGISTRY, SETTINGS, origin="corpus")
    return caught.value.faults


def test_the_corpus_is_whole() -> None:
    listed = {path for path, _ in entries()}
    assert len(listed) >= 200
    assert listed == {*(CORPUS / "written").iterdir(), *(CORPUS / "mutated").iterdir()}


@pytest.mark.parametrize(("path", "told"), [pytest.param(*entry, id=entry[0].stem) for entry in entries()])
def test_every_fault_is_told_where_it_is_with_what_was_expected(path: Path, told: list[dict[str, Any]]) -> None:
    faults = faults_of(path.read_bytes())
    found = [(fault.code, fault.line, fault.column, fault.nearest) for fault in faults]
    assert found == [(fault["code"], fault["line"], fault["column"], fault["nearest"]) for fault in told]
    for fault, wanted in zip(faults, told, strict=True):
        assert fault.expected
        assert fault.expected == (wanted["expected"] or fault.expected)
        assert fault.message == wanted.get("message", fault.message) != ""


def test_a_file_of_50_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(50 << 20)
    tracemalloc.start()
    try:
        (report,) = validate([path], REGISTRY, SETTINGS, packs=PACKS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(fault.code, fault.expected) for fault in report.faults] == [("file.too_large", "at most 1048576 bytes")]
    assert peak < 4 << 20


@pytest.mark.parametrize("kind", ["written", "mutated"])
def test_a_folder_of_broken_files_is_told_of_file_by_file_and_line_by_line(kind: str) -> None:
    reports = list(validate([CORPUS / kind], REGISTRY, SETTINGS, packs=PACKS))
    assert [Path(report.path).name for report in reports] == sorted(path.name for path in (CORPUS / kind).iterdir())
    for report in reports:
        assert report.faults
        places = [(fault.line or 0, fault.column or 0) for fault in report.faults]
        assert places == sorted(places)


def test_what_the_packs_are_broken_by_is_the_same_every_time() -> None:
    spec = spec_from_file_location("generate", CORPUS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = module_from_spec(spec)
    sys.modules["generate"] = generate
    spec.loader.exec_module(generate)
    assert list(generate.corpus()) == list(generate.corpus())
    assert len(dict(generate.corpus())) >= 200
