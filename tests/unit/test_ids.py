"""No id is made twice, whatever is done with the random numbers of the process."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.ids import mint


@pytest.fixture
def seeded() -> Iterator[None]:
    """Python's random numbers are left as they were."""
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.mark.usefixtures("seeded")
def test_a_step_that_seeds_random_numbers_has_no_id_made_twice() -> None:
    ids = []
    for _ in range(3):
        random.seed(42)
        ids.append(mint(0))

    assert len(set(ids)) == 3


#: Imports what begins anew before what mints; prints how many of five ids of three children and their parent differ.
FORKING = """
import os
from telemetry.forks import renew_in_children
from telemetry.ids import mint

class Minting:
    def renew(self):
        self.epoch = mint(0)

minting = Minting()
minting.renew()
renew_in_children(minting)
reading, writing = os.pipe()
for _ in range(3):
    if (child := os.fork()) == 0:
        os.write(writing, minting.epoch)
        os._exit(0)
    os.waitpid(child, 0)
told = os.read(reading, 48)
print(len({told[:16], told[16:32], told[32:], minting.epoch, mint(0)}))
"""


def test_children_and_their_parent_have_ids_of_their_own() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", FORKING], cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 - ours

    assert done.stdout.strip() == "5"
