"""Whether what templates refer to can be there: checked when a file is loaded, for every name known by then."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from dsl.faults import Faults, listed
from dsl.nodes import Path
from dsl.templates.analysis import FilterUse, Name

#: What every template sees, beside the names of the maps around it.
ROOTS = ("execution", "inputs", "now", "secrets", "steps", "uuid")
EXECUTION = ("dry_run", "id", "now", "space", "user")

#: How many known names a fault lists, and among how many it looks for the nearest.
_LISTED = 12
_SORTED = 200

#: Properties that any mapping has in Liquid.
_OF_MAPPINGS = ("first", "size")


@dataclass(frozen=True, slots=True)
class Scope:
    """What the templates of one step see.

    Attributes:
        ready: Ids of steps whose output is there.
        pending: Ids in the same list, or in one around it, that have not run by then; the step itself is one.
        names: Of the maps around: their items, and `loop`.
    """

    ready: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    @property
    def ids(self) -> frozenset[str]:
        """Ids that a step inside may not take."""
        return self.ready | self.pending

    def within(self, ids: Iterable[str]) -> Scope:
        """Of a list of steps, before the first has run."""
        return replace(self, pending=self.pending.union(ids))

    def after(self, step_id: str) -> Scope:
        """When a step has run."""
        return replace(self, ready=self.ready | {step_id}, pending=self.pending - {step_id})

    def naming(self, names: Iterable[str]) -> Scope:
        """With names of a map."""
        return replace(self, names=self.names.union(names))


@dataclass(frozen=True, slots=True)
class References:
    """What a command's templates may refer to.

    Args:
        inputs: Declared names; none when any is allowed.
        secrets: Declared names.
        step_ids: Of every step anywhere in the file.
        filters: Names of all filters.
        faults: Where what is wrong goes.
    """

    inputs: frozenset[str] | None
    secrets: Sequence[str]
    step_ids: frozenset[str]
    filters: frozenset[str]
    faults: Faults

    def check(self, names: Iterable[Name], filters: Iterable[FilterUse], path: Path, scope: Scope) -> None:
        """Note every name and filter of a template or condition that cannot be there."""
        for name in names:
            self._name(name, path, scope)
        for use in filters:
            if use.name not in self.filters:
                message = f"there is no filter `{use.name}`"
                known = sorted(self.filters)
                self.faults.add(
                    "command.unknown_filter",
                    message,
                    path,
                    use.position,
                    found=use.name,
                    expected="a filter",
                    known=known,
                )

    def _name(self, name: Name, path: Path, scope: Scope) -> None:
        root, rest = name.root, name.segments[1:]
        if root in scope.names:
            return
        if root not in ROOTS:
            known = (*ROOTS, *sorted(scope.names))
            self._unknown("command.unknown_name", f"`{root}` is not a name here", name, path, root, known)
        elif root == "secrets":
            self._secret(name, path, rest)
        elif not rest or not isinstance(rest[0], str):
            return  # the whole of it, or a part that is only known when it runs
        elif root == "inputs":
            if self.inputs is not None and rest[0] not in self.inputs and rest[0] not in _OF_MAPPINGS:
                message = f"there is no input `{rest[0]}`"
                self._unknown(
                    "command.unknown_input", message, name, path, rest[0], _few(self.inputs), "a declared input"
                )
        elif root == "execution":
            if rest[0] not in EXECUTION:
                message = f"an execution has no `{rest[0]}`"
                self._unknown("command.unknown_name", message, name, path, rest[0], EXECUTION)
        elif root == "steps":
            self._step(name, path, scope, rest[0])

    def _secret(self, name: Name, path: Path, rest: tuple[str | int | None, ...]) -> None:
        if not rest or not isinstance(rest[0], str):
            message = "a secret must be named: `secrets.NAME`"
            self._unknown("command.unknown_secret", message, name, path, str(name), (), "secrets.NAME")
        elif rest[0] not in self.secrets:
            message = f"the secret `{rest[0]}` is not listed in `requires.secrets`"
            self._unknown("command.unknown_secret", message, name, path, rest[0], self.secrets, "a secret of that list")

    def _step(self, name: Name, path: Path, scope: Scope, step_id: str) -> None:
        if step_id in scope.ready:
            if len(name.segments) > 2 and name.segments[2] != "output":  # noqa: PLR2004 - steps, id, output
                message = f"a step has an `output` and nothing else: write `steps.{step_id}.output`"
                found = str(name.segments[2])
                self._unknown("command.unknown_name", message, name, path, found, ("output",))
        elif step_id in scope.pending:
            message = f"the step `{step_id}` has not run by then: it is this one, around it, or defined later"
            expected = "a step before this one" if scope.ready else "no step: none has run by then"
            self._unknown("command.step_not_run_yet", message, name, path, step_id, _few(scope.ready), expected)
        elif step_id in self.step_ids:
            message = f"the step `{step_id}` is in another list of steps, which cannot be seen from here"
            self._unknown("command.unknown_step", message, name, path, step_id, (), "a step of this list, or around it")
        else:
            message = f"there is no step `{step_id}`"
            expected = "a step before this one" if scope.ready else "no step: none has run by then"
            self._unknown("command.unknown_step", message, name, path, step_id, _few(scope.ready), expected)

    def _unknown(  # noqa: PLR0913 - what a fault can say
        self, code: str, message: str, name: Name, path: Path, found: str, known: Collection[str], else_: str = "a name"
    ) -> None:
        expected = listed(tuple(known)) if 0 < len(known) <= _LISTED else else_
        self.faults.add(code, message, path, name.position, found=found, expected=expected, known=known)


def _few(names: frozenset[str]) -> list[str]:
    """Names in order, unless there are so many that sorting them for every fault would take long."""
    return sorted(names) if len(names) <= _SORTED else []
