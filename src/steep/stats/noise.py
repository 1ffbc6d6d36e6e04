"""The noise of a curve's points, as a few correlation structures with one unknown scale.

log error = log law + e, with e ~ N(0, sigma^2 R). sigma^2 has a scaled inverse chi-square
prior, R is one of a handful of matrices: what is known of each point (1 / replicates, or the
square of a given standard error) plus a scatter about the law of unknown relative size.
Integrating over sigma gives t and F limits with the right degrees of freedom; the pooled
variance of replicates enters as extra sum of squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steep.laws.law import Array

PRIOR_DF = 1.0
PRIOR_SCATTER = 0.01
"""Weak prior: a scatter of about 1 % of the error, worth one degree of freedom."""
GIVEN_DF = 10.0
"""How firmly given standard errors are believed: as if each rested on ten observations."""
SCATTER_RATIOS = (0.0, 0.3, 1.0, 3.0, 10.0)
"""Variance of the scatter about the law relative to the known noise of a typical point."""


@dataclass(frozen=True)
class Noise:
    """Whitening matrices of the structures, with the prior on the common scale."""

    whiten: Array
    """(structures, n, n), inverse Cholesky factors of R."""
    log_det: Array
    """(structures,), log |R|."""
    log_prior: Array
    """(structures,), log prior weights."""
    fresh: Array
    """(structures,), variance of a new typical point relative to sigma^2."""
    df: float
    """Degrees of freedom of prior and replicates together."""
    sum_squares: float
    """Sum of squares of prior and replicates together, in squared log error."""


def noise_model(
    replicates: Array, se_log: Array | None, within_squares: float, within_df: float
) -> Noise:
    """The noise of points with the given numbers of ``replicates`` (n,) or known ``se_log``.

    ``within_squares`` is the sum of squared deviations of log error about each size's mean,
    on ``within_df`` degrees of freedom.
    """
    n = len(replicates)
    if se_log is not None and np.all(se_log > 0):
        typical = float(np.exp(np.mean(np.log(se_log**2))))
        base, df, squares = se_log**2 / typical, GIVEN_DF, GIVEN_DF * typical
    else:
        base, df, squares = 1.0 / replicates, PRIOR_DF, PRIOR_DF * PRIOR_SCATTER**2
    known = se_log is not None or within_df > 0
    ratios = np.array(SCATTER_RATIOS if known else (0.0,))
    variances = base[None, :] + ratios[:, None] * float(np.mean(base))
    whiten = np.zeros((len(ratios), n, n))
    whiten[:, np.arange(n), np.arange(n)] = variances**-0.5
    return Noise(
        whiten=whiten,
        log_det=np.sum(np.log(variances), axis=1),
        log_prior=np.full(len(ratios), -np.log(len(ratios))),
        fresh=np.mean(variances, axis=1),
        df=df + within_df,
        sum_squares=squares + within_squares,
    )
