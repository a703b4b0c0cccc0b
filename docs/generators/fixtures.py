"""docs/reference/fixtures.md: the fixture files of `weir commands test`, from the models that read them."""

from __future__ import annotations

from docs.generators.markdown import code, document, table
from dsl.reference.parameters import Parameter, parameters_of
from dsl.rehearsal.fixtures import NOW, Case, Expected, ExpectedError, FixtureFile, Given
from dsl.step import ParamsModel

INTRODUCTION = f"""
What a file for `weir commands test` may say; [how to test a command](../how-to/test-a-command.md) shows it in use. It
is YAML as in [command files](language.md#yaml), without templates; every [fault](errors.md#faults-test) of it is told
with line and column. `weir commands schema --fixtures` prints its JSON
Schema, for [editors](../how-to/edit-commands.md).

Steps are named by their paths: `create`, `each[0].save` for the first item of a map, `sort.open` for a step in a
branch. In `given`, `each[*].save` stands for every item; what is given for one item comes first. Without a `now`, tests
run at {NOW}; `uuid` is the same in every test.
"""

_SECTIONS: tuple[tuple[str, str, ParamsModel], ...] = (
    ("A file", "", FixtureFile),
    ("A test", "Each of `tests`.", Case),
    (
        "What is given",
        "Each of `given`: the step does not run, but its parameters are evaluated and checked. A step that only "
        "computes, or runs other steps, runs if nothing is given for it. One that reads, changes or reaches anything "
        "must be given something: it is an error of the test when such a step is reached and is not.",
        Given,
    ),
    ("What is expected", "`expected`: values are compared whole, `parameters` by the keys that are named.", Expected),
    ("The error that is expected", "`expected.error`.", ExpectedError),
)


def page() -> str:
    """The page."""
    return document("Fixtures", "`dsl/rehearsal/fixtures.py`", INTRODUCTION, (_section(*one) for one in _SECTIONS))


def _section(title: str, says: str, model: ParamsModel) -> str:
    keys = (key for key in parameters_of(model.model_json_schema()) if "." not in key.name)
    rows = table(("key", "value", "default", "meaning"), (_row(key) for key in keys))
    return "\n\n".join(part for part in (f"## {title}", says, rows) if part)


def _row(key: Parameter) -> tuple[str, str, str, str]:
    return code(key.name), key.kind, "required" if key.required else code(key.default), key.meaning
