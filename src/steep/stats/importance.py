"""Adaptive importance sampling of a density over a few numbers, deterministic and vectorised.

First a quasi-random cover of a standard normal prior, then Student-t proposals fitted to what was
found, all weighted against the mixture of the proposals used (adaptive multiple importance
sampling: Cornuet et al. 2012). The mean weight is the evidence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steep.laws.law import Array
from steep.stats.posterior import (
    KERNELS,
    _chi_square_root,
    _flattened,
    _log_normal,
    _log_t,
    _proposal,
    cover,
)


def sample(
    log_likelihood: Callable[[Array], Array],
    dimensions: int,
    first: int,
    later: tuple[int, ...],
) -> tuple[Array, Array]:
    """Draws z (draws, dimensions) in normal scores and their log weights (draws,).

    ``log_likelihood`` takes z (n, dimensions) to (n,); the prior of z is standard normal."""
    z = cover(first, dimensions)
    target = log_likelihood(z) + _log_normal(z)
    proposals: list[tuple[Array, Array] | None] = [None]
    counts = [first]
    density = _log_normal(z) + np.log(first)
    base = cover(max(later), dimensions + 1)
    for i, count in enumerate(later):
        weight = _flattened(target - density, wanted=8.0 * dimensions)
        centres, factor = _proposal(z, weight, kernels=1 if i == 0 else KERNELS)
        stretch = _chi_square_root(base[:count, dimensions])
        step = (base[:count, :dimensions] @ factor.T) / stretch[:, None]
        fresh = centres[np.arange(count) % len(centres)] + step
        before = np.logaddexp.reduce(
            [_of(p, fresh) + np.log(n) for p, n in zip(proposals, counts, strict=True)], axis=0
        )
        proposals.append((centres, factor))
        counts.append(count)
        target = np.concatenate([target, log_likelihood(fresh) + _log_normal(fresh)])
        density = np.concatenate([density, before])
        z = np.concatenate([z, fresh])
        density = np.logaddexp(density, _of((centres, factor), z) + np.log(count))
    return z, target - density


def _of(proposal: tuple[Array, Array] | None, z: Array) -> Array:
    return _log_normal(z) if proposal is None else _log_t(z, *proposal)
