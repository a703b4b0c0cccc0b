from __future__ import annotations

from uuid import UUID

import pytest
from structlog.contextvars import get_contextvars

from telemetry.correlation import bind, parse_correlation_id, parse_traceparent, read_correlation_id

ID = UUID("0af76519-16cd-43dd-8448-eb211c80319c")
TRACEPARENT = f"00-{ID.hex}-b7ad6b7169203331-01"


@pytest.mark.req("C-05")
@pytest.mark.parametrize("text", [str(ID), ID.hex, str(ID).upper(), ID.hex.upper()])
def test_a_uuid_or_32_hex_digits_is_a_correlation_id(text: str) -> None:
    assert parse_correlation_id(text) == ID


@pytest.mark.req("C-05", "C-14")
@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "my secret order",
        "alice@example.org",
        f" {ID}",
        f"{ID}\n",
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        ID.hex[:-1],
        ID.hex + "0",
        "0" * 32,
        "0af76519-16cd43dd-8448-eb211c80319c",
        "\u0660" * 32,  # Arabic digits, but not hexadecimal ones
    ],
)
def test_anything_else_is_not(text: str | None) -> None:
    assert parse_correlation_id(text) is None


@pytest.mark.req("C-05")
@pytest.mark.parametrize(
    "text", [TRACEPARENT, f"cc-{ID.hex}-b7ad6b7169203331-01", f"cc-{ID.hex}-b7ad6b7169203331-01-x"]
)
def test_a_traceparent_gives_its_trace_id(text: str) -> None:
    assert parse_traceparent(text) == ID


@pytest.mark.req("C-05")
@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "garbage",
        f"ff-{ID.hex}-b7ad6b7169203331-01",
        f"00-{ID.hex}-b7ad6b7169203331-01-more",
        f"00-{ID.hex}-{'0' * 16}-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        TRACEPARENT.upper(),
        TRACEPARENT[:-1],
    ],
)
def test_an_invalid_traceparent_gives_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.req("C-05")
def test_the_correlation_header_goes_before_the_traceparent_unless_it_is_invalid() -> None:
    other = UUID(int=5)

    assert read_correlation_id(str(other), TRACEPARENT) == other
    assert read_correlation_id("nonsense", TRACEPARENT) == ID
    assert read_correlation_id(None, None) is None


@pytest.mark.req("C-05")
def test_bound_ids_are_in_the_log_context_inside_the_block_only() -> None:
    with bind(correlation_id=ID):
        with bind(execution_id=UUID(int=7), message_id="m-1"):
            inside = get_contextvars()
        after = get_contextvars()

    assert inside == {"correlation_id": str(ID), "execution_id": str(UUID(int=7)), "message_id": "m-1"}
    assert after == {"correlation_id": str(ID)}
    assert get_contextvars() == {}
