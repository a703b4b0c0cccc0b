from __future__ import annotations

import pydantic
import pytest

from workers.failures import Failures


class Even(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def is_even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("an even number")
        return number


def test_a_parameter_that_a_validator_refuses_is_told_in_the_validators_words() -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        Even(number=1)

    assert Failures().details(refused.value)["faults"] == [
        {"path": "with.number", "message": "an even number", "code": "step.value_error"}
    ]
