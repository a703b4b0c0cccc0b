"""E-mail, through one server that the settings name."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import closing
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from psycopg import Connection

from dsl.channels.channel import Message
from dsl.channels.errors import ChannelFailed, ChannelRefused
from dsl.settings import ChannelSettings
from dsl.step import Effect

_NAME: Final = "email"
#: Characters of a subject, at most.
_SUBJECT: Final = 120
#: From this code on, a server says that it will not, and not that it cannot now.
_FOR_GOOD: Final = 500


class Email:
    """Hands the message to a mail server; `Message-ID` is the same however often that is tried."""

    effect: ClassVar = Effect.EXTERNAL

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        settings = self._settings
        if settings.smtp_host is None or not settings.email_to:
            raise ChannelRefused(_NAME, "not_configured")
        try:
            self._send(settings.smtp_host, message)
        except smtplib.SMTPResponseException as error:
            raise _refusal(error.smtp_code) from None
        except smtplib.SMTPRecipientsRefused as error:
            raise _refusal(min(code for code, _ in error.recipients.values())) from None
        except smtplib.SMTPNotSupportedError:
            raise ChannelRefused(_NAME, "not_supported") from None
        except TimeoutError:
            raise ChannelFailed(_NAME, "timeout") from None
        except (OSError, smtplib.SMTPException):
            raise ChannelFailed(_NAME, "connection_lost") from None
        return None

    def _send(self, host: str, message: Message) -> None:
        settings = self._settings
        # Not as a context manager, which asks the server to say goodbye: by then it has the message.
        with closing(smtplib.SMTP(host, settings.smtp_port, timeout=settings.smtp_timeout.total_seconds())) as server:
            if settings.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user is not None:
                server.login(settings.smtp_user, settings.smtp_password or "")
            server.send_message(self._written(message))

    def _written(self, message: Message) -> EmailMessage:
        written = EmailMessage()
        first = next(iter(message.text.splitlines()), "")
        written["Subject"] = f"[weir] {message.level}: {first}"[:_SUBJECT]
        written["From"] = self._settings.email_from
        written["To"] = ", ".join(self._settings.email_to)
        written["Date"] = format_datetime(message.at)
        written["Message-ID"] = f"<{message.key}@weir>"
        written.set_content(message.text)
        return written


def _refusal(code: int) -> ChannelFailed:
    return (ChannelRefused if code >= _FOR_GOOD else ChannelFailed)(_NAME, f"status_{code}")
