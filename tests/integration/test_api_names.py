"""The names by which the API may be addressed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fixtures.apis import Api

from api.app import close_app
from api.settings import Settings


@pytest.fixture
def named_api(api_settings: Settings) -> Iterator[Api]:
    """An API that may be addressed by two names."""
    own = replace(api_settings.api, allowed_hosts=("weir.example", "::1"))
    api = Api(replace(api_settings, api=own), api_settings.servers.commands_dir)
    yield api
    close_app(api.app)


@pytest.mark.parametrize("host", ["weir.example", "WEIR.example:8443", "[::1]:7420"])
def test_an_api_answers_to_the_names_it_was_given(named_api: Api, host: str) -> None:
    assert named_api.open("GET", "/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7420", "elsewhere.weir.example", "weir.example.evil.example"])
def test_an_api_answers_to_no_other_name_and_says_which_it_has(named_api: Api, host: str) -> None:
    answer = named_api.open("GET", "/healthz", headers={"Host": host})

    assert (answer.status_code, answer.json["code"]) == (403, "request.cross_site")
    assert "weir.example" in answer.json["hint"]
    assert "WEIR_API_ALLOWED_HOSTS" in answer.json["hint"]


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://\u2100", "null", ""])
def test_an_origin_that_is_no_address_is_refused_like_that_of_another_site(named_api: Api, origin: str) -> None:
    answer = named_api.open("GET", "/api/commands", headers={"Host": "weir.example", "Origin": origin})

    assert (answer.status_code, answer.json["code"]) == (403, "request.cross_site")


def test_a_page_of_another_site_cannot_use_an_api_by_its_name_either(named_api: Api) -> None:
    headers = {"Host": "weir.example", "Origin": "https://elsewhere.example"}

    assert named_api.open("GET", "/api/commands", headers=headers).status_code == 403
    assert (
        named_api.open("GET", "/api/commands", headers={**headers, "Origin": "https://weir.example"}).status_code == 200
    )
