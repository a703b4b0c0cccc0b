from __future__ import annotations

from collections.abc import Iterator

import pytest

import dsl.errors
import telemetry.errors
import workers.errors
from api.problems import (
    KINDS,
    BodyMalformed,
    CursorInvalid,
    MediaTypeRefused,
    NotReady,
    RequestInvalid,
    internal,
    kind_of,
    of_error,
    of_status,
)
from dsl.errors import Fault, InputsInvalid
from telemetry.errors import StoreUnavailable, WeirError


def errors_of(root: type[WeirError]) -> Iterator[type[WeirError]]:
    yield root
    for child in root.__subclasses__():
        yield from errors_of(child)


KNOWN = {telemetry.errors.__name__, dsl.errors.__name__, workers.errors.__name__, "api.problems"}
#: A process that meets these never serves a request.
AT_START = {telemetry.errors.RedisRefused}
#: Only maintenance, and the command line itself, delete what is old.
OF_CLEANING = {telemetry.errors.ArchiveFailed, telemetry.errors.CleanupRunning}
#: Only the command line meets what others have left where it writes.
OF_WRITING = {telemetry.errors.ExportExists, telemetry.errors.ExportOther, telemetry.errors.ExportInUse}
REACHABLE = sorted(
    {error for error in errors_of(WeirError) if error.__module__ in KNOWN} - AT_START - OF_CLEANING - OF_WRITING,
    key=lambda error: (error.code, error.__name__),
)


@pytest.mark.parametrize("error", REACHABLE, ids=lambda error: error.__name__)
def test_every_error_the_api_can_meet_has_a_kind_of_its_own(error: type[WeirError]) -> None:
    assert kind_of(error).code == error.code


def test_codes_are_unique_and_so_are_titles() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    assert len({kind.title for kind in KINDS}) == len(KINDS)


def test_an_error_without_a_kind_is_answered_as_its_nearest_ancestor() -> None:
    class Special(StoreUnavailable):
        code = "store.special"

    assert kind_of(Special).code == "store.unavailable"


def test_faults_become_errors_without_what_is_not_known() -> None:
    fault = Fault("inputs.type", "body must be a text", path="inputs.body", found="1", expected="string")

    problem = of_error(InputsInvalid("todo.add", (fault,)))

    assert problem.status == 422
    assert problem.body["errors"] == [
        {
            "code": "inputs.type",
            "message": "body must be a text",
            "path": "inputs.body",
            "found": "1",
            "expected": "string",
        }
    ]


def test_what_may_succeed_later_says_when_to_try_again() -> None:
    problem = of_error(StoreUnavailable("gone", hint="wait"))

    assert problem.status == 503
    assert problem.headers == {"Retry-After": "2"}
    assert problem.body == {
        "type": "/docs/problems#store.unavailable",
        "title": "Postgres is away",
        "status": 503,
        "detail": "gone",
        "code": "store.unavailable",
        "hint": "wait",
    }


@pytest.mark.parametrize("error", [WeirError("secret"), telemetry.errors.SettingsInvalid(["secret"])])
def test_what_is_internal_says_nothing_of_itself(error: WeirError) -> None:
    assert of_error(error) == internal()
    assert "secret" not in str(internal().body)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "route.not_found"),
        (405, "method.not_allowed"),
        (413, "request.too_large"),
        (418, "http"),
        (500, "internal"),
    ],
)
def test_refusals_of_the_http_layer_have_kinds_too(status: int, code: str) -> None:
    problem = of_status(status, "said so")

    assert (problem.status, problem.body["status"], problem.body["code"]) == (status, status, code)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(404, "/api/openapi.json"), (405, "Allow"), (413, "raise the setting")],
)
def test_refusals_of_the_http_layer_say_what_to_do_in_our_words(status: int, hint: str) -> None:
    body = of_status(status, "If you entered the URL manually please check your spelling").body

    assert "manually" not in body["detail"]
    assert hint in body["hint"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BodyMalformed("x"), 400),
        (CursorInvalid("x"), 400),
        (MediaTypeRefused("x"), 415),
        (RequestInvalid([Fault("request.unknown_field", "there is no x", path="x")]), 422),
    ],
)
def test_requests_are_refused_with_the_status_that_fits(error: WeirError, status: int) -> None:
    assert of_error(error).status == status


def test_what_is_not_ready_names_everything_that_was_looked_at() -> None:
    problem = of_error(NotReady({"postgres": "ok", "redis": "does not answer"}))

    assert problem.body["detail"] == "redis: does not answer"
    assert problem.body["checks"] == {"postgres": "ok", "redis": "does not answer"}
