"""The database that commands open themselves, without the API: that of WEIR_DATABASE_URL, or of the running stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.cli.stack import load_home, running_urls

if TYPE_CHECKING:
    from psycopg import Connection

    from telemetry.privacy import Pseudonyms


@contextmanager
def opened_store(folder: Path | None, name: str) -> Iterator[Connection[Any]]:
    """A connection to the current schema, in autocommit mode, fit for storing events.

    Raises:
        StackStopped: No database is named, and nothing is up.
        SchemaOutOfDate: It is older or newer.
    """
    from migrations.runner import require_current
    from telemetry.connections import connect
    from telemetry.store import STATEMENT_TIMEOUT, prepare_session

    settings, home = load_home(folder)
    url = settings.servers.database_url or running_urls(home)["database"]
    with connect(url, name=name, autocommit=True, statement_timeout=STATEMENT_TIMEOUT) as connection:
        require_current(connection)
        prepare_session(connection)
        yield connection


def pseudonyms(folder: Path | None) -> Pseudonyms | None:
    """What this installation hides users with; none where it was never started and no key is set."""
    from telemetry.privacy import Pseudonyms
    from workers.home import PSEUDONYM_KEY

    settings, home = load_home(folder)
    key = settings.workers.dsl.telemetry.pseudonym_key
    if key is None and home.secrets.is_dir():
        key = home.secret(PSEUDONYM_KEY)
    return None if key is None else Pseudonyms(key.encode())
