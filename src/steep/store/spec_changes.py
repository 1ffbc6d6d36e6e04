"""Changes of the spec of a study that has begun: what differs, and whether it only adds trials."""

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
"""The paths that may change when a study is extended: more of the same adds trials and invalidates
none. ``run`` (workers, leases, device) may always change."""


def changes(old: Spec, new: Spec) -> list[Change]:
    """The differences between two specs, except ``run``. Paths are dotted, at most two deep."""
    before, after = old.model_dump(), new.model_dump()
    differences = []
    for section in sorted(set(before) | set(after) - {"run"}):
        one, other = before.get(section), after.get(section)
        if section == "run" or one == other:
            continue
        if not isinstance(one, dict) or not isinstance(other, dict):
            differences.append(Change(section, one, other))
            continue
        differences += [
            Change(f"{section}.{key}", one.get(key), other.get(key))
            for key in sorted(set(one) | set(other))
            if one.get(key) != other.get(key)
        ]
    return differences


def only_adds(change: Change) -> bool:
    """Whether a change of a study that has begun only adds trials, so that ``--extend`` allows
    it."""
    if change.path not in EXTENDABLE:
        return False
    old, new = change.old, change.new
    if change.path == "search.until":
        return _continues_longer(old, new)
    if isinstance(old, (list, tuple)):
        return set(old) <= set(new)
    if isinstance(old, dict):
        return set(old) == set(new) and all(set(old[k]) <= set(new[k]) for k in old)
    if old is None or new is None:  # shards.largest: None is all of the data
        return new is None
    return bool(new >= old)


def _continues_longer(
    old: dict[str, float | None] | None, new: dict[str, float | None] | None
) -> bool:
    """Whether a search that stops at the limits ``new`` continues at least as long as one that
    stops at ``old``: as many FLOPs or more, and a forecast interval as narrow or narrower."""
    old, new = old or {}, new or {}
    more_flops = (new.get("flops") or math.inf) >= (old.get("flops") or math.inf)
    narrower = (new.get("forecast_interval") or 0.0) <= (old.get("forecast_interval") or 0.0)
    return more_flops and narrower


def refuse_changes(
    folder: Path, loaded: Loaded, items: Items, extend: bool, code: Mapping[str, str]
) -> None:
    """Raise SpecError if the spec, the data or the user's own ``code`` have changed since the study
    in ``folder`` began.

    ``extend`` allows changes of the spec and the data that only add, except to ``items.fixed``.
    Nothing allows changed code: the curve would mix the results of two trainers."""
    frozen = read_frozen(folder)
    differences = changes(frozen.loaded.spec, loaded.spec)
    refused = [d for d in differences if not (extend and only_adds(d))]
    if refused:
        hint = "" if extend else "; --extend takes more seeds, sizes, choices and data"
        raise SpecError(
            [loaded.problem(d.path, f"was {d.old!r}, now {d.new!r}") for d in refused],
            f"{folder} was begun with another spec{hint}",
        )
    changed_data = changed_files(frozen.data, items.files)
    refused_data = [
        problem for problem in changed_data if not extend or problem.path in items.fixed
    ]
    if refused_data:
        raise SpecError(refused_data, f"the data under {folder} changed")
    edited = changed(frozen.loaded.code, code)
    if edited:
        raise SpecError(
            [Problem(name, None, f"{what} since the study began") for name, what in edited.items()],
            f"{folder} holds results of other training code (put it back, or give the new code a "
            "new folder: --out, in Python Study(spec, folder))",
        )


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[Problem]:
    """The data files that were added, removed or altered since ``before`` was recorded."""
    problems = []
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            what = "new" if name not in before else "gone" if name not in now else "changed"
            problems.append(Problem(name, None, f"{what} since the study began"))
    return problems
