"""Writes the pages that the code already says: settings, events, tables, steps, commands, ...

python -m docs.generate            write what has changed
python -m docs.generate --check    write nothing; exit 1 and name the pages that are out of date
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from api import problems
from api.cli import reference as cli
from docs.generators import errors, events, examples, filters, fixtures, requirements, rest, settings, steps, tables
from dsl.schema import command_schema
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

FOLDER = Path(__file__).parent


def _command_schema() -> str:
    return json.dumps(command_schema(REGISTRY, DslSettings()), indent=2) + "\n"


#: What makes each page, by its path in docs/.
PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "reference/cli.md": lambda: cli.reference(examples.section()),
        "reference/command.schema.json": _command_schema,
        "reference/errors.md": errors.page,
        "reference/events.md": events.page,
        "reference/filters.md": filters.page,
        "reference/fixtures.md": fixtures.page,
        "reference/problems.md": problems.reference,
        "reference/rest.md": rest.page,
        "reference/settings.md": settings.page,
        "reference/steps.md": steps.page,
        "reference/tables.md": tables.page,
        "requirements.md": requirements.page,
    }
)


def stale_pages() -> dict[Path, str]:
    """The pages that are not what they should be, and what they should be."""
    wanted = {FOLDER / name: make() for name, make in PAGES.items()}
    return {path: text for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only say which are out of date. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}")
        return 2
    stale = stale_pages()
    for path, text in stale.items():
        name = path.relative_to(FOLDER.parent)
        if arguments:
            sys.stderr.write(f"{name} is out of date; run `make docs`\n")
        else:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {name}\n")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
