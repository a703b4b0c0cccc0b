"""What can go wrong around alerts, as opposed to what they tell of.

AlertError
|- AlertNotFound
|- RuleNotFound
|- RuleInvalid        its words cannot be meant; every fault
|- RuleDeclared       its words are those of weir.toml, or Weir's own
|- RuleExists
|- SilenceNotFound
`- SilenceInvalid     it has no end, or one that has passed
"""

from __future__ import annotations

from collections.abc import Sequence

from telemetry.errors import TelemetryError


class AlertError(TelemetryError):
    """Something about alerts."""

    code = "alert"


class AlertNotFound(AlertError):
    """No alert has this id."""

    code = "alert.not_found"


class RuleNotFound(AlertError):
    """No rule has this name."""

    code = "alert.rule_not_found"


class RuleInvalid(AlertError):
    """The words of a rule cannot be meant; `sentences` has one for each."""

    code = "alert.rule_invalid"

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        super().__init__(f"rule {name}: {'; '.join(faults)}")
        self.sentences = tuple(faults)


class RuleDeclared(AlertError):
    """The rule is declared elsewhere: it can be switched on and off and silenced here, and nothing else."""

    code = "alert.rule_declared"


class RuleExists(AlertError):
    """Another rule has this name."""

    code = "alert.rule_exists"


class SilenceNotFound(AlertError):
    """No silence that holds or will hold has this id."""

    code = "alert.silence_not_found"


class SilenceInvalid(AlertError):
    """A silence ends after it begins, and within a month."""

    code = "alert.silence_invalid"
