"""What becomes of messages: every attempt is written down, and one that is due arrives once its channel is there."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from fixtures.alerting import MINUTE, Alerting
from fixtures.receivers import Hook, Mailbox

from dsl.channels import REQUIRED, make_channels
from dsl.channels.channel import Message
from dsl.channels.errors import NOT_CONFIGURED, ChannelFailed, ChannelRefused
from dsl.channels.webhook import Webhook
from dsl.settings import ChannelSettings
from dsl.steps.notify import Notify
from dsl.testing import PlainTools, make_execution, run_step
from telemetry.alerts import ledger
from telemetry.testing import NOON, ManualClock
from workers.alerting.post import LEASE, Post

pytestmark = pytest.mark.req("A-07")

SLOW, FAST = 8000, 20
SOMEWHERE = UUID(int=1)
CLOCK = ManualClock()
MESSAGE = Message("warning", "It is <slow>", "operator", SOMEWHERE, None, "alerts", NOON, SOMEWHERE)


def post_of(alerting: Alerting, settings: ChannelSettings, chance: Callable[[], float] = lambda: 1.0) -> Post:
    return Post(alerting.pool, alerting.clock, make_channels(settings, alerting.clock), alerting.settings, chance)


def attempts(alerting: Alerting) -> list[tuple[str, str | None]]:
    with alerting.pool.connection() as connection:
        found = [ledger.attempts_of(connection, each.id) for each in alerting.deliveries]
    return [(each.outcome, each.reason) for several in found for each in several]


def test_a_post_is_signed_and_says_it_to_programs_and_people(alerting: Alerting, hook: Hook) -> None:
    alerting.add(channels=["webhook"])
    alerting.minute(SLOW)
    [told] = post_of(alerting, hook.settings).run_once()
    assert (told.status, told.reason) == ("delivered", None)

    [(headers, body)] = hook.posts
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"secret", signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    [said] = hook.bodies
    assert said["type"] == "alert.fire"
    assert said["data"]["message"] == "Fired (warning): slow: total_latency average is 8000 ms over 1m (> 5000)"
    assert said["data"]["alerts"][0]["value"] == 8000


def test_a_channel_that_is_down_for_an_hour_tells_everything_once_when_it_is_back(
    alerting: Alerting, hook: Hook
) -> None:
    alerting.add(channels=["webhook", "inbox"])
    post = post_of(alerting, hook.settings)
    hook.status = 503
    alerting.minute(SLOW)
    for number in range(60):
        alerting.minute(SLOW if number < 30 else FAST)
        post.run_once()
    tried = len(hook.posts)
    assert 5 < tried < 20
    assert len({headers["webhook-id"] for headers, _ in hook.posts}) == 1

    hook.status = 204
    for _ in range(11):
        alerting.minute(FAST)
        post.run_once()
    assert [body["type"] for body in hook.bodies[tried:]] == ["alert.fire", "alert.resolve"]
    assert {each.status for each in alerting.deliveries} == {"delivered"}
    assert attempts(alerting).count(("failed", "status_503")) == tried
    with alerting.pool.connection() as connection:
        rows = connection.execute("select message, user_name from notifications order by created_at").fetchall()
    assert [row[0].split(":")[0] for row in rows] == ["Fired (warning)", "Resolved after 31m"]
    assert "total_latency average was 8000 ms" in rows[1][0]
    assert {row[1] for row in rows} == {"operator"}


def test_what_is_tried_for_long_enough_has_failed(alerting: Alerting, hook: Hook) -> None:
    alerting.tell(give_up=30 * MINUTE)
    alerting.add(channels=["webhook"])
    hook.status = 500
    alerting.minute(SLOW)
    post = post_of(alerting, hook.settings)
    for _ in range(60):
        post.run_once()
        alerting.clock.advance(MINUTE)
    [delivery] = alerting.deliveries
    assert (delivery.status, delivery.reason) == ("failed", "status_500")


def test_killed_while_it_tells_it_is_told_again_under_the_same_id(
    alerting: Alerting, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerting.add(channels=["webhook"])
    alerting.minute(SLOW)
    post = post_of(alerting, hook.settings)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("workers.alerting.post.ledger.end", die)
        post.run_once()
    assert post.run_once() == []
    alerting.clock.advance(LEASE)
    [told] = post.run_once()
    assert told.status == "delivered"
    assert len(hook.posts) == 2
    assert len({headers["webhook-id"] for headers, _ in hook.posts}) == 1
    assert attempts(alerting) == [("begun", None), ("delivered", None)]


def test_the_inbox_is_told_exactly_once_even_then(alerting: Alerting, monkeypatch: pytest.MonkeyPatch) -> None:
    alerting.add(channels=["inbox"])
    alerting.minute(SLOW)
    post = post_of(alerting, ChannelSettings())

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("workers.alerting.post.ledger.end", die)
        post.run_once()
    alerting.clock.advance(LEASE)
    post.run_once()
    with alerting.pool.connection() as connection:
        [row] = connection.execute("select count(*) from notifications").fetchall()
    assert row == (1,)


def test_a_summary_tells_what_the_cap_kept_back(alerting: Alerting, hook: Hook) -> None:
    alerting.tell(hourly_cap=1, duplicates=timedelta(0))
    alerting.add(channels=["webhook"])
    for _ in range(2):
        alerting.minute(SLOW)
        alerting.minute(FAST)
    alerting.clock.advance(60 * MINUTE)
    told = post_of(alerting, hook.settings).run_once()
    assert [each.delivery.kind for each in told] == ["fire", "summary"]
    assert hook.bodies[1]["data"]["message"] == "3 more messages than an hour may have were kept back, of: slow"


def test_what_is_kept_back_while_a_summary_is_told_is_told_in_the_next(alerting: Alerting, hook: Hook) -> None:
    alerting.tell(hourly_cap=1, duplicates=timedelta(0))
    alerting.add(channels=["webhook"])
    post = post_of(alerting, hook.settings)
    alerting.minute(SLOW)
    [alert] = alerting.alerts
    alerting.minute(FAST)
    [summary] = [each for each in alerting.deliveries if each.kind == "summary"]
    assert summary.due_at is not None
    alerting.clock.set(summary.due_at - MINUTE / 2)
    post.run_once()
    with alerting.pool.connection() as connection:
        ledger.send(connection, "webhook", "fire", [alert], alerting.clock.now(), 1000)
        alerting.clock.set(summary.due_at)
        assert ledger.claim(connection, alerting.clock.now(), LEASE, summary.id)
        late = ledger.send(connection, "webhook", "resolve", [alert], alerting.clock.now(), 1)
        again = ledger.send(connection, "webhook", "resolve", [alert], alerting.clock.now(), 1)
    assert (late.status, again.status) == ("capped", "capped")
    assert late.summary_id == again.summary_id != summary.id


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (302, ChannelRefused, "status_302"),
        (404, ChannelRefused, "status_404"),
        (429, ChannelFailed, "status_429"),
        (503, ChannelFailed, "status_503"),
        (None, ChannelFailed, "timeout"),
    ],
)
def test_what_a_receiver_answers_says_whether_to_try_again(
    hook: Hook, status: int | None, kind: type[ChannelFailed], reason: str
) -> None:
    hook.status = status
    with pytest.raises(ChannelFailed) as raised:
        Webhook(replace(hook.settings, webhook_timeout=timedelta(milliseconds=200)), CLOCK).deliver(MESSAGE, None)
    assert (type(raised.value), raised.value.reason) == (kind, reason)
    assert len(hook.posts) == 1


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:1/",
            "http://localhost:1/",
            "http://10.1.2.3/",
            "http://169.254.169.254/latest",
            "http://[::1]/",
        ),
        *(
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "http://[fe80::1]/",
            "http://2130706433/",
            "http://100.64.0.1/",
        ),
    ],
)
def test_addresses_that_are_not_public_are_refused(url: str) -> None:
    with pytest.raises(ChannelRefused) as raised:
        Webhook(ChannelSettings(webhook_url=url), CLOCK).deliver(MESSAGE, None)
    assert raised.value.reason == "address_not_public"


@pytest.mark.parametrize("url", ["ftp://example.org", "http://", "nothing", "http://a:99999/", "http://[::1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ChannelRefused, match="address_invalid"):
        Webhook(ChannelSettings(webhook_url=url), CLOCK).deliver(MESSAGE, None)


def test_a_receiver_that_is_not_there_may_come_back(hook: Hook) -> None:
    gone = replace(hook.settings, webhook_url="http://127.0.0.1:1/")
    with pytest.raises(ChannelFailed, match="connection_refused"):
        Webhook(gone, CLOCK).deliver(MESSAGE, None)


def test_a_mail_has_one_id_however_often_it_is_sent(alerting: Alerting, mailbox: Mailbox) -> None:
    alerting.add(channels=["email"])
    alerting.minute(SLOW)
    mailbox.answer = "450 later"
    post = post_of(alerting, mailbox.settings)
    assert [each.status for each in post.run_once()] == ["due"]
    mailbox.answer = "250 fine"
    alerting.clock.advance(MINUTE)
    assert [each.status for each in post.run_once()] == ["delivered"]
    [mail] = mailbox.mails
    assert "Subject: [weir] warning: Fired (warning): slow" in mail
    assert re.search(rf"^Message-ID: <{alerting.deliveries[0].id}@weir>", mail, re.MULTILINE)


def test_a_mail_server_that_refuses_is_not_asked_again(mailbox: Mailbox) -> None:
    mailbox.answer = "550 nobody here"
    with pytest.raises(ChannelRefused):
        make_channels(mailbox.settings, CLOCK)["email"].deliver(MESSAGE, None)


@pytest.mark.parametrize("name", REQUIRED)
def test_without_the_settings_that_they_need_they_say_so(name: str) -> None:
    complete = ChannelSettings(webhook_url="no address", smtp_host="127.0.0.1", smtp_port=1, email_to=("a@b.org",))
    nothing = ChannelSettings()
    for missing in REQUIRED[name]:
        some = replace(complete, **{missing: getattr(nothing, missing)})
        with pytest.raises(ChannelRefused, match=NOT_CONFIGURED):
            make_channels(some, CLOCK)[name].deliver(MESSAGE, None)
    with pytest.raises(ChannelFailed) as told:
        make_channels(complete, CLOCK)[name].deliver(MESSAGE, None)
    assert told.value.reason != NOT_CONFIGURED


def test_a_notify_step_tells_under_one_id_however_often_it_is_tried(hook: Hook) -> None:
    execution = make_execution()
    params = {"channel": "webhook", "level": "warning", "message": "Milk is out"}
    tools = PlainTools(channels=hook.settings)
    hook.status = 503
    with pytest.raises(ChannelFailed) as raised:
        run_step(Notify(), params, execution=execution, tools=tools)
    assert raised.value.retryable
    hook.status = 204
    assert run_step(Notify(), params, execution=execution, tools=tools).output["sent"]
    run_step(Notify(), params, execution=replace(execution, id=UUID(int=7)), tools=tools)

    first, second, other = (headers["webhook-id"] for headers, _ in hook.posts)
    assert first == second != other
    assert hook.bodies[0]["type"] == "notification"
    assert hook.bodies[0]["data"]["message"] == "Milk is out"


def test_what_nobody_foresaw_counts_as_an_attempt(alerting: Alerting, monkeypatch: pytest.MonkeyPatch) -> None:
    alerting.add(channels=["log"])
    alerting.minute(SLOW)

    def break_down(*_: Any) -> None:  # noqa: ANN401 - whatever it is given
        raise ZeroDivisionError

    monkeypatch.setattr("dsl.channels.log.Log.deliver", break_down)
    [told] = post_of(alerting, ChannelSettings()).run_once()
    assert (told.status, told.reason) == ("due", "unforeseen")
