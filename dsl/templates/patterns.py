"""Regular expressions that cannot hang: time is linear in the pattern times the text, and bounded by a count of steps.

Python's `re` backtracks, so `(a+)+$` on forty letters takes years, and there is no way to stop it. Here Python's own
parser reads the pattern (same syntax, same messages), and matching remembers every (instruction, position) that failed:
none is tried twice. This is the bit-state matcher of RE2 (https://swtch.com/~rsc/regexp/regexp3.html). What needs more
than that is refused: back-references, look-around, atomic groups and possessive repeats.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

#: How `re` itself reads a pattern. Not in typeshed; tests pin what is used of it.
sre: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

#: Characters of a pattern, and instructions it may become (`a{500}` is 500).
MAX_PATTERN = 500
_MAX_INSTRUCTIONS = 2000

#: Groups that are remembered: as many as a replacement can name.
_MAX_GROUPS = 9

#: Called with the steps taken since the last call, and the bytes that matching takes by now; raises to stop.
Count: TypeAlias = Callable[[int, int], None]
_STEPS_BETWEEN_COUNTS = 1000

#: Bytes of a state that failed, of one to come back to, and of each end of a group in it. Steps that a character
#: takes of which it is not known whether it matches; characters of which that is remembered.
_FAILED_BYTES, _STATE_BYTES, _SPAN_BYTES = 100, 150, 20
_LEARNING_STEPS = 6
_MAX_LEARNED = 500
#: Steps that a match takes beside its own, and that a place does where there may be one.
_FOUND_STEPS, _PLACE_STEPS = 6, 3

# `[[]` and its like may mean something else to a later Python; whoever wrote them need not know that now.
warnings.filterwarnings("ignore", r"Possible (nested set|set)", FutureWarning)

_CHAR, _SPLIT, _JUMP, _SAVE, _AT, _MATCH = range(6)

_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_NOT_DIGIT: lambda char: not char.isdecimal(),
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    sre.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    sre.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
}


class PatternError(ValueError):
    """Not a pattern, or not one that is supported; the text continues `the pattern …`."""


class _Instruction(NamedTuple):
    """One step of a matching program.

    Attributes:
        op: What to do.
        argument: CHAR: the set; SAVE: the slot; AT: the assertion; JUMP and SPLIT: where to go (first).
        second: SPLIT: where to go when the first way fails.
    """

    op: int
    argument: Any = None
    second: int = 0


class _Set(dict[str, bool]):
    """Which characters match, remembering the answer for some."""

    def __init__(self, matches: Callable[[str], bool], *, ignore_case: bool) -> None:
        super().__init__()
        self._matches = matches
        self._ignore_case = ignore_case

    def learn(self, char: str) -> bool:
        """Whether one matches that is not remembered."""
        forms = {char, char.lower(), char.upper()} if self._ignore_case else {char}
        answer = any(self._matches(form) for form in forms if len(form) == 1)
        if len(self) < _MAX_LEARNED:
            self[char] = answer
        return answer


class Pattern:
    """A compiled pattern. Immutable but for remembered characters; safe to share between threads."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN:
            raise PatternError(f"is longer than {MAX_PATTERN} characters")
        try:
            tree = parser.parse(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise PatternError(f"is not a regular expression: {error}") from error
        self.groups: int = min(tree.state.groups, _MAX_GROUPS + 1)
        compiler = _Compiler()
        compiler.sequence(tree, tree.state.flags)
        compiler.emit(_MATCH)
        self._program = tuple(compiler.program)
        self._splits = tuple(pc for pc, instruction in enumerate(self._program) if instruction.op == _SPLIT)
        self._state_bytes = _STATE_BYTES + 2 * _SPAN_BYTES * self.groups

    @property
    def size(self) -> int:
        """Instructions it became."""
        return len(self._program)

    @staticmethod
    @lru_cache(maxsize=64)
    def of(text: str) -> Pattern:
        """The pattern a text stands for; the last few are kept.

        Raises:
            PatternError: It is none, or asks for more than is supported.
        """
        return Pattern(text)

    def search(self, text: str, count: Count) -> bool:
        """Whether it matches anywhere in a text."""
        return next(self._matches(text, count), None) is not None

    def replace(self, text: str, replacement: str, count: Count, check: Callable[[int], None]) -> str:
        r"""The text with every match replaced; `\1` in the replacement is the first group, `\0` the whole match.

        Args:
            text: Where to look.
            replacement: What to put there.
            count: Counts.
            check: Called with the length of the result as it grows; raises to stop.

        Raises:
            PatternError: The replacement names a group that is not there.
        """
        parts = self._parts(replacement)
        made: list[str] = []
        length = at = 0
        for spans in self._matches(text, count):
            made.append(text[at : spans[0]])
            made.extend(
                part if isinstance(part, str) else text[spans[2 * part] : spans[2 * part + 1]] for part in parts
            )
            length += sum(map(len, made[-len(parts) - 1 :]))
            check(length)
            at = spans[1]
        return "".join((*made, text[at:]))

    def _parts(self, replacement: str) -> list[str | int]:
        parts: list[str | int] = []
        for piece in re.split(r"(\\.)", replacement, flags=re.DOTALL):
            if len(piece) == 2 and piece[0] == "\\" and piece[1].isdecimal():  # noqa: PLR2004 - `\1` has two characters
                group = int(piece[1])
                if group >= self.groups:
                    raise PatternError(f"has no group {group}, which the replacement names")
                parts.append(group)
            else:
                parts.append("\\" if piece == "\\\\" else piece)
        return parts

    def _matches(self, text: str, count: Count) -> Iterator[Sequence[int]]:
        """Start and end of each match and its groups, leftmost first, not overlapping."""
        failed: set[int] = set()
        width = len(text) + 1
        at = 0
        while at < width:
            spans = self._match(text, at, failed, count)
            if spans is None:
                at += 1
                continue
            yield spans
            # What failed further on fails again; at the end of the match stand states of the match itself.
            failed.difference_update(pc * width + spans[1] for pc in self._splits)
            count(_FOUND_STEPS + len(self._splits) // 2, 0)
            at = spans[1] + (spans[1] == spans[0])

    def _match(self, text: str, start: int, failed: set[int], count: Count) -> Sequence[int] | None:  # noqa: C901, PLR0912 - one branch for each instruction
        """A match that begins at `start`: depth first, never twice through the same state."""
        program, width, end = self._program, len(text) + 1, len(text)
        stack: list[tuple[int, int, tuple[int, ...]]] = [(0, start, (start, start) + (0, 0) * (self.groups - 1))]
        steps = _PLACE_STEPS
        while stack:
            pc, at, spans = stack.pop()
            while True:
                steps += 1
                op, argument, second = program[pc]
                if op == _CHAR:
                    if at == end:
                        break
                    matches = argument.get(text[at])
                    if matches is None:
                        matches = argument.learn(text[at])
                        steps += _LEARNING_STEPS
                    if not matches:
                        break
                    at += 1
                elif op == _SPLIT:
                    state = pc * width + at
                    if state in failed:
                        break
                    failed.add(state)
                    if steps > _STEPS_BETWEEN_COUNTS:
                        count(steps, _FAILED_BYTES * len(failed) + self._state_bytes * len(stack))
                        steps = 0
                    stack.append((second, at, spans))
                    pc = argument - 1
                elif op == _JUMP:
                    pc = argument - 1
                elif op == _SAVE:
                    spans = (*spans[:argument], at, *spans[argument + 1 :])
                elif op == _MATCH:
                    count(steps, 0)
                    return (start, at, *spans[2:])
                elif not argument(text, at):
                    break
                pc += 1
        count(steps, 0)
        return None


class _Compiler:
    """Turns the parsed tree into a program."""

    def __init__(self) -> None:
        self.program: list[_Instruction] = []
        self._sets: dict[tuple[Any, ...], _Set] = {}

    def emit(self, op: int, argument: object = None) -> int:
        if len(self.program) >= _MAX_INSTRUCTIONS:
            raise PatternError("is too large; use smaller counts")
        self.program.append(_Instruction(op, argument))
        return len(self.program) - 1

    def sequence(self, items: Any, flags: int) -> None:  # noqa: ANN401 - the parser's own tree
        for op, argument in items:
            self.item(op, argument, flags)

    def item(self, op: Any, argument: Any, flags: int) -> None:  # noqa: ANN401 - as above
        if op in {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN}:
            self.emit(_CHAR, self.set(op, argument, flags))
        elif op is sre.BRANCH:
            self.branch(argument[1], flags)
        elif op is sre.SUBPATTERN:
            group, added, removed, items = argument
            remembered = group is not None and group <= _MAX_GROUPS
            if remembered:
                self.emit(_SAVE, 2 * group)
            self.sequence(items, (flags | added) & ~removed)
            if remembered:
                self.emit(_SAVE, 2 * group + 1)
        elif op in {sre.MAX_REPEAT, sre.MIN_REPEAT}:
            self.repeat(argument, flags, greedy=op is sre.MAX_REPEAT)
        elif op is sre.AT:
            self.emit(_AT, _assertion(argument, flags))
        else:
            raise PatternError(f"uses {str(op).lower().replace('_', ' ')}, which is not supported")

    def set(self, op: Any, argument: Any, flags: int) -> _Set:  # noqa: ANN401 - as above
        """Which characters an item matches; made once, however often `a{500}` repeats it."""
        key = (op, id(argument) if op is sre.IN else argument, flags)
        if key not in self._sets:
            ignore_case = bool(flags & sre.SRE_FLAG_IGNORECASE)
            self._sets[key] = _Set(_matcher(op, argument, flags), ignore_case=ignore_case)
        return self._sets[key]

    def split(self) -> int:
        return self.emit(_SPLIT)

    def aim(self, at: int, first: int, second: int = 0) -> None:
        self.program[at] = self.program[at]._replace(argument=first, second=second)

    def branch(self, alternatives: Any, flags: int) -> None:  # noqa: ANN401 - as above
        jumps: list[int] = []
        for items in alternatives[:-1]:
            split = self.split()
            self.sequence(items, flags)
            jumps.append(self.emit(_JUMP))
            self.aim(split, split + 1, len(self.program))
        self.sequence(alternatives[-1], flags)
        for jump in jumps:
            self.aim(jump, len(self.program))

    def repeat(self, argument: Any, flags: int, *, greedy: bool) -> None:  # noqa: ANN401 - as above
        least, most, items = argument
        for _ in range(least):
            before = len(self.program)
            self.sequence(items, flags)
            if len(self.program) == before:
                break  # nothing, however often
        splits: list[int] = []
        unbounded = most is sre.MAXREPEAT
        for _ in range(1 if unbounded else most - least):
            splits.append(self.split())
            self.sequence(items, flags)
        if unbounded:
            self.aim(self.emit(_JUMP), splits[0])
        end = len(self.program)
        for split in splits:
            self.aim(split, *((split + 1, end) if greedy else (end, split + 1)))


def _matcher(op: Any, argument: Any, flags: int) -> Callable[[str], bool]:  # noqa: ANN401 - the parser's own tree
    if op is sre.LITERAL:
        return chr(argument).__eq__
    if op is sre.NOT_LITERAL:
        return chr(argument).__ne__
    if op is sre.ANY:
        return (lambda _: True) if flags & sre.SRE_FLAG_DOTALL else "\n".__ne__
    negated = argument[0][0] is sre.NEGATE
    return _member_of(argument[negated:], negated=negated)


def _member_of(items: Any, *, negated: bool) -> Callable[[str], bool]:  # noqa: ANN401 - as above
    """Whether a character is in a class; found at once, however much stands between the brackets."""
    single = {chr(argument) for op, argument in items if op is sre.LITERAL}
    categories = [_CATEGORIES[name] for name in {argument for op, argument in items if op is sre.CATEGORY}]
    starts: list[int] = []
    ends: list[int] = []
    for low, high in sorted(argument for op, argument in items if op is sre.RANGE):
        if ends and low <= ends[-1]:
            ends[-1] = max(ends[-1], high)
        else:
            starts.append(low)
            ends.append(high)

    def matches(char: str) -> bool:
        at = bisect_right(starts, ord(char)) - 1
        inside = char in single or (at >= 0 and ord(char) <= ends[at]) or any(test(char) for test in categories)
        return inside != negated

    return matches


def _assertion(kind: Any, flags: int) -> Callable[[str, int], bool]:  # noqa: ANN401 - as above
    lines = bool(flags & sre.SRE_FLAG_MULTILINE)
    if kind is sre.AT_BEGINNING and lines:
        return lambda text, at: at == 0 or text[at - 1] == "\n"
    if kind in {sre.AT_BEGINNING, sre.AT_BEGINNING_STRING}:
        return lambda _, at: at == 0
    if kind is sre.AT_END and lines:
        return lambda text, at: at == len(text) or text[at] == "\n"
    if kind is sre.AT_END:
        return lambda text, at: at == len(text) or (at == len(text) - 1 and text[at] == "\n")
    if kind is sre.AT_END_STRING:
        return lambda text, at: at == len(text)
    return lambda text, at: _at_boundary(text, at) == (kind is sre.AT_BOUNDARY)


def _at_boundary(text: str, at: int) -> bool:
    is_word = _CATEGORIES[sre.CATEGORY_WORD]
    before, after = at > 0 and is_word(text[at - 1]), at < len(text) and is_word(text[at])
    return before != after
