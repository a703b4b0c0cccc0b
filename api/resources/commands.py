"""`/api/commands`: what can be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from flask import Response, request
from flask.views import MethodView

from api.parsing import Blueprint, parse_json, read_body
from api.problems import MediaTypeRefused, fault_json, report_json
from api.resources.answers import json_answer
from api.resources.context import resources, settings
from api.resources.queues import pause_end, pause_json, queues
from api.schemas.answers import CommandDetailShape, CommandListShape, VerdictShape
from api.schemas.queues import PauseBody, PausedCommandShape
from api.schemas.requests import EmptyShape, TextShape
from dsl.command import Command, StepSpec
from dsl.errors import CommandInvalid
from dsl.library import PACKS
from dsl.validation import Given, validate
from workers.queues import Pause

blueprint = Blueprint("commands", __name__, url_prefix="/api/commands", description="What can be run.")

#: Kinds of body that are the text of a command file itself.
_TEXTS = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain")

#: What the text is called when the request calls it nothing.
_UNNAMED = "text"


@blueprint.route("")
class Commands(MethodView):
    """All commands."""

    @blueprint.response(200, CommandListShape)
    def get(self) -> Response:
        """List every command, by slug, and the files that do not load."""
        library, paused = resources().library, queues().paused_commands()
        items = [command_json(command, paused.get(command.slug)) for command in library.all()]
        faults = [
            {"source": invalid.source, "errors": [fault_json(fault) for fault in invalid.faults]}
            for invalid in library.faults()
        ]
        return json_answer({"items": items, "next_cursor": None, "faults": faults})


@blueprint.route("/validate")
class Validation(MethodView):
    """Texts that may become command files."""

    @blueprint.doc(
        requestBody={
            "required": True,
            "content": {
                # Any YAML is answered, so any is right.
                "application/yaml": {"schema": {}},
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": TextShape},
            },
        }
    )
    @blueprint.response(200, VerdictShape)
    def post(self) -> Response:
        """Say everything that is wrong with the text of a command file. Nothing is kept of it, and nothing runs."""
        text, origin = _text_of_body()
        held = resources()
        slugs = {command.slug for command in held.library.all()}
        given, now = [Given(origin, text)], held.clock.now()
        (report,) = validate(given, held.step_types.registry, settings().dsl, packs=PACKS, slugs=slugs, now=now)
        return json_answer({"valid": not report.faults, **report_json(report, origin)})


def _text_of_body() -> tuple[bytes, str]:
    """The text and what it is called.

    Raises:
        MediaTypeRefused: The body is neither YAML nor JSON.
    """
    if request.mimetype in _TEXTS:
        return read_body(request), _UNNAMED
    if not request.is_json:
        raise MediaTypeRefused(
            "the body must be YAML or JSON: application/yaml, text/yaml, text/plain, or application/json",
            hint="curl -H 'Content-Type: application/yaml' --data-binary @FILE",
        )
    body = parse_json(TextShape)
    return body["text"].encode(), body["origin"]


@blueprint.route("/<slug>")
class OneCommand(MethodView):
    """One command."""

    @blueprint.response(200, CommandDetailShape)
    @blueprint.refuses(404, 422)
    def get(self, slug: str) -> Response:
        """Show one command, with its text."""
        command = resources().library.get(slug)
        pause = queues().pause_of(slug)
        return json_answer(command_json(command, pause) | {"source": command.source, "document": command.document})


@blueprint.route("/<slug>/pause")
class CommandPause(MethodView):
    """Holding a command up."""

    @blueprint.arguments(PauseBody, required=False)
    @blueprint.response(200, PausedCommandShape)
    @blueprint.refuses(404, 503)
    def post(self, body: Mapping[str, Any], slug: str) -> Response:
        """Begin none of its executions until it is resumed; those that run go on, and submissions are accepted."""
        with suppress(CommandInvalid):  # one that does not load may have executions all the same
            resources().library.get(slug)
        return json_answer(_paused(slug, queues().pause_command(slug, body["user"], pause_end(body))))


@blueprint.route("/<slug>/resume")
class CommandResume(MethodView):
    """Going on with a command."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(200, PausedCommandShape)
    @blueprint.refuses(404, 503)
    def post(self, _: Mapping[str, Any], slug: str) -> Response:
        """Begin its executions again."""
        if queues().pause_of(slug) is None:
            with suppress(CommandInvalid):
                resources().library.get(slug)
        queues().resume_command(slug)
        return json_answer(_paused(slug, None))


def _paused(slug: str, pause: Pause | None) -> dict[str, Any]:
    return {"command": slug, "paused": pause_json(pause)}


def command_json(command: Command, pause: Pause | None) -> dict[str, Any]:
    """A command as lists show it."""
    return {
        "slug": command.slug,
        "name": command.name,
        "version": command.version,
        "description": command.description,
        "origin": command.origin,
        "definition_hash": command.definition_hash.hex(),
        "steps": _count(command.steps) + _count(command.on_failure),
        "lane": command.lane,
        "paused": pause_json(pause),
        "inputs": command.inputs,
    }


def _count(steps: Iterable[StepSpec]) -> int:
    return sum(1 + sum(_count(block) for block in step.blocks.values()) for step in steps)
