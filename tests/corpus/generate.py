"""Makes tests/corpus/mutated: the packs, each broken in one way, with the faults that must be told of it.

python tests/corpus/generate.py            write mutated/ and mutated.json

A mutation knows what it breaks and where, so it says by itself what must be told: nothing here asks the loader. The
same packs always give the same files. Run it again when packs or step types have changed, and look at the difference.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKS = HERE.parents[1] / "dsl" / "packs"

_COMMAND_KEYS = (
    "one of slug, name, version, description, inputs, requires, timeout, retry, concurrency, lane, steps, on_failure, "
    "schedules"
)
_STEP_KEYS = "one of id, type, if, with, timeout, retry"
_TYPES = "one of array, boolean, integer, null, number, object, string"
_SLUG = "lower-case letters and digits, with . _ or - between; at most 100"
_INPUT = "a mapping such as {type: string}"
_WHOLE = "from -9223372036854775808 to 9223372036854775807"
_DURATION = "a number and a unit (us, ms, s, m, h, d) such as 30s, at most 365d"


@dataclass(frozen=True, slots=True)
class Broken:
    """A pack with one mistake, and what must be told of it.

    Attributes:
        text: The file.
        faults: (code, index in `text`, what was expected, nearest name), in the order of the text; what was expected
            may be none where it is a long list: then anything must be said.
    """

    text: str
    faults: tuple[tuple[str, int, str | None, str | None], ...]

    def told(self) -> list[dict[str, Any]]:
        """The faults with lines and columns, as the test reads them."""
        return [
            {
                "code": code,
                "line": self.text.count("\n", 0, index) + 1,
                "column": index - self.text.rfind("\n", 0, index),
                "expected": expected,
                "nearest": nearest,
            }
            for code, index, expected, nearest in self.faults
        ]


#: Breaks a pack, if it has what is to be broken.
Mutation = Callable[[str], Broken | None]


def _replaced(text: str, match: re.Match[str], new: str, group: int | str = 1) -> tuple[str, int]:
    """A text with a group of a match replaced, and where that begins."""
    return text[: match.start(group)] + new + text[match.end(group) :], match.start(group)


def _swap(word: str) -> str:
    """A word with two letters in the middle exchanged: the commonest slip of the keyboard."""
    at = len(word) // 2
    for first in (at - 1, *range(len(word) - 1)):
        if word[first] != word[first + 1]:
            return word[:first] + word[first + 1] + word[first] + word[first + 2 :]
    return word[:-1]


def _value(pattern: str, new: str, code: str, expected: str | None, nearest: str | None = None) -> Mutation:
    """Replaces the first group of a pattern's first match; that is what is wrong then."""

    def mutate(text: str) -> Broken | None:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            return None
        broken, at = _replaced(text, match, new)
        return Broken(broken, ((code, at, expected, nearest),))

    return mutate


def _misspelt(pattern: str, code: str, expected: str | None) -> Mutation:
    """Misspells the first group; the right spelling is the nearest name. What is pointed at is group 1."""

    def mutate(text: str) -> Broken | None:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            return None
        broken, _ = _replaced(text, match, _swap(match["name"]), "name")
        return Broken(broken, ((code, match.start(1), expected, match["name"]),))

    return mutate


def misspelt_slug(text: str) -> Broken | None:
    match = re.search(r"^(slug):", text, re.MULTILINE)
    assert match is not None
    broken, at = _replaced(text, match, "slgu")
    return Broken(broken, (("command.unknown_key", at, _COMMAND_KEYS, "slug"),))


def misspelt_step_type_key(text: str) -> Broken | None:
    """The last step has no step after it that would miss its output."""
    match = list(re.finditer(r"^  - id: answer\n    (type):", text, re.MULTILINE))[-1]
    broken, at = _replaced(text, match, "tpye")
    return Broken(broken, (("command.unknown_key", at, _STEP_KEYS, "type"),))


def missing_id(text: str) -> Broken | None:
    match = re.search(r"^  - (id: answer\n    )type: respond", text, re.MULTILINE)
    assert match is not None
    broken, at = _replaced(text, match, "")
    return Broken(broken, (("command.missing_key", at, "id", None),))


def missing_parameter(text: str) -> Broken | None:
    match = re.search(r"^    type: respond\n    with:\n      (value)", text, re.MULTILINE)
    if match is None:
        return None
    broken, at = _replaced(text, match, "vlaue")
    return Broken(broken, (("command.unknown_key", at, "value", "value"),))


def duplicate_step(text: str) -> Broken | None:
    match = re.search(r"^  - id: (answer)\n(?:    .*\n|\n)*", text, re.MULTILINE)
    assert match is not None
    copy = match[0]
    broken = text[: match.end()] + copy + text[match.end() :]
    at = match.end() + match.start(1) - match.start()
    return Broken(broken, (("command.duplicate_id", at, "an id of its own", None),))


def duplicate_key(text: str) -> Broken | None:
    match = re.search(r"^version: .*\n", text, re.MULTILINE)
    assert match is not None
    broken = text[: match.end()] + match[0] + text[match.end() :]
    return Broken(broken, (("yaml.duplicate_key", match.end(), "each key once", None),))


def unquoted_template(text: str) -> Broken | None:
    """A value that is one whole template, between block-style quotes, loses them."""
    match = re.search(r'^ +[a-z_]+: ("(\{\{ [a-z_.0-9]+ \}\})")$', text, re.MULTILINE)
    if match is None:
        return None
    broken, at = _replaced(text, match, match[2])
    return Broken(broken, (("yaml.unquoted_template", at, match[1], None),))


def tab(text: str) -> Broken | None:
    match = re.search(r"^steps:\n  - id: [a-z]+\n(    )type", text, re.MULTILINE)
    assert match is not None
    broken, at = _replaced(text, match, "\t")
    return Broken(broken, (("yaml.tab", at, "spaces", None),))


def braces_in_condition(text: str) -> Broken | None:
    match = re.search(r"^ +if: ([a-z][^'\n]*)$", text, re.MULTILINE)
    if match is None:
        return None
    broken, at = _replaced(text, match, f'"{{{{ {match[1]} }}}}"')
    return Broken(broken, (("command.template", at + 1, "an expression", None),))


def unclosed_template(text: str) -> Broken | None:
    """The last template of the file is not closed: nothing behind it could close it."""
    match = list(re.finditer(r"(\{\{)[^{}]*(\}\})", text))[-1]
    broken, _ = _replaced(text, match, "", 2)
    return Broken(broken, (("command.template", match.start(1), "`}}`", None),))


def later_step(text: str) -> Broken | None:
    """The first step looks at the last."""
    match = re.search(r"^(steps:\n)", text, re.MULTILINE)
    assert match is not None
    added = '  - {id: early, type: respond, with: {value: "{{ steps.answer.output }}"}}\n'
    broken = text[: match.end()] + added + text[match.end() :]
    at = match.end() + added.index("steps.answer")
    return Broken(broken, (("command.step_not_run_yet", at, "no step: none has run by then", None),))


def undeclared_secret(text: str) -> Broken | None:
    match = re.search(r"^description: (.*)\n(?!  )", text, re.MULTILINE)
    if match is None:
        return None
    added = 'concurrency: {key: "{{ secrets.MAIL_TOKEN }}", max: 1}\n'
    if "concurrency:" in text:
        return None
    broken = text[: match.end()] + added + text[match.end() :]
    at = match.end() + added.index("secrets.")
    return Broken(broken, (("command.unknown_secret", at, "a secret of that list", None),))


def anchor(text: str) -> Broken | None:
    match = re.search(r"^name: (.*)$", text, re.MULTILINE)
    assert match is not None
    broken, at = _replaced(text, match, f"&n {match[1]}")
    return Broken(broken, (("yaml.anchor", at, "the value alone", None),))


def tag(text: str) -> Broken | None:
    match = re.search(r"^name: (.*)$", text, re.MULTILINE)
    assert match is not None
    broken, at = _replaced(text, match, f"!!str {match[1]}")
    return Broken(broken, (("yaml.tag", at, "the value alone", None),))


def control_character(text: str) -> Broken | None:
    match = re.search(r"^name: .*()$", text, re.MULTILINE)
    assert match is not None
    broken, at = _replaced(text, match, "\x07")
    return Broken(broken, (("file.forbidden_character", at, "none, or its escape between double quotes", None),))


#: By what is wrong then; each is tried on every pack.
MUTATIONS: Mapping[str, Mutation] = {
    "misspelt-slug": misspelt_slug,
    "misspelt-key-of-command": _misspelt(r"^(?P<name>timeout):", "command.unknown_key", _COMMAND_KEYS),
    "misspelt-key-of-retry": _misspelt(r"^retry: .*(?P<name>max_backoff):", "command.unknown_key", None),
    "misspelt-key-of-step": misspelt_step_type_key,
    "misspelt-step-type": _misspelt(r"^  - id: .*\n    type: (?P<name>[a-z.]+)$", "command.unknown_step_type", None),
    "misspelt-filter": _misspelt(r"\| (?P<name>[a-z]{4,})", "command.unknown_filter", "a filter"),
    "misspelt-input": _misspelt(r"\{\{ (inputs\.(?P<name>[a-z_]{4,}))", "command.unknown_input", None),
    "misspelt-step": _misspelt(r"\{\{ (steps\.(?P<name>[a-z]{4,}))", "command.unknown_step", None),
    "misspelt-output": _misspelt(r"\{\{ (steps\.[a-z]+\.(?P<name>output))", "command.unknown_name", "output"),
    "misspelt-root": _misspelt(r"\{\{ (?P<name>inputs)\b", "command.unknown_name", None),
    "misspelt-type-of-input": _misspelt(r"^    type: (?P<name>string|integer|array)$", "inputs.schema", _TYPES),
    "misspelt-keyword": _misspelt(r"^    (?P<name>maxLength|maximum):", "inputs.unknown_keyword", None),
    "misspelt-parameter": missing_parameter,
    "missing-id": missing_id,
    "duplicate-step": duplicate_step,
    "duplicate-key": duplicate_key,
    "unquoted-template": unquoted_template,
    "unclosed-template": unclosed_template,
    "braces-in-condition": braces_in_condition,
    "tab": tab,
    "anchor": anchor,
    "tag": tag,
    "control-character": control_character,
    "later-step": later_step,
    "undeclared-secret": undeclared_secret,
    "version-is-a-number": _value(r"^version: (.*)$", "1.0", "command.wrong_type", "a text: quote it"),
    "slug-in-capitals": _value(
        r"^slug: (.*)$",
        "To Do",
        "command.wrong_value",
        "lower-case letters and digits, with . _ or - between; at most 100",
    ),
    "timeout-without-unit": _value(r"^timeout: (.*)$", "30", "command.wrong_value", _DURATION),
    "too-many-attempts": _value(r"max_attempts: (\d+)", "1000", "command.wrong_value", "a whole number from 1 to 100"),
    "no-steps": _value(r"^steps:\n((?:  .*\n|\n)+)", "  []\n", "command.wrong_value", "a step"),
    "input-is-no-mapping": _value(
        r"^inputs:\n  [a-z_]+:(\n    .*(?:\n    .*)*)",
        " string",
        "command.wrong_type",
        "a mapping such as {type: string}",
    ),
    "number-too-large": _value(
        r"max_attempts: (\d+)",
        "99999999999999999999",
        "yaml.number_too_large",
        "from -9223372036854775808 to 9223372036854775807",
    ),
}


def _placed(name: str, broken: Broken) -> Broken:
    """Some values begin behind the space that the pattern took along."""
    if name in {"no-steps", "input-is-no-mapping"}:
        ((code, at, expected, nearest),) = broken.faults
        while broken.text[at] == " ":
            at += 1
        return Broken(broken.text, ((code, at, expected, nearest),))
    return broken


def corpus() -> Iterator[tuple[str, Broken]]:
    """Every broken pack, by the name of its file."""
    for pack in sorted(PACKS.glob("*.yaml")):
        text = pack.read_text(encoding="utf-8")
        for name, mutate in MUTATIONS.items():
            broken = mutate(text)
            if broken is not None:
                yield f"{pack.stem}--{name}.yaml", _placed(name, broken)


def main() -> int:
    """Write the files, and what must be told of each; what is not made any more goes."""
    folder = HERE / "mutated"
    folder.mkdir(exist_ok=True)
    made = dict(corpus())
    for file in folder.iterdir():
        if file.name not in made:
            file.unlink()
    for name, broken in made.items():
        (folder / name).write_bytes(broken.text.encode())
    told = {name: broken.told() for name, broken in made.items()}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(faults)}" for name, faults in told.items())
    (HERE / "mutated.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    sys.stdout.write(f"{len(made)} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
