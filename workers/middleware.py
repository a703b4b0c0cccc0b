"""What surrounds every message: the causing ids on its log lines, and a guard that keeps errors out of Dramatiq."""

from __future__ import annotations

from contextlib import ExitStack
from threading import local
from typing import Any
from uuid import UUID

import dramatiq

from telemetry.correlation import bind


class CausingIds(dramatiq.Middleware):
    """Binds the ids of the message, and those of what caused it, to every log line of its thread."""

    def __init__(self) -> None:
        self._local = local()

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        stack = ExitStack()
        causes = {
            name: UUID(message.options[name]) for name in ("correlation_id", "execution_id") if name in message.options
        }
        stack.enter_context(bind(message_id=message.message_id, **causes))
        self._local.stack = stack

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,  # noqa: ANN401 - Dramatiq's signature
        exception: BaseException | None = None,
    ) -> None:
        self._local.stack.close()
