"""Which API the command line talks to, and where the local stack says it is."""

from __future__ import annotations

from pathlib import Path

from api.client import Client
from api.settings import ClientSettings, Settings, load_settings
from workers.home import find_home
from workers.stack.status import read_status

#: Where the API is when nothing says otherwise.
DEFAULT_URL = "http://127.0.0.1:7420"


def open_client(settings: Settings | None = None) -> Client:
    """A client of the API that the settings, or the local stack, name.

    Raises:
        SettingsInvalid: A setting is wrong.
        ApiUnreachable: WEIR_URL is not a URL.
    """
    settings = settings or load_settings()
    timeout_s = settings.api.request_timeout.total_seconds()
    hint = "`weir up --detach` starts everything on this machine; WEIR_URL names another API."
    if settings.client.url is not None:
        hint = "The address is that of WEIR_URL."
    return Client(base_url(settings), api_key=settings.client.api_key, timeout_s=timeout_s, hint=hint)


def base_url(settings: Settings) -> str:
    """`WEIR_URL`, else the running local stack's, else the default."""
    client: ClientSettings = settings.client
    if client.url is not None:
        return client.url
    status = read_status(find_home(settings.servers).run)
    return DEFAULT_URL if status is None else status.urls.get("api", DEFAULT_URL)


def commands_folder(settings: Settings) -> Path:
    """Where one's own command files are: the running stack's folder, else that of the settings."""
    status = read_status(find_home(settings.servers).run)
    return settings.servers.commands_dir if status is None else Path(status.commands_dir)
