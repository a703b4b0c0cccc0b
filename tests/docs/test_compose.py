"""`docker-compose.yml`: servers of supported versions, for this machine only, with passwords and health checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from workers.embedded.binaries import LEAST_POSTGRES, LEAST_VALKEY

COMPOSE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8"))

#: Oldest version of each image.
SUPPORTED = {"postgres": LEAST_POSTGRES, "valkey/valkey": LEAST_VALKEY}


def services() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", sorted(COMPOSE["services"]))


@services()
@pytest.mark.req("D-02")
def test_a_service_runs_a_supported_version(name: str) -> None:
    image, _, tag = COMPOSE["services"][name]["image"].partition(":")
    assert tuple(int(part) for part in tag.split(".")) >= SUPPORTED[image]


@services()
def test_a_service_listens_on_this_machine_only(name: str) -> None:
    ports = COMPOSE["services"][name]["ports"]
    assert ports
    assert [port for port in ports if not str(port).startswith("127.0.0.1:")] == []


@services()
def test_a_service_has_a_health_check_and_keeps_its_data(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["healthcheck"]["test"]
    (volume,) = service["volumes"]
    assert volume.partition(":")[0] in COMPOSE["volumes"]


@services()
def test_a_service_refuses_to_start_without_a_password(name: str) -> None:
    secrets = [
        value for key, value in COMPOSE["services"][name]["environment"].items() if re.search("PASSWORD|AUTH", key)
    ]
    assert secrets
    assert [value for value in secrets if not re.fullmatch(r"\$\{[A-Z]+_PASSWORD:\?.+\}", value)] == []


def test_no_variable_of_the_file_is_mistaken_for_a_setting() -> None:
    assert [name for name in re.findall(r"\$\{(\w+)", str(COMPOSE)) if name.startswith("WEIR_")] == []
