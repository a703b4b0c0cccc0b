"""What is done is taken over, but for maps whose list is written otherwise now, and what stands around them."""

from __future__ import annotations

from typing import Any

import pytest

from dsl.check import load
from dsl.command import Command
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from workers.takeover import Done, Takeover, take_over

NESTED = """
slug: nested
steps:
  - {id: first, type: transform, with: {template: one}}
  - id: which
    type: condition
    with:
      if: "true"
      then:
        - id: each
          type: list.map
          with:
            items: "{{ '[1, 2]' | from_json }}"
            do:
              - {id: keep, type: transform, with: {template: "{{ item }}"}}
              - id: inner
                type: list.map
                with:
                  items: [3, 4]
                  as: number
                  do:
                    - {id: say, type: transform, with: {template: "{{ number }}"}}
      else:
        - {id: other, type: transform, with: {template: other}}
  - {id: last, type: transform, with: {template: two}}
"""

SAYS = [f"which.each[{outer}].inner[{inner}].say" for outer in (0, 1) for inner in (0, 1)]
KEEPS = ["which.each[0].keep", "which.each[1].keep"]
INNERS = ["which.each[0].inner", "which.each[1].inner"]
LISTS = ["which.each", *INNERS]
MAPS = {"which.each", *INNERS}
ALL = ["first", *KEEPS, *SAYS, *INNERS, "which.each", "which", "last"]


def load_command(source: str) -> Command:
    return load(source, REGISTRY, DslSettings(), origin="test")


def type_of(path: str) -> str:
    return "condition" if path == "which" else "list.map" if path in MAPS else "transform"


def taken(corrected: str, anew: list[str] | None = None) -> Takeover:
    before = load_command(NESTED)
    done = [Done(path, type_of(path)) for path in ALL]
    return take_over(before.document, load_command(corrected), done, LISTS, anew or [])


def replaced(old: str, new: str) -> str:
    assert old in NESTED
    return NESTED.replace(old, new)


@pytest.mark.parametrize(
    "corrected",
    [
        NESTED,
        NESTED.replace("template: two", "template: three"),
        NESTED.replace("items: [3, 4]", "items:\n                    - 3\n                    - 4  # four"),
        NESTED.replace("[1, 2]' | from_json }}\"", "[1, 2]' | from_json }}\"\n            as: item"),
    ],
)
def test_what_writes_no_list_otherwise_takes_over_everything(corrected: str) -> None:
    assert taken(corrected) == Takeover(ALL, LISTS, [])


@pytest.mark.parametrize(
    ("old", "new"), [("[1, 2]", "[7, 8]"), ("[1, 2]' | from_json }}\"", "[1, 2]' | from_json }}\"\n            as: it")]
)
def test_a_map_with_another_list_begins_anew_with_all_that_is_in_it(old: str, new: str) -> None:
    corrected = replaced(old, new).replace("{{ item }}", "{{ it }}" if "as: it" in new else "{{ item }}", 1)

    assert taken(corrected) == Takeover(["first", "last"], [], ["which.each"])


@pytest.mark.parametrize(("old", "new"), [("[3, 4]", "[5]"), ("[3, 4]", "[true, 4]"), ("as: number", "as: n")])
def test_one_in_another_map_begins_anew_and_the_other_keeps_its_list(old: str, new: str) -> None:
    corrected = replaced(old, new).replace("{{ number }}", "{{ n }}" if "as: n" in new else "{{ number }}")
    corrected = corrected.replace("as: number", new) if new == "as: n" else corrected

    assert taken(corrected) == Takeover(["first", *KEEPS, "last"], ["which.each"], ["which.each.inner"])


def test_of_two_maps_one_within_the_other_the_outer_one_is_named() -> None:
    assert taken(replaced("[1, 2]", "[7]").replace("[3, 4]", "[5]")).runs_again == ["which.each"]


def test_what_was_to_run_anew_is_no_surprise() -> None:
    assert taken(replaced("[1, 2]", "[7]"), ["which", "last"]) == Takeover(["first"], [], [])


def test_a_map_that_went_to_another_branch_begins_anew() -> None:
    swapped = NESTED.replace("then:", "elsewhere:").replace("else:", "then:").replace("elsewhere:", "else:")

    assert taken(swapped) == Takeover(["first", "last"], [], ["which.each"])


def test_a_map_that_never_had_its_list_is_no_matter() -> None:
    corrected = load_command(replaced("[1, 2]", "[7]"))
    done = [Done("first", "transform"), Done("which", "condition")]

    found = take_over(load_command(NESTED).document, corrected, done, [], [])

    assert found == Takeover(["first", "which"], [], [])


def test_a_definition_that_nobody_can_read_any_more_keeps_no_list() -> None:
    unread: dict[str, Any] = {}

    found = take_over(unread, load_command(NESTED), [Done("first", "transform")], LISTS, [])

    assert found == Takeover(["first"], [], ["which.each"])
