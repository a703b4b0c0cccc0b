"""docs/how-to/keep-content-out-of-telemetry.md: what stands in its tables is what happens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fixtures.samples import make_scope, make_step

from dsl.check import load
from dsl.command import Command
from dsl.errors import InputsInvalid, StepFailed
from dsl.inputs import check_inputs
from dsl.library import PACKS
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from telemetry.measures import BUILT_IN
from telemetry.privacy import error_facts
from telemetry.rows import MalformedEvent, RowEncoder

PAGE = (Path(__file__).parents[2] / "docs/how-to/keep-content-out-of-telemetry.md").read_text(encoding="utf-8")
OPEN = """
slug: open
inputs: {anything: {type: object, additionalProperties: {type: string}}}
steps: [{id: a, type: respond, with: {value: 1}}]
"""


def rows(first_cell: str) -> list[tuple[str, str]]:
    """The first two cells of each row of the table that begins with this cell; code without its marks."""
    table = PAGE.partition(f"| {first_cell} |")[2].partition("\n\n")[0]
    found = [line.strip("|").split(" | ") for line in table.splitlines()[2:]]
    assert len(found) > 3
    return [(cells[0].strip(), cells[1].strip()) for cells in found]


def code(cell: str) -> str:
    return cell.strip("`")


@pytest.mark.req("C-14", "C-17")
@pytest.mark.parametrize(("reported", "kept"), rows("a step reports"))
def test_what_a_step_reports(reported: str, kept: str) -> None:
    assert BUILT_IN.allowed(json.loads(code(reported))) == ({} if kept == "nothing" else json.loads(code(kept)))


@pytest.mark.req("C-14", "C-17")
@pytest.mark.parametrize(("raised", "kept"), rows("a step raises"))
def test_what_is_told_of_an_error(raised: str, kept: str) -> None:
    names = {"__name__": "page", "StepFailed": StepFailed}
    try:
        raise eval(code(raised), names)  # noqa: S307, TRY301 - our own page
    except Exception as error:  # noqa: BLE001 - whatever the page says
        facts = error_facts(error)
    assert [facts.error_type, facts.error_category] == [code(cell) for cell in kept.split(", ")]


def declaring(inputs: dict[str, Any]) -> Command:
    text = OPEN if "anything" in inputs else (PACKS / "todo.add.yaml").read_text(encoding="utf-8")
    return load(text, REGISTRY, DslSettings(), origin="page")


@pytest.mark.req("C-06", "C-14", "C-17")
@pytest.mark.parametrize(("given", "kept"), rows("inputs"))
def test_what_is_told_of_inputs(given: str, kept: str) -> None:
    inputs = json.loads(code(given))
    with pytest.raises(InputsInvalid) as refused:
        check_inputs(declaring(inputs), inputs)
    assert [f"{each.field} {each.rule}" for each in refused.value.failed_fields] == [code(kept)]


@pytest.mark.req("C-14", "C-17")
@pytest.mark.parametrize(("field", "refused"), rows("a field of an event"))
def test_what_an_event_may_name(field: str, refused: str) -> None:
    name, _, good = code(field).partition(": ")
    value: Any = code(refused) or good
    scope = make_scope()
    if name in scope.__struct_fields__:
        event = make_step(msgspec.structs.replace(scope, **{name: value.encode() if name == "user_id" else value}))
    else:
        event = make_step(scope, **{name: value})
    if refused:
        with pytest.raises(MalformedEvent):
            RowEncoder().encode(event)
    else:
        assert value.encode() in RowEncoder().encode(event)


def test_the_page_has_all_its_tables() -> None:
    assert len(re.findall(r"^\| ---", PAGE, re.MULTILINE)) == 4
