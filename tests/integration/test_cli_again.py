"""`weir executions retry` and `resume`: once under one key, and open about what is done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.apis import Api, Weir

STEPS = """
  - id: each
    type: list.map
    with:
      items: "{{ '[0]' | from_json }}"
      do: [{id: check, type: validate, with: {rules: [{value: "{{ item }}", min: 1}]}}]
"""


@pytest.fixture
def failed(weir: Weir, busy_api: Api) -> str:
    """Id of an execution that failed in its map."""
    busy_api.write("listed", STEPS)
    ran = weir("run", "listed", "--format", "json")
    assert ran.code == 1
    execution_id: str = json.loads(ran.out)["id"]
    return execution_id


@pytest.mark.parametrize("verb", ["retry", "resume"])
def test_asked_again_under_its_key_it_is_the_same(weir: Weir, failed: str, verb: str) -> None:
    first = weir("executions", verb, failed, "--idempotency-key", "once")
    again = weir("executions", verb, failed, "--idempotency-key", "once")
    other = weir("executions", verb, failed)

    assert (first.code, first.out, first.err) == (0, again.out, again.err)
    assert other.out != first.out


def test_a_map_that_begins_anew_is_named(weir: Weir, failed: str) -> None:
    corrected = Path("corrected.yaml")
    corrected.write_text("slug: listed\nsteps:" + STEPS.replace("[0]", "[1]"), encoding="utf-8")

    resumed = weir("executions", "resume", failed, "--with", str(corrected))
    plain = weir("executions", "resume", failed)

    assert "each begins anew, for its list is another now: what it did is done again." in resumed.err
    assert "begins anew" not in plain.err
