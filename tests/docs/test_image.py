"""`Dockerfile` and `.dockerignore`: what goes into the image, and as whom it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from fixtures.containers import DOCKERFILE, final_stage
from fixtures.dockerfile import is_ignored, read_dockerfile
from fixtures.stacks import ROOT

STAGES = read_dockerfile(DOCKERFILE, {"PATH": "/usr/bin"})
BUILD, FINAL = STAGES
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8")

#: Everything that the image is built from, as paths of the context.
SOURCES = [source for copy in BUILD.copies for source in copy.sources]


def files_of(names: list[str]) -> set[str]:
    """Every file of ours that these are, or that is below them."""
    found = {path for name in names for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()}
    return {path.relative_to(ROOT).as_posix() for path in found if path.parent.name != "__pycache__"}


@pytest.mark.req("D-03")
def test_all_that_is_copied_exists_and_reaches_the_build() -> None:
    assert [source for source in SOURCES if not (ROOT / source).exists()] == []
    assert [source for source in SOURCES if is_ignored(source, IGNORED)] == []
    assert [(copy.stage, copy.sources) for copy in FINAL.copies] == [(BUILD.name, ("/opt/weir",))]


@pytest.mark.req("D-03")
@pytest.mark.parametrize(
    "path", [".env", ".git/config", ".weir/secrets/pseudonym_key", ".venv/bin/python", "weir.toml"]
)
def test_what_is_private_never_reaches_the_build(path: str) -> None:
    assert is_ignored(path, IGNORED)


@pytest.mark.req("D-03")
def test_only_what_the_lock_names_is_installed() -> None:
    installs = [
        command for run in BUILD.runs for command in re.split(r"\s*&&\s*", run) if re.search(r"pip \w", command)
    ]
    download, install, remove = installs

    assert {"--require-hashes", "--only-binary=:all:"} < set(download.split())
    assert {"--no-index", "--find-links"} < set(install.split())
    assert "uninstall" in remove
    assert [run for run in FINAL.runs if "pip" in run] == []


@pytest.mark.req("D-03")
def test_both_stages_have_the_same_base_of_a_supported_python() -> None:
    assert BUILD.base == FINAL.base
    match = re.fullmatch(r"python:(\d+)\.(\d+)-slim-[a-z]+", FINAL.base)
    assert match is not None
    assert (int(match[1]), int(match[2])) >= (3, 11)


@pytest.mark.req("D-03")
def test_the_image_runs_weir_as_a_user_of_its_own() -> None:
    uid, _, gid = FINAL.user.partition(":")
    made = FINAL.runs[0]

    assert int(uid) > 1000
    assert f"useradd --uid {uid}" in made
    assert f"groupadd --gid {gid}" in made
    assert (FINAL.entrypoint, FINAL.stop_signal) == (["weir"], "SIGTERM")
    assert FINAL.environment["WEIR_HOME"] in FINAL.volumes
    assert f"{FINAL.directory}/commands" in FINAL.volumes
    owned = {*FINAL.volumes, FINAL.directory, FINAL.environment["WEIR_HEALTH_DIR"]}
    assert [folder for folder in owned if folder not in made.split()] == []


@pytest.mark.req("D-03")
def test_no_secret_is_in_the_image() -> None:
    assert [name for name in final_stage().environment if re.search("PASSWORD|KEY|SECRET|TOKEN|URL", name)] == []


@pytest.mark.req("D-03")
def test_the_installed_package_has_every_file_of_the_tree(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) == {name for name in SOURCES if (ROOT / name).is_dir()}
    context = {name for name in files_of(SOURCES) if not is_ignored(name, IGNORED)}
    for name in context:
        (tmp_path / "context" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / "context" / name)

    subprocess.run(  # noqa: S603 - the back end of pyproject.toml, as pip calls it
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")],
        cwd=tmp_path / "context",
        check=True,
        capture_output=True,
        timeout=60,
    )

    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        installed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "weir = api.cli.entry:run" in archive.read(entry).decode()
    assert installed == files_of(packages)
    assert {Path(name).suffix for name in installed} >= {".py", ".sql", ".yaml"}
