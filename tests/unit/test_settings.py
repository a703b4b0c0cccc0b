"""Settings that are fine alone and wrong together, and those that name hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.settings import LOOPBACK, Settings, load_settings
from telemetry.errors import SettingsInvalid


def settings(folder: Path, **variables: str) -> Settings:
    return load_settings({f"WEIR_{name}": value for name, value in variables.items()}, folder)


def test_the_api_listens_on_loopback_and_answers_to_its_names(tmp_path: Path) -> None:
    api = settings(tmp_path).api

    assert (api.host, api.guarded, api.allowed_hosts) == ("127.0.0.1", False, LOOPBACK)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "weir.example"])  # noqa: S104 - refused
def test_an_api_that_others_reach_is_refused_unless_somebody_guards_it(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"everybody .* may do everything.*WEIR_API_GUARDED=true") as refused:
        settings(tmp_path, API_HOST=host)

    assert f"WEIR_API_HOST = {host!r}" in str(refused.value)
    assert settings(tmp_path, API_HOST=host, API_GUARDED="true").api.host == host


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_needs_no_guard(tmp_path: Path, host: str) -> None:
    assert settings(tmp_path, API_HOST=host).api.host == host


def test_names_of_the_api_have_commas_between_them(tmp_path: Path) -> None:
    api = settings(tmp_path, API_ALLOWED_HOSTS="weir.example, 127.0.0.1,2001:db8::1, my_host").api

    assert api.allowed_hosts == ("weir.example", "127.0.0.1", "2001:db8::1", "my_host")


@pytest.mark.parametrize("name", ["*", "*.weir.example", "weir.example:7420", "http://weir.example", "[::1]", "a b"])
def test_what_is_no_host_is_refused_with_what_was_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsInvalid, match="without port, brackets or wildcards") as refused:
        settings(tmp_path, API_ALLOWED_HOSTS=f"localhost,{name}")

    assert repr(name) in str(refused.value)


def test_an_api_without_any_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="WEIR_API_ALLOWED_HOSTS is empty"):
        settings(tmp_path, API_ALLOWED_HOSTS=" , ")


@pytest.mark.parametrize(("alive", "silence"), [("5s", "10s"), ("20s", "30s"), ("5s", "1s")])
def test_a_process_with_nothing_to_do_has_time_to_say_so_twice(tmp_path: Path, alive: str, silence: str) -> None:
    with pytest.raises(SettingsInvalid, match="WEIR_TELEMETRY_PRODUCER_SILENCE is not more than twice"):
        settings(tmp_path, TELEMETRY_ALIVE_INTERVAL=alive, TELEMETRY_PRODUCER_SILENCE=silence)

    apart = settings(tmp_path, TELEMETRY_ALIVE_INTERVAL="1s", TELEMETRY_PRODUCER_SILENCE="3s").telemetry
    assert apart.producer_silence > 2 * apart.alive_interval


@pytest.mark.req("S-16")
def test_retention_has_the_defaults_that_were_asked_for(tmp_path: Path) -> None:
    keep = load_settings({}, tmp_path).workers.retention

    assert (keep.raw_events_days, keep.aggregated_metrics_days) == (14, 90)
    assert (keep.health_checks_days, keep.performance_snapshots_days) == (30, 30)
    assert (keep.executions_days, keep.failed_executions_days, keep.notifications_days) == (30, 90, 90)
    assert keep.component_days() == {}


@pytest.mark.req("S-16")
def test_components_may_have_fewer_days_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "weir.toml").write_text('[retention]\nraw_events_days = 7\ncomponents = ["http=3", "tool = 6"]\n')

    assert load_settings({}, tmp_path).workers.retention.component_days() == {"http": 3, "tool": 6}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"COMPONENTS": "http"}, "'http' is not a component and its days"),
        ({"COMPONENTS": "nobody=3"}, "'nobody=3' is not a component and its days"),
        ({"COMPONENTS": "http=0"}, "'http=0' is not a component and its days"),
        ({"COMPONENTS": "http=14"}, "is not fewer days than events have (14)"),
        ({"EXECUTIONS_DAYS": "13"}, "WEIR_RETENTION_EXECUTIONS_DAYS is fewer"),
        ({"FAILED_EXECUTIONS_DAYS": "29"}, "WEIR_RETENTION_FAILED_EXECUTIONS_DAYS is fewer"),
    ],
)
def test_retention_that_contradicts_itself_is_refused(tmp_path: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings({f"WEIR_RETENTION_{key}": value for key, value in given.items()}, tmp_path)

    assert said in str(caught.value)
