"""Step types: one class in one file each, and the registry of all of them.

To add one: write its file, add its line here, and put a test beside those of the others. The class documents itself:
its docstring, its parameter model and their descriptions become the reference page.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dsl.step import Step
from dsl.steps.command_run import CommandRun
from dsl.steps.condition import Condition
from dsl.steps.database_update import DatabaseUpdate
from dsl.steps.fragment_create import FragmentCreate
from dsl.steps.fragment_delete import FragmentDelete
from dsl.steps.fragment_query import FragmentQuery
from dsl.steps.fragment_update import FragmentUpdate
from dsl.steps.list_map import ListMap
from dsl.steps.model_create import ModelCreate
from dsl.steps.model_delete import ModelDelete
from dsl.steps.model_query import ModelQuery
from dsl.steps.model_update import ModelUpdate
from dsl.steps.notify import Notify
from dsl.steps.respond import Respond
from dsl.steps.search_query import SearchQuery
from dsl.steps.transform import Transform
from dsl.steps.validate import Validate

#: Every built-in step type by its registered name.
REGISTRY: Mapping[str, Step] = MappingProxyType(
    {
        "command.run": CommandRun(),
        "condition": Condition(),
        "database.update": DatabaseUpdate(),
        "fragment.create": FragmentCreate(),
        "fragment.delete": FragmentDelete(),
        "fragment.query": FragmentQuery(),
        "fragment.update": FragmentUpdate(),
        "list.map": ListMap(),
        "model.create": ModelCreate(),
        "model.delete": ModelDelete(),
        "model.query": ModelQuery(),
        "model.update": ModelUpdate(),
        "notify": Notify(),
        "respond": Respond(),
        "search.query": SearchQuery(),
        "transform": Transform(),
        "validate": Validate(),
    }
)
