"""What a shared validation set adds to the difference of two curves: item by item, in pairs.

An item that is hard for both models moves both errors alike and their ratio hardly at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steep.laws.law import Array

Items = tuple[Array, Array]
"""Sums of errors and counts of units per validation item, each (items,)."""


def log_ratio_se(
    first: Sequence[Items], second: Sequence[Items], group: Array | None = None
) -> float | None:
    """Standard error, from the draw of the items, of the mean log ratio of errors over sizes.

    ``first[i]`` and ``second[i]`` are two models' items at the i-th common size. By the ratio
    estimator's linearisation (Cochran 1977, section 6.3), clustered by ``group`` (items,). None
    where there is nothing to compare: no size, an error of zero, or a single group.
    """
    if not first:
        return None
    influence: Array = np.zeros(len(first[0][0]))
    for one, other in zip(first, second, strict=True):
        for (sums, counts), sign in ((one, 1.0), (other, -1.0)):
            if not sums.sum() > 0 or len(sums) != len(influence):
                return None
            influence += sign * (sums / sums.sum() - counts / counts.sum()) / len(first)
    if group is not None:
        _, cluster = np.unique(group, return_inverse=True)
        influence = np.asarray(np.bincount(cluster, weights=influence))
    k = len(influence)
    return float(np.sqrt(k / (k - 1) * np.sum(influence**2))) if k > 1 else None
