"""What the parts of a template cost: work in nanoseconds of the machine they were measured on, and bytes at the peak.

Work is counted, never timed, so a template that is refused is refused everywhere and every time. The figures are the
worst of what `python -m benchmarks.templates` tries, rounded up; it shows how far what is counted and what is used
are apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from liquid.exceptions import ResourceLimitError

#: A loop, one turn of it, one node of a template, one part of an expression, one name or index of a path.
LOOP, TURN, NODE, EXPRESSION, SEGMENT = 6000, 1500, 1300, 400, 400
#: A character that is written, searched, or compared; an element that is looked at.
WRITTEN, SEARCHED, COMPARED, LOOKED_AT = 3, 2, 0.2, 100
#: An element of a value that is checked or copied, and one that becomes JSON as well; each of its characters.
CHECKED, ENCODED, ENCODED_CHARACTER = 250, 600, 8
#: A pattern, an instruction it becomes, a step of matching it.
PATTERN, PATTERN_INSTRUCTION, PATTERN_STEP = 50_000, 700, 400

#: Bytes that a filter may need while it runs, its result included.
MAX_SCRATCH = 6 << 20
#: Bytes that an element of a list which a filter made weighs, at most; and characters that it stands for in a limit.
ELEMENT_BYTES, ITEM = 64, 16


#: What holds elements; a tuple, since Python makes `list | tuple` anew each time.
LISTS = (list, tuple, range)
CONTAINERS = (*LISTS, dict)


class Meter(Protocol):
    """What keeps count: the context a template is evaluated in."""

    @property
    def work(self) -> float:
        """What was spent so far."""
        ...

    def spend(self, work: float) -> None:
        """Draw on the budget of work.

        Raises:
            ResourceLimitError: It is used up.
        """
        ...


class Cost(NamedTuple):
    """What a filter costs.

    Attributes:
        call: Whatever it is given.
        character: For each character of its texts.
        element: For each element of its list.
        scratch: Bytes for each character of its texts.
    """

    call: int = 2500
    character: float = 3.0
    element: int = 0
    scratch: int = 4


#: Numbers and what has no size; a text is read as a number, so it is not free.
_SMALL = Cost(3500, 15, 0, 0)
_LIST = Cost(3500, 0.3, 250, 0)

COSTS: Mapping[str, Cost] = MappingProxyType(
    {
        **dict.fromkeys(("default", "first", "last", "size", "slice"), Cost(3000, 0, 0, 0)),
        **dict.fromkeys(("abs", "at_least", "at_most", "ceil", "floor", "round"), _SMALL),
        **dict.fromkeys(("divided_by", "minus", "modulo", "plus", "times"), Cost(6000, 15, 0, 0)),
        "date": Cost(12_000, 0, 0, 0),
        **dict.fromkeys(("compact", "concat", "reverse"), _LIST),
        **dict.fromkeys(("find", "find_index", "has", "map", "reject", "where"), Cost(3500, 0.3, 1000, 0)),
        "join": Cost(4000, 3, 1800, 4),
        "sort": Cost(4000, 3, 1200, 0),
        "sort_natural": Cost(4000, 25, 1500, 16),
        "sum": Cost(4000, 15, 1500, 0),
        "uniq": Cost(4000, 10, 3000, 4),
        "to_json": Cost(4000, 0, 0, 0),  # counted as it goes
        "from_json": Cost(8000, 100, 0, 32),
        **dict.fromkeys(("base64_decode", "base64_url_safe_decode"), Cost(character=5, scratch=8)),
        **dict.fromkeys(("base64_encode", "base64_url_safe_encode"), Cost(character=20, scratch=16)),
        **dict.fromkeys(("capitalize", "downcase", "upcase"), Cost(character=25, scratch=16)),
        "escape": Cost(character=20, scratch=8),
        "escape_once": Cost(character=150, scratch=32),
        "escapejs": Cost(character=250, scratch=24),
        **dict.fromkeys(("newline_to_br", "squish", "strip_newlines"), Cost(character=60, scratch=32)),
        "regex_match": Cost(8000, 1, 0, 0),
        "regex_replace": Cost(8000, 1, 0, 4),
        **dict.fromkeys(("remove", "remove_first", "replace", "replace_first"), Cost(character=10)),
        **dict.fromkeys(("remove_last", "replace_last"), Cost(character=10, scratch=12)),
        "slug": Cost(character=2500, scratch=128),
        "split": Cost(character=10),
        "strip_html": Cost(character=260, scratch=24),
        "truncatewords": Cost(character=10),
        "url_decode": Cost(character=250, scratch=64),
        "url_encode": Cost(character=200, scratch=64),
    }
)


def charge(cost: Cost, left: object, args: Sequence[object], meter: Meter) -> None:
    """Pay for one use of a filter, before it is used.

    Args:
        cost: Of the filter.
        left: What it is applied to.
        args: Its arguments.
        meter: Who pays.

    Raises:
        ResourceLimitError: The budget is used up, or the filter would need too much memory.
    """
    characters = sum(len(arg) for arg in args if isinstance(arg, str))
    if cost.element:
        # Each element may be compared with each argument.
        elements, inside = _elements(left, cost.element, meter)
        for arg in args:
            spent = meter.work
            weigh(arg, meter)
            meter.spend((meter.work - spent) * elements)
        characters += inside
    elif isinstance(left, str):
        characters += len(left)
    if cost.scratch * characters > MAX_SCRATCH:
        raise ResourceLimitError(f"the text is longer than {MAX_SCRATCH // cost.scratch} characters", token=None)
    meter.spend(cost.call + cost.character * characters)


def _elements(value: object, each: int, meter: Meter, level: int = 5) -> tuple[int, int]:
    """How many elements a list has, and how many characters stand in them; lists in lists as deep as in Liquid."""
    if not isinstance(value, LISTS):
        return 1, len(value) if isinstance(value, str) else 0
    meter.spend(each * len(value))
    if isinstance(value, range):
        return len(value), 0
    count, characters = len(value), 0
    for item in value:
        if isinstance(item, str):
            characters += len(item)
        elif level and isinstance(item, list | tuple):
            inner, inside = _elements(item, each, meter, level - 1)
            count += inner
            characters += inside
    return count, characters


def weigh(value: object, meter: Meter) -> None:
    """Spend what it takes to look at a value through and through.

    Raises:
        ResourceLimitError: That is too much.
    """
    if isinstance(value, str):
        meter.spend(COMPARED * len(value))
    elif isinstance(value, list | tuple):
        meter.spend(LOOKED_AT * (len(value) + 3))
        for item in value:
            weigh(item, meter)
    elif isinstance(value, dict):
        meter.spend(LOOKED_AT * (2 * len(value) + 3))
        for item in value.values():
            weigh(item, meter)
