"""E-mail, through one server that the settings name.

Where encryption is asked for nothing is said without: a server that does not offer it, or whose certificate is not one
that this machine trusts (`SSL_CERT_FILE` names others), gets neither the password nor the message.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import closing
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from psycopg import Connection

from dsl.channels.channel import Message
from dsl.channels.errors import NOT_CONFIGURED, ChannelFailed, ChannelRefused
from dsl.channels.limit import Limit
from dsl.settings import ChannelSettings
from dsl.step import Effect

_NAME: Final = "email"
#: Characters of a subject, at most.
_SUBJECT: Final = 120
#: From this code on, a server says that it will not, and not that it cannot now.
_FOR_GOOD: Final = 500
#: How long one message may take altogether; each answer has a timeout of its own.
_LONGEST: Final = timedelta(minutes=2)


class _Server(smtplib.SMTP):
    """A connection that ends when its limit does, from the first greeting on."""

    def __init__(self, host: str, port: int, timeout_s: float, limit: Limit) -> None:
        self._limit = limit
        super().__init__(host, port, timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self._limit.hold(sock)
        return sock


class Email:
    """Hands the message to a mail server; `Message-ID` is the same however often that is tried."""

    effect: ClassVar = Effect.EXTERNAL

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        settings = self._settings
        if settings.smtp_host is None or not settings.email_to:
            raise ChannelRefused(_NAME, NOT_CONFIGURED)
        with Limit(_LONGEST) as limit:
            try:
                refused = self._send(settings.smtp_host, written(message, settings), limit)
            except (OSError, smtplib.SMTPException, ValueError) as error:
                raise _failure(error, limit) from None
        if refused:
            # The others have it, and would get it again.
            raise ChannelRefused(_NAME, "some_recipients_refused")
        return None

    def _send(self, host: str, mail: EmailMessage, limit: Limit) -> int:
        """Hand it over; how many of those it is for the server refused, if not all."""
        settings = self._settings
        timeout_s = settings.smtp_timeout.total_seconds()
        # Not as a context manager, which asks the server to say goodbye: by then it has the message.
        with closing(_Server(host, settings.smtp_port, timeout_s, limit)) as server:
            if settings.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user is not None:
                server.login(settings.smtp_user, settings.smtp_password or "")
            return len(server.send_message(mail))


def written(message: Message, settings: ChannelSettings) -> EmailMessage:
    """A message as a mail. Whatever its text holds, its headers are these.

    Raises:
        ValueError: An address of the settings holds a line break.
    """
    mail = EmailMessage()
    first = next(iter(message.text.splitlines()), "")
    mail["Subject"] = f"[weir] {message.level}: {_harmless(first)}"[:_SUBJECT]
    mail["From"] = settings.email_from
    mail["To"] = ", ".join(settings.email_to)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.key}@weir>"
    mail.set_content(message.text.encode(errors="replace").decode())
    return mail


def _harmless(text: str) -> str:
    """A line that says nothing in a header but itself.

    Without what is encoded as RFC 2047 has it: Python decodes that, and what comes of it may be a line of its own
    (CVE-2024-6923).
    """
    return "".join(each if each.isprintable() else " " for each in text).replace("=?", "= ?")


def _failure(error: Exception, limit: Limit) -> ChannelFailed:
    """What an exception of the mail client means."""
    kind, reason = ChannelFailed, "connection_lost"
    if isinstance(error, TimeoutError) or limit.is_over:
        reason = "timeout"
    elif isinstance(error, smtplib.SMTPResponseException):
        return _refusal(error.smtp_code)
    elif isinstance(error, smtplib.SMTPRecipientsRefused):
        return _refusal(min(code for code, _ in error.recipients.values()))
    elif isinstance(error, smtplib.SMTPNotSupportedError):
        kind, reason = ChannelRefused, "not_supported"
    elif isinstance(error, ssl.SSLCertVerificationError):
        reason = "certificate_not_trusted"
    elif isinstance(error, ValueError) and not isinstance(error, OSError):
        # An address with a line break in it, or a password that is not ASCII.
        kind, reason = ChannelRefused, "settings_invalid"
    return kind(_NAME, reason)


def _refusal(code: int) -> ChannelFailed:
    return (ChannelRefused if code >= _FOR_GOOD else ChannelFailed)(_NAME, f"status_{code}")
