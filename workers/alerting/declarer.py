"""Keeps the rules that `weir.toml` declares, and Weir's own, in line with what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from psycopg_pool import ConnectionPool

from telemetry.alerts import store
from telemetry.alerts.rule import Rule, make_rule
from telemetry.alerts.settings import AlertSettings, own_rules
from telemetry.clock import Clock
from telemetry.privacy import Pseudonyms
from workers.executions import reaching_store

log = structlog.get_logger(__name__)


class RuleDeclarer:
    """Looks once: what this process was told does not change while it lives.

    Of several schedulers the one that leads declares; one that was told something else does so when it leads.

    Args:
        pool: Postgres, in autocommit mode.
        clock: This machine's.
        settings: What is declared.
        pseudonyms: Hides the users of rules.
    """

    def __init__(
        self, pool: ConnectionPool[Any], clock: Clock, settings: AlertSettings, pseudonyms: Pseudonyms
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._settings = settings
        self._pseudonyms = pseudonyms
        self._done = False

    def run_once(self) -> int:
        """Bring the table in line, the first time; how many rules changed.

        Raises:
            StoreUnavailable: Postgres did not answer; it is tried again.
        """
        if self._done:
            return 0
        declared: dict[str, tuple[Rule, store.Origin]] = {
            rule.name: (rule, "weir") for rule in own_rules(self._settings)
        }
        declared |= {name: (self._rule(name, words), "file") for name, words in self._settings.rules.items()}
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            changed = store.declare(connection, declared.values(), self._clock.now())
        self._done = True
        if changed:
            log.info("alert_rules_declared", changed=changed)
        return changed

    def _rule(self, name: str, words: Mapping[str, Any]) -> Rule:
        if "user" not in words:
            return make_rule(name, words)
        return make_rule(name, {**words, "user": self._pseudonyms.user(str(words["user"])).hex()})
