"""What generates the reference: it reads what it should, and the pages are what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import generate
from docs.generators import requirements, schema
from docs.generators.markdown import table
from dsl.reference.docstrings import docstring_of


@pytest.mark.req("S-17")
def test_generated_pages_are_what_the_code_says_now() -> None:
    stale = [path.name for path in generate.stale_pages()]
    assert stale == [], "run `make docs`"


def test_an_unknown_argument_is_answered_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--chek"]) == 2
    assert "--check" in capsys.readouterr().err


def test_a_docstring_is_taken_apart_into_summary_body_and_sections() -> None:
    class Subject:
        """One line that
        goes on.

        More of it: with a colon.

        Attributes:
            first: What it is,
                and more.
            second_one: Else.

        Example:
            a: 1
        """

    says = docstring_of(Subject)
    assert says.summary == "One line that goes on."
    assert says.body == "More of it: with a colon."
    assert says.items("Attributes") == {"first": "What it is, and more.", "second_one": "Else."}
    assert says.sections["Example"] == "a: 1"
    assert says.items("Raises") == {}


def test_the_only_entry_of_a_section_may_go_on_over_lines() -> None:
    class Subject:
        """Summary.

        Raises:
            ValueError: One reason, or
                another.
        """

    assert docstring_of(Subject).items("Raises") == {"ValueError": "One reason, or another."}


def test_a_bar_in_a_cell_does_not_end_the_cell() -> None:
    assert table(("a",), [("x | y",)]).splitlines()[-1] == r"| x \| y |"


SQL = """\
-- About the whole file.

-- Things.
-- Two lines of them.
create table things (
    -- What it is called.
    name text primary key,
    tags text[] not null default '{a,b}',
    constraint things_name_form check (name in ('x', 'y;z') and length(name) > 0)
) partition by range (name);

insert into things (name) values ('x');
-- For lists.
create index things_by_tag on only things using gin (tags);
"""


def test_tables_are_read_from_sql_with_the_comments_above_them() -> None:
    things = schema.read_tables(SQL)["things"]
    assert things.purpose == "Things. Two lines of them."
    assert things.partitioned == "partition by range (name)"
    assert [(each.name, each.type, each.rule, each.purpose) for each in things.columns] == [
        ("name", "text", "primary key", "What it is called."),
        ("tags", "text[]", "not null default '{a,b}'", ""),
    ]
    assert things.constraints == {"things_name_form": "check (name in ('x', 'y;z') and length(name) > 0)"}
    assert things.indexes["things_by_tag"][1] == "For lists."


def test_a_statement_that_cannot_be_read_is_an_error_not_a_gap() -> None:
    with pytest.raises(schema.UnreadableSchema, match="alter table things"):
        schema.read_tables("alter table things add column name text;\n")


TESTS = """\
import pytest
pytestmark = [pytest.mark.req("A-01"), pytest.mark.slow]

@pytest.mark.req("A-02", "A-03")
class TestGroup:
    @pytest.mark.req("A-04")
    def test_inside(self): ...
    def helper(self): ...

@pytest.mark.req("A-02")
def test_outside(): ...
"""


def test_requirement_marks_of_modules_classes_and_functions_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_some.py").write_text(TESTS)
    inside, outside = ("tests/test_some.py", "test_inside"), ("tests/test_some.py", "test_outside")
    assert requirements.find_proofs(folder) == {
        "A-01": [inside, outside],
        "A-02": [inside, outside],
        "A-03": [inside],
        "A-04": [inside],
    }


def test_a_requirement_id_that_is_not_written_out_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("@pytest.mark.req(ID)\ndef test_it(): ...\n")
    with pytest.raises(ValueError, match="malformed"):
        requirements.find_proofs(tmp_path)
