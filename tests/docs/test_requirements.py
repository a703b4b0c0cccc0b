"""Every requirement is proved by a test that says so."""

from __future__ import annotations

import re

from docs.generators.requirements import ROOT, find_proofs, read_requirements


def test_every_requirement_has_a_test_that_names_it() -> None:
    names = {name for section in read_requirements().values() for name in section}
    assert names - set(find_proofs(ROOT / "tests")) == set()


def test_every_mark_has_the_form_of_an_id() -> None:
    """Ids that docs/requirements.toml does not list yet are fine: what they ask is not promised yet."""
    assert [name for name in find_proofs(ROOT / "tests") if not re.fullmatch(r"[CSAD]-\d\d", name)] == []
