"""Steps of a command file: checked against their types, and made into `StepSpec`s."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

from pydantic import BaseModel

from dsl.checking.fields import Fields, found_in
from dsl.checking.parameters import check_values, default_of, keys_of
from dsl.checking.references import ROOTS, References, Scope
from dsl.checking.shape import STEP, Text
from dsl.command import Expression, Position, Retry, StepSpec
from dsl.errors import ExpressionError
from dsl.expressions import Compiler, Condition, Constant, Template
from dsl.faults import Faults, Wrong, listed
from dsl.nodes import ListNode, MappingNode, Node, Path, ScalarNode, find
from dsl.settings import DslSettings
from dsl.templates.grammar import WORDS
from telemetry.events import Category
from telemetry.settings import format_duration

#: The key of `with:` that names the item of a map, and what else its blocks see then.
_ITEM_NAME = "as"
_LOOP = "loop"


class StepType(Protocol):
    """What the language knows of a step type; `dsl.step.Step` is one."""

    @property
    def Params(self) -> type[BaseModel]: ...  # noqa: N802 - the contract's own name

    @property
    def Literals(self) -> type[BaseModel] | None: ...  # noqa: N802 - likewise

    @property
    def blocks(self) -> Mapping[str, bool]: ...

    @property
    def conditions(self) -> tuple[str, ...]: ...

    @property
    def waits_if(self) -> str | None: ...

    def wrong(self, given: Mapping[str, Any], settings: DslSettings) -> Iterable[Wrong]: ...


def keys_of_with(step_type: StepType) -> Mapping[str, bool]:
    """The keys of a step type's `with:`, and whether each is required."""
    return {
        **keys_of(step_type.Params),
        **dict.fromkeys(step_type.conditions, True),
        **(keys_of(step_type.Literals) if step_type.Literals is not None else {}),
        **step_type.blocks,
    }


def takes_any_key(step_type: StepType) -> bool:
    """Whether its `with:` may have keys beside those."""
    return step_type.Params.model_config.get("extra") == "allow"


class StepChecker:
    """Checks the steps of one file.

    Args:
        registry: Step types by name.
        compiler: Of templates.
        references: What templates may refer to.
        faults: Where what is wrong goes.
        settings: What step types may know of their process.
    """

    def __init__(
        self,
        registry: Mapping[str, StepType],
        compiler: Compiler,
        references: References,
        faults: Faults,
        settings: DslSettings,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._compiler = compiler
        self._references = references
        self._faults = faults

    def steps(
        self, items: Sequence[Node], path: Path, scope: Scope, taken: frozenset[str] = frozenset()
    ) -> tuple[StepSpec, ...]:
        """A list of steps; those that are faulty are left out.

        Args:
            items: The list.
            path: Where it is.
            scope: What its first step sees.
            taken: Ids that steps beside it have, under the same path.
        """
        if not items:
            return ()
        inside = scope.within(ids_of(items))
        taken |= scope.ids
        specs: list[StepSpec] = []
        for index, item in enumerate(items):
            place = (*path, index)
            if not isinstance(item, MappingNode):
                message = "a step is a mapping with `id` and `type`"
                self._faults.add(
                    "command.wrong_type", message, place, item.position, found=found_in(item), expected="a mapping"
                )
                continue
            misplaced = self._misplaced(item, place)
            fields = Fields.of(item, place, self._faults, STEP, told=misplaced)
            step_id = self._id(fields, taken)
            spec = self._step(fields, step_id, inside, misplaced)
            if step_id is not None:
                taken |= {step_id}
                inside = inside.after(step_id)
            if spec is not None:
                specs.append(spec)
        return tuple(specs)

    def condition(self, node: Node, path: Path, scope: Scope) -> Expression | None:
        """A condition: `true`, `false`, or an expression without braces."""
        if isinstance(node, ScalarNode) and isinstance(node.scalar, bool):
            return Constant(node.scalar)
        if not isinstance(node, ScalarNode) or not isinstance(node.scalar, str):
            message = "a condition is an expression without braces, such as `inputs.count > 3`"
            expected = "true, false, or an expression"
            self._faults.add(
                "command.wrong_type", message, path, node.position, found=found_in(node), expected=expected
            )
            return None
        try:
            condition = self._compiler.condition(node)
        except ExpressionError as error:
            self._template_fault(path, error)
            return None
        self._check_references(condition, path, scope)
        return condition

    def template(self, node: ScalarNode, path: Path, scope: Scope) -> Template | Constant | None:
        """A text with templates, outside of any step; none if it is faulty."""
        try:
            template = self._compiler.template(node)
        except ExpressionError as error:
            self._template_fault(path, error)
            return None
        self._check_references(template, path, scope)
        return template

    def _id(self, fields: Fields, taken: frozenset[str]) -> str | None:
        step_id = fields.text("id")
        if step_id is None:
            return None
        position = fields.node.entries["id"].value.position
        if step_id in fields.rule("id", Text).reserved:
            message = f"`{step_id}` is a word of the template language"
            fields.fault("command.reserved_id", message, "id", position, step_id, "another id")
        elif step_id in taken:
            message = f"a step with the id `{step_id}` is here already"
            fields.fault("command.duplicate_id", message, "id", position, step_id, "an id of its own")
        return step_id

    def _misplaced(self, item: MappingNode, path: Path) -> frozenset[str]:
        """Parameters that stand beside `with:` instead of in it, which everybody writes once."""
        node = item.get("type")
        step_type = self._registry.get(str(node.value())) if node is not None else None
        if node is None or step_type is None:
            return frozenset()
        misplaced = frozenset(item.entries) & frozenset(keys_of_with(step_type)) - frozenset(STEP.keys)
        for name in sorted(misplaced):
            message = f"`{name}` is a parameter of `{node.value()}`, and not a key of a step"
            position, expected = item.entries[name].key.position, f"`with: {{{name}: …}}`"
            self._faults.add("command.misplaced_key", message, (*path, name), position, found=name, expected=expected)
        return misplaced

    def _step(self, fields: Fields, step_id: str | None, scope: Scope, misplaced: frozenset[str]) -> StepSpec | None:
        name, step_type = self._type(fields)
        condition_node = fields.get("if")
        condition = None if condition_node is None else self.condition(condition_node, (*fields.path, "if"), scope)
        timeout, retry = fields.duration("timeout"), read_retry(fields)
        given = self._given(fields)
        if step_type is None or given is None:
            return None
        if "with" not in fields.meant:
            self._check_keys(given, name, step_type, misplaced)
        self._check_further(given, step_type)
        item = self._item_name(given, step_type)
        literals = self._literals(given, step_type)
        self._check_timeout(fields, literals, name, step_type)
        return StepSpec(
            id=step_id or "",
            type=name,
            params=self._params(given, step_type, scope),
            position=fields.node.position,
            condition=condition,
            blocks=self._blocks(given, step_type, scope if item is None else scope.naming((item, _LOOP))),
            conditions=self._conditions(given, step_type, scope),
            literals=literals,
            timeout=timeout,
            retry=retry,
        )

    def _type(self, fields: Fields) -> tuple[str, StepType | None]:
        node, name = fields.get("type"), fields.text("type")
        if node is None or name is None:
            return "", None
        if name not in self._registry:
            message, path, known = f"there is no step type `{name}`", (*fields.path, "type"), sorted(self._registry)
            self._faults.add(
                "command.unknown_step_type",
                message,
                path,
                node.position,
                found=name,
                expected=listed(known),
                known=known,
            )
        return name, self._registry.get(name)

    def _given(self, fields: Fields) -> Fields | None:
        """The `with:` of a step; empty when there is none."""
        if "with" in fields.node.entries:
            return fields.mapping("with")
        nothing = MappingNode(fields.node.source, fields.node.start, fields.node.end, MappingProxyType({}))
        return Fields(nothing, (*fields.path, "with"), self._faults)

    def _check_keys(self, given: Fields, name: str, step_type: StepType, misplaced: frozenset[str]) -> None:
        keys = keys_of_with(step_type)
        known = {key: is_required and key not in misplaced for key, is_required in keys.items()}
        others = given.node.entries if takes_any_key(step_type) else ()
        given.keys(known, of=f"`{name}`", told=others)

    def _check_further(self, given: Fields, step_type: StepType) -> None:
        """What only the step type knows to be wrong."""
        try:
            found = list(step_type.wrong(given.node.value(), self._settings))
        except Exception as error:  # noqa: BLE001 - a user's step type must not keep other files from being loaded
            message = f"the step type could not check its parameters: {type(error).__name__}"
            self._faults.add("command.wrong_parameter", message, given.path, given.node.position)
            return
        for wrong in found:
            node = find(given.node, wrong.place)
            holder = find(given.node, wrong.place[:-1])
            if wrong.is_key and isinstance(holder, MappingNode) and wrong.place[-1] in holder.entries:
                node = holder.entries[str(wrong.place[-1])].key
            path = (*given.path, *wrong.place)
            self._faults.add(
                "command.wrong_parameter",
                wrong.message,
                path,
                node.position,
                found=wrong.found,
                expected=wrong.expected or (listed(wrong.known) if wrong.known else None),
                known=wrong.known,
            )

    def _check_timeout(self, fields: Fields, literals: Mapping[str, Any], name: str, step_type: StepType) -> None:
        """A wait takes no running time: what nothing would keep is refused."""
        key, node = step_type.waits_if, fields.node.get("timeout")
        if key is None or node is None or literals.get(key) is not True:
            return
        message = f"a `{name}` with `{key}: true` waits, and no `timeout` of a step bounds a wait"
        expected = "no `timeout` here; give the command that is run one"
        fields.fault("command.timeout_of_wait", message, "timeout", node.position, found_in(node), expected)

    def _literals(self, given: Fields, step_type: StepType) -> Mapping[str, Any]:
        model = step_type.Literals
        if model is None:
            return {}
        nodes = {key: entry.value for key, entry in given.node.entries.items() if key in keys_of(model)}
        for key, node in nodes.items():
            value = node.value()
            if isinstance(value, str) and ("{{" in value or "{%" in value):
                message = f"`{key}` is never a template"
                given.fault("command.wrong_value", message, key, node.position, value, "a value that is written out")
                return {}
        values = check_values(model, nodes, (), given.path, self._faults)
        return {} if values is None else values.model_dump(by_alias=True)

    def _item_name(self, given: Fields, step_type: StepType) -> str | None:
        """What the blocks of a map call the current item."""
        if step_type.Literals is None or _ITEM_NAME not in keys_of(step_type.Literals):
            return None
        node = given.node.get(_ITEM_NAME)
        name = default_of(step_type.Literals, _ITEM_NAME) if node is None else node.value()
        if node is not None and isinstance(name, str) and name in {*ROOTS, *WORDS, _LOOP}:
            message = f"`{name}` means something else in templates"
            given.fault("command.reserved_name", message, _ITEM_NAME, node.position, str(name), "another name")
        return str(name)

    def _params(self, given: Fields, step_type: StepType, scope: Scope) -> Expression:
        apart = {*step_type.blocks, *step_type.conditions}
        apart.update(keys_of(step_type.Literals) if step_type.Literals is not None else ())
        nodes = {key: entry.value for key, entry in given.node.entries.items() if key not in apart}
        broken: list[Path] = []

        def report(place: Path, _: ScalarNode, error: ExpressionError) -> None:
            broken.append(place)
            self._template_fault((*given.path, *place), error)

        tree = self._compiler.mapping(nodes, report)
        for place, template in tree.templates:
            self._check_references(template, (*given.path, *place), scope)
        templates = (*(place for place, _ in tree.templates), *broken)
        known = keys_of(step_type.Params)
        known_nodes = {key: node for key, node in nodes.items() if key in known}
        check_values(step_type.Params, known_nodes, templates, given.path, self._faults)
        return tree

    def _blocks(self, given: Fields, step_type: StepType, scope: Scope) -> Mapping[str, tuple[StepSpec, ...]]:
        blocks: dict[str, tuple[StepSpec, ...]] = {}
        taken: frozenset[str] = frozenset()
        for name, is_required in step_type.blocks.items():
            items = given.items(name)
            if items is None:
                continue
            if not items and is_required:
                position = given.node.entries[name].value.position
                given.fault("command.wrong_value", f"`{name}` has no steps", name, position, None, "at least one step")
            blocks[name] = self.steps(items, (*given.path, name), scope, taken)
            taken |= frozenset(ids_of(items))
        return blocks

    def _conditions(self, given: Fields, step_type: StepType, scope: Scope) -> Mapping[str, Expression]:
        conditions: dict[str, Expression] = {}
        for name in step_type.conditions:
            node = given.node.get(name)
            condition = None if node is None else self.condition(node, (*given.path, name), scope)
            if condition is not None:
                conditions[name] = condition
        return conditions

    def _template_fault(self, path: Path, error: ExpressionError) -> None:
        """A text that is no template."""
        position = Position(int(str(error.facts["line"])), int(str(error.facts["column"])))
        found, meant = error.facts.get("name"), error.facts.get("nearest")
        self._faults.add(
            "command.template",
            error.detail,
            path,
            position,
            found=None if found is None else str(found),
            expected=str(error.facts.get("expected") or "a template"),
            known=() if meant is None else (str(meant),),
        )

    def _check_references(self, compiled: Template | Condition | Constant, path: Path, scope: Scope) -> None:
        self._references.check(compiled.names, compiled.filters, path, scope)


def ids_of(items: Iterable[Node]) -> Iterator[str]:
    """Ids of a list of steps, as far as they are texts."""
    for item in items:
        step_id = item.get("id") if isinstance(item, MappingNode) else None
        if step_id is not None and isinstance(step_id.value(), str):
            yield step_id.value()


def all_ids(node: Node | None) -> Iterator[str]:
    """Ids of every step in a list of steps and in the lists inside."""
    if isinstance(node, ListNode):
        yield from ids_of(node.items)
        for item in node.items:
            yield from all_ids(item)
    elif isinstance(node, MappingNode):
        for entry in node.entries.values():
            yield from all_ids(entry.value)


def read_retry(fields: Fields) -> Retry | None:
    """The `retry:` of a command or step."""
    retry = fields.mapping("retry")
    if retry is None:
        return None
    standard = Retry()
    attempts = retry.whole("max_attempts") or standard.max_attempts
    backoff = retry.duration("backoff") or standard.backoff
    max_backoff = retry.duration("max_backoff") or max(standard.max_backoff, backoff)
    if max_backoff < backoff:
        position = retry.node.entries["max_backoff"].value.position
        found, least = format_duration(max_backoff), format_duration(backoff)
        message = "`max_backoff` is less than `backoff`"
        retry.fault("command.wrong_value", message, "max_backoff", position, found, f"at least {least}")
    on = cast("tuple[Category, ...]", retry.choices("on") or standard.on)
    return Retry(attempts, backoff, max_backoff, on)
