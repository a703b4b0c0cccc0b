"""`/api/commands`: what can be run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import fault_json
from api.resources.answers import json_answer
from api.resources.context import resources
from api.schemas.answers import CommandDetailShape, CommandListShape
from dsl.command import Command, StepSpec

blueprint = Blueprint("commands", __name__, url_prefix="/api/commands", description="What can be run.")


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
