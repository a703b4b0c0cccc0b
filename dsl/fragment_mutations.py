"""What is kept of a change to a fragment, whoever makes it: its fields, keyed hashes of before and after. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dsl.fragments import Changed, Fragment
from dsl.step import Mutation

#: Keyed hash of a JSON value, 16 bytes.
HashContent: TypeAlias = Callable[[object], bytes]


def created(fragment: Fragment, hash_content: HashContent) -> Mutation:
    """A fragment was stored."""
    body = fragment.body()
    return Mutation(
        entity="fragment",
        operation="created",
        entity_id=fragment.id,
        changed_fields=tuple(name for name, value in body.items() if value),
        after=hash_content(body),
    )


def updated(changed: Changed, hash_content: HashContent) -> tuple[Mutation, ...]:
    """A fragment was changed; nothing, if nothing of it is different."""
    if not changed.fields:
        return ()
    mutation = Mutation(
        entity="fragment",
        operation="updated",
        entity_id=changed.after.id,
        changed_fields=changed.fields,
        before=hash_content(changed.before.body()),
        after=hash_content(changed.after.body()),
    )
    return (mutation,)


def deleted(fragment: Fragment, hash_content: HashContent) -> Mutation:
    """A fragment was removed."""
    return Mutation(entity="fragment", operation="deleted", entity_id=fragment.id, before=hash_content(fragment.body()))
