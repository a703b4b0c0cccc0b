"""Schedules over REST and on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fixtures.apis import Api, Weir

from api.schemas.answers import ProblemShape
from api.schemas.schedules import (
    BackfilledShape,
    NextPage,
    OccurrencePage,
    OccurrenceShape,
    ScheduleDetailShape,
    SchedulePage,
)
from workers.services.declarer import Declarer
from workers.services.ticker import Ticker

STEPS = "  - {id: say, type: respond, with: {value: done}}\n"


@pytest.fixture
def scheduling(api: Api) -> Api:
    """An API with a command to schedule."""
    api.write("tell", STEPS, "{n: {type: integer}}")
    return api


def create(api: Api, **words: object) -> Any:  # noqa: ANN401 - any JSON
    body = {"name": "it", "command": "tell", **({"every": "1h"} if not {"cron", "at"} & words.keys() else {}), **words}
    answer = api.post("/api/schedules", body)
    assert answer.status_code == 201, answer.json
    return answer.json


def make_due(api: Api, back: timedelta) -> None:
    """As if the schedules had been there for a while, with nobody to run them."""
    with api.resources.pool.connection() as connection:
        connection.execute(
            "update schedules set next_due_at = next_due_at - %(by)s, wake_at = wake_at - %(by)s", {"by": back}
        )


def tick(api: Api) -> None:
    ticker = Ticker(api.resources.occurrences, api.resources.clock)
    while ticker.run_once().again_in == timedelta(0):
        pass


@pytest.mark.req("D-04")
def test_a_schedule_is_made_shown_changed_and_removed(scheduling: Api) -> None:
    answer = scheduling.post(
        "/api/schedules",
        {
            "name": "nightly",
            "command": "tell",
            "cron": "30 2 * * *",
            "timezone": "Europe/Berlin",
            "jitter": "5m",
            "pause_after": 3,
            "inputs": {"n": 1},
        },
    )
    made = answer.json
    ScheduleDetailShape().load(made)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/schedules/{made['id']}"
    assert (made["state"], made["declared"], made["window"], made["jitter"]) == ("active", False, "1d", "5m")
    assert made["timing"] == "At 02:30 every day (Europe/Berlin)"
    assert len(made["next_runs"]) == 5
    assert all(run["local_time"][11:16] in {"02:30", "03:00"} for run in made["next_runs"])

    by_name = scheduling.get("/api/schedules/nightly")
    assert by_name.json == scheduling.get(f"/api/schedules/{made['id']}").json == made

    changed = scheduling.open("PATCH", "/api/schedules/nightly", json={"every": "15m", "pause_after": None})
    ScheduleDetailShape().load(changed.json)
    assert (changed.json["cron"], changed.json["every"], changed.json["pause_after"]) == (None, "15m", None)
    assert changed.json["inputs"] == {"n": 1}

    page = scheduling.get("/api/schedules").json
    SchedulePage().load(page)
    assert [item["name"] for item in page["items"]] == ["nightly"]
    assert scheduling.open("DELETE", "/api/schedules/nightly").json["state"] == "removed"
    assert scheduling.get("/api/schedules").json["items"] == []
    assert scheduling.get("/api/schedules/nightly").status_code == 404
    assert scheduling.get(f"/api/schedules/{made['id']}").json["next_runs"] == []


@pytest.mark.parametrize(
    ("words", "path", "nearest"),
    [
        pytest.param({"cron": "61 * * * *"}, "cron", None, id="cron"),
        pytest.param({"cron": "@dayly"}, "cron", "@daily", id="alias"),
        pytest.param({"every": "1h", "timezone": "Europe/Berlln"}, "timezone", "Europe/Berlin", id="zone"),
        pytest.param({"every": "1h", "cron": "@daily"}, "every", None, id="two"),
        pytest.param({}, "cron", None, id="none"),
        pytest.param({"every": "1ms"}, "every", None, id="too often"),
        pytest.param({"every": "1h", "jitter": "1h"}, "jitter", None, id="jitter"),
        pytest.param({"every": "1h", "window": "900d"}, "window", None, id="window"),
        pytest.param({"at": "tomorrow"}, "at", None, id="at"),
        pytest.param({"cron": "@daily", "anchor": "2026-01-01"}, "anchor", None, id="anchor"),
        pytest.param({"every": "one hour"}, "every", None, id="duration"),
        pytest.param({"every": "1h", "misfires": "all"}, "misfires", "misfire", id="unknown"),
        pytest.param({"every": "1h", "overlap": "never"}, "overlap", None, id="overlap"),
        pytest.param({"every": "1h", "inputs": {"n": "x"}}, "inputs.n", None, id="inputs"),
        pytest.param({"every": "1h", "inputs": {"n": "{{ due }}"}}, "inputs.n", "due_at", id="name in a template"),
        pytest.param({"every": "1h", "inputs": {"n": "{{ due_at | dat }}"}}, "inputs.n", "date", id="filter"),
        pytest.param({"every": "1h", "inputs": {"n": "{{ due_at"}}, "inputs.n", None, id="template"),
        pytest.param({"at": "2020-01-01T00:00"}, "at", None, id="past"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(
    scheduling: Api, words: dict[str, object], path: str, nearest: str | None
) -> None:
    answer = scheduling.post("/api/schedules", {"name": "it", "command": "tell", **words})

    assert answer.status_code == 422
    ProblemShape().load(answer.json)
    (fault,) = answer.json["errors"]
    assert (fault["path"], fault.get("nearest")) == (path, nearest)


def test_all_that_is_wrong_with_a_timing_is_said_at_once(scheduling: Api) -> None:
    body = {"name": "it", "command": "tell", "cron": "99 * * * *", "timezone": "Europe/Berln", "window": "0s"}
    answer = scheduling.post("/api/schedules", body)

    told = [(fault["path"], fault.get("nearest")) for fault in answer.json["errors"]]
    assert told == [("timezone", "Europe/Berlin"), ("cron", None), ("window", None)]
    assert all(fault["expected"] for fault in answer.json["errors"])


def test_a_change_is_checked_as_what_is_new(scheduling: Api) -> None:
    create(scheduling)

    for words, path in (({"inputs": {"n": "{{ due }}"}}, "inputs.n"), ({"at": "2020-01-01T00:00"}, "at")):
        refused = scheduling.open("PATCH", "/api/schedules/it", json=words)
        assert (refused.status_code, refused.json["errors"][0]["path"]) == (422, path)


def test_a_schedule_that_was_due_once_can_still_be_changed(scheduling: Api) -> None:
    create(scheduling, at="2100-01-01T00:00")
    with scheduling.resources.pool.connection() as connection:
        connection.execute("update schedules set at = '2020-01-01', next_due_at = null, wake_at = null")

    changed = scheduling.open("PATCH", "/api/schedules/it", json={"priority": 1})
    assert (changed.status_code, changed.json["state"]) == (200, "done")


def test_inputs_that_the_command_does_not_take_are_told_with_their_place(scheduling: Api) -> None:
    made = create(scheduling, inputs={"n": "{{ due_at }}"})

    (wrong,) = made["wrong_inputs"]
    assert (wrong["path"], "whole number" in wrong["expected"]) == ("inputs.n", True)
    run = scheduling.post("/api/schedules/it/run", {})
    assert (run.status_code, [fault["path"] for fault in run.json["errors"]]) == (422, ["inputs", "inputs.n"])
    fits = scheduling.open("PATCH", "/api/schedules/it", json={"inputs": {"n": 1}})
    assert fits.json["wrong_inputs"] == []


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({"start": "2026-03-08T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "end"),
        ({"start": "2026-03-08T00:00:00Z", "end": "2026-03-08T00:00:00Z"}, "end"),
        ({"start": "2100-01-01T00:00:00Z"}, "start"),
    ],
)
def test_a_range_that_holds_nothing_is_refused(scheduling: Api, words: dict[str, str], path: str) -> None:
    create(scheduling)

    refused = scheduling.post("/api/schedules/it/backfill", words)
    assert (refused.status_code, refused.json["errors"][0]["path"]) == (422, path)


def test_commands_and_names_must_be_right(scheduling: Api) -> None:
    create(scheduling)
    body = {"name": "it", "every": "1h"}

    assert scheduling.post("/api/schedules", {**body, "command": "tel"}).json["code"] == "command.unknown"
    assert scheduling.post("/api/schedules", {**body, "command": "tell"}).json["code"] == "schedule.name_taken"
    assert scheduling.post("/api/schedules", body).json["errors"][0]["path"] == "command"
    wrong = scheduling.get("/api/schedules/itt")
    assert (wrong.status_code, wrong.json["hint"]) == (404, "Did you mean it?")


def test_pause_resume_and_next(scheduling: Api) -> None:
    create(scheduling)

    paused = scheduling.post("/api/schedules/it/pause", {}).json
    assert (paused["state"], paused["pause_reason"], len(paused["next_runs"])) == ("paused", "asked", 5)
    assert scheduling.post("/api/schedules/it/resume", {}).json["state"] == "active"
    page = scheduling.get("/api/schedules/it/next", count=7).json
    NextPage().load(page)
    assert len(page["items"]) == 7
    assert scheduling.get("/api/schedules/it/next", number=7).status_code == 422
    assert scheduling.post("/api/schedules/it/pause", {"for": "1h"}).status_code == 422


@pytest.mark.req("C-05", "C-11")
def test_run_now_is_traced_under_the_callers_correlation_id(scheduling: Api) -> None:
    schedule = create(scheduling, inputs={"n": 3})
    trace = "11111111-2222-4333-8444-555555555555"

    answer = scheduling.post("/api/schedules/it/run", {}, X_Correlation_ID=trace)

    OccurrenceShape().load(answer.json)
    assert (answer.status_code, answer.json["correlation_id"], answer.json["origin"]) == (202, trace, "manual")
    assert scheduling.run() == 1
    execution = scheduling.get(f"/api/executions/{answer.json['execution_id']}").json
    assert (execution["schedule_id"], execution["link"], execution["state"]) == (
        schedule["id"],
        "scheduled_by",
        "succeeded",
    )
    assert (execution["request_source"], execution["inputs"]) == ("schedule", {"n": 3})
    events = scheduling.get(f"/api/telemetry/traces/{trace}").json["items"]
    (triggered,) = [event for event in events if event["event_type"] == "schedule.triggered"]
    assert triggered["execution_id"] == execution["id"]
    assert triggered["measures"]["schedule_id"] == schedule["id"]
    assert triggered["measures"]["due_at"] == answer.json["due_at"].replace("Z", "+00:00")
    assert triggered["measures"]["lateness_ms"] >= 0


def test_occurrences_come_in_pages(scheduling: Api) -> None:
    create(scheduling, misfire="all", overlap="allow")
    make_due(scheduling, timedelta(hours=6))
    tick(scheduling)
    scheduling.post("/api/schedules/it/run", {})

    seen: list[Any] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = scheduling.get("/api/schedules/it/occurrences", **query).json
        OccurrencePage().load(page)
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert len(seen) == 7
    assert len({(item["due_at"], item["origin"]) for item in seen}) == 7
    assert [item["due_at"] for item in seen] == sorted((item["due_at"] for item in seen), reverse=True)
    late = scheduling.get("/api/schedules/it/occurrences", state="late").json["items"]
    assert len(late) == 1
    for wrong in ("x", "b2NjdXJyZW5jZTo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
        assert scheduling.get("/api/schedules/it/occurrences", cursor=wrong).status_code == 400


def test_a_backfill_is_previewed_and_done(scheduling: Api) -> None:
    create(scheduling, overlap="allow")
    start = (datetime.now(UTC) - timedelta(hours=10)).isoformat()  # noqa: TID251 - the API's clock is the machine's

    preview = scheduling.post("/api/schedules/it/backfill", {"start": start, "preview": True}).json
    done = scheduling.post("/api/schedules/it/backfill", {"start": start}).json

    BackfilledShape().load(preview)
    assert preview["count"] == len(preview["due_times"]) == 10
    assert done == preview | {"preview": False}
    assert scheduling.run() == 10
    too_much = scheduling.post("/api/schedules/it/backfill", {"start": "2020-01-01T00:00:00Z"})
    assert (too_much.status_code, too_much.json["code"]) == (422, "schedule.backfill_too_large")


def test_what_a_file_declares_is_shown_as_such_and_not_changed_here(scheduling: Api) -> None:
    text = f"slug: own\nsteps:\n{STEPS}schedules:\n  - {{id: often, every: 1h}}\n"
    (scheduling.commands / "own.yaml").write_text(text, encoding="utf-8")
    Declarer(scheduling.resources.library, scheduling.resources.schedules).run_once()

    shown = scheduling.get("/api/schedules/own:often").json
    assert shown["declared"] is True
    for method, body in (("PATCH", {"every": "2h"}), ("DELETE", None)):
        answer = scheduling.open(method, "/api/schedules/own:often", json=body)
        assert (answer.status_code, answer.json["code"]) == (409, "schedule.declared")
    assert scheduling.post("/api/schedules/own:often/pause", {}).json["state"] == "paused"
    assert scheduling.post("/api/schedules/own:often/run", {}).status_code == 202


@pytest.mark.req("D-04")
def test_the_command_line_does_all_of_it(weir: Weir, busy_api: Api) -> None:
    busy_api.write("tell", STEPS, "{n: {type: integer}}")
    made = weir("schedules", "create", "it", "tell", "--cron", "@hourly", "-i", "n=4", "--format", "json")
    assert made.code == 0, made.err
    assert made.json["inputs"] == {"n": 4}
    shown = weir("schedules", "show", "it")
    assert "it active" in shown.out
    assert "misfire      latest, within 1d" in shown.out

    assert "every" in weir("schedules", "update", "it", "--every", "1h", "--overlap", "allow").out.lower()
    assert weir("schedules", "list").out.splitlines()[1].split()[:3] == ["it", "tell", "active"]
    assert len(weir("schedules", "next", "it", "--count", "3", "--format", "json").json["items"]) == 3
    assert "it paused" in weir("schedules", "pause", "it").out
    assert "it active" in weir("schedules", "resume", "it").out
    assert len(weir("schedules", "run", "it").out.strip()) == 36
    start = (datetime.now(UTC) - timedelta(hours=3)).isoformat()  # noqa: TID251 - likewise
    assert weir("schedules", "backfill", "it", "--from", start, "--preview").out.startswith("3 due times would be run")
    assert weir("schedules", "backfill", "it", "--from", start).out.startswith("3 due times run")
    listed = weir("schedules", "occurrences", "it", "--format", "csv").out.splitlines()
    assert len(listed) == 5
    assert "caught_up" in weir("schedules", "occurrences", "it").out
    assert "is removed" in weir("schedules", "delete", "it").out
    gone = weir("schedules", "show", "it")
    assert (gone.code, gone.err.splitlines()[0]) == (1, "weir: there is no schedule it (schedule.not_found)")


def test_the_command_line_says_what_is_wrong_with_a_schedule(weir: Weir, busy_api: Api) -> None:
    busy_api.write("tell", STEPS)
    wrong = weir("schedules", "create", "it", "tell", "--cron", "0 3 * * *", "--timezone", "Europe/Berln")
    assert wrong.code == 1
    assert wrong.err.count("did you mean Europe/Berlin?") == 1
    assert "expected a name of the IANA database" in wrong.err

    often = weir("schedules", "create", "it", "tell", "--every", "10ms")
    assert "1s to 365d" in often.err
    cron = weir("schedules", "create", "it", "tell", "--cron", "99 * * * *")
    assert "the minute cannot be `99`; expected 0 to 59" in cron.err
    past = weir("schedules", "create", "it", "tell", "--at", "2020-01-01T00:00")
    assert (past.code, "what is to run now needs no schedule" in past.err) == (1, True)
    template = weir("schedules", "create", "it", "tell", "--every", "1m", "-i", "n={{ due }}")
    assert (template.code, "did you mean due_at?" in template.err) == (1, True)


def test_the_command_line_tells_what_a_paused_schedule_and_a_filter_mean(weir: Weir, busy_api: Api) -> None:
    busy_api.write("tell", STEPS)
    assert weir("schedules", "create", "it", "tell", "--cron", "@hourly").code == 0
    assert weir("schedules", "occurrences", "it").out.strip() == "Nothing was due yet."
    assert weir("schedules", "occurrences", "it", "--state", "missed").out.strip() == "No due time is missed."
    assert "if resumed" in weir("schedules", "pause", "it").out

    here = (datetime.now(UTC) - timedelta(hours=1)).astimezone().replace(tzinfo=None).isoformat()  # noqa: TID251 - likewise
    preview = weir("schedules", "backfill", "it", "--from", here, "--preview").out.splitlines()
    assert preview[0].startswith("1 due time would be run: ")
    assert " to " not in preview[0]
    assert preview[1] == "The schedule is paused: what waits its turn runs after weir schedules resume it"
    for option, words in (
        ("--from", ("--from", "bogus")),
        ("--to", ("--from", "2h", "--to", "bogus")),
        ("--to", ("--from", "2026-03-08T00:00", "--to", "2026-03-01T00:00")),
    ):
        refused = weir("schedules", "backfill", "it", *words)
        assert (refused.code, f"Invalid value for {option}" in refused.err) == (2, True)
