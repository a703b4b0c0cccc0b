"""Errors by their cause: counted, spread over time, and found by the same filters as events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fixtures.apis import Api, Weir
from fixtures.samples import ERROR, make_scope, now_us

from api.cli.error_groups import sparkline
from telemetry.events import StepFailed
from telemetry.ids import mint

HOUR_US = 3_600_000_000
OTHER = msgspec.structs.replace(ERROR, error_type="Elsewhere", error_fingerprint=b"12345678")


def fail(api: Api, hours_ago: int, error: Any = ERROR, step_type: str = "fragment.create") -> None:  # noqa: ANN401 - facts
    at_us = now_us() - hours_ago * HOUR_US
    event = StepFailed(mint(at_us), at_us, make_scope(), "create", step_type, 10, error)
    api.resources.recorder.record(event)


@pytest.mark.req("S-10")
def test_errors_are_grouped_by_cause_and_spread_over_time(api: Api) -> None:
    for _ in range(3):
        fail(api, 0)
    fail(api, 0, OTHER, "notify")

    told = api.get("/api/telemetry/errors", time_range="24h").json
    first, second = told["items"]

    assert (first["count"], first["traces"], first["error_type"]) == (3, 3, ERROR.error_type)
    assert (second["count"], second["step_types"]) == (1, ["notify"])
    assert first["fingerprint"] == ERROR.error_fingerprint.hex()
    assert (sum(first["spread"]), first["spread"][-1], len(first["spread"])) == (3, 3, 24)
    assert api.get(f"/api/telemetry/traces/{first['newest_trace']}").status_code == 200


@pytest.mark.req("S-10", "S-03")
def test_filters_and_limits_hold_for_errors_too(api: Api) -> None:
    fail(api, 0)
    fail(api, 0, OTHER, "notify")

    assert len(api.get("/api/telemetry/errors", filter="type:notify").json["items"]) == 1
    assert len(api.get("/api/telemetry/errors", limit=1).json["items"]) == 1
    assert api.get("/api/telemetry/errors", filter="type:respond").json["items"] == []
    assert api.get("/api/telemetry/errors", filter="tpye:notify").status_code == 422


@pytest.mark.req("S-10")
def test_errors_are_shown_as_lines_and_csv(weir: Weir, busy_api: Api) -> None:
    assert weir("telemetry", "errors").out == "No errors here. Look further back (--last 7d).\n"
    fail(busy_api, 0)

    shown, rows = weir("telemetry", "errors", "--last", "6h"), weir("telemetry", "errors", "--format", "csv")

    assert any(ERROR.error_type in line and "█" in line for line in shown.out.splitlines())
    assert rows.out.startswith("fingerprint,error_type,error_category,count")


def test_a_sparkline_shows_all_that_is_not_nothing() -> None:
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([1, 100], unicode=False).isascii()
