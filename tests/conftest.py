"""Fixtures of all tests come from plugins, one a concern: see tests/fixtures/."""

from __future__ import annotations

pytest_plugins = [
    "fixtures.ordering",
    "fixtures.clock",
    "fixtures.folders",
    "fixtures.servers",
    "fixtures.databases",
    "fixtures.step_packages",
    "fixtures.tables",
    "fixtures.stacks",
    "fixtures.worlds",
    "fixtures.traps",
    "fixtures.ledgers",
    "fixtures.apis",
    "fixtures.alerting",
    "fixtures.receivers",
    "fixtures.installations",
    "fixtures.containers",
]
