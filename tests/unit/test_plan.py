"""The scope an execution begins with."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from uuid import UUID

from dsl.check import load
from dsl.command import ExecutionInfo
from dsl.plan import Plan
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

COMMAND = load(
    "slug: a\nrequires: {secrets: [KEY]}\nsteps: [{id: s, type: respond, with: {value: '{{ secrets.KEY }}'}}]\n",
    REGISTRY,
    DslSettings(),
    origin="test",
)
INFO = ExecutionInfo(
    id=UUID("00000000-0000-7000-8000-00000000000a"),
    correlation_id=UUID(int=1),
    slug="a",
    user="ann",
    space="home",
    space_id=UUID(int=2),
    dry_run=False,
    now=datetime(2026, 11, 20, 20, 30, tzinfo=timezone(timedelta(hours=2))),
)


def test_the_scope_holds_plain_values_only() -> None:
    plan = Plan.of(COMMAND, INFO, {"body": "x"}, {"KEY": "s3cret", "OTHER": "not declared"})
    assert json.loads(json.dumps(plan.names)) == {
        "inputs": {"body": "x"},
        "execution": {
            "id": "00000000-0000-7000-8000-00000000000a",
            "user": "ann",
            "space": "home",
            "dry_run": False,
            "now": "2026-11-20T18:30:00.000000Z",
        },
        "secrets": {"KEY": "s3cret"},
        "now": "2026-11-20T18:30:00.000000Z",
        "uuid": plan.names["uuid"],
    }
    assert COMMAND.steps[0].params.evaluate(plan.names) == {"value": "s3cret"}


def test_every_attempt_at_an_execution_sees_the_same_uuid_and_others_another() -> None:
    plan, again = Plan.of(COMMAND, INFO, {}), Plan.of(COMMAND, INFO, {})
    other = Plan.of(COMMAND, replace(INFO, id=UUID(int=9)), {})
    assert str(UUID(plan.names["uuid"])) == plan.names["uuid"]
    assert plan.names["uuid"] == again.names["uuid"] != other.names["uuid"]
