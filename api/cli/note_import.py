"""Sends notes to the API in bounded batches, and keeps count of what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from api.client import ApiRefused, Client
from dsl.errors import Fault

if TYPE_CHECKING:
    from dsl.notes import Note

#: Notes of one request, and characters of their contents together, at most.
BATCH_NOTES, BATCH_CHARACTERS = 200, 2_000_000

#: Statuses of a batch that may be for one note of it: too large, not storable.
_OF_NOTES = frozenset({413, 422})


class NoteImport:
    """One import. What was answered is counted at once, so the counts are true whenever it ends.

    Args:
        client: Of the API.
        space: Where the notes go.
        faults: Gets one for each note that the API refuses.

    Attributes:
        counts: Notes that are stored, by `created`, `updated` and `unchanged`.
    """

    def __init__(self, client: Client, space: str, faults: list[Fault]) -> None:
        self._client = client
        self._space = space
        self._faults = faults
        self.counts: Counter[str] = Counter(created=0, updated=0, unchanged=0)

    def run(self, notes: Iterable[Note], after_batch: Callable[[], None]) -> None:
        """Send them all, holding one batch at a time.

        Raises:
            ApiUnreachable: Nobody answers any more. The batch on its way may be stored or not.
            ApiRefused: For a reason that is not one of the notes.
        """
        for batch in _batches(notes):
            self._send(batch)
            after_batch()

    def _send(self, batch: list[Note]) -> None:
        """Import a batch; if the API refuses it, its halves, so that one bad note spoils nothing else."""
        body = {"space": self._space, "notes": [_note_json(note) for note in batch]}
        try:
            self.counts.update(self._client.post("/api/fragments/import", body).body)
        except ApiRefused as refused:
            if refused.status not in _OF_NOTES or not _is_about_notes(refused):
                raise
            if len(batch) == 1:
                self._faults.append(Fault("note.refused", refused.detail, path=batch[0].source))
                return
            half = len(batch) // 2
            self._send(batch[:half])
            self._send(batch[half:])


def _is_about_notes(refused: ApiRefused) -> bool:
    """Whether leaving out a note could help: not when something else of the request is wrong."""
    return all(fault.get("path", "").startswith("notes") for fault in refused.problem.get("errors", ()))


def _batches(notes: Iterable[Note]) -> Iterator[list[Note]]:
    batch: list[Note] = []
    characters = 0
    for note in notes:
        if batch and (len(batch) == BATCH_NOTES or characters + len(note.content) > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(note)
        characters += len(note.content)
    if batch:
        yield batch


def _note_json(note: Note) -> dict[str, Any]:
    return {
        "source": note.source,
        "title": note.title,
        "content": note.content,
        "type": note.type,
        "tags": list(note.tags),
        "metadata": note.metadata,
        "created_at": note.created.isoformat() if note.created else None,
        "updated_at": note.updated.isoformat() if note.updated else None,
        "id": str(note.id) if note.id else None,
        "state": note.state,
    }
