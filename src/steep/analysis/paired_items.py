"""Standard errors of the offsets between studies that share their validation items."""

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


def items_se(studies: Mapping[str, tuple[ItemsBySize, np.ndarray]]) -> dict[tuple[str, str], float]:
    """Standard error of the difference of log errors, for every pair of studies (by name) whose
    best-fit models have per-item errors at common sizes. They must share validation items."""
    errors = {}
    for a, b in combinations(studies, 2):
        (ours, group), (theirs, _) = studies[a], studies[b]
        common = sorted(set(ours) & set(theirs))
        se = log_ratio_se([ours[m] for m in common], [theirs[m] for m in common], group)
        if se is not None:
            errors[(a, b)] = se
    return errors


def best_items(study: Study, analysis: Analysis) -> tuple[ItemsBySize, np.ndarray]:
    """The items of each best-fit model, averaged over seeds, by (draw, size), and their groups."""
    item_counts = {(s.permutation, s.samples): s.items for s in study.cut.shards}
    with study.store() as store:
        items_by_size = {
            (b.permutation, b.samples): items
            for b in analysis.best_fits
            if not b.withheld
            and (
                items := _items(store, b, item_counts[(b.permutation, b.samples)], analysis.metric)
            )
        }
    return items_by_size, study.cut.validation_group


def _items(store: Store, b: BestFit, items: int, metric: str) -> Items | None:
    best = b.best
    per_seed = [
        store.items(
            Trial(b.permutation, items, b.samples, best.size, best.hyperparameters, seed).id
        )
        for seed in best.seeds
    ]
    complete = [s for s in per_seed if s is not None and metric in s and "count" in s]
    if not complete:
        return None
    return np.mean([s[metric] for s in complete], axis=0), np.asarray(complete[0]["count"], float)
