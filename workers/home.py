"""The home: the one folder that holds all data of an installation, and who may enter which part of it.

    home/
      postgres/  valkey/   data and sockets of the embedded servers; owned by the user they run as
      servers/             copies of their binaries, made only if the installed ones are out of that user's reach
      run/                 ports, connections, lock and status of the running stack
      logs/  commands/     log files; your own command files
      spool/               events that wait on disk while the telemetry stream takes none
      secrets/             passwords and keys, made once

As a plain user everything is 0700. As root the home is 0711, so that the unprivileged server user can pass through it,
and each folder is 0700 and belongs to whoever runs in it. Permissions of folders above the home are never touched: a
home that the server user cannot reach is refused, naming the folder in the way.
"""

from __future__ import annotations

import errno
import os
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from telemetry.errors import WeirError
from workers.processes import ServerUser, run
from workers.settings import ServerSettings

#: Secrets of an installation, each made once.
POSTGRES_PASSWORD = "postgres_password"  # noqa: S105 - the name of a file
VALKEY_PASSWORD = "valkey_password"  # noqa: S105 - the name of a file
PSEUDONYM_KEY = "pseudonym_key"
SECRETS = (POSTGRES_PASSWORD, VALKEY_PASSWORD, PSEUDONYM_KEY)

_OF_SERVERS = ("postgres", "valkey", "servers")
_OF_WEIR = ("run", "logs", "commands", "secrets", "spool")
#: Bytes of randomness in a secret.
_SECRET_BYTES = 32


class HomeError(WeirError):
    """The home cannot be used."""

    code = "home"


class HomeUnreachable(HomeError):
    """The user that servers run as cannot pass through a folder above the home."""

    code = "home.unreachable"


class HomeUnwritable(HomeError):
    """The home, or the disk under it, is read-only or full, or belongs to somebody else."""

    code = "home.read_only"


class HomeTaken(HomeError):
    """The folder is there already and holds something else."""

    code = "home.taken"


class HomeNotReady(HomeError):
    """The home, or what is asked of it, has not been made yet."""

    code = "home.not_ready"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of all data.

    Attributes:
        root: Absolute; need not exist before `prepare`.
    """

    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def servers(self) -> Path:
        return self.root / "servers"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def commands(self) -> Path:
        return self.root / "commands"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    def prepare(self, server_user: ServerUser | None = None) -> None:
        """Make the folders, their owners and permissions, and the secrets; idempotent. Call before any server's.

        Args:
            server_user: As `workers.processes.find_server_user` found it; None for a plain user.

        Raises:
            HomeUnreachable: `server_user` cannot get there. Nothing is made.
            HomeTaken: The folder is another user's, or is not empty and not a home.
            HomeUnwritable: The disk is read-only or full, or the folder is somebody else's.
        """
        if server_user is not None:
            _require_reachable(self.root, server_user)
        with writing(self.root):
            if self.root.exists():
                self._require_ours()
            self._make_folders(server_user)
            for name in SECRETS:
                _make_secret(self.secrets / name)

    def secret(self, name: str) -> str:
        """One of `SECRETS`.

        Raises:
            HomeNotReady: Nothing was ever started here.
        """
        try:
            return (self.secrets / name).read_text(encoding="ascii")
        except FileNotFoundError as error:
            raise HomeNotReady(f"{self.root} has no {name} yet", hint="weir up") from error

    def _require_ours(self) -> None:
        found = {entry.name for entry in self.root.iterdir()}
        if self.root.stat().st_uid != os.geteuid():
            fault = "belongs to another user"
        elif found <= {*_OF_SERVERS, *_OF_WEIR} or {"run", "secrets"} <= found:
            return
        else:
            fault = "holds something else already"
        raise HomeTaken(
            f"{self.root} {fault}, and is left alone",
            hint="Set WEIR_HOME to a new or empty folder of your own.",
            folder=str(self.root),
        )

    def _make_folders(self, server_user: ServerUser | None) -> None:
        traversable = 0o711 if os.geteuid() == 0 else 0o700
        for parent in reversed(self.root.parents):
            if not parent.exists():
                _make_folder(parent, traversable)
        _make_folder(self.root, traversable)
        for name in _OF_WEIR:
            _make_folder(self.root / name, 0o700)
        for name in _OF_SERVERS:
            _make_folder(self.root / name, 0o700, owner=server_user)


def find_home(settings: ServerSettings, directory: Path | None = None) -> Home:
    """The home these settings mean: WEIR_HOME, else `.weir` in a checkout of this project, else the platform's folder.

    Args:
        settings: Only `home` is looked at.
        directory: The current folder unless given.
    """
    directory = directory or Path.cwd()
    if settings.home is not None:
        # Not `resolve`, which raises where links lead round in a circle.
        return Home(Path(os.path.realpath(directory / settings.home)))
    if _is_checkout(directory):
        return Home((directory / ".weir").resolve())
    return Home(Path(platformdirs.user_data_dir("weir", appauthor=False)).resolve())


def _is_checkout(directory: Path) -> bool:
    try:
        document = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or not ours to complain about
        return False
    project = document.get("project")
    return isinstance(project, dict) and project.get("name") == "weir"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns "disk full", "read-only" and "not permitted" into HomeUnwritable, naming the folder.

    Raises:
        HomeUnwritable: Something inside could not be written.
    """
    reasons = {
        errno.EROFS: ("is on a read-only disk", "Set WEIR_HOME to a folder on a writable disk."),
        errno.ENOSPC: ("is on a full disk", "Free some space, or set WEIR_HOME to a folder on another disk."),
        errno.EDQUOT: ("is over its owner's disk quota", "Free some space, or set WEIR_HOME to another folder."),
        errno.EACCES: ("may not be written by this user", "Set WEIR_HOME to a folder of your own."),
        errno.EPERM: ("belongs to another user", "Set WEIR_HOME to a folder of your own."),
        errno.ENOTDIR: ("lies below a file, not a folder", "Set WEIR_HOME to a folder."),
        errno.ENOENT: ("cannot be made there", "Set WEIR_HOME to a folder on a disk."),
        errno.ELOOP: ("is a link that leads round in a circle", "Set WEIR_HOME to a folder."),
        errno.ENAMETOOLONG: ("has too long a name", "Set WEIR_HOME to a shorter one."),
        errno.EEXIST: ("is a file, not a folder", "Set WEIR_HOME to a folder."),
    }
    try:
        yield
    except OSError as error:
        if error.errno not in reasons:
            raise
        reason, hint = reasons[error.errno]
        raise HomeUnwritable(f"{folder} {reason} ({error})", hint=hint, folder=str(folder)) from error


def write_private(path: Path, text: str, *, scratch: Path, owner: ServerUser | None = None) -> None:
    """Write a file readable by its owner only, whole or not at all.

    Args:
        path: Replaced if it is there.
        text: The whole content.
        scratch: A folder of our own on the same disk. The file is made there and moved: as root we never write through
            a folder that an unprivileged user could swap for a link.
        owner: Who may read it; ourselves when None.
    """
    temporary = scratch / f".{path.name}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if owner is not None:
                os.fchown(file.fileno(), owner.uid, owner.gid)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _make_folder(path: Path, mode: int, owner: ServerUser | None = None) -> None:
    path.mkdir(mode, exist_ok=True)
    found = path.stat()
    if owner is not None and found.st_uid != owner.uid:
        os.chown(path, owner.uid, owner.gid)
    if found.st_mode & 0o7777 != mode:
        path.chmod(mode)


def _make_secret(path: Path) -> None:
    """Two processes may make it at once: a link is made by exactly one of them, and both go on with that."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_private(temporary, secrets.token_urlsafe(_SECRET_BYTES), scratch=path.parent)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _require_reachable(root: Path, user: ServerUser) -> None:
    """Ask as that user, so that groups, access lists and mount options count as they will for the server."""
    above = [str(parent) for parent in reversed(root.parents) if parent.exists()]
    script = 'for folder; do test -x "$folder" || { printf %s "$folder"; exit 1; }; done'
    asked = run("/bin/sh", "-c", script, "sh", *above, user=user)
    if asked.returncode == 0:
        return
    raise HomeUnreachable(
        f"{root} cannot be reached by {user.name}, the user that servers run as: {asked.stdout} is closed to it",
        hint=f"Set WEIR_HOME to a folder that {user.name} can reach, such as /var/lib/weir, "
        f"or run Weir as a plain user. Weir does not change permissions of {asked.stdout} itself.",
        folder=asked.stdout,
        user=user.name,
    )
