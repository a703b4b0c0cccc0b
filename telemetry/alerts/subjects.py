"""What a rule may be about: metrics of requests (`telemetry.rollups.metrics`), and how the system itself is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

#: Components whose events end requests, as `telemetry.rollups.metrics.REQUESTS` has them. Not imported from there, as
#: names of metrics are not: settings are read before anything of a database is.
COMPONENTS: Final = ("chat", "command")

Kind = Literal["requests", "system"]


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that has a value.

    Attributes:
        name: As rules name it.
        kind: Of requests in a window; or of the system, as it is now.
        units: Of each statistic, by name.
        usual: The statistic that is meant when none is named.
    """

    name: str
    kind: Kind
    units: Mapping[str, str]
    usual: str


_REQUESTS: Final = (
    *("request_rate", "total_latency", "context_latency", "llm_latency"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "error_rate", "cache_hit_rate"),
)
_LATENCY: Final = {
    name: "requests" if name == "count" else "ms" for name in ("average", "median", "p95", "p99", "min", "max", "count")
}
_TOKENS: Final = {"total": "tokens", "average_per_request": "tokens", "requests": "requests"}


def _of_requests(name: str) -> Subject:
    if name.endswith("_latency"):
        return Subject(name, "requests", _LATENCY, "average")
    if name.endswith("_tokens"):
        return Subject(name, "requests", _TOKENS, "total")
    own: Mapping[str, Mapping[str, str]] = {
        "request_rate": {"rate": "requests/min", "requests": "requests"},
        "error_rate": {"rate_percent": "percent", "errors": "errors", "requests": "requests"},
        "cache_hit_rate": {"rate_percent": "percent", "hits": "requests", "misses": "requests"},
    }
    return Subject(name, "requests", own[name], next(iter(own[name])))


def _of_system(name: str, unit: str) -> Subject:
    return Subject(name, "system", {"value": unit}, "value")


SUBJECTS: Final[Mapping[str, Subject]] = {
    subject.name: subject
    for subject in (
        *map(_of_requests, _REQUESTS),
        _of_system("sink_lag", "seconds"),
        _of_system("spooling", "recorders"),
        _of_system("new_errors", "fingerprints"),
        _of_system("missed_schedules", "due times"),
        _of_system("stuck_leases", "executions"),
        _of_system("disk_free", "bytes"),
    )
}
