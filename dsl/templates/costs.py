"""What the parts of a template cost: work in nanoseconds of the machine they were measured on, and bytes at the peak.

Work is counted, never timed, and memory is reckoned before it is taken, so a template that is refused is refused
everywhere and every time. The figures are the worst of what `python -m benchmarks.templates` tries, rounded up; it
shows how far what is counted and what is used are apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from liquid.exceptions import FilterArgumentError
from liquid.token import Token

#: A loop, one turn of it, one node of a template, one part of an expression, one name or index of a path.
LOOP, TURN, NODE, EXPRESSION, SEGMENT = 6000, 1500, 1300, 500, 700
#: What comparing two values costs beside them.
COMPARISON = 800
#: A character that is written, searched, compared or looked up; an element that is passed over or looked into.
WRITTEN, SEARCHED, COMPARED, LOOKED_UP, LOOKED_AT, WEIGHED = 3, 4, 0.4, 2, 100, 250
#: An element of a value that is checked or copied, and one that becomes JSON as well; each of its characters.
CHECKED, ENCODED, ENCODED_CHARACTER = 400, 700, 12
#: A pattern, an instruction it becomes, a step of matching it.
PATTERN, PATTERN_INSTRUCTION, PATTERN_STEP = 80_000, 1800, 300

#: A character of what is looked for, compared at one place of a text. Python looks in quadratic time at so many places,
#: for what is short and for what is long (Objects/stringlib/fastsearch.h).
_MATCHED = 0.5
_SHORT, _PLACES_OF_SHORT, _PLACES_OF_LONG = 100, 30_000, 2500

#: Bytes of a character where one of the text is not ASCII. Python may take fewer; no limit depends on that.
WIDE = 4
#: Bytes that an element of a list which a filter made weighs, at most; a short text in it; a character that was JSON.
ELEMENT_BYTES, SHORT_TEXT_BYTES, DECODED_BYTES = 64, 88, 40
#: Characters that an item stands for in the limit of a text.
ITEM = 16

#: What holds elements; a tuple, since Python makes `list | tuple` anew each time.
LISTS = (list, tuple, range)
CONTAINERS = (*LISTS, dict)
_NESTED = (list, tuple)


class TooMuch(FilterArgumentError):
    """A limit was passed. Of this class because python-liquid gives those of a filter the filter's place.

    Attributes:
        setting: The field of `DslSettings` that moves the limit.
    """

    def __init__(self, message: str, setting: str, token: Token | None = None) -> None:
        super().__init__(message, token=token)
        self.setting = setting


class Meter(Protocol):
    """What keeps count: the context a template is evaluated in."""

    def spend(self, work: float) -> None:
        """Draw on the budget of work.

        Raises:
            TooMuch: It is used up.
        """
        ...

    def need(self, size: int) -> None:
        """Make sure of bytes for a moment.

        Raises:
            TooMuch: There are not as many.
        """
        ...


class Cost(NamedTuple):
    """What a filter costs.

    Attributes:
        call: Whatever it is given.
        character: For each character of its texts.
        element: For each element of its list.
        scratch: Bytes at the peak, its result included, for each byte of its texts.
        compares: Whether each element is compared with each argument.
        searches: How often the first argument is looked for in each text.
    """

    call: int = 2500
    character: float = 3.0
    element: int = 0
    scratch: int = 2
    compares: bool = False
    searches: int = 0


#: Numbers and what has no size; a text is read as a number, so it is not free.
_SMALL = Cost(3500, 15, 0, 0)
_LIST = Cost(3500, 2, 250, 0)

COSTS: Mapping[str, Cost] = MappingProxyType(
    {
        **dict.fromkeys(("default", "first", "last", "size"), Cost(3000, 0, 0, 0)),
        "slice": Cost(3500, 0, 0, 0),  # counted by what it takes
        **dict.fromkeys(("abs", "at_least", "at_most", "ceil", "floor", "round"), _SMALL),
        **dict.fromkeys(("divided_by", "minus", "modulo", "plus", "times"), Cost(6000, 15, 0, 0)),
        "date": Cost(12_000, 0, 0, 0),
        **dict.fromkeys(("compact", "concat", "reverse"), _LIST),
        **dict.fromkeys(
            ("find", "find_index", "has", "reject", "where"), Cost(3500, 0, 1000, 0, compares=True, searches=1)
        ),
        "map": Cost(3500, 0, 1000, 0, searches=1),
        "join": Cost(4000, 3, 1800, 1),
        "sort": Cost(4000, 0, 1200, 0),  # and by its keys
        "sort_natural": Cost(4000, 0, 1500, 0),  # likewise
        "sum": Cost(4000, 15, 1500, 0),
        "uniq": Cost(4000, 0, 3000, 0),  # and by what it keeps
        "to_json": Cost(4000, 0, 0, 0),  # counted as it goes
        "from_json": Cost(8000, 130, 0, 0),  # holds what it makes
        **dict.fromkeys(("base64_decode", "base64_url_safe_decode"), Cost(character=8, scratch=6)),
        **dict.fromkeys(("base64_encode", "base64_url_safe_encode"), Cost(character=20, scratch=5)),
        **dict.fromkeys(("capitalize", "downcase", "upcase"), Cost(character=25, scratch=14)),
        "escape": Cost(character=40, scratch=12),
        "escape_once": Cost(character=150, scratch=36),
        "escapejs": Cost(character=250, scratch=24),
        **dict.fromkeys(("newline_to_br", "squish", "strip_newlines"), Cost(character=60, scratch=36)),
        "regex_match": Cost(8000, 1, 0, 0),
        "regex_replace": Cost(8000, 1, 0, 2),
        **dict.fromkeys(("remove", "remove_first", "replace_first"), Cost(character=6, searches=1)),
        "replace": Cost(character=6, searches=2),
        **dict.fromkeys(("remove_last", "replace_last"), Cost(character=8, scratch=4, searches=1)),
        "slug": Cost(character=2500, scratch=400),
        "split": Cost(character=6, scratch=1, searches=2),  # and by its parts
        "strip_html": Cost(character=260, scratch=24),
        "truncatewords": Cost(character=10),
        "url_decode": Cost(character=250, scratch=64),
        "url_encode": Cost(character=200, scratch=20),
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
        TooMuch: The budget is used up, or the filter would need too much memory.
    """
    characters = size = 0
    for arg in args:
        if isinstance(arg, str):
            characters += len(arg)
            size += bytes_of(arg)
    if cost.element:
        elements, inside = _elements(left, cost.element, meter)
        for arg in args:
            if cost.compares:
                meter.spend(elements * weigh(arg, meter))
            elif isinstance(arg, CONTAINERS):
                meter.spend(LOOKED_AT * len(arg))
    else:
        elements, inside = 1, len(left) if isinstance(left, str) else 0
        size += bytes_of(left) if inside else 0
    if cost.searches and args and isinstance(args[0], str):
        meter.spend(cost.searches * searching(len(args[0]), inside, elements))
    meter.spend(cost.call + cost.character * (characters + inside))
    if size:
        meter.need(cost.scratch * size)


def searching(needle: int, characters: int, texts: int = 1) -> float:
    """What it costs to look for so many characters in texts that have so many together."""
    if needle <= 1 or needle > characters:
        return SEARCHED * characters
    places = min(characters - needle + 1, (_PLACES_OF_SHORT if needle < _SHORT else _PLACES_OF_LONG) * texts)
    return SEARCHED * characters + _MATCHED * needle * places


def bytes_of(value: object) -> int:
    """What keeping a value keeps in memory, at most; its elements are kept by where they came from."""
    if isinstance(value, str):
        return len(value) if value.isascii() else WIDE * len(value)
    return ELEMENT_BYTES * len(value) if isinstance(value, CONTAINERS) else 0


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
        elif level and isinstance(item, _NESTED):
            inner, inside = _elements(item, each, meter, level - 1)
            count += inner
            characters += inside
    return count, characters


def weigh(value: object, meter: Meter) -> float:
    """What it costs to look at a value through and through; spent once.

    Raises:
        TooMuch: That is too much.
    """
    if isinstance(value, str):
        work = COMPARED * len(value)
        meter.spend(work)
        return work
    if isinstance(value, _NESTED):
        work = WEIGHED * (len(value) + 3)
        meter.spend(work)
        return work + sum([weigh(item, meter) for item in value])
    if isinstance(value, dict):
        work = WEIGHED * (2 * len(value) + 3)
        meter.spend(work)
        return work + sum([weigh(part, meter) for pair in value.items() for part in pair])
    return 0
