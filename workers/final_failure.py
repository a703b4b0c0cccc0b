"""What an execution has failed of for good, as it is kept while only its `on_failure` steps are left. Pure.

However those go, it ends as it would have without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsl.executor import Outcome
from dsl.instrumentation import DescribeError, Totals
from workers.failures import KeptError

#: The key of how it will have ended, beside the details of its error.
_ENDING = "ending"


def keep(outcome: Outcome, errors: DescribeError) -> dict[str, Any]:
    """An outcome with an error, JSON-able: the details of the error, its `step`, and under `ending` the rest."""
    details = {} if outcome.error is None else errors.details(outcome.error)
    return {**details, "step": outcome.failed_path, _ENDING: {"state": outcome.state, "stopped": outcome.stopped}}


def kept(failing: Mapping[str, Any], totals: Totals) -> Outcome:
    """That outcome again.

    Args:
        failing: What was kept.
        totals: Of all that ran, `on_failure` included.
    """
    details = dict(failing)
    ending = details.pop(_ENDING, {})
    state, stopped = ending.get("state", "failed"), ending.get("stopped")
    return Outcome(None, KeptError(details), details.get("step"), totals, state, stopped)
