"""A plan: a command, what it was given, and everything its templates see before the first step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from types import MappingProxyType
from typing import Any
from uuid import uuid5

from dsl.command import Command, ExecutionInfo

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """What an executor runs.

    Attributes:
        command: The steps.
        info: Who they run for.
        names: The scope before the first step, without `steps`: `inputs`, `execution`, `secrets`, `now`, `uuid`; all
            of it JSON values.
    """

    command: Command
    info: ExecutionInfo
    names: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        command: Command,
        info: ExecutionInfo,
        inputs: Mapping[str, Any],
        secrets: Mapping[str, str] = _NONE,
    ) -> Plan:
        """The plan of an execution: the same for every attempt, `now` and `uuid` included.

        Args:
            command: What runs.
            info: Who it runs for.
            inputs: Checked, with defaults (`dsl.inputs.check_inputs`).
            secrets: By name; only those that the command declares come into scope.
        """
        now = info.now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        execution = {
            "id": str(info.id),
            "user": info.user,
            "space": info.space,
            "dry_run": info.dry_run,
            "now": now,
        }
        names = {
            "inputs": inputs,
            "execution": execution,
            "secrets": {name: secrets[name] for name in command.secrets if name in secrets},
            "now": now,
            "uuid": str(uuid5(info.id, "uuid")),
        }
        return cls(command, info, names)
