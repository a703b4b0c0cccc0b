"""What one evaluation of a template sees, has made, and may still do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from io import StringIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from liquid import Environment, RenderContext
from liquid.exceptions import LocalNamespaceLimitError, LoopIterationLimitError, OutputStreamLimitError
from liquid.exceptions import ResourceLimitError as TooMuchWork
from liquid.template import BoundTemplate
from liquid.utils import ReadOnlyChainMap

from dsl.templates.costs import CONTAINERS, ELEMENT_BYTES, ITEM, TURN, WRITTEN

if TYPE_CHECKING:
    from dsl.templates.patterns import Pattern

#: Characters whose writing the cost of a node pays for.
_SHORT = 100

_NOTHING: Mapping[int, int] = MappingProxyType({})


class Limited(Environment):
    """The limits of all templates under the same settings.

    Attributes:
        max_text: Characters of one text.
        max_turns: Turns of all loops of one template.
        max_work: Work of one evaluation (`dsl.templates.costs`).
        max_held: Bytes that assigned names may hold together.
    """

    max_text: int
    max_turns: int
    max_work: float
    max_held: int


class Context(RenderContext):
    """The context of one evaluation, with its budgets.

    Args:
        template: Its grammar.
        names: Everything in scope; never written to.
        work: What the template costs by itself, its blocks aside.
        blocks: What each block costs each time, by its `id`.

    Attributes:
        max_text: Characters of a text that it may make.
        patterns: Those it has compiled.
    """

    __slots__ = ("_held", "_turns", "_work", "blocks", "max_text", "patterns")

    env: Limited

    def __init__(
        self, template: BoundTemplate, names: Mapping[str, object], work: int = 0, blocks: Mapping[int, int] = _NOTHING
    ) -> None:
        super().__init__(template, globals=names)
        self.scope = ReadOnlyChainMap(self.locals, names)
        self.max_text = self.env.max_text
        self.blocks = blocks
        self.patterns: dict[str, Pattern] = {}
        self._turns = self._held = 0
        self._work: float = 0
        self.spend(work)

    def spend(self, work: float) -> None:
        """Draw on the budget of work (`dsl.templates.costs`).

        Raises:
            ResourceLimitError: It is used up.
        """
        self._work += work
        if self._work > self.env.max_work:
            raise TooMuchWork("the template does too much work", token=None)

    @property
    def max_items(self) -> int:
        """Items that a filter may make."""
        return self.max_text // ITEM

    @property
    def work(self) -> float:
        """What was drawn so far."""
        return self._work

    def hold(self, size: int) -> None:
        """Count bytes that stay in memory until the end, or let go of them.

        Raises:
            LocalNamespaceLimitError: There are too many.
        """
        self._held += size
        if self._held > self.env.max_held:
            raise LocalNamespaceLimitError("the template's own names hold too much", token=None)

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Count the turns of a loop that is about to begin; loops one after the other add up."""
        self._turns += length
        if self._turns > self.env.max_turns:
            message = f"the loops of the template turn more than {self.env.max_turns} times"
            raise LoopIterationLimitError(message, token=None)
        self.spend(length * TURN)

    def assign(self, key: str, val: Any) -> None:  # noqa: ANN401 - python-liquid's signature
        """Keep a value under a name of the template's own."""
        before = bytes_of(self.locals[key]) if key in self.locals else 0
        self.hold(bytes_of(val) - before)
        self.locals[key] = val


class Buffer(StringIO):
    """A text being written: as long as a template may make, and no longer.

    Args:
        context: Pays for it.
        held: Whether what is written counts as held.
    """

    def __init__(self, context: Context, *, held: bool = False) -> None:
        super().__init__()
        self._context = context
        self._max_text = context.max_text
        self._held = held
        self._characters = self._bytes = 0

    def write(self, text: str) -> int:
        """Append a text.

        Raises:
            OutputStreamLimitError: It would become too long.
        """
        self._characters += len(text)
        if self._characters > self._max_text:
            raise OutputStreamLimitError(f"the text is longer than {self._max_text} characters", token=None)
        if len(text) > _SHORT:
            self._context.spend(WRITTEN * len(text))
        if self._held:
            size = len(text) * (1 if text.isascii() else 4)
            self._bytes += size
            self._context.hold(size)
        return super().write(text)

    def let_go(self) -> None:
        """What was written is not held here any more."""
        self._context.hold(-self._bytes)
        self._bytes = 0


def bytes_of(value: object) -> int:
    """What keeping a value keeps in memory, at most; where it came from may keep it anyway."""
    if isinstance(value, str):
        return sys.getsizeof(value)
    return ELEMENT_BYTES * len(value) if isinstance(value, CONTAINERS) else 0
