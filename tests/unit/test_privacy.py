from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from types import ModuleType

import psycopg
import psycopg_pool
import pytest
import redis.exceptions
from pydantic import TypeAdapter

from telemetry.errors import StoreUnavailable, WeirError
from telemetry.events import Category
from telemetry.privacy import FINGERPRINT_BYTES, HASH_BYTES, Pseudonyms, category, class_name, error_facts, frames

SECRET = "hunter2"


def raised(function: Callable[[], object]) -> Exception:
    """What a call raises."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    pytest.fail("nothing was raised")


def module_of(name: str, source: str) -> ModuleType:
    """A module that stands in a package of ours."""
    module = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)  # noqa: S102 - our own text
    return module


@pytest.mark.req("C-14")
def test_a_user_is_a_keyed_hash_that_is_always_the_same() -> None:
    pseudonyms = Pseudonyms(b"key")

    assert pseudonyms.user("alice") == Pseudonyms(b"key").user("alice")
    assert len(pseudonyms.user("alice")) == HASH_BYTES
    assert pseudonyms.user("alice") != pseudonyms.user("Alice")
    assert pseudonyms.user("alice") != Pseudonyms(b"another key").user("alice")


@pytest.mark.req("C-14")
def test_a_name_and_the_same_text_as_content_have_different_hashes() -> None:
    pseudonyms = Pseudonyms(b"key")

    assert pseudonyms.user('"alice"') != pseudonyms.content("alice")


@pytest.mark.req("C-14")
def test_equal_contents_have_equal_hashes_whatever_the_order_of_keys() -> None:
    pseudonyms = Pseudonyms(b"key")

    assert pseudonyms.content({"a": 1, "b": [1, None]}) == pseudonyms.content({"b": [1, None], "a": 1})
    assert pseudonyms.content({"a": 1}) != pseudonyms.content({"a": 2})
    assert len(pseudonyms.content(None)) == HASH_BYTES


@pytest.mark.parametrize("name", ["", "\x00", "日本", "\ud800", "x" * 100_000])
def test_any_text_is_a_name_and_a_content(name: str) -> None:
    pseudonyms = Pseudonyms(b"key")

    assert len(pseudonyms.user(name)) == len(pseudonyms.content(name)) == HASH_BYTES


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Pseudonyms(b"")


class RateLimited(WeirError):
    category = "rate_limit"


class Confused(Exception):
    category = "my own invention"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(SECRET), "internal"),
        (KeyError(SECRET), "internal"),
        (TimeoutError(SECRET), "timeout"),
        (redis.exceptions.TimeoutError(SECRET), "timeout"),
        (psycopg_pool.PoolTimeout(SECRET), "timeout"),
        (psycopg.errors.QueryCanceled(SECRET), "timeout"),
        (psycopg.errors.LockNotAvailable(SECRET), "timeout"),
        (ConnectionResetError(SECRET), "network"),
        (ssl.SSLError(SECRET), "network"),
        (redis.exceptions.ConnectionError(SECRET), "network"),
        (psycopg.OperationalError(SECRET), "network"),
        (psycopg.errors.ConnectionFailure(SECRET), "network"),
        (psycopg.errors.DiskFull(SECRET), "server"),
        (psycopg.errors.DeadlockDetected(SECRET), "server"),
        (redis.exceptions.ResponseError(SECRET), "server"),
        (StoreUnavailable(SECRET), "server"),
        (psycopg.errors.UniqueViolation(SECRET), "validation"),
        (psycopg.errors.InvalidTextRepresentation(SECRET), "validation"),
        (raised(lambda: TypeAdapter(int).validate_python(SECRET)), "validation"),
        (RateLimited(SECRET), "rate_limit"),
        (Confused(SECRET), "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_category_of_an_error_is_what_it_says_or_what_its_class_is(error: Exception, expected: Category) -> None:
    assert category(error) == expected


@pytest.mark.req("C-14")
@pytest.mark.parametrize("name", ["my secret title", "Geheim\u00e9", "x" * 101, "a-b", ""])
def test_a_class_whose_name_may_be_content_is_other(name: str) -> None:
    assert class_name(type(name, (Exception,), {})()) == "other"


@pytest.mark.req("C-14")
def test_a_class_that_was_made_of_a_text_has_no_name_and_those_that_somebody_wrote_have() -> None:
    class _Local(Exception):
        pass

    assert class_name(type("buy_milk", (Exception,), {})()) == "other"
    assert class_name(type("Confused", (Exception,), {})()) == "other"
    assert class_name(_Local()) == "_Local"
    assert class_name(Confused()) == "Confused"
    assert class_name(psycopg.errors.UniqueViolation()) == "UniqueViolation"


@pytest.mark.req("C-14")
def test_facts_of_an_error_do_not_depend_on_its_message() -> None:
    def fail(message: str) -> None:
        raise ValueError(message)

    one, other = raised(lambda: fail(SECRET)), raised(lambda: fail("something else"))

    assert error_facts(one) == error_facts(other)
    assert error_facts(one).error_type == "ValueError"
    assert len(error_facts(one).error_fingerprint) == FINGERPRINT_BYTES
    assert SECRET not in repr(error_facts(one))


@pytest.mark.req("C-14")
def test_frames_are_the_places_in_our_own_packages() -> None:
    ours = module_of("dsl.steps.odd", "def run(call):\n    return call()\n")
    foreign = module_of("somebody.library", "def call(back):\n    return back()\n")

    error = raised(lambda: foreign.call(lambda: ours.run(lambda: int(SECRET))))

    assert frames(error) == ["dsl.steps.odd:run:2"]


def test_a_fingerprint_survives_edits_elsewhere_and_tells_places_apart() -> None:
    source = "def run(bad):\n    if bad == 1:\n        raise ValueError(1)\n    raise ValueError(2)\n"
    before, after = module_of("dsl.odd", source), module_of("dsl.odd", "# a comment\n\n\n" + source)

    one, moved, other = raised(partial(before.run, 1)), raised(partial(after.run, 1)), raised(partial(before.run, 2))

    assert error_facts(one) == error_facts(moved)
    assert error_facts(one) != error_facts(other)
    assert frames(one) != frames(moved)


def test_an_endless_recursion_has_a_bounded_number_of_frames() -> None:
    module = module_of("dsl.deep", "def run():\n    return run()\n")

    error = raised(module.run)

    assert len(frames(error)) == 50
    assert error_facts(error).error_type == "RecursionError"
