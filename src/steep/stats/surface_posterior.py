"""Posterior of a joint law's parameters: modes from many starts, then importance sampling.

Normal scores z of the free parameters have a standard normal prior (``laws/surface.py``). Batched
Gauss-Newton from a quasi-random cover of that prior finds the modes, under a plain and under the
favoured structure of the noise; Student-t proposals about them start the adaptive importance
sampler of ``importance.py``. The mean weight is the law's evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import chi2

from steep.laws.law import Array, Index
from steep.laws.surface import Reference, Surface
from steep.stats.importance import quasi_normal, sample
from steep.stats.surface_noise import NOISE, PRIOR_DF, SurfaceNoise, surface_noise

STARTS, KEPT = 48, 6
ROUNDS = (0.2, 0.2, 0.3, 0.3)
"""Batches of draws after the first, as shares of all."""
DRAWS = (1600, 8000)
CELLS = 4e5
"""Least and most draws; rows times draws between."""
STEP = 1e-5
MANY = 1000
"""Rows from which on starts are looked for with a part of them."""
RULED_OUT = 9.0
"""Log likelihood below the best at a mode from which on a correlation of rows is left out."""


@dataclass(frozen=True)
class Runs:
    """Rows of a table in logs, (rows,); ``run`` numbers the runs that they belong to."""

    n: Array
    d: Array
    u: Array
    y: Array
    run: Index | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Index) -> Runs:
        run = None if self.run is None else self.run[rows]
        return Runs(self.n[rows], self.d[rows], self.u[rows], self.y[rows], run)


@dataclass(frozen=True)
class Model:
    """A law with what is held of it, about a reference."""

    law: Surface
    reference: Reference
    fixed: Mapping[str, float]
    tied: tuple[tuple[str, str], ...] = ()

    @property
    def free(self) -> list[int]:
        held = {*self.fixed, *(second for _, second in self.tied)}
        return [i for i, name in enumerate(self.law.names) if name not in held]

    def coordinates(self, z: Array) -> Array:
        """The law's coordinates (draws, parameters) at scores of the free ones (draws, free)."""
        scores = np.zeros((len(z), len(self.law.names)))
        scores[:, self.free] = z
        result = self.law.coordinates(scores)
        for first, second in self.tied:
            i, j = self.law.names.index(first), self.law.names.index(second)
            result[:, j] = result[:, i]
        if self.fixed:
            self.law.hold(result, self.fixed, self.reference)
        return result

    def log_error(self, z: Array, n: Array, d: Array, u: Array) -> Array:
        """Log error at log sizes (places,), (draws, places)."""
        c, r = self.coordinates(z), self.reference
        with np.errstate(all="ignore"):
            found = self.law.log_surface(c, n - r.log_n, d - r.log_d, u - r.log_d)
        return np.nan_to_num(found, nan=50.0, posinf=50.0, neginf=-50.0) + r.log_error

    def residual(self, z: Array, runs: Runs) -> Array:
        """(draws, rows)."""
        return runs.y - self.log_error(z, runs.n, runs.d, runs.u)


@dataclass(frozen=True)
class Posterior:
    """Weighted draws of a law; ``log_weight`` (draws, structures) without the law's own prior."""

    model: Model
    z: Array
    log_weight: Array
    squares: Array
    mode: Array
    structure: int
    """The favoured one at the mode."""

    @property
    def log_evidence(self) -> float:
        return float(np.logaddexp.reduce(self.log_weight.ravel()))

    @property
    def effective(self) -> float:
        """Draws that count."""
        weight = np.logaddexp.reduce(self.log_weight, axis=1)
        weight = np.exp(weight - weight.max())
        return float(weight.sum() ** 2 / np.sum(weight**2))


def posterior(
    model: Model, runs: Runs, noise: SurfaceNoise, start: Array | None = None
) -> Posterior:
    """``start`` (starts, free) takes the place of starts from all over the prior."""
    structure = min(range(len(noise.structures)), key=lambda j: _moderation(noise, j))
    if start is None and len(runs) > MANY:
        start = rough_modes(model, runs)
    if start is None:
        ends, loss = modes_of(model, runs, noise, structure)
    else:
        ends, loss = descend(model, runs, noise, structure, start, 60)
    for _ in range(4):  # the structure that a mode favours moves the mode
        before, structure = structure, _favoured(model, runs, noise, ends[np.argmin(loss)])
        if structure == before:
            break
        ends, loss = descend(model, runs, noise, structure, ends, 40)
    best = ends[np.argmin(loss)]
    kept = _likely(model, runs, noise, best)
    few = noise.only(kept)
    found: list[tuple[Array, Array]] = []
    draws = np.clip(CELLS / len(runs), *DRAWS)

    def log_likelihood(z: Array) -> Array:
        found.append(few.log_likelihood(model.residual(z, runs).T))
        return np.asarray(np.logaddexp.reduce(found[-1][0], axis=1))

    z, log_share, _ = sample(
        log_likelihood,
        len(model.free),
        200,
        tuple(int(share * draws) for share in ROUNDS),
        lambda z: _expansion(model, runs, noise, structure, z)[2],
        best,
    )
    log_like, squares = (np.concatenate(parts) for parts in zip(*found, strict=True))
    weight, sums = (np.full((len(z), len(noise.structures)), fill) for fill in (-np.inf, 1.0))
    weight[:, kept], sums[:, kept] = log_like + log_share[:, None], squares
    return Posterior(model, z, weight, sums, best, structure)


def _likely(model: Model, runs: Runs, noise: SurfaceNoise, z: Array) -> Index:
    """Numbers of the structures whose correlation of rows is not ruled out at a mode."""
    fit = noise.log_likelihood(model.residual(z[None], runs).T)[0][0]
    rows = np.array([s.rows for s in noise.structures])
    best = np.array([fit[rows == k].max() for k in range(len(noise.whiten))])
    return np.flatnonzero(best[rows] > best.max() - RULED_OUT)


def _moderation(noise: SurfaceNoise, j: int) -> float:
    """How far a structure is from a moderate one: some discrepancy, independent rows."""
    s = noise.structures[j]
    return abs(s.bilinear - 3) + abs(s.smooth - 1) + s.length + 10 * (s.rows > 0)


def _favoured(model: Model, runs: Runs, noise: SurfaceNoise, z: Array) -> int:
    return int(np.argmax(noise.log_likelihood(model.residual(z[None], runs).T)[0][0]))


def rough_modes(model: Model, runs: Runs) -> Array:
    """Ends of descents from all over the prior to the law alone, (kept, free), the best first; of
    many rows every few are used."""
    few = thinned(runs)
    return modes_of(model, few, surface_noise(few.n, few.d, ratios=(0.0,)), 0)[0]


def thinned(runs: Runs) -> Runs:
    """At most ``MANY`` of the rows."""
    return runs.take(np.arange(0, len(runs), -(-len(runs) // MANY)))


def modes_of(model: Model, runs: Runs, noise: SurfaceNoise, structure: int) -> tuple[Array, Array]:
    """Best ends of descents from all over the prior, (kept, free) and their losses."""
    start = quasi_normal(STARTS, len(model.free))
    rough, loss = descend(model, runs, noise, structure, start, 12)
    fine, loss = descend(model, runs, noise, structure, rough[np.argsort(loss)[:KEPT]], 60)
    order = np.argsort(loss)
    return fine[order], loss[order]


def _expansion(
    model: Model, runs: Runs, noise: SurfaceNoise, structure: int, z: Array
) -> tuple[Array, Array, Array]:
    """(loss, gradient, Gauss-Newton matrix) at z (draws, free)."""
    w, q = noise.metric(structure)
    p = z.shape[1]
    shifted = np.concatenate([z, *(z + STEP * row for row in np.eye(p))])
    values = model.residual(shifted, runs).reshape(p + 1, len(z), -1)
    # (rows, draws * (p + 1)) at once
    white = (
        w
        @ np.concatenate([values[:1], (values[1:] - values[:1]) / STEP])
        .reshape((p + 1) * len(z), -1)
        .T
    )
    span = q.T @ white
    white = white.T.reshape(p + 1, len(z), -1)
    span = span.T.reshape(p + 1, len(z), -1)
    inner = np.einsum("abr,cbr->bac", white, white) - np.einsum("abr,cbr->bac", span, span)
    total = np.maximum(inner[:, 0, 0], 0.0) + PRIOR_DF * NOISE**2
    df = PRIOR_DF + len(runs)
    scale = (df / total)[:, None]
    loss = 0.5 * df * np.log(total) + 0.5 * np.sum(z * z, axis=1)
    gradient = scale * inner[:, 1:, 0] + z
    matrix = scale[:, :, None] * inner[:, 1:, 1:] + np.eye(p)
    return loss, gradient, matrix


def descend(
    model: Model,
    runs: Runs,
    noise: SurfaceNoise,
    structure: int,
    start: Array,
    iterations: int,
    held: Sequence[int] | Array = (),
) -> tuple[Array, Array]:
    """Levenberg-Marquardt from each ``start`` (starts, free): ends and losses. ``held`` (starts,)
    is a coordinate of each that stays where it is."""
    z = start.copy()
    free = np.ones_like(z)
    held = np.asarray(held, int)
    if len(held):
        free[np.arange(len(z)), held] = 0.0
    index = np.arange(z.shape[1])
    damping = np.full(len(z), 1e-2)
    live = np.arange(len(z))
    loss, gradient, matrix = _expansion(model, runs, noise, structure, z)
    for _ in range(iterations):
        system = matrix[live] * free[live, :, None] * free[live, None, :]
        diagonal = np.einsum("bpp->bp", matrix[live])
        system[:, index, index] += damping[live, None] * diagonal + (1.0 - free[live])
        step = -np.linalg.solve(system, (gradient[live] * free[live])[:, :, None])[:, :, 0]
        trial = z[live] + np.clip(step, -1.5, 1.5)
        new = _expansion(model, runs, noise, structure, trial)
        better = new[0] < loss[live]
        gain = np.where(better, loss[live] - new[0], 0.0)
        moved = live[better]
        z[moved] = trial[better]
        for old, fresh in zip((loss, gradient, matrix), new, strict=True):
            old[moved] = fresh[better]
        damping[live] = np.clip(np.where(better, damping[live] / 6, damping[live] * 5), 1e-9, 1e9)
        live = live[~((gain < 1e-5) & (better | (damping[live] > 1e5)))]
        if not len(live):
            break
    return z, loss


# ---------------------------------------------------------------- rows off the surface

FAR, FEWEST, MOST = 4.5, 12, 0.1
"""Robust standard deviations from which on a row is off the surface; rows below which none is, and
the share above which it is the law that does not hold."""
CONCENTRATIONS = 8
NEAR, KEPT_SHARE = 3.0, 0.987
"""Standard deviations within which a row is certainly on the surface, and the standard deviation of
a standard normal that is cut there."""


def off_surface(model: Model, runs: Runs, start: Array) -> Array:
    """Relative variances of the rows (rows,): 1, or so much that a row far off the law counts as
    one standard deviation.

    Least trimmed squares of the law alone, by concentration steps (Rousseeuw & Van Driessen 2006)
    from fits of all rows, ``start`` (starts, free), and of all but each edge of the plane: rows off
    the surface at an edge pull the law along, and Huber's loss is not enough."""
    none = np.ones(len(runs))
    if len(runs) < FEWEST:
        return none
    if runs.run is not None:  # what a run has in common is no reason to leave out its rows
        residual = model.residual(start[:1], runs)[0]
        for label in np.unique(runs.run):
            residual[runs.run == label] -= np.median(residual[runs.run == label])
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-4)
        spread = np.full(len(runs), scale)
    else:
        few = thinned(runs)
        edges = [side * v for v in (few.n, few.d) for side in (1.0, -1.0)]
        sizes = [np.abs(model.residual(start[:1], few)[0]), *edges]
        trimmed = [_concentrated(model, few, start[:2], size) for size in sizes]
        z = min(trimmed, key=lambda t: t[1])[0]
        residual, spread, scale = _reweighted(model, runs, z)
    far = np.abs(residual) > FAR * spread
    return none if far.mean() > MOST else np.where(far, (residual / scale) ** 2, 1.0)


def _concentrated(model: Model, runs: Runs, start: Array, size: Array) -> tuple[Array, float]:
    """Scores (starts, free) of the fit to the rows that it fits best, first without those of
    largest ``size`` (rows,), and the largest of these rows' residuals."""
    z, base = start, np.ones(len(runs))
    for _ in range(CONCENTRATIONS):
        before, base = base, np.where(size > np.quantile(size, 1 - MOST), 1e6, 1.0)
        if np.array_equal(before, base):
            break
        z = _without(model, runs, base > 1, z)
        size = np.abs(model.residual(z[:1], runs)[0])
    return z, float(np.quantile(size, 1 - MOST))


def _reweighted(model: Model, runs: Runs, z: Array) -> tuple[Array, Array, float]:
    """Residuals (rows,) of a fit to all rows but those that lie off it, their standard deviations
    where a row is left out (rows,), and the noise's: trimmed rows that were none come back, and the
    scale is no longer that of the best ones."""
    free = z.shape[1]
    residual = model.residual(z[:1], runs)[0]
    scale = 1.4826 * float(np.median(np.abs(residual))) * (1 + 2 * free / len(runs))
    for _ in range(3):
        off = np.abs(residual) > NEAR * scale
        z = _without(model, runs, off, z)
        residual = model.residual(z[:1], runs)[0]
        kept = np.sum(residual[~off] ** 2) / max(np.sum(~off) - free, 1)
        scale = max(float(np.sqrt(kept)) / KEPT_SHARE, 1e-4)
    slope = _slope(model, runs, surface_noise(runs.n, runs.d, ratios=(0.0,)).whiten[0], z[0])
    normal = np.linalg.inv(slope[~off].T @ slope[~off] + scale**2 * np.eye(free))
    lever = np.einsum("ri,ij,rj->r", slope, normal, slope)
    return residual, scale * np.sqrt(1.0 + lever), scale


def _without(model: Model, runs: Runs, off: NDArray[np.bool_], start: Array) -> Array:
    """Ends of fits of the law alone to the other rows, the best first."""
    noise = surface_noise(runs.n, runs.d, None, np.where(off, 1e6, 1.0), ratios=(0.0,))
    z, loss = descend(model, runs, noise, 0, start, 25)
    return z[np.argsort(loss)]


# ---------------------------------------------------------------- the law alone


@dataclass(frozen=True)
class LawOnlyFit:
    """The law fitted without a discrepancy, and draws as wide as the discrepancy makes them."""

    z: Array
    weight: Array
    mode: Array
    structure: int
    """Of ``noise.without_discrepancy()``."""
    slope: Array
    """Of the rows in that structure's metric, (rows, free)."""
    inverse: Array
    """Covariance of the free scores if the law held exactly."""
    variance: float


def alone_of(model: Model, runs: Runs, noise: SurfaceNoise, found: Posterior) -> LawOnlyFit:
    """What a law's parameters are: the best fit of the law alone.

    A discrepancy that is free to be anything smooth takes over parts of the law, and parameters
    drift to values that nobody would call the fit. So the estimate is that of the law alone, and
    its draws are stretched so that their covariance is the sandwich H (J' V J + 1) H, with the
    discrepancy in V (the open-faced sandwich of Shaby 2014, which keeps the posterior's shape)."""
    plain = noise.without_discrepancy()
    likely = found.z[np.argsort(-found.log_weight.max(axis=1))[: 4 * KEPT : KEPT]]
    only = posterior(model, runs, plain, np.concatenate([found.mode[None], likely]))
    w, _ = plain.metric(only.structure)
    slope = _slope(model, runs, w, only.mode)
    at_mode = int(np.argmax(only.log_weight[:, only.structure]))
    variance = float(only.squares[at_mode, only.structure]) / (PRIOR_DF + len(runs))
    inverse = np.asarray(
        np.linalg.inv(slope.T @ slope / variance + np.eye(len(only.mode))), dtype=float
    )
    residual = np.asarray(w @ model.residual(only.mode[None], runs)[0])
    extra = _extra_variance(noise, found, slope, residual, inverse / variance)
    middle = (slope.T @ slope + slope.T @ extra @ (extra.T @ slope)) / variance
    sandwich = inverse @ (middle + np.eye(len(inverse))) @ inverse
    stretch = np.linalg.cholesky(sandwich) @ np.linalg.inv(np.linalg.cholesky(inverse))
    own = np.logaddexp.reduce(only.log_weight, axis=1)
    own = np.exp(own - own.max())
    own /= own.sum()
    mean = own @ only.z
    z = mean + (only.z - mean) @ stretch.T
    return LawOnlyFit(z, own, only.mode, only.structure, slope, inverse, variance)


ALONG = 0.15
"""Share of the discrepancy's variance that is taken to lie along the law, chosen by coverage:
``benchmarks/joint.py --designs misfit`` holds .94 at 1 and .86 at 0.1."""


def _extra_variance(
    noise: SurfaceNoise, found: Posterior, slope: Array, residual: Array, normal: Array
) -> Array:
    """Square root of the discrepancy's covariance over the rows, relative to the noise: (rows,
    features of the favoured structures).

    Its shape is that of the structures, its size what the residuals of the law alone show: a
    discrepancy beside which the law may drift is larger."""
    weight = np.exp(found.log_weight - found.log_weight.max())
    share = weight.sum(axis=0) / weight.sum()
    rows = len(residual)
    parts = []
    for j in np.flatnonzero(share > 0.02):
        root = noise.discrepancy(int(j))
        sigma2 = float(weight[:, j] @ found.squares[:, j]) / float(weight[:, j].sum())
        sigma2 /= PRIOR_DF + rows
        within = root - slope @ (normal @ (slope.T @ root))
        seen = float(residual @ residual) / sigma2 - (rows - slope.shape[1])
        size = ALONG * np.clip(seen / max(float(np.sum(within * root)), 1e-12), 0.0, 1.0)
        parts.append(np.sqrt(share[j] * size) * root)
    return np.concatenate(parts, axis=1)


def _slope(model: Model, runs: Runs, w: csr_array, z: Array) -> Array:
    shifted = np.concatenate([z[None], z + STEP * np.eye(len(z))])
    values = w @ model.residual(shifted, runs).T
    return np.asarray((values[:, 1:] - values[:, :1]) / STEP)


def shifts_without(
    model: Model, runs: Runs, noise: SurfaceNoise, alone: LawOnlyFit
) -> tuple[list[Index], Array]:
    """Rows of each run, and the free scores without them to first order, (runs, free)."""
    w, _ = noise.without_discrepancy().metric(alone.structure)
    residual = np.asarray(w @ model.residual(alone.mode[None], runs)[0])
    labels = np.arange(len(runs)) if runs.run is None else runs.run
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shifted = []
    for rows in groups:
        j, r = alone.slope[rows], residual[rows]
        hat = j @ alone.inverse @ j.T / alone.variance
        left = np.eye(len(rows)) - hat
        back = np.linalg.lstsq(left, r, rcond=1e-9)[0]
        # residuals are y - law, their slope the law's with the sign turned
        shifted.append(alone.mode + alone.inverse @ j.T @ back / alone.variance)
    return groups, np.stack(shifted)


EXTREME = 3.0
"""Normal score of a prior's far end."""


def open_ends(
    model: Model, runs: Runs, noise: SurfaceNoise, found: Posterior, level: float
) -> list[tuple[bool, bool]]:
    """Per free parameter, whether even the far lower and the far upper end of its prior fit within
    the level of a profile likelihood: then the runs set no limit on that side."""
    p, structure = len(model.free), found.structure
    weight = np.logaddexp.reduce(found.log_weight, axis=1)
    likely = found.z[np.argsort(-weight)[:200]]
    starts, held = [], []
    for i in range(p):
        for end in (-EXTREME, EXTREME):
            nearest = likely[np.argsort(np.abs(likely[:, i] - end))[:4]]
            for z in (found.mode, *nearest):
                start = z.copy()
                start[i] = end
                starts.append(start)
                held.append(i)
    _, loss = descend(model, runs, noise, structure, np.array(starts), 40, held)
    best = _expansion(model, runs, noise, structure, found.mode[None])[0][0]
    gain = loss.reshape(p, 2, -1).min(axis=2) - 0.5 * EXTREME**2
    reference = best - 0.5 * found.mode**2
    limit = 0.5 * float(chi2.ppf(level, 1))
    return [tuple((gain[i] - reference[i] < limit).tolist()) for i in range(p)]
