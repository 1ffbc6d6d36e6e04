"""How runs scatter about a law of data and model size: noise of runs, and the law's discrepancy.

    log error = law(N, D) + discrepancy(N, D) + noise

The *discrepancy* (Kennedy & O'Hagan 2001) is a Gaussian process over the plane (log N, log D): a
bilinear part, which bends one exponent along the other size, and a smooth part of one of two length
scales (squared-exponential, on inducing points: Snelson & Ghahramani 2006). The *noise* of runs is
independent; rows of one run (checkpoints) share a part of it, and neighbours of one run another.
The sizes of all parts relative to the noise are a short list of *structures*, weighed by evidence;
the variance of the noise itself is integrated in closed form (inverse gamma).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse import block_diag, csr_array, diags_array
from scipy.special import gammaln

from steep.laws.law import Array, Index

RATIOS = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Standard deviations of each part of the discrepancy relative to the noise of a row."""
LENGTHS = (0.8, 2.0)
"""Length scales of the smooth part, in half ranges of log N and log D."""
INDUCING = 6
"""Inducing points a side; they cover the runs and a margin around them."""
EXACT = 0.2
"""Prior probability of no discrepancy."""
PRIOR_DF, NOISE = 1.0, 0.005
"""Prior of the noise: degrees of freedom and standard deviation of log error."""
COMMON, NEIGHBOURS = (0.0, 1.0, 6.0, 36.0, 216.0, 1300.0), (0.0, 1.0, 6.0, 36.0)
"""Variances of a run's level, with its own slope, which all its rows have in common, and of what
neighbours of one run share, relative to what is a row's own."""
SLOPE = 0.25
"""Standard deviation of a run's own slope in log D, relative to that of its level."""
NEAR = 0.7
"""Distance in log D over which neighbours of one run forget each other."""


@dataclass(frozen=True)
class Plane:
    """The runs' box in (log N, log D): where the parts of the discrepancy have their unit."""

    centre: tuple[float, float]
    half: tuple[float, float]

    def scaled(self, n: Array, d: Array) -> Array:
        """(places, 2), the runs within about -1 to 1."""
        at = np.stack([n - self.centre[0], d - self.centre[1]], axis=-1)
        return np.asarray(at / np.array(self.half))


def plane_of(n: Array, d: Array) -> Plane:
    middle = [0.5 * float(v.min() + v.max()) for v in (n, d)]
    half = [max(0.5 * float(np.ptp(v)), 0.5) for v in (n, d)]
    return Plane((middle[0], middle[1]), (half[0], half[1]))


def features(plane: Plane, n: Array, d: Array, length: float) -> tuple[Array, Array]:
    """Columns (places, 1 + INDUCING**2) whose coefficients are independent: the bilinear one, then
    the smooth part; and the share of the smooth part's variance that these do not carry."""
    at = plane.scaled(n, d)
    side = np.linspace(-1.0, 1.0, INDUCING) * min(1.0 + length / 2, 1.6)
    inducing = np.array(list(product(side, side)))
    root = np.linalg.cholesky(_kernel(inducing, inducing, length) + 1e-6 * np.eye(len(inducing)))
    smooth = solve_triangular(root, _kernel(inducing, at, length), lower=True).T
    missing = np.maximum(1.0 - np.sum(smooth**2, axis=1), 0.0)
    return np.column_stack([at[:, 0] * at[:, 1], smooth]), missing


def _kernel(a: Array, b: Array, length: float) -> Array:
    squares = np.sum((a[:, None] - b[None]) ** 2, axis=2)
    return np.asarray(np.exp(-0.5 * squares / length**2))


@dataclass(frozen=True)
class NoiseStructure:
    """One way in which rows scatter: shares of runs, length scale, sizes relative to the noise."""

    rows: int
    length: int
    bilinear: float
    smooth: float
    log_prior: float


@dataclass(frozen=True)
class SurfaceNoise:
    plane: Plane
    whiten: tuple[csr_array, ...]
    """Per correlation of rows, W with W V W' = 1."""
    basis: tuple[tuple[Array, ...], ...]
    """Per correlation and length, W @ features (rows, features)."""
    structures: tuple[NoiseStructure, ...]
    carry: Array
    """C (structures, features, features): C C' is the covariance of the features' coefficients
    given the rows, and C' F' W r what the discrepancy takes of a residual r."""
    log_det: Array
    """Of each structure's covariance of the rows."""
    base: Array
    """Relative variances of the rows, 1 but for rows that lie off the surface."""

    def log_likelihood(self, residual: Array) -> tuple[Array, Array]:
        """Log marginal likelihood with the structure's prior, and sum of squares with that of the
        noise's prior, of residuals (rows, draws): both (draws, structures)."""
        white = [w @ residual for w in self.whiten]
        plain = [np.sum(w * w, axis=0) for w in white]
        shared = [[b.T @ w for b in basis] for w, basis in zip(white, self.basis, strict=True)]
        total = np.empty((residual.shape[1], len(self.structures)))
        for j, s in enumerate(self.structures):
            taken = np.sum((self.carry[j].T @ shared[s.rows][s.length]) ** 2, axis=0)
            total[:, j] = np.maximum(plain[s.rows] - taken, 0.0) + PRIOR_DF * NOISE**2
        df = PRIOR_DF + len(residual)
        constant = np.array([s.log_prior for s in self.structures]) - 0.5 * self.log_det
        constant += gammaln(df / 2) - gammaln(PRIOR_DF / 2) - 0.5 * len(residual) * np.log(np.pi)
        constant += 0.5 * PRIOR_DF * np.log(PRIOR_DF * NOISE**2)
        return constant - 0.5 * df * np.log(total), total

    def only(self, structures: Index) -> SurfaceNoise:
        """The same noise, restricted to the structures with these indices."""
        chosen = [int(j) for j in structures]
        return replace(
            self,
            structures=tuple(self.structures[j] for j in chosen),
            carry=self.carry[chosen],
            log_det=self.log_det[chosen],
        )

    def without_discrepancy(self) -> SurfaceNoise:
        """The same noise of rows about a law that holds exactly."""
        exact = [j for j, s in enumerate(self.structures) if s.bilinear == 0 == s.smooth]
        return self.only(np.array(exact))

    def metric(self, j: int) -> tuple[csr_array, Array]:
        """(W, Q) of one structure: its V^-1 = W' (1 - Q Q') W."""
        s = self.structures[j]
        return self.whiten[s.rows], self.basis[s.rows][s.length] @ self.carry[j]

    def coefficients(self, j: int, residual: Array) -> Array:
        """Of the features, expected given residuals (rows, draws): (features, draws)."""
        s = self.structures[j]
        shared = self.basis[s.rows][s.length].T @ (self.whiten[s.rows] @ residual)
        return np.asarray(self.carry[j] @ (self.carry[j].T @ shared))

    def discrepancy(self, j: int) -> Array:
        """Square root of the discrepancy's covariance over the rows in the metric of their noise,
        relative to its variance: (rows, features)."""
        s = self.structures[j]
        size = np.array([s.bilinear] + [s.smooth] * INDUCING**2)
        return np.asarray(self.basis[s.rows][s.length] * size)

    def at(self, j: int, n: Array, d: Array) -> tuple[Array, Array]:
        """Features at places (places, features), and the variance of the discrepancy there given
        the rows and the law, relative to the noise's: (places,)."""
        s = self.structures[j]
        columns, missing = features(self.plane, n, d, LENGTHS[s.length])
        variance = np.sum((columns @ self.carry[j]) ** 2, axis=1) + s.smooth**2 * missing
        return columns, variance


def surface_noise(
    n: Array,
    d: Array,
    run: Index | None = None,
    base: Array | None = None,
    ratios: tuple[float, ...] = RATIOS,
) -> SurfaceNoise:
    """The structures for rows at (n, d) (rows,); ``run`` numbers the runs that rows belong to, and
    ``base`` (rows,) widens single rows; ``ratios`` (0,) has no discrepancy."""
    plane = plane_of(n, d)
    base = np.ones(len(n)) if base is None else base
    alone = run is None or len(np.unique(run)) == len(run)
    parts = [(0.0, 0.0)] if alone else list(product(COMMON, NEIGHBOURS))
    shares = [(c / (1 + c + b), b / (1 + c + b)) for c, b in parts]
    rows = [_whitening(d, run, common, near, base) for common, near in shares]
    columns = [features(plane, n, d, length)[0] for length in LENGTHS]
    basis = tuple(tuple(w @ c for c in columns) for w, _ in rows)
    sizes = [
        (length, bilinear, smooth)
        for bilinear, smooth, length in product(ratios, ratios, range(len(LENGTHS)))
        if smooth or not length  # no smooth part has no length
    ]
    some = (1 - EXACT) / max(len(sizes) - 1, 1)
    chance = [EXACT if b == s == 0 else some for _, b, s in sizes]
    structures = tuple(
        NoiseStructure(r, *size, float(np.log(p / len(shares))))
        for r in range(len(shares))
        for size, p in zip(sizes, chance, strict=True)
    )
    gram = [[b.T @ b for b in each] for each in basis]
    carry, log_det = [], []
    for s in structures:
        size = np.array([s.bilinear] + [s.smooth] * INDUCING**2)
        root = np.linalg.cholesky(np.eye(len(size)) + gram[s.rows][s.length] * np.outer(size, size))
        carry.append(size[:, None] * np.linalg.inv(root).T)
        log_det.append(rows[s.rows][1] + 2.0 * float(np.sum(np.log(np.diag(root)))))
    whiten = tuple(w for w, _ in rows)
    return SurfaceNoise(plane, whiten, basis, structures, np.stack(carry), np.array(log_det), base)


def _whitening(
    d: Array, run: Index | None, common: float, near: float, base: Array
) -> tuple[csr_array, float]:
    """W with W V W' = 1, and log det V, of rows that share parts of their variance by run."""
    if run is None or common + near == 0:
        return csr_array(diags_array(base**-0.5)), float(np.sum(np.log(base)))
    blocks, order, log_det = [], [], 0.0
    for label in np.unique(run):
        rows = np.flatnonzero(run == label)
        apart = np.abs(d[rows, None] - d[rows])
        tilt = SLOPE * (d[rows] - d.mean())
        block = common * (1.0 + np.outer(tilt, tilt)) + near * np.exp(-apart / NEAR)
        block[np.diag_indices(len(rows))] += (1.0 - common - near) * base[rows]
        root = np.linalg.cholesky(block)
        blocks.append(np.linalg.inv(root))
        log_det += 2.0 * float(np.sum(np.log(np.diag(root))))
        order.append(rows)
    back = np.argsort(np.concatenate(order))
    return csr_array(csr_array(block_diag(blocks))[:, back]), log_det
