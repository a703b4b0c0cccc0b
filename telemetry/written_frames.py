"""Frames that telemetry may show: those whose module and function somebody wrote down in a file of this installation.

A frame is `module:function:line`, and code can be made of a text, with whatever names that has. So a name counts only
if it is found in the source of its module; everything else about a frame is a number.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from telemetry.privacy import MAX_FRAMES, in_app_packages

#: What stands for a module, or a function, that is written nowhere.
UNKNOWN: Final = "<unknown>"
#: Bytes of a source file that is read, at most.
_MAX_SOURCE: Final = 2 << 20
#: A longer frame is none that somebody wrote.
_MAX_FRAME: Final = 300
_FRAME: Final = re.compile(r"([A-Za-z_][\w.]*):([\w.<>]+):([0-9]{1,7})", re.ASCII)
#: Parts of qualified names that Python makes.
_MADE: Final = frozenset({"<locals>", "<lambda>", "<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<module>"})


def written_frames(frames: Iterable[object]) -> list[str]:
    """The frames, with what is written nowhere as `<unknown>`; at most as many as an error has."""
    return [_shown(frame) for frame in frames][-MAX_FRAMES:]


def _shown(frame: object) -> str:
    match = _FRAME.fullmatch(frame) if isinstance(frame, str) and len(frame) <= _MAX_FRAME else None
    if match is None:
        return UNKNOWN
    module, function, line = match.groups()
    names = _names_in(module)
    if names is None:
        return UNKNOWN
    is_written = all(part in names or part in _MADE for part in function.split("."))
    return f"{module}:{function if is_written else UNKNOWN}:{line}"


@lru_cache(maxsize=500)
def _names_in(module: str) -> frozenset[str] | None:
    """Names of functions and classes in a module's file; none if there is no such file in a package of ours."""
    package, *rest = module.split(".")
    if package not in in_app_packages():
        return None
    path = _file_of(package, rest)
    if path is None:
        return None
    try:
        if path.stat().st_size > _MAX_SOURCE:
            return None
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def _file_of(package: str, rest: list[str]) -> Path | None:
    """The source of a module; nothing is imported but what finds the package."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None
