"""`/api/commands`: what can be run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Response, request
from flask.views import MethodView

from api.parsing import Blueprint, parse_json, read_body
from api.problems import MediaTypeRefused, fault_json, report_json
from api.resources.answers import json_answer
from api.resources.context import resources, settings
from api.schemas.answers import CommandDetailShape, CommandListShape, VerdictShape
from api.schemas.requests import TextShape
from dsl.command import Command, StepSpec
from dsl.library import PACKS
from dsl.validation import Given, validate

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
        library = resources().library
        items = [command_json(command) for command in library.all()]
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
        (report,) = validate([Given(origin, text)], held.step_types.registry, settings().dsl, packs=PACKS, slugs=slugs)
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
        return json_answer(command_json(command) | {"source": command.source, "document": command.document})


def command_json(command: Command) -> dict[str, Any]:
    """A command as lists show it."""
    return {
        "slug": command.slug,
        "name": command.name,
        "version": command.version,
        "description": command.description,
        "origin": command.origin,
        "definition_hash": command.definition_hash.hex(),
        "steps": _count(command.steps) + _count(command.on_failure),
        "inputs": command.inputs,
    }


def _count(steps: Iterable[StepSpec]) -> int:
    return sum(1 + sum(_count(block) for block in step.blocks.values()) for step in steps)
