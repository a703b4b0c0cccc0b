"""docs/reference/fixtures.md: the fixture files of `weir commands test`, from the models that read them."""

from __future__ import annotations

from docs.generators.markdown import code, document, table
from dsl.reference.parameters import Parameter, parameters_of
from dsl.rehearsal.fixtures import NOW, Case, Expected, ExpectedError, FixtureFile, Given
from dsl.step import ParamsModel

INTRODUCTION = f"""
What a file for `weir commands test` may say; [how to test a command](../how-to/test-a-command.md) shows it in use. It
is YAML as in [command files](language.md#yaml), without templates. `weir commands schema --fixtures` prints its JSON
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

_FAULTS = """\
## Faults

Beside those of [YAML and files](language.md#faults), each with its line and column, and with the nearest name:

| code | what is wrong |
| --- | --- |
| `test.missing_key`, `test.unknown_key` | A key that must be there is not, or one is there that has no meaning. |
| `test.wrong_type`, `test.wrong_parameter` | A value is not what its key holds. |
| `test.duplicate_name` | Two tests of the file have the same name. |
| `test.unknown_command` | There is no command of that slug, or no file at that path. |
| `test.unknown_step` | The command has no such step. |
| `test.output_not_given` | A step with an effect is reached, and nothing stands in for it; told without a line. |"""


def page() -> str:
    """The page."""
    sections = (*(_section(*one) for one in _SECTIONS), _FAULTS)
    return document("Fixtures", "`dsl/rehearsal/fixtures.py`", INTRODUCTION, sections)


def _section(title: str, says: str, model: ParamsModel) -> str:
    keys = (key for key in parameters_of(model.model_json_schema()) if "." not in key.name)
    rows = table(("key", "value", "default", "meaning"), (_row(key) for key in keys))
    return "\n\n".join(part for part in (f"## {title}", says, rows) if part)


def _row(key: Parameter) -> tuple[str, str, str, str]:
    return code(key.name), key.kind, "required" if key.required else code(key.default), key.meaning
