"""The noise of seeds: of the best models of a shard, from repeats of good and of bad ones.

A model that is worse than the best of its shard is noisier, too: its learning rate is at the edge
of what it bears, or it has only begun to learn when it stops. In twelve measured studies the
variance over seeds of a candidate's log error is sigma**2 + (WORSE * gap)**2 where it lies ``gap``
above the best one (``benchmarks/seed_noise.py``). Pooled as if all had one, a handful of bad
candidates decide: in two studies of language models it came out six times that of the best ones.
Beyond ``NEAR`` they are left out: there are some that learn with one seed and not with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from steep.laws.law import Array

WORSE = 0.2
"""Standard deviation over seeds that a candidate has more, per log error above the best one."""
NEAR = 0.32
"""In log error above the best one."""
FEWEST = 8
"""Degrees of freedom that are to count: fewer good candidates are less informative than bad
ones."""
STEPS, NOTHING = 30, 1e-12


def seed_noise(shards: Iterable[Sequence[Array]], worse: float = WORSE) -> tuple[float, float]:
    """Variance of the best candidates' log error over seeds, and its degrees of freedom.

    ``shards``: of each the log errors over seeds of every candidate. A mean over candidates in
    which those above the best count for less than their degrees of freedom, by their variance with
    ``worse``, as long as ``FEWEST`` count; nothing is taken off theirs, so that where bad ones are
    no noisier, none is missed. Without repeats (0, 0)."""
    gap, squares, freedom = np.array(_repeated(shards)).reshape(-1, 3).T
    if not len(gap):
        return 0.0, 0.0
    more = (worse * gap) ** 2
    variance, count = float(squares.sum() / freedom.sum()), freedom
    for _ in range(STEPS):
        if variance < NOTHING:
            break
        weight = freedom * (variance / (variance + more)) ** 2
        if weight.sum() < min(FEWEST, freedom.sum()):
            break
        count, variance = weight, float(np.sum(weight * squares / freedom) / weight.sum())
    return variance, float(count.sum())


def _repeated(shards: Iterable[Sequence[Array]]) -> list[tuple[float, float, float]]:
    """Gap, squares about the mean and degrees of freedom of every candidate with two seeds."""
    found = []
    for candidates in shards:
        lowest = min((float(logs.mean()) for logs in candidates), default=0.0)
        for logs in candidates:
            if len(logs) > 1 and logs.mean() < lowest + NEAR:
                squares = float(((logs - logs.mean()) ** 2).sum())
                found.append((float(logs.mean()) - lowest, squares, len(logs) - 1.0))
    return found
