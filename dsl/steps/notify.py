"""`notify`: tells someone."""

from __future__ import annotations

from typing import Literal
from uuid import UUID, uuid5

from pydantic import Field

from dsl.channels import EFFECTS
from dsl.channels.channel import Message
from dsl.notifications import MAX_MESSAGE, MAX_USER, MessageLevel
from dsl.step import Effect, Mutation, Step, StepContext, StepParams, StepResult


class NotifyParams(StepParams):
    """Parameters of `notify`."""

    channel: Literal["inbox", "log", "webhook", "email"] = Field(
        description="`inbox` stores the message for a person; `log` writes a log line that says a message was sent, "
        "by which step and how long it is, but never its text; `webhook` posts it to the address of the settings, and "
        "`email` mails it to theirs."
    )
    level: MessageLevel = Field(default="info", description="How loud.")
    message: str = Field(max_length=MAX_MESSAGE, description="What is said.")
    user: str | None = Field(
        default=None, max_length=MAX_USER, description="Whom it is for; by default the user of the execution."
    )


class Notify(Step):
    """Tells someone, through a channel.

    Effect:
        That of the channel. The inbox is in the database: the message is there exactly when the step's result is. The
        others are outside of it: at least once, a webhook always with the same `webhook-id` and a mail with the same
        `Message-ID`, and a dry run says what would have been sent.

    Output:
        {"channel", "level", "user", "message", "sent": false in a dry run, "notification_id": id of the row in the
        inbox, or null}.

    Raises:
        RecordInvalid: The message holds what Postgres cannot keep (a NUL character).
        ChannelFailed: The channel did not take it; `retry` tries it again where that may help.

    Measures:
        channel: Which it went through.
        message_level: How loud it was.

    Example:
        {id: tell, type: notify, with: {channel: inbox, level: warning, message: "{{ steps.open.output.count }} open"}}
    """

    type = "notify"
    effect = Effect.DATABASE
    pipelined = True
    Params = NotifyParams

    def effect_of(self, params: NotifyParams) -> Effect:
        return EFFECTS[params.channel]

    def run(self, params: NotifyParams, context: StepContext) -> StepResult:
        context.measures.update(_measures(params))
        message = Message(
            level=params.level,
            text=params.message,
            user=params.user or context.execution.user,
            space_id=context.execution.space_id,
            execution_id=context.execution.id,
            origin=context.path,
            at=context.tools.now(),
            key=_key(context),
        )
        notification_id = context.tools.channels[params.channel].deliver(message, context.connection)
        output = _output(params, context)
        if notification_id is None:
            return StepResult(output, measures=_measures(params))
        # What a dry run creates is gone when anybody could look for it.
        lasting_id = None if context.execution.dry_run else notification_id
        output["notification_id"] = None if lasting_id is None else str(lasting_id)
        mutation = Mutation("notification", "created", entity_id=lasting_id)
        return StepResult(output, (mutation,), measures=_measures(params))

    def preview(self, params: NotifyParams, context: StepContext) -> StepResult:
        return StepResult(_output(params, context), measures=_measures(params))


def _output(params: NotifyParams, context: StepContext) -> dict[str, object]:
    return {
        "channel": params.channel,
        "level": params.level,
        "user": params.user or context.execution.user,
        "message": params.message,
        "sent": not context.execution.dry_run,
        "notification_id": None,
    }


def _key(context: StepContext) -> UUID:
    """The same at every try of a step of an execution, and no other step's."""
    return uuid5(context.execution.id, context.path)


def _measures(params: NotifyParams) -> dict[str, str]:
    return {"channel": params.channel, "message_level": params.level}
