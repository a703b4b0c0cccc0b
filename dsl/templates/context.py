"""What one evaluation of a template sees, has made, and may still do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from liquid import Environment, RenderContext
from liquid.exceptions import UnknownFilterError
from liquid.template import BoundTemplate
from liquid.token import Token
from liquid.utils import ReadOnlyChainMap

from dsl.templates.costs import ITEM, TURN, WRITTEN, TooMuch, bytes_of

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
        max_work: Work of one evaluation, in nanoseconds (`dsl.templates.costs`).
        max_memory: Bytes that one evaluation may take.
    """

    max_text: int
    max_turns: int
    max_work: float
    max_memory: int


class _Scope(ReadOnlyChainMap):
    """Names of loops before names of the template's own before names from outside; found at once, however deep."""

    def __init__(self, own: Mapping[str, object], outside: Mapping[str, object]) -> None:
        super().__init__(own, outside)
        self._own = own
        self._outside = outside
        self._loops: dict[str, list[Mapping[str, object]]] = {}

    def __getitem__(self, key: str) -> object:
        loops = self._loops.get(key)
        if loops:
            return loops[-1][key]
        return self._own[key] if key in self._own else self._outside[key]

    def push(self, namespace: Mapping[str, object]) -> None:
        super().push(namespace)
        for key in namespace:
            self._loops.setdefault(key, []).append(namespace)

    def pop(self) -> Mapping[str, object]:
        namespace = super().pop()
        for key in namespace:
            self._loops[key].pop()
        return namespace


class Context(RenderContext):
    """The context of one evaluation, with its budgets.

    Args:
        template: Its grammar.
        names: Everything in scope; never written to.
        work: What the template costs by itself, its blocks aside.
        blocks: What each block costs each time, by its `id`.

    Attributes:
        max_text: Characters of a text that it may make.
        work: What was spent so far.
        held: Bytes that it keeps at the moment.
        patterns: Those it has compiled.
    """

    __slots__ = ("_turns", "blocks", "held", "max_text", "patterns", "work")

    env: Limited

    def __init__(
        self, template: BoundTemplate, names: Mapping[str, object], work: int = 0, blocks: Mapping[int, int] = _NOTHING
    ) -> None:
        super().__init__(template, globals=names)
        self.scope = _Scope(self.locals, names)
        self.max_text = self.env.max_text
        self.blocks = blocks
        self.patterns: dict[str, Pattern] = {}
        self.held = self._turns = 0
        self.work: float = 0
        self.spend(work)

    def spend(self, work: float) -> None:
        """Draw on the budget of work.

        Raises:
            TooMuch: It is used up.
        """
        self.work += work
        if self.work > self.env.max_work:
            limit = f"{self.env.max_work / 1e6:g} ms"
            raise TooMuch(f"the template does more than {limit} of work", "max_template_work")

    def need(self, size: int) -> None:
        """Make sure of bytes for a moment.

        Raises:
            TooMuch: There are not as many, beside those that are held.
        """
        if self.held + size > self.env.max_memory:
            limit = f"{self.env.max_memory} bytes"
            raise TooMuch(f"the template takes more than {limit} of memory", "max_render_bytes")

    def hold(self, size: int) -> None:
        """Keep bytes until the end, or let go of them.

        Raises:
            TooMuch: There are not as many.
        """
        self.held += size
        if self.held > self.env.max_memory:
            self.need(0)

    def check_text(self, length: int) -> None:
        """Let a text become as long as that.

        Raises:
            TooMuch: That is too long.
        """
        if length > self.max_text:
            raise TooMuch(f"the text is longer than {self.max_text} characters", "max_render_bytes")

    @property
    def max_items(self) -> int:
        """Items that a filter may make."""
        return self.max_text // ITEM

    def check_items(self, count: int) -> None:
        """Let a list become as long as that.

        Raises:
            TooMuch: That is too long.
        """
        if count > self.max_items:
            raise TooMuch(f"the list is longer than {self.max_items} items", "max_render_bytes")

    def check_range(self, count: int, token: Token) -> None:
        """Let a range have as many numbers.

        Raises:
            TooMuch: Those are too many.
        """
        if count > self.env.max_turns:
            raise TooMuch(f"the range has more than {self.env.max_turns} numbers", "max_loop_iterations", token)

    def check_turns(self, count: int) -> None:
        """Let a loop have as many turns.

        Raises:
            TooMuch: Those are too many.
        """
        if count > self.env.max_turns:
            message = f"the loops of the template turn more than {self.env.max_turns} times"
            raise TooMuch(message, "max_loop_iterations")

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Count the turns of a loop that is about to begin; loops one after the other add up."""
        self._turns += length
        self.check_turns(self._turns)
        self.spend(length * TURN)

    def get(self, path: Sequence[Any], *, token: Token | None, default: object = None) -> object:
        """What a path leads to, or a missing name. python-liquid writes the path out for each that is missing."""
        try:
            value = self.scope[path[0]]
            for part in path[1:]:
                value = self.get_item(value, part)
        except (KeyError, IndexError, TypeError):
            return self.env.undefined("a name", token=token)
        return value

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """A filter, which is always handed the context (`dsl.templates.filters.guarded`)."""
        try:
            return partial(self.env.filters[name], context=self)
        except KeyError:
            raise UnknownFilterError(f"there is no filter `{name}`", token=token) from None

    def assign(self, key: str, val: Any) -> None:  # noqa: ANN401 - python-liquid's signature
        """Keep a value under a name of the template's own."""
        self.hold(bytes_of(val) - bytes_of(self.locals.get(key)))
        self.locals[key] = val


class Buffer(StringIO):
    """A text being written: as long as a template may make, and no longer; what is in it is held.

    Args:
        context: Pays for it.
    """

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._length = self._held = 0

    def write(self, text: str) -> int:
        """Append a text.

        Raises:
            TooMuch: It would become too long.
        """
        self._length += len(text)
        if self._length > self._context.max_text:
            self._context.check_text(self._length)
        if len(text) > _SHORT:
            self._context.spend(WRITTEN * len(text))
        size = 2 * bytes_of(text)  # in pieces, and in the end as a whole
        self._held += size
        self._context.hold(size)
        return super().write(text)

    def taken(self) -> str:
        """The text, which is not held here any more."""
        text = self.getvalue()
        self._context.hold(-self._held)
        self._held = 0
        return text
