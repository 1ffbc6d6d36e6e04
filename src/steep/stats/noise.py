"""The noise of a curve's points, as a few correlation structures with one unknown scale.

log error = log law + discrepancy + noise. The *noise* is independent between points: what is known
of it (1 / replicates, or given standard errors), plus a scatter of unknown relative size, or
noise that grows towards small sizes. The *discrepancy* says that no law holds exactly: it is zero
at the largest size and grows with distance from there in log m (Kennedy & O'Hagan 2001), as a
random walk (``walk_variance``) or because its slope (``slope_variance``) is a stationary process
that reverts to zero, an Ornstein-Uhlenbeck process. Towards smaller sizes it gives the nearer
points more weight; beyond the data it widens the forecast, which starts with the slope of the last
points and returns to that of the law.

Everything is sigma^2 R with a scaled inverse chi-square prior on sigma^2 and R one of a handful of
matrices, each with its own prior scale. Integrating over sigma gives t and F limits with
the right degrees of freedom; the pooled variance of replicates enters as extra squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from steep.laws.law import Array
from steep.records import Point
from steep.stats.curve import RunNoise

PRIOR_DF = 1.0
"""Weight of the prior on sigma, in degrees of freedom; it is weak on purpose."""
GIVEN_DF = 10.0
"""Degrees of freedom of given standard errors: as if each were from ten observations."""
NOISE = 0.01
"""Prior scale of the noise of log error where there is no discrepancy."""
WALK_SCALE = 0.05
"""Prior scale of the random walk: standard deviation per root of one unit of log m."""
SLOPE_SCALE = 0.12
"""Prior scale of the slope about that of the law: its standard deviation."""
REVERSION = 0.7
"""Per unit of log m: over a factor of four a slope keeps 1/e of its distance from the law's."""
RATIOS = ((0, 0), (10, 0), (100, 0), (0, 10), (0, 100), (0, 1000), (10, 100), (100, 100))
"""(walk, slope) variances relative to sigma^2, where sigma is not known
beforehand."""
SIZES = ((0.0, 0.0), (0.01, 0.0), (0.03, 0.0), (0.1, 0.0), (0.0, 0.06), (0.0, 0.2), (0.03, 0.2))
"""(walk, slope) standard deviations where it is: replicates or standard errors
were given."""
EXACT_KNOWN, EXACT_UNKNOWN = 0.7, 0.2
"""Prior probability that there is no discrepancy; the rest is shared evenly. Where the noise is
not known beforehand a discrepancy can pass for it, and published curves nearly always show one."""
GROWTHS = (0.0, 1.0, 2.0)
"""Noise variance goes as size**-growth: 0 for seeds, 1 for averages over the training set, 2 for
curves that are rough while they are young."""
DECAY = 0.3
"""The discrepancy decays with the noise: its size goes as size**(-DECAY * growth) up to the
largest (docs/decisions/forecasting.md)."""
SCATTERS = ((0.0, 0.6), (1.0, 0.3), (6.0, 0.1))
"""(variance, prior probability) of the scatter about the law: what the search missed, relative
to the known noise of a typical point."""


@dataclass(frozen=True)
class Noise:
    """Whitening matrices of the structures, with the prior on the common scale.

    Arrays are (structures,) except ``whiten``, (structures, n, n).
    """

    whiten: Array
    """Inverse Cholesky factors of R."""
    log_det: Array
    log_prior: Array
    """Log prior weights, with the normalisation of the prior on sigma^2."""
    fresh: Array
    """Variance of a new typical point relative to sigma^2."""
    walk_variance: Array
    slope_variance: Array
    """Variances of the discrepancy relative to sigma^2."""
    decay: Array
    """How fast it decays with size: per unit of log m, up to the largest size."""
    df: float
    """Degrees of freedom of prior and replicates together."""
    sum_squares: Array
    """Sum of squares of prior and replicates together, in squared log error."""

    @cached_property
    def information(self) -> Array:
        """1'R^-1 1: the precision of the level relative to sigma^-2."""
        one = self.whiten.sum(axis=2)
        return np.einsum("jn,jn->j", one, one)

    @cached_property
    def level(self) -> Array:
        """(structures, n) weights of the generalised least squares estimate of the level."""
        one = self.whiten.sum(axis=2)[:, None, :]
        return (one @ self.whiten)[:, 0] / self.information[:, None]

    @cached_property
    def squares(self) -> Array:
        """(structures, n (n + 1) / 2): sums of squares about the level are this times ``pairs``."""
        one = self.level[:, :, None] * self.level[:, None, :] * self.information[:, None, None]
        form = np.swapaxes(self.whiten, 1, 2) @ self.whiten - one
        row, column = np.triu_indices(self.whiten.shape[1])
        return form[:, row, column] * np.where(row == column, 1.0, 2.0)


def pairs(residual: Array) -> Array:
    """Products of all pairs of rows, (n (n + 1) / 2, draws): a quadratic form is linear in them."""
    row, column = np.triu_indices(len(residual))
    return residual[row] * residual[column]


def walk(a: Array, b: Array, decay: float) -> Array:
    """Covariance of a random walk from zero at the origin between the log ratios ``a`` and ``b``,
    which broadcast.

    Its variance per unit of log m is one, and exp(-2 decay log m) at sizes below the origin. The
    two sides of the origin are independent of each other.
    """
    low = np.minimum(*(_exp_integral(2 * decay * _young(side), np.abs(side)) for side in (a, b)))
    return np.where(np.sign(a) * np.sign(b) > 0, low, 0.0)


def slope_reversion(a: Array, b: Array, decay: float) -> Array:
    """Covariance of the integral from the origin of a slope that reverts to zero; it broadcasts.

    The slope's standard deviation is one, and exp(-decay log m) at sizes below the origin; its
    correlation over a distance d in log m is exp(-REVERSION d), on both sides. The double integral
    of their product, in closed form: for two places on one side of the origin, and for one on
    either. ``decay`` is below REVERSION.
    """
    side = decay * _young(a)  # distance from the origin is counted outwards
    x, y = np.abs(a), np.abs(b)
    near, own = np.minimum(x, y), REVERSION + side
    later = np.exp(-own * x) + np.exp(-own * y)
    beside = (
        2 * _exp_integral(2 * side, near) - later * _exp_integral(side - REVERSION, near)
    ) / own
    to_a, to_b = (_exp_integral(REVERSION + decay * _young(s), np.abs(s)) for s in (a, b))
    return np.where(a * b < 0, -to_a * to_b, beside)


def discrepancy_covariance(noise: Noise, a: Array, b: Array) -> Array:
    """Covariance of each structure's discrepancy, relative to sigma^2: (structures, ...), where
    ``a`` and ``b`` broadcast to ``...``."""
    return _discrepancy_covariance(noise.walk_variance, noise.slope_variance, noise.decay, a, b)


def _discrepancy_covariance(
    walk_variance: Array, slope_variance: Array, decay: Array, a: Array, b: Array
) -> Array:
    found = np.empty((len(decay), *np.broadcast_shapes(a.shape, b.shape)))
    for each in np.unique(decay):
        kernels = walk(a, b, each), slope_reversion(a, b, each)
        for j in np.flatnonzero(decay == each):
            found[j] = walk_variance[j] * kernels[0] + slope_variance[j] * kernels[1]
    return found


def _young(log_ratio: Array) -> Array:
    """-1 below the origin, else 0."""
    return np.minimum(np.sign(log_ratio), 0.0)


def _exp_integral(rate: Array, distance: Array) -> Array:
    """The integral of exp(-rate u) from 0 to ``distance``."""
    some = np.where(rate == 0, 1.0, rate)
    return np.where(rate == 0, distance, -np.expm1(-some * distance) / some)


def noise_model(
    points: Sequence[Point],
    runs: RunNoise | None = None,
    factor: Array | float = 1.0,
) -> Noise:
    """The noise of ``points``, by size, the last one the origin of the discrepancy.

    ``runs`` is what replicates say of one run's noise, relative to the last point. ``factor`` (n,)
    widens the variance of single points.
    """
    log_ratio = np.log([p.samples / points[-1].samples for p in points])
    replicates = np.array([p.replicates for p in points], dtype=float)
    se = [p.se_log for p in points if p.se_log]
    if len(se) == len(points):
        variance = np.square(np.array(se))
        typical = float(np.exp(np.mean(np.log(variance))))
        df, squares = GIVEN_DF, GIVEN_DF * typical
        return _known(log_ratio, variance / typical, factor, typical, df, squares)
    if runs is not None:
        df = runs.df + PRIOR_DF
        squares = runs.df * runs.variance + PRIOR_DF * NOISE**2
        base = runs.relative(log_ratio) / replicates
        return _known(log_ratio, base, factor, squares / df, df, squares)
    return _unknown(log_ratio, 1.0 / replicates, factor)


def _known(
    log_ratio: Array, base: Array, factor: Array | float, variance: float, df: float, squares: float
) -> Noise:
    """Structures around a noise of known ``variance`` times ``base`` (n,)."""
    independent, walk_variance, slope_variance, chance = [], [], [], []
    typical = float(base.mean())
    for (scatter, probability), (w, b) in product(SCATTERS, SIZES):
        chance.append(np.log(probability * len(SCATTERS)))
        independent.append(base + scatter * typical)
        walk_variance.append(w * w / variance)
        slope_variance.append(b * b / variance)
    prior = _structures_prior(walk_variance, slope_variance, EXACT_KNOWN) + np.array(chance)
    each = np.full(len(walk_variance), squares)
    decay = [0.0] * len(walk_variance)
    return _noise(
        log_ratio, independent, factor, walk_variance, slope_variance, decay, df, each, prior
    )


def _unknown(log_ratio: Array, base: Array, factor: Array | float) -> Noise:
    """Structures around a noise of unknown size: discrepancies in proportion to it."""
    independent, walk_variance, slope_variance, decay, scale = [], [], [], [], []
    for growth, (w, b) in product(GROWTHS, RATIOS):
        independent.append(base * np.exp(-growth * log_ratio))
        walk_variance.append(float(w))
        slope_variance.append(float(b))
        decay.append(DECAY * growth)
        scale.append(_prior_scale(w, b))
    squares = PRIOR_DF * np.square(scale)
    # each structure has its own prior of sigma^2, which must integrate to one
    prior = _structures_prior(
        walk_variance, slope_variance, EXACT_UNKNOWN
    ) + 0.5 * PRIOR_DF * np.log(squares)
    return _noise(
        log_ratio,
        independent,
        factor,
        walk_variance,
        slope_variance,
        decay,
        PRIOR_DF,
        squares,
        prior,
    )


def _structures_prior(
    walk_variance: Sequence[float], slope_variance: Sequence[float], exact: float
) -> Array:
    none = (np.array(walk_variance) == 0) & (np.array(slope_variance) == 0)
    return np.log(np.where(none, exact / none.sum(), (1.0 - exact) / (~none).sum()))


def _prior_scale(walk_variance: float, slope_variance: float) -> float:
    """Sigma at which the discrepancy has its prior size: the discrepancy is absolute, not
    relative."""
    scales = [WALK_SCALE / walk_variance**0.5] if walk_variance else []
    scales += [SLOPE_SCALE / slope_variance**0.5] if slope_variance else []
    return min(scales, default=NOISE)


def _noise(
    log_ratio: Array,
    independent: Sequence[Array],
    factor: Array | float,
    walk_variance: Sequence[float],
    slope_variance: Sequence[float],
    decay: Sequence[float],
    df: float,
    sum_squares: Array,
    log_prior: Array,
) -> Noise:
    w, b, f = (np.array(v) for v in (walk_variance, slope_variance, decay))
    covariance = _discrepancy_covariance(w, b, f, log_ratio[:, None], log_ratio)
    covariance += np.stack([np.diag(factor * v) for v in independent])
    root = np.linalg.cholesky(covariance)
    return Noise(
        whiten=np.linalg.inv(root),
        log_det=2.0 * np.sum(np.log(np.einsum("jnn->jn", root)), axis=1),
        log_prior=log_prior,
        fresh=np.array([float(v[-1]) for v in independent]),
        walk_variance=w,
        slope_variance=b,
        decay=f,
        df=df,
        sum_squares=sum_squares,
    )
