"""What of some figures has changed, and what becomes of figures by that. Pure: readers use it, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

#: What is told of a view: single facts, and groups of figures by their metric.
Figures: TypeAlias = dict[str, Any]

_GROUPS: Final = ("metrics", "other")
_SERIES: Final = "series"


def changes(before: Figures, after: Figures) -> Figures:
    """What is not as it was, of the same view. A series that is gone is null."""
    groups = (*_GROUPS, _SERIES)
    changed: Figures = {name: said for name, said in after.items() if name not in groups and before.get(name) != said}
    for group in _GROUPS:
        if group in after and (of_group := _changed(before[group], after[group])):
            changed[group] = of_group
    if _SERIES in after:
        was, told = before[_SERIES], {}
        for member, said in after[_SERIES].items():
            if of_member := _changed(was.get(member, {}), said):
                told[member] = of_member
        told |= dict.fromkeys(name for name in was if name not in after[_SERIES])
        if told:
            changed[_SERIES] = told
    return changed


def applied(before: Mapping[str, Any], changed: Mapping[str, Any]) -> Figures:
    """The figures after some changes: what a reader makes of them."""
    after = {**before, **changed}
    for group in _GROUPS:
        if group in changed:
            after[group] = {**before[group], **changed[group]}
    if _SERIES in changed:
        series = dict(before[_SERIES])
        for member, said in changed[_SERIES].items():
            if said is None:
                series.pop(member, None)
            else:
                series[member] = {**series.get(member, {}), **said}
        after[_SERIES] = series
    return after


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Figures:
    return {name: said for name, said in after.items() if name not in before or before[name] != said}
