"""The actors: shells of a few lines. Names in, call the object, return; they never raise, so Dramatiq never retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import dramatiq

from workers.broker import MAINTENANCE_QUEUE, BellBroker, queue_of
from workers.hints import RUN_LANE, lane_hint
from workers.runner import Runner

#: Names of the actors that do one round: maintenance, giving back lost events, building chains, roll-ups, the
#: check-up, deleting what is too old, and writing exports.
MAINTAIN = "maintain"
RECONCILE = "reconcile"
BUILD_CHAINS = "build_chains"
ROLL_UP = "roll_up"
CHECK_UP = "check_up"
CLEAN = "clean"
WRITE_EXPORTS = "write_exports"
ROUNDS = (MAINTAIN, RECONCILE, BUILD_CHAINS, ROLL_UP, CHECK_UP, CLEAN, WRITE_EXPORTS)


def declare_lane(broker: BellBroker, lane: str, runner: Runner) -> None:
    """Let this process answer hints of a lane."""

    @dramatiq.actor(broker=broker, actor_name=RUN_LANE, queue_name=queue_of(lane))
    def run_lane(hinted: str) -> None:
        runner.run_lane(hinted)

    broker.own_hints[queue_of(lane)] = partial(lane_hint, lane)


def declare_maintenance(broker: BellBroker, rounds: Mapping[str, Callable[[], None]]) -> None:
    """Let this process do rounds of maintenance: what to call, by the name of the actor (`ROUNDS`)."""
    for name, go_round in rounds.items():
        dramatiq.actor(broker=broker, actor_name=name, queue_name=MAINTENANCE_QUEUE)(_shell(go_round))


def _shell(go_round: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        go_round()

    return run
