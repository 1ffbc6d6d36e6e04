"""Studies on one validation set: how sure the offset between their curves is, item by item."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from steep.records import Analysis, BestFit, Trial
from steep.stats.items import Items, log_ratio_se

if TYPE_CHECKING:
    from steep.store.store import Store
    from steep.study import Study


ItemsBySize = dict[tuple[int, float], Items]
"""By (draw, size of the shard): the best-fit model's items, averaged over its seeds."""


def items_se(kept: Mapping[str, tuple[ItemsBySize, np.ndarray]]) -> dict[tuple[str, str], float]:
    """Standard error of the difference of log errors, for every two studies (by name) whose
    best-fit models have per-item errors at common sizes. They must share validation items."""
    found = {}
    for a, b in combinations(kept, 2):
        (ours, group), (theirs, _) = kept[a], kept[b]
        common = sorted(set(ours) & set(theirs))
        se = log_ratio_se([ours[m] for m in common], [theirs[m] for m in common], group)
        if se is not None:
            found[(a, b)] = se
    return found


def best_items(study: Study, analysis: Analysis) -> tuple[ItemsBySize, np.ndarray]:
    """Per (draw, size), the items of the best-fit model averaged over seeds; their groups."""
    counted = {(s.permutation, s.samples): s.items for s in study.cut.shards}
    with study.store() as store:
        kept = {
            (b.permutation, b.samples): found
            for b in analysis.best_fits
            if not b.waits
            and not b.withheld
            and (found := _items(store, b, counted[(b.permutation, b.samples)], analysis.metric))
        }
    return kept, study.cut.validation_group


def _items(store: Store, b: BestFit, items: int, metric: str) -> Items | None:
    best = b.best
    seeds = [
        store.items(
            Trial(b.permutation, items, b.samples, best.size, best.hyperparameters, seed).id
        )
        for seed in best.seeds
    ]
    known = [s for s in seeds if s is not None and metric in s and "count" in s]
    if not known:
        return None
    return np.mean([s[metric] for s in known], axis=0), np.asarray(known[0]["count"], float)
