"""Whose figures are asked for: a user's, by the plain name, or a space's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from api.problems import RequestInvalid
from api.resources.context import resources
from dsl import fragments
from dsl.errors import Fault

#: No space's: of one that is not there, there is nothing.
_NOWHERE: Final = UUID(int=0)


def whose(connection: Connection[Any], query: Mapping[str, Any]) -> tuple[bytes | None, UUID | None]:
    """The user's pseudonym, the space's id; at most one of them.

    Raises:
        RequestInvalid: A user and a space: figures of both together are not kept.
    """
    if query["user"] is not None and query["space"] is not None:
        message = "user and space exclude each other here; count events to have both: /api/telemetry/events?count=true"
        raise RequestInvalid([Fault("request.exclusive", message, path="space")])
    return user_of(query), space_of(connection, query)


def user_of(query: Mapping[str, Any]) -> bytes | None:
    """The pseudonym of the user that is asked for, if one is."""
    return None if query["user"] is None else resources().pseudonyms.user(query["user"])


def space_of(connection: Connection[Any], query: Mapping[str, Any]) -> UUID | None:
    """The id of the space that is asked for, if one is; of one that is not there, an id that nothing has."""
    if query["space"] is None:
        return None
    found = connection.execute(fragments.SQL["find_space"], {"name": query["space"]}).fetchone()
    return _NOWHERE if found is None else found[0]
