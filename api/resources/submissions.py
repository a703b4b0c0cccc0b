"""From the body of a submission to what is submitted, or the reason why not: one way for one and for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api.idempotency_key import EXPECTED, is_key
from api.problems import BodyMalformed
from api.resources.context import resources
from api.resources.due_times import check_times
from api.tracing import RequestTrace
from dsl.command import Command
from dsl.errors import Fault, InputsInvalid, SecretsMissing
from dsl.inputs import check_inputs
from telemetry.events import CommandValidationFailed
from telemetry.ids import mint
from workers.idempotency import Mark
from workers.submissions import Submission


def submission_of(
    slug: str, body: Mapping[str, Any], trace: RequestTrace, find: Callable[[str], Command] | None = None
) -> Submission:
    """What a body asks for; a refusal of its inputs leaves an event.

    Args:
        slug: Of the command.
        body: As `SubmissionShape` loads it.
        trace: Of this submission alone; learns its user and its command.
        find: Finds commands; the library does unless given.

    Raises:
        UnknownCommand: There is none with this slug.
        CommandInvalid: Its file does not load.
        SecretsMissing: It requires some.
        RequestInvalid: Its times are out of bounds.
        InputsInvalid: They are not what the command declares.
    """
    held = resources()
    command = (find or held.library.get)(slug)
    if command.secrets:
        raise SecretsMissing(
            f"{command.slug} requires secrets, and this version keeps none: {', '.join(command.secrets)}",
            hint="Remove `requires.secrets` from the command.",
        )
    run_at, expires_in = check_times(body, held.clock.now())
    trace.command_slug, trace.definition_hash = command.slug, command.definition_hash
    trace.user_id, trace.dry_run = held.pseudonyms.user(body["user"]), body["dry_run"]
    return Submission(
        command=command,
        inputs=_check(command, body["inputs"], trace),
        user=body["user"],
        space=body["space"],
        request_source=trace.source,
        correlation_id=trace.correlation_id,
        dry_run=body["dry_run"],
        priority=body["priority"],
        lane=command.lane,
        run_at=run_at,
        expires_in=expires_in,
    )


def mark_of(key: str, slug: str, body: Mapping[str, Any]) -> Mark:
    """The key of a submission, and what came under it: known before anybody has looked what became of the command.

    Args:
        key: As it was sent, and sound.
        slug: Of the command.
        body: As `SubmissionShape` loads it.

    Raises:
        BodyMalformed: It is nested too deeply.
    """
    said = {name: body[name] for name in ("inputs", "space", "dry_run", "priority")}
    if body["run_at"] is not None:
        said["run_at"] = body["run_at"].isoformat()
    if body["expires_in"] is not None:
        said["expires_in"] = body["expires_in"].total_seconds()
    try:
        return Mark.of(key, body["user"], slug, said)
    except RecursionError as error:
        raise BodyMalformed("the body is nested too deeply") from error


def key_fault(key: str, path: str) -> Fault | None:
    """What is wrong with an idempotency key; none if nothing is."""
    if is_key(key):
        return None
    return Fault("request.invalid_value", f"{path}: expected {EXPECTED}", path=path, expected=EXPECTED)


def _check(command: Command, inputs: Mapping[str, Any], trace: RequestTrace) -> dict[str, Any]:
    """The inputs as the command will see them.

    Raises:
        InputsInvalid: They are not what the command declares.
    """
    try:
        return check_inputs(command, inputs)
    except InputsInvalid as invalid:
        held = resources()
        if held.recorder.enabled:
            now_us = held.clock.unix_us()
            held.recorder.record(
                CommandValidationFailed(
                    mint(now_us), now_us, trace.scope(), len(invalid.faults), failed_fields=invalid.failed_fields
                )
            )
        raise
