"""The actors: shells of a few lines. Names in, call the object, return; they never raise, so Dramatiq never retries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import dramatiq

from workers.broker import MAINTENANCE_QUEUE, BellBroker, queue_of
from workers.hints import RUN_LANE, lane_hint
from workers.runner import Runner

#: Names of the actors that do one round of maintenance, of giving back lost events, and of deleting what is too old.
MAINTAIN = "maintain"
RECONCILE = "reconcile"
CLEAN = "clean"


def declare_lane(broker: BellBroker, lane: str, runner: Runner) -> None:
    """Let this process answer hints of a lane."""

    @dramatiq.actor(broker=broker, actor_name=RUN_LANE, queue_name=queue_of(lane))
    def run_lane(hinted: str) -> None:
        runner.run_lane(hinted)

    broker.own_hints[queue_of(lane)] = partial(lane_hint, lane)


def declare_maintenance(
    broker: BellBroker, maintain: Callable[[], None], reconcile: Callable[[], None], clean: Callable[[], None]
) -> None:
    """Let this process do maintenance, give back lost events, and delete what is too old."""

    @dramatiq.actor(broker=broker, actor_name=MAINTAIN, queue_name=MAINTENANCE_QUEUE)
    def run_maintenance() -> None:
        maintain()

    @dramatiq.actor(broker=broker, actor_name=RECONCILE, queue_name=MAINTENANCE_QUEUE)
    def run_reconciler() -> None:
        reconcile()

    @dramatiq.actor(broker=broker, actor_name=CLEAN, queue_name=MAINTENANCE_QUEUE)
    def run_cleaner() -> None:
        clean()
