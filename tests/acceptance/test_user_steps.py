"""A stack with step types and tables of its users: real processes, packages in their own folder, a real weir.toml."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixtures.folders import make_open_folder
from fixtures.installations import Installation, awaited, make_installation
from fixtures.stacks import ROOT
from fixtures.step_packages import install_example, install_module

from dsl.testing import TASKS_SQL

WEIR_TOML = """
[tables.tasks]
table = "app.tasks"
readable = ["id", "title", "done", "labels"]
writable = ["title", "done", "labels"]
deletable = true
max_rows = 10

[tables.nothing]
readable = ["id"]
"""

GREET = """
slug: greet
inputs: {name: {type: string, required: true}}
steps:
  - {id: hello, type: acme.greet, with: {name: "{{ inputs.name }}", tone: warm}}
  - {id: keep, type: fragment.create, with: {type: note, title: "{{ steps.hello.output.text }}"}}
  - {id: count, type: acme.count, with: {type: note, tag: greeted}}
  - {id: answer, type: respond, with: {value: "{{ steps.hello.output.text }}"}}
"""

PLAN = """
slug: plan
inputs: {title: {type: string, required: true}}
steps:
  - {id: new, type: model.create, with: {table: tasks, values: {title: "{{ inputs.title }}", labels: [planned]}}}
  - id: close
    type: database.update
    with:
      table: tasks
      set: {done: true}
      where: [{column: title, op: in, value: ["{{ inputs.title }}"]}]
  - {id: find, type: model.query, with: {table: tasks, where: [{column: done, value: true}], order: [{column: id}]}}
  - {id: drop, type: model.delete, with: {table: tasks, key: "{{ steps.new.output.key }}"}}
  - {id: answer, type: respond, with: {value: "{{ steps.find.output.items }}"}}
"""


@dataclass(frozen=True)
class Extended:
    """A running stack with packages, one of them broken, and declared tables, one of them missing."""

    installation: Installation
    site: Path


@pytest.fixture(scope="module")
def extended() -> Iterator[Extended]:
    """The stack, its table made after it started."""
    with make_open_folder() as site:
        install_example(site)
        install_module(site, "acme_broken", {"acme.broken": "acme_broken:Broken"}, "raise RuntimeError('no luck')")
        path = os.pathsep.join((str(ROOT), str(site)))
        with make_installation(PYTHONPATH=path, WEIR_LOG_FORMAT="json") as installation:
            (installation.folder / "weir.toml").write_text(WEIR_TOML, encoding="utf-8")
            installation.up()
            with installation.database() as connection:
                connection.execute(TASKS_SQL)
            for slug, text in (("greet", GREET), ("plan", PLAN)):
                (installation.commands / f"{slug}.yaml").write_text(text, encoding="utf-8")
            yield Extended(installation, site)


def measures(installation: Installation, execution_id: str) -> dict[str, Any]:
    """What the stored events of each step say of it."""
    events = installation.events_of(execution_id)
    return {event["step_path"]: event["measures"] for event in events if event["event_type"] == "dsl.step.executed"}


@pytest.mark.req("C-07", "C-08")
def test_a_step_type_of_a_package_runs_and_is_measured_like_any_other(extended: Extended) -> None:
    installation = extended.installation
    execution = installation.run("greet", {"name": "Ada"})
    assert (execution["state"], execution["result"]) == ("succeeded", "Hello Ada!")
    assert execution["mutations_count"] == 2
    found = measures(installation, execution["id"])
    assert found["hello"] == {"acme_tone": "warm", "acme_letters": 10}
    assert found["count"] == {"rows": 1}
    failed = installation.run("greet", {"name": " "})
    assert failed["error"]["type"] == "StepFailed"


def test_a_broken_package_is_told_and_takes_nothing_down(extended: Extended) -> None:
    installation = extended.installation
    installation.wait_healthy()
    for process in ("api", "worker", "sink"):
        lines = [line for line in installation.log_of(process) if line["event"] == "step_type_left_out"]
        assert [line["reason"] for line in lines] == ["RuntimeError: no luck"]
    checked = installation.weir("commands", "validate", "greet")
    assert checked.returncode == 0
    assert "acme.broken = acme_broken:Broken" in checked.stderr
    assert "no luck" in checked.stderr


@pytest.mark.req("C-02", "C-08")
def test_a_declared_table_is_used_and_the_events_name_it(extended: Extended) -> None:
    installation = extended.installation
    execution = installation.run("plan", {"title": "it's; drop table app.tasks; --"})
    assert execution["state"] == "succeeded"
    assert [row["title"] for row in execution["result"]] == ["it's; drop table app.tasks; --"]
    assert execution["effects"] == [
        {"entity": "tasks", "operation": "created", "rows": 1},
        {"entity": "tasks", "operation": "deleted", "rows": 1},
        {"entity": "tasks", "operation": "updated", "rows": 1},
    ]
    assert installation.rows("select count(*) from app.tasks") == [(0,)]
    found = measures(installation, execution["id"])
    assert found["close"] == {"rows": 1, "fields": 1, "model": "tasks"}
    assert found["drop"] == {"rows": 1, "model": "tasks"}


def test_a_table_that_is_not_there_is_told_when_the_worker_starts(extended: Extended) -> None:
    def told() -> list[str]:
        lines = extended.installation.log_of("worker")
        return [line["fault"] for line in lines if line["event"] == "table_declaration_wrong"]

    assert any("public.nothing" in fault for fault in awaited(told))


def test_a_command_that_names_no_declared_table_does_not_load(extended: Extended) -> None:
    installation = extended.installation
    text = "slug: wrong\nsteps: [{id: a, type: model.query, with: {table: task}}]"
    (installation.commands / "wrong.yaml").write_text(text, encoding="utf-8")
    answer = installation.request("POST", "/api/commands/wrong/executions", {})
    assert answer.status == 422
    [fault] = answer.json["errors"]
    assert (fault["path"], fault["nearest"]) == ("steps[0].with.table", "tasks")
    (installation.commands / "wrong.yaml").unlink()
