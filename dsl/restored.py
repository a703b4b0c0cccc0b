"""What earlier attempts of an execution left in its ledger: a resumed run takes it from there, and does it no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from dsl.errors import FailedBefore
from dsl.step import Outcome
from telemetry.events import Category


@dataclass(frozen=True, slots=True)
class RestoredStep:
    """How a step went last.

    Attributes:
        step_try: Which try that was.
        ordinal: Order within the execution.
        output: JSON text; none without one.
        is_own: Whether this execution ran it, not the one that it resumes.
        error_category: Of one that failed.
    """

    path: str
    step_type: str
    outcome: Outcome
    step_try: int
    ordinal: int
    mutations_count: int = 0
    output: str | None = None
    is_own: bool = True
    error_category: Category | None = None

    @property
    def is_done(self) -> bool:
        """Whether it stays as it is; a step that failed is tried again."""
        return self.outcome != "failed"

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """What later steps see of it."""
        return None if self.output is None else msgspec.json.decode(self.output)


@dataclass(frozen=True, slots=True)
class Restored:
    """A ledger as it was found.

    Attributes:
        steps: By path.
        frozen: The lists of map steps, by path.
    """

    steps: Mapping[str, RestoredStep] = field(default_factory=lambda: MappingProxyType({}))
    frozen: Mapping[str, list[Any]] = field(default_factory=lambda: MappingProxyType({}))

    def done(self, path: str) -> RestoredStep | None:
        """The step, if it need not run again."""
        step = self.steps.get(path)
        return step if step is not None and step.is_done else None

    def tries(self, path: str) -> int:
        """How often the step was tried without success."""
        step = self.steps.get(path)
        return 0 if step is None or step.is_done else step.step_try

    def failure(self, path: str) -> FailedBefore | None:
        """How the step's last try failed, if it did."""
        step = self.steps.get(path)
        return None if step is None or step.is_done else FailedBefore(step.error_category or "internal")

    @property
    def last_ordinal(self) -> int:
        """Ordinals go on from here."""
        return max((step.ordinal for step in self.steps.values()), default=0)

    def last_of(self, step_type: str) -> RestoredStep | None:
        """The last step of a type that succeeded."""
        found = [step for step in self.steps.values() if step.step_type == step_type and step.outcome == "succeeded"]
        return max(found, key=lambda step: step.ordinal, default=None)


NOTHING = Restored()
