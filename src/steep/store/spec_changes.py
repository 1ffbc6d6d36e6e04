"""A spec that changed under a begun study: what differs, and whether that only adds trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.contracts.domain import Items
from steep.spec.load import Loaded, Problem, SpecError
from steep.spec.sections import Spec
from steep.store.folder import read_frozen
from steep.trainers.fingerprint import changed


@dataclass(frozen=True)
class Change:
    path: str
    old: Any
    new: Any


EXTENDABLE = {
    "domain.items",
    "family.sizes",
    "search.seeds",
    "search.confirm",
    "search.extend",
    "search.until",
    "search.hyperparameters",
    "shards.largest",
    "shards.permutations",
}
"""What may change in a begun study when it is extended: more of the same, which adds trials and
invalidates none. ``run`` (workers, leases, device) may always change."""


def changes(old: Spec, new: Spec) -> list[Change]:
    """Where two specs differ, ``run`` left out. Paths are dotted, at most two deep."""
    before, after = old.model_dump(), new.model_dump()
    found = []
    for section in sorted(set(before) | set(after) - {"run"}):
        one, other = before.get(section), after.get(section)
        if section == "run" or one == other:
            continue
        if not isinstance(one, dict) or not isinstance(other, dict):
            found.append(Change(section, one, other))
            continue
        found += [
            Change(f"{section}.{key}", one.get(key), other.get(key))
            for key in sorted(set(one) | set(other))
            if one.get(key) != other.get(key)
        ]
    return found


def only_adds(change: Change) -> bool:
    """Whether a change of a begun study only adds trials, so that ``--extend`` may take it."""
    if change.path not in EXTENDABLE:
        return False
    old, new = change.old, change.new
    if change.path == "search.until":
        return _asks_more(old, new)
    if isinstance(old, (list, tuple)):
        return set(old) <= set(new)
    if isinstance(old, dict):
        return set(old) == set(new) and all(set(old[k]) <= set(new[k]) for k in old)
    if old is None or new is None:  # shards.largest: None is all of the data
        return new is None
    return bool(new >= old)


def _asks_more(old: dict[str, float | None] | None, new: dict[str, float | None] | None) -> bool:
    """Whether a search that ends by ``new`` goes on where one that ended by ``old`` stopped: more
    FLOPs, a narrower forecast, or no such end."""
    before, after = old or {}, new or {}
    few, many = before.get("flops") or math.inf, after.get("flops") or math.inf
    wide, narrow = before.get("forecast_interval") or 0.0, after.get("forecast_interval") or 0.0
    return many >= few and narrow <= wide


def refuse_changes(
    folder: Path, loaded: Loaded, items: Items, extend: bool, code: Mapping[str, str]
) -> None:
    """Raise SpecError when the spec or the data are not those the study in ``folder`` began with,
    or only added to where ``extend`` allows it, which it never does for ``items.fixed``; and when
    the user's own training ``code`` is not, which nothing allows: results of two trainers would
    stand in one curve."""
    frozen = read_frozen(folder)
    differences = changes(frozen.loaded.spec, loaded.spec)
    barred = [d for d in differences if not (extend and only_adds(d))]
    if barred:
        hint = "" if extend else "; --extend takes more seeds, sizes, choices and data"
        raise SpecError(
            [loaded.problem(d.path, f"was {d.old!r}, now {d.new!r}") for d in barred],
            f"{folder} was begun with another spec{hint}",
        )
    found = changed_files(frozen.data, items.files)
    data = [problem for problem in found if not extend or problem.path in items.fixed]
    if data:
        raise SpecError(data, f"the data under {folder} changed")
    edited = changed(frozen.loaded.code, code)
    if edited:
        raise SpecError(
            [Problem(name, None, f"{what} since the study began") for name, what in edited.items()],
            f"{folder} holds results of other training code (put it back, or give the new code a "
            "new folder: --out, in Python Study(spec, folder))",
        )


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[Problem]:
    """Each data file that was added, removed or altered since ``before`` was recorded."""
    problems = []
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            what = "new" if name not in before else "gone" if name not in now else "changed"
            problems.append(Problem(name, None, f"{what} since the study began"))
    return problems
