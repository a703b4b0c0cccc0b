"""`docker-compose.yml`: servers of supported versions, our processes, for this machine only, and no secret in it."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta

import pytest
from fixtures.compose import ComposeFault, Port, Service, variables_of
from fixtures.containers import COMPOSE, SECRETS, final_stage, ours, project
from fixtures.stacks import ROOT

from api.cli.server import GRACE
from api.cli.services import SERVICES
from api.settings import LOOPBACK, SECTIONS, ApiSettings, load_settings
from telemetry.settings import settings_of, variable_of
from workers.embedded.binaries import LEAST_POSTGRES, LEAST_VALKEY
from workers.health import PATIENCE
from workers.settings import WorkerSettings

PROJECT = project()
OURS = [service.name for service in ours(PROJECT.services)]
SERVERS = sorted(set(PROJECT.services) - set(OURS))

#: Oldest version of each image.
SUPPORTED = {"postgres": LEAST_POSTGRES, "valkey/valkey": LEAST_VALKEY}
#: Every setting, by its variable.
SETTINGS = {variable_of(section.section, spec.name) for section in SECTIONS for spec in settings_of(section)}
#: Starting Python and asking, beside waiting for the answer.
REST_OF_CHECK = timedelta(seconds=2)


def services(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("service", [PROJECT.services[name] for name in sorted(names)], ids=sorted(names))


def processes() -> pytest.MarkDecorator:
    return services([name for name in OURS if name != "migrate"])


@pytest.mark.req("D-02", "D-03")
def test_the_file_has_the_servers_the_migrations_and_every_process() -> None:
    assert SERVERS == ["postgres", "valkey"]
    assert set(OURS) == {"migrate", *SERVICES}


@services(SERVERS)
@pytest.mark.req("D-02")
def test_a_server_is_of_a_supported_version(service: Service) -> None:
    image, _, tag = service.image.partition(":")
    assert tuple(int(part) for part in tag.split(".")) >= SUPPORTED[image]


@services(OURS)
@pytest.mark.req("D-03")
def test_our_image_is_named_for_the_version_and_never_pulled(service: Service) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    assert service.image == f"localhost/weir:{version}"
    assert service.pull_policy == ("build" if service.build else "never")


@pytest.mark.req("D-03")
def test_one_service_builds_the_image_and_all_others_wait_for_it() -> None:
    (builder,) = (service for service in ours(PROJECT.services) if service.build is not None)

    assert builder.build == "."
    assert (ROOT / builder.build / "Dockerfile").is_file()
    assert [
        name for name in OURS if name != builder.name and builder.name not in PROJECT.services[name].conditions
    ] == []


@services(list(PROJECT.services))
def test_a_port_is_published_on_this_machine_only(service: Service) -> None:
    assert [port for port in service.ports if port.host != "127.0.0.1"] == []


@services(SERVERS)
def test_a_server_has_a_port_a_health_check_and_keeps_its_data(service: Service) -> None:
    assert service.ports
    assert service.healthcheck is not None
    (volume,) = service.mounts
    assert volume.source in PROJECT.volumes
    assert service.restart == "unless-stopped"


@pytest.mark.req("D-03")
def test_the_api_is_where_clients_of_this_machine_look_for_it() -> None:
    settings = load_settings(PROJECT.services["api"].environment, ROOT / "docs")

    assert PROJECT.services["api"].ports == (Port("127.0.0.1", str(ApiSettings.port), settings.api.port),)
    assert settings.api.host == "0.0.0.0"  # noqa: S104 - in its container
    assert settings.api.allowed_hosts == LOOPBACK
    assert [name for name in OURS if PROJECT.services[name].ports] == ["api"]


@processes()
@pytest.mark.req("D-03")
def test_a_process_runs_for_ever_after_the_migrations_and_has_its_volumes(service: Service) -> None:
    image = final_stage()

    assert service.command == ("serve", service.name)
    assert service.restart == "unless-stopped"
    assert service.conditions == {"migrate": "service_completed_successfully", "valkey": "service_healthy"}
    assert {mount.target for mount in service.mounts} == set(image.volumes)
    assert [mount.source for mount in service.mounts if not mount.is_bind and mount.source not in PROJECT.volumes] == []
    assert [mount.source for mount in service.mounts if mount.is_bind and not mount.read_only] == []
    assert service.init


@processes()
@pytest.mark.req("D-03")
def test_a_health_check_asks_the_process_it_belongs_to_and_has_the_time_for_it(service: Service) -> None:
    assert service.healthcheck is not None
    assert service.healthcheck.test == ("CMD", "weir", "health", service.name)
    assert service.healthcheck.timeout > PATIENCE + REST_OF_CHECK
    assert service.healthcheck.interval >= service.healthcheck.timeout


@processes()
@pytest.mark.req("D-03")
def test_a_process_has_the_time_to_end_its_work(service: Service) -> None:
    assert service.grace > max(WorkerSettings().shutdown_timeout, GRACE)


@pytest.mark.req("D-03")
def test_the_migrations_run_once_when_postgres_answers() -> None:
    migrate = PROJECT.services["migrate"]

    assert migrate.command == ("migrate",)
    assert migrate.restart == "no"
    assert migrate.conditions == {"postgres": "service_healthy"}


@services(list(PROJECT.services))
@pytest.mark.req("D-03")
def test_a_service_knows_the_secrets_it_needs(service: Service) -> None:
    needed = [name for name, value in SECRETS.items() if value in str(service.environment)]

    assert len(needed) == (len(SECRETS) if service.name in OURS else 1)


@pytest.mark.req("D-03")
@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_that_is_missing_or_empty_is_asked_for(name: str) -> None:
    without = {other: value for other, value in SECRETS.items() if other != name}
    for environ in (without, {**without, name: ""}):
        with pytest.raises(ComposeFault, match=name):
            project(environ)


def test_no_secret_has_a_default() -> None:
    given = re.findall(r"\$\{(\w*(?:PASSWORD|_KEY|SECRET))\b(:?.)", COMPOSE)
    assert {name for name, _ in given} == set(SECRETS)
    assert {how for _, how in given} == {":?"}


@pytest.mark.req("D-03", "S-17")
def test_every_variable_of_ours_is_a_setting() -> None:
    named = {name for service in PROJECT.services.values() for name in service.environment} | variables_of(PROJECT.raw)
    named |= set(final_stage().environment)

    assert {name for name in named if name.startswith("WEIR_")} - SETTINGS == set()


@services(OURS)
@pytest.mark.req("D-03")
def test_the_settings_of_a_container_are_complete_and_right(service: Service) -> None:
    settings = load_settings({**final_stage().environment, **service.environment}, ROOT / "docs")

    assert settings.servers.database_url == f"postgresql://weir:{SECRETS['POSTGRES_PASSWORD']}@postgres:5432/weir"
    assert settings.servers.redis_url == f"redis://:{SECRETS['VALKEY_PASSWORD']}@valkey:6379/0"
    assert settings.telemetry.pseudonym_key == SECRETS["WEIR_TELEMETRY_PSEUDONYM_KEY"]


def test_exports_are_where_both_who_writes_and_who_serves_them_look() -> None:
    writer, server = (PROJECT.services[name] for name in ("maintenance", "api"))

    homes = [[mount.source for mount in each.mounts if mount.target == "/var/lib/weir"] for each in (writer, server)]
    assert homes == [["home"], ["home"]]
    assert not {"WEIR_EXPORT_DIR", "WEIR_HOME"} & (writer.environment.keys() | server.environment.keys())
