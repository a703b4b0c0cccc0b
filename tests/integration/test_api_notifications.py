"""The inbox over REST and on the command line."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fixtures.apis import Api, Weir

from dsl import notifications
from dsl.notifications import MessageLevel
from dsl.testing import DEFAULT_SPACE_ID
from telemetry.clock import SystemClock

pytestmark = pytest.mark.req("C-08", "A-07")

HOUR = timedelta(hours=1)


def tell(api: Api, now: datetime, message: str, user: str = "ada", level: MessageLevel = "info") -> UUID:
    with api.resources.pool.connection() as connection:
        return notifications.insert(
            connection,
            space_id=DEFAULT_SPACE_ID,
            execution_id=None,
            user_name=user,
            level=level,
            message=message,
            now=now,
        ).id


def listed(api: Api, **query: object) -> list[str]:
    return [item["message"] for item in api.get("/api/notifications", **query).json["items"]]


def test_what_a_command_told_somebody_is_in_the_inbox(api: Api) -> None:
    api.write("tell", "  - {id: tell, type: notify, with: {channel: inbox, level: warning, message: Look}}\n")
    execution = api.submit("tell", user="ada", space="team").json["id"]
    api.run()

    [found] = api.get("/api/notifications").json["items"]

    assert found == {
        "id": found["id"],
        "created_at": found["created_at"],
        "user": "ada",
        "level": "warning",
        "message": "Look",
        "space": "team",
        "execution_id": execution,
    }
    assert listed(api, space="team") == ["Look"]
    assert listed(api, space="default") == listed(api, space="nowhere") == []


def test_the_inbox_is_asked_for_by_user_level_and_time(api: Api) -> None:
    now = SystemClock().now()
    tell(api, now - 3 * HOUR, "first")
    tell(api, now - 2 * HOUR, "second", level="error")
    tell(api, now, "third", user="operator")

    assert listed(api) == ["third", "second", "first"]
    assert listed(api, user="ada") == ["second", "first"]
    assert listed(api, level="error") == ["second"]
    assert listed(api, time_range="1h") == ["third"]
    assert listed(api, start=(now - 2 * HOUR).isoformat()) == ["third", "second"]
    assert listed(api, start=(now - 3 * HOUR).isoformat(), end=(now - 2 * HOUR).isoformat()) == ["first"]
    assert listed(api, time_range="999999999d", end=(now - 2 * HOUR).isoformat()) == ["first"]


def test_pages_of_the_inbox_have_everything_once_though_more_comes_in(api: Api) -> None:
    now = SystemClock().now()
    for number in range(5):
        tell(api, now - HOUR, str(number))
    everything = listed(api)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = api.get("/api/notifications", **query).json
        seen += [item["message"] for item in page["items"]]
        tell(api, now, "later")
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert seen == everything
    assert sorted(seen) == ["0", "1", "2", "3", "4"]
    other = api.get("/api/alerts", cursor=query["cursor"])
    assert (other.status_code, other.json["code"]) == (400, "request.cursor_invalid")


def test_what_cannot_be_meant_of_the_inbox_is_refused(api: Api) -> None:
    wrong = api.get("/api/notifications", level="warn")
    assert (wrong.status_code, wrong.json["errors"][0]["path"]) == (422, "level")
    assert "Did you mean warning?" in wrong.text
    both = api.get("/api/notifications", time_range="1h", start="2026-01-01T00:00:00Z")
    assert (both.status_code, both.json["errors"][0]["code"]) == (422, "request.exclusive")


def test_the_inbox_is_read_on_the_command_line(weir: Weir, busy_api: Api) -> None:
    assert "Nothing is in the inbox" in weir("notifications", "list").out + weir("notifications", "list").err
    tell(busy_api, SystemClock().now(), "two\nlines\x1b[31m", user="operator", level="error")
    tell(busy_api, SystemClock().now() - 3 * HOUR, "older")

    found = weir("notifications", "list", "--user", "operator", "--level", "error", "--last", "1h")

    assert found.code == 0
    assert "operator" in found.out
    assert "two" in found.out
    assert "\x1b" not in found.out
    first = weir("notifications", "list", "--limit", "1")
    cursor = first.err.strip().rpartition(" ")[2]
    assert "older" in weir("notifications", "list", "--cursor", cursor).out
    assert [row["message"] for row in weir("notifications", "list", "--format", "json").json["items"]] == [
        "two\nlines\x1b[31m",
        "older",
    ]
    assert weir("notifications", "list", "--format", "csv").out.startswith("id,created_at,user,level,message,")
