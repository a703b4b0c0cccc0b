"""Mail goes to the right server, encrypted if that was asked for, and says nothing but what it is to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, message_from_string, policy
from typing import Any
from uuid import UUID

import pytest
from fixtures.receivers import Certificate, Mailbox, talking
from hypothesis import given
from hypothesis import strategies as st

from dsl.channels.channel import Message
from dsl.channels.email import Email, written
from dsl.channels.errors import ChannelFailed, ChannelRefused
from dsl.settings import ChannelSettings
from telemetry.testing import NOON

pytestmark = pytest.mark.req("A-07")

SOMEWHERE = UUID(int=1)
HEADERS = {"Subject", "From", "To", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
#: What would be a header, or the end of a mail, if it were taken at its word.
WORDS = (
    "=?utf-8?q?hi=0ABcc:_eve@example.org?=",
    "=?utf-8?q?hi=0D=0A=0D=0Aanother_mail?= and more",
    "=?utf-8?b?aGkKQmNjOiBldmVAZXhhbXBsZS5vcmc=?=",
    "hi\r\nBcc: eve@example.org",
    "hi\x0bBcc: eve@example.org",
    "hi\0Bcc: eve@example.org",
    "x\r\n.\r\nMAIL FROM:<eve@example.org>\r\n",
    "\n.\n",
    ".",
    "\ud800",
    "Grüße aus Köln — " * 20,
)


def message(text: str) -> Message:
    return Message("warning", text, "operator", SOMEWHERE, None, "alerts", NOON, SOMEWHERE)


def send(settings: ChannelSettings, text: str = "It is slow") -> None:
    Email(settings).deliver(message(text), None)


@pytest.fixture
def secret(mailbox: Mailbox, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """A mail server that encrypts, is trusted, and wants to know who is there."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    mailbox.certificate = certificate
    mailbox.settings = replace(mailbox.settings, smtp_starttls=True, smtp_user="weir", smtp_password="pass word")
    return mailbox


def test_password_and_mail_are_said_encrypted_only(secret: Mailbox) -> None:
    send(secret.settings)
    assert secret.said == ["EHLO", "STARTTLS", "tls EHLO", "tls AUTH", "tls MAIL", "tls RCPT", "tls DATA"]
    assert secret.logins == ["\0weir\0pass word"]
    assert "It is slow" in secret.mails[0]


def distrust(_mailbox: Mailbox, _other: Certificate, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("SSL_CERT_FILE")


def be_another(mailbox: Mailbox, other: Certificate, patch: pytest.MonkeyPatch) -> None:
    mailbox.certificate = other
    patch.setenv("SSL_CERT_FILE", str(other.file))


def offer_nothing(mailbox: Mailbox, _other: Certificate, _patch: pytest.MonkeyPatch) -> None:
    mailbox.certificate = None


def think_better_of_it(mailbox: Mailbox, _other: Certificate, _patch: pytest.MonkeyPatch) -> None:
    mailbox.starttls = "454 not now"


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (distrust, ChannelFailed, "certificate_not_trusted"),
        (be_another, ChannelFailed, "certificate_not_trusted"),
        (offer_nothing, ChannelRefused, "not_supported"),
        (think_better_of_it, ChannelFailed, "status_454"),
    ],
)
def test_without_encryption_that_was_asked_for_nothing_is_said(  # noqa: PLR0913 - who is there, and what is wrong
    secret: Mailbox,
    other_certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., None],
    kind: type[ChannelFailed],
    reason: str,
) -> None:
    change(secret, other_certificate, monkeypatch)
    with pytest.raises(ChannelFailed) as raised:
        send(secret.settings)
    assert (type(raised.value), raised.value.reason) == (kind, reason)
    assert set(secret.said) <= {"EHLO", "STARTTLS"}
    assert (secret.logins, secret.mails) == ([], [])


def test_who_may_not_log_in_sends_nothing(secret: Mailbox) -> None:
    secret.login = "535 who are you"
    with pytest.raises(ChannelRefused, match="status_535"):
        send(secret.settings)
    assert secret.mails == []


@pytest.mark.parametrize(
    ("answers", "kind", "reason"),
    [
        ({"b@example.org": "550 nobody here"}, ChannelRefused, "some_recipients_refused"),
        ({"b@example.org": "450 later"}, ChannelRefused, "some_recipients_refused"),
        ({"a@example.org": "550 no", "b@example.org": "550 no"}, ChannelRefused, "status_550"),
        ({"a@example.org": "550 no", "b@example.org": "450 later"}, ChannelFailed, "status_450"),
    ],
)
def test_who_is_refused_is_not_kept_quiet_about_and_the_others_get_it_once(
    mailbox: Mailbox, answers: dict[str, str], kind: type[ChannelFailed], reason: str
) -> None:
    mailbox.answers = answers
    with pytest.raises(ChannelFailed) as raised:
        send(replace(mailbox.settings, email_to=("a@example.org", "b@example.org")))
    assert (type(raised.value), raised.value.reason) == (kind, reason)
    taken = ["a@example.org"] * (len(answers) == 1)
    assert (mailbox.recipients, len(mailbox.mails)) == (taken, len(taken))


@pytest.mark.parametrize("text", WORDS)
def test_whatever_is_said_it_is_one_mail_to_whom_it_is_for(mailbox: Mailbox, text: str) -> None:
    send(mailbox.settings, text)
    [mail] = mailbox.mails
    read = message_from_string(mail, policy=policy.default)
    assert set(read) == HEADERS
    assert mailbox.recipients == ["ops@example.org"]


@given(
    st.lists(st.sampled_from(("=?utf-8?q?", "=0A", "=0D", "?=", "\r\n", "Bcc:")) | st.text(max_size=20)).map("".join)
)
def test_no_text_makes_a_header(text: str) -> None:
    mail = written(message(text), ChannelSettings(email_to=("ops@example.org",)))
    raw = mail.as_bytes(policy=policy.SMTP)
    assert set(message_from_bytes(raw)) == HEADERS
    assert b"\n" not in raw.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "changes",
    [
        {"email_to": ("ops@example.org\r\nBcc: eve@example.org",)},
        {"email_to": ("=?utf-8?q?a=0ABcc:_eve@example.org?= <ops@example.org>",)},
        {"email_from": "weir@localhost\nBcc: eve@example.org"},
        {"smtp_user": "weir", "smtp_password": "Käse"},
    ],
)
def test_settings_that_cannot_be_said_are_refused(mailbox: Mailbox, changes: dict[str, Any]) -> None:
    with pytest.raises(ChannelRefused, match="settings_invalid"):
        send(replace(mailbox.settings, **changes))
    assert mailbox.mails == []


@pytest.mark.parametrize("greeting", [b"", b"220-and so on\r\n"])
def test_who_says_little_or_never_stops_is_not_listened_to_for_ever(
    monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    monkeypatch.setattr("dsl.channels.email._LONGEST", timedelta(milliseconds=200))

    def talk(sock: Any) -> None:  # noqa: ANN401 - a socket
        while True:
            sock.sendall(greeting or b"2")
            if not greeting and sock.recv(1) == b"":
                return

    with talking(talk) as port, pytest.raises(ChannelFailed, match="timeout"):
        send(ChannelSettings(smtp_host="127.0.0.1", smtp_port=port, smtp_starttls=False, email_to=("a@example.org",)))
