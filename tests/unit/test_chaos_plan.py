"""The plan and the load of the chaos harness: the same seed, the same trouble."""

from __future__ import annotations

from itertools import islice

import pytest
from chaos.__main__ import parsed
from chaos.orders import Order, stream
from chaos.plan import DISK, Fault, combinations, make_kills, make_plan, touched

LEASE = 2.0


def plan(seed: int, seconds: float = 600.0) -> list[Fault]:
    return make_plan(seed, seconds, lease=LEASE, mean_gap=1.0)


def orders(seed: int, number: int = 500) -> list[Order]:
    return list(islice(stream(seed), number))


def test_the_same_seed_is_the_same_plan_and_another_is_another() -> None:
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_the_same_seed_is_the_same_load_and_another_is_another() -> None:
    assert orders(1) == orders(1)
    assert orders(1) != orders(2)


def test_a_longer_plan_begins_as_a_shorter_one() -> None:
    short = plan(3, 50.0)
    assert [(fault.at, fault.kind, fault.target) for fault in plan(3)][: len(short)] == [
        (fault.at, fault.kind, fault.target) for fault in short
    ]


def test_everything_that_can_go_wrong_does() -> None:
    assert {(fault.kind, fault.target) for fault in plan(1)} == set(combinations())


def test_a_disk_that_is_there_is_filled_and_one_that_is_not_is_left_alone() -> None:
    with_disk = make_plan(1, 600.0, lease=LEASE, mean_gap=1.0, has_disk=True)
    assert {(fault.kind, fault.target) for fault in with_disk} == set(combinations(has_disk=True))
    assert ("fill", DISK) in combinations(has_disk=True)
    assert ("fill", DISK) not in combinations()


def test_no_target_has_two_faults_at_once_and_all_are_over_in_time() -> None:
    until: dict[str, float] = {}
    for fault in make_plan(1, 600.0, lease=LEASE, mean_gap=1.0, has_disk=True):
        for target in touched(fault.target):
            assert fault.at >= until.get(target, 0.0)
            until[target] = fault.at + fault.lasts
    assert max(until.values()) <= 600.0


def test_some_workers_are_stopped_for_longer_than_their_lease_and_some_are_not() -> None:
    stops = [fault.lasts for fault in plan(1) if fault.kind == "stop" and fault.target.startswith("worker")]
    assert min(stops) < LEASE < max(stops)


def test_kills_go_on_without_end_and_are_the_same_for_the_same_seed() -> None:
    targets = ["worker-2", "worker-3"]
    kills = list(islice(make_kills(1, targets, mean_gap=1.0), 100))
    assert kills == list(islice(make_kills(1, targets, mean_gap=1.0), 100))
    assert {fault.target for fault in kills} == set(targets)
    assert [fault.at for fault in kills] == sorted(fault.at for fault in kills)


def test_orders_have_tokens_of_their_own_and_some_are_sent_twice_cancelled_or_faulty() -> None:
    made = orders(1)
    assert len({order.token for order in made}) == len(made)
    assert any(order.twice for order in made)
    assert any(order.cancel_after is not None for order in made)
    assert not all(order.is_valid for order in made)


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "long"])
def test_a_run_of_no_time_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(["--seconds", seconds])

    assert caught.value.code == 2
    assert "is not a number of seconds above 0" in capsys.readouterr().err
