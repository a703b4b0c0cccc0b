"""Exports over REST: asked for, written in the background by a process that may be killed, fetched, taken away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fixtures.apis import Answer, Api
from fixtures.exports import digest_of, rows_of
from psycopg import Connection

from api.settings import Settings
from telemetry.export.writing import PAGE_ROWS, Progress
from telemetry.samples.generator import COMPONENTS, Samples
from telemetry.sampling import fill
from telemetry.store import prepare_session
from telemetry.testing import NOON
from workers.rounds import make_exporter, write_exports
from workers.services import exporter
from workers.settings import ExportSettings

ROOT = Path(__file__).parents[2]
PATH = "/api/telemetry/exports"
SAMPLES = Samples(1, frozenset(COMPONENTS), [bytes([number]) * 16 for number in range(1, 13)])
EVENTS = 2 * PAGE_ROWS + 500

#: A round in a process of its own, which the kernel kills after its second page; everything is noted at once.
DIES = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from functools import partial
from telemetry.clock import SystemClock
from telemetry.connections import open_pool
from telemetry.export import writing
from workers.exports import Exports
from workers.services import exporter
from workers.settings import ExportSettings

writing._NOTED_EVERY_US = 0
told = []
before = exporter._Pace.tell
def tell(self, progress):
    before(self, progress)
    told.append(progress)
    if len(told) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
exporter._Pace.tell = tell
url, folder = sys.argv[1:]
pool = open_pool(url, name="dies", max_size=2, autocommit=True)
exports = Exports(pool, SystemClock(), ExportSettings(lease=timedelta(milliseconds=100)))
exporter.Exporter(exports, partial(writing.open_reader, url), Path(folder), SystemClock()).run_once()
"""


@pytest.fixture
def api_settings(api_settings: Settings, tmp_path: Path) -> Settings:
    exports = ExportSettings(
        dir=tmp_path / "exports", lease=timedelta(milliseconds=100), max_bytes=20_000_000, max_bytes_each=10_000_000
    )
    return replace(api_settings, workers=replace(api_settings.workers, exports=exports))


@pytest.fixture
def stored(connection: Connection[Any], api: Api) -> Connection[Any]:
    prepare_session(connection)
    fill(connection, SAMPLES, EVENTS, timedelta(days=3), NOON)
    return connection


def asked(api: Api, **body: object) -> str:
    answer = api.post(PATH, body)
    assert (answer.status_code, answer.json["state"]) == (202, "waiting")
    return answer.headers["Location"]


def fetch(api: Api, path: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.open("GET", path, headers=named, buffered=True)


@pytest.mark.req("S-07")
def test_it_is_asked_for_looked_at_and_fetched(stored: Connection[Any], api: Api, tmp_path: Path) -> None:
    place = asked(api, component="http", compress=True, start=(NOON - timedelta(days=2)).isoformat())
    assert fetch(api, f"{place}/file").json["code"] == "export.not_ready"

    write_exports(api.resources)

    job = api.get(place).json
    (file,) = job["files"]
    assert (job["state"], job["error"], job["rows"]) == ("done", None, job["total_rows"])
    assert job["filter"].startswith("component:http occurred_at:>=")
    assert api.get(PATH).json["items"] == [job]
    found = fetch(api, f"{place}/file")
    saved = tmp_path / file["name"]
    saved.write_bytes(found.data)
    assert digest_of(saved) == file["sha256"] == found.headers["ETag"].strip('"')
    assert len(rows_of(saved)) == file["rows"] == job["rows"] > 0
    assert found.headers["Content-Length"] == str(file["bytes"])
    assert fetch(api, f"{file['url']}.sha256").text == f"{file['sha256']}  {file['name']}\n"


@pytest.mark.req("S-07")
def test_what_was_broken_off_is_fetched_from_there_on(stored: Connection[Any], api: Api) -> None:
    place = asked(api)
    write_exports(api.resources)
    whole = fetch(api, f"{place}/file")
    etag = whole.headers["ETag"]

    rest = fetch(api, f"{place}/file", Range="bytes=1000-", If_Range=etag)

    assert (rest.status_code, rest.data) == (206, whole.data[1000:])
    assert fetch(api, f"{place}/file", If_None_Match=etag).status_code == 304
    assert fetch(api, f"{place}/file", Range=f"bytes={len(whole.data)}-").status_code == 416


@pytest.mark.req("S-07")
def test_a_killed_process_is_gone_on_for_to_the_same_bytes(
    stored: Connection[Any], api: Api, database_url: str, api_settings: Settings
) -> None:
    whole = asked(api, format="csv", compress=True)
    write_exports(api.resources)
    place = asked(api, format="csv", compress=True)

    folder = str(api_settings.workers.exports.dir)
    killed = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", DIES, database_url, folder], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    seen = api.get(place).json
    assert (seen["state"], seen["total_rows"]) == ("running", EVENTS)
    assert fetch(api, f"{place}/file").status_code == 409
    stored.execute("update export_jobs set lease_until = now() where state = 'running'")
    write_exports(api.resources)

    assert api.get(place).json["state"] == "done"
    assert api.get(place).json["files"][0]["sha256"] == api.get(whole).json["files"][0]["sha256"]
    assert fetch(api, f"{place}/file").data == fetch(api, f"{whole}/file").data


@pytest.mark.req("S-07")
def test_a_round_works_for_its_time_and_the_next_goes_on(stored: Connection[Any], api: Api) -> None:
    whole = asked(api)
    write_exports(api.resources)
    place = asked(api)
    rounds = make_exporter(api.resources)

    for _ in range(2):
        assert rounds.run_once(timedelta(0))
        assert api.get(place).json["state"] == "running"
    assert rounds.run_once()
    assert not rounds.run_once()

    assert fetch(api, f"{place}/file").data == fetch(api, f"{whole}/file").data


@pytest.mark.req("S-07")
def test_a_key_sent_again_is_the_same_export(stored: Connection[Any], api: Api) -> None:
    first = api.post(PATH, {"component": "dsl"}, Idempotency_Key="k")

    again = api.post(PATH, {"component": "dsl"}, Idempotency_Key="k")
    other = api.post(PATH, {"component": "http"}, Idempotency_Key="k")

    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    assert again.headers["Idempotent-Replay"] == "true"
    assert (other.status_code, other.json["code"]) == (409, "execution.key_reused")


@pytest.mark.req("S-07")
def test_what_gets_too_large_fails_and_leaves_nothing(
    stored: Connection[Any], api: Api, api_settings: Settings
) -> None:
    place = asked(api, max_bytes=2_000_000)

    write_exports(api.resources)

    job = api.get(place).json
    assert (job["state"], job["error"]["code"]) == ("failed", "export.too_large")
    assert "2000 of 4500 rows" in job["error"]["detail"]
    assert fetch(api, f"{place}/file").json["code"] == "export.not_ready"
    assert list(Path(str(api_settings.workers.exports.dir)).iterdir()) == []


@pytest.mark.req("S-07")
def test_what_is_kept_is_bounded_and_goes_when_its_time_is_over(
    stored: Connection[Any], api: Api, api_settings: Settings
) -> None:
    folder = Path(str(api_settings.workers.exports.dir))
    first, second = asked(api, split_by="component"), asked(api)
    full = api.post(PATH, {})
    assert (full.status_code, full.json["code"]) == (429, "export.too_many")

    write_exports(api.resources)
    write_exports(api.resources)
    third = asked(api)
    several = fetch(api, f"{first}/file")
    assert (several.status_code, "files of events" in several.json["detail"]) == (409, True)
    assert {path.name for path in folder.iterdir()} == {first.split("/")[-1], second.split("/")[-1]}

    assert api.open("DELETE", third).status_code == 204
    assert api.open("DELETE", first).status_code == 204
    assert api.get(first).status_code == api.open("DELETE", first).status_code == 404
    stored.execute("update export_jobs set finished_at = finished_at - interval '25 hours' where state = 'done'")
    (folder / str(UUID(int=1))).mkdir()
    (folder / "something else").mkdir()
    somebodys = folder / str(UUID(int=2))
    somebodys.mkdir()
    (somebodys / "notes.txt").touch()
    write_exports(api.resources)

    assert api.get(PATH).json["items"] == []
    assert {path.name for path in folder.iterdir()} == {"something else", somebodys.name}


@pytest.mark.req("S-07")
def test_what_cannot_be_deleted_holds_up_no_other(stored: Connection[Any], api: Api, api_settings: Settings) -> None:
    folder = Path(str(api_settings.workers.exports.dir))
    first = asked(api)
    write_exports(api.resources)
    stuck = folder / first.split("/")[-1]
    stuck.rename(folder / "elsewhere")
    stuck.symlink_to(folder / "elsewhere")  # nobody may delete through a link
    api.open("DELETE", first)

    second = asked(api)
    write_exports(api.resources)
    assert api.get(second).json["state"] == "done"

    stuck.unlink()
    (folder / "elsewhere").rename(stuck)
    write_exports(api.resources)
    assert not stuck.exists()


@pytest.mark.req("S-07")
def test_no_name_leads_anywhere_else(stored: Connection[Any], api: Api) -> None:
    place = asked(api, component="http")
    write_exports(api.resources)

    for name in ("../../../etc/passwd", "..%2f..%2fexport", "%2e%2e", "weir-telemetry.jsonl.manifest.json"):
        assert fetch(api, f"{place}/files/{name}").status_code == 404


@pytest.mark.req("S-07")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"format": "parquet"}, "request.invalid"),
        ({"filter": "colour:red"}, "filter.invalid"),
        ({"component": "kitchen"}, "request.invalid"),
        ({"max_bytes": 0}, "request.invalid"),
        ({"where": "/etc"}, "request.invalid"),
    ],
)
def test_what_cannot_be_exported_is_refused(api: Api, body: dict[str, object], code: str) -> None:
    refused = api.post(PATH, body)

    assert (refused.status_code, refused.json["code"]) == (422, code)


@pytest.mark.req("S-07")
def test_what_ends_its_process_again_and_again_is_given_up(stored: Connection[Any], api: Api) -> None:
    place = asked(api)
    stored.execute("update export_jobs set claims = 5, state = 'running'")

    write_exports(api.resources)

    assert api.get(place).json["error"]["code"] == "export"


@pytest.mark.req("S-07")
def test_one_that_is_removed_while_it_is_written_stops(
    stored: Connection[Any], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = asked(api)
    pages: list[Progress] = []
    tell = exporter._Pace.tell

    def removed(pace: exporter._Pace, progress: Progress) -> None:
        pages.append(progress)
        api.open("DELETE", place)
        tell(pace, progress)

    monkeypatch.setattr(exporter._Pace, "tell", removed)
    write_exports(api.resources)

    assert len(pages) == 1
    write_exports(api.resources)
    assert stored.execute("select count(*) from export_jobs").fetchone() == (0,)
