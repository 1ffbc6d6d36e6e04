"""The compute multiplier: how much compute of one training recipe equals that of another.

Each table gives the error as a function of compute: with model sizes, that of the best split by its
joint fit, with discrepancy; without, the learning curve over a column of compute. The
multiplier at C is C' / C, where the first needs C' for the error that the second has at C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steep.laws.law import Array
from steep.questions.joint import joint_of_curve, refit
from steep.questions.surface import expected, prepared, split_refused, splits
from steep.records import ComputeMultiplier, Fit, Interval, JointFit
from steep.stats.predictive import curve_draws

DRAWS = 400
BEYOND = 30.0
"""By default, the multiplier is also given at this many times the largest common compute."""
WIDE = np.log(1e8)
"""How far from the given compute (in log) an equal error is searched."""
EXTRAPOLATED = 1.01


def by_compute(
    path: str,
    by: str | Sequence[str] | None,
    y: str | Sequence[str] | None,
    parameters: str | None,
    level: float,
) -> list[tuple[str, Fit | JointFit]]:
    """The fits of a table's curves: joint fits if it has model sizes, else fits over compute."""
    from steep.fit import fit
    from steep.tables.files import load
    from steep.tables.read import read
    from steep.tables.words import is_compute

    options: dict[str, Any] = {"by": by, "y": y, "parameters": parameters}
    fits: list[tuple[str, Fit | JointFit]] = []
    curves = read(
        path, **options, flops_per_parameter_sample=6.0, all_rows=True, every_size=True
    ).curves
    if all("parameters" in curve.columns for curve in curves):
        return [(curve.name, joint_of_curve(curve, level=level)) for curve in curves]
    compute = [c for c in load(path).columns if is_compute(c)]
    if len(compute) != 1:
        raise ValueError(f"{path}: a comparison by compute needs model sizes or a column of flops")
    for curve in read(path, **options, x=compute[0]).curves:
        fits.append((curve.name, fit(curve, level=level)))
    return fits


def compute_multiplier(
    first: tuple[str, Fit | JointFit],
    second: tuple[str, Fit | JointFit],
    flops: Sequence[float] = (),
    shared_floor: bool = False,
    level: float = 0.9,
) -> ComputeMultiplier:
    """The ratio C' / C at each C of ``flops``; the first needs C' for the error of the second at C.

    ``flops`` are by default the largest compute that both have, and 30 times that. ``shared_floor``
    fixes both joint fits at one floor E, the mean of theirs weighted by precision. Raises
    ValueError if a floor is not determined."""
    (a, one), (b, two) = first, second
    floor = None
    if shared_floor:
        floor = _common_floor(one, two)
        assert isinstance(one, JointFit)
        assert isinstance(two, JointFit)
        one, two = refit(one, one.rows, floor), refit(two, two.rows, floor)
    for name, fit in ((a, one), (b, two)):
        reason = _refused(fit)
        if reason:
            return ComputeMultiplier(a, b, "not measured", f"{name}: {reason}")
    top = min(_largest(one), _largest(two))
    computes = np.asarray(list(flops) or [top, BEYOND * top], dtype=float)
    if not np.all(np.isfinite(computes) & (computes > 0)):
        raise ValueError(f"compute must be positive, not {list(flops)}")
    log_c = np.log(computes)
    grid = np.linspace(log_c.min() - WIDE, log_c.max() + WIDE, 400)
    goal = _errors(two, log_c, seed=2)
    curve = np.minimum.accumulate(_errors(one, grid, seed=1), axis=1)
    ratios = []
    for k, c in enumerate(log_c):
        reached = curve <= goal[:, k, None]
        at = np.argmax(reached, axis=1)
        rows, before = np.arange(len(curve)), np.maximum(at - 1, 0)
        drop = curve[rows, before] - curve[rows, at]
        share = np.where(drop > 0, (curve[rows, before] - goal[:, k]) / np.maximum(drop, 1e-300), 1)
        place = grid[before] + np.clip(share, 0, 1) * (grid[at] - grid[before])
        ratios.append(_ratio(np.where(reached.any(axis=1), place - c, np.inf), level))
    far = tuple(bool(c > EXTRAPOLATED * top) for c in computes)
    return ComputeMultiplier(a, b, "ok", "", tuple(computes.tolist()), tuple(ratios), floor, far)


def _ratio(log_ratio: Array, level: float) -> Interval:
    ends = np.quantile(log_ratio, [0.5, 0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
    middle, low, high = (float(np.exp(v)) if np.isfinite(v) else None for v in ends)
    return Interval(middle, low, high, level)


def _refused(fit: Fit | JointFit) -> str:
    if isinstance(fit, JointFit):
        return split_refused(fit)
    return "" if fit.draws else fit.outcome


def _largest(fit: Fit | JointFit) -> float:
    if isinstance(fit, JointFit):
        k = fit.flops_per_parameter_sample
        return max(k * r.parameters * r.samples for r in fit.rows)
    return max(p.samples for p in fit.used)


def _errors(fit: Fit | JointFit, log_c: Array, seed: int) -> Array:
    """Draws of log error at log compute without the noise of a run, (DRAWS, places)."""
    rng = np.random.default_rng(seed)
    if isinstance(fit, Fit):
        curves = curve_draws(fit, log_c)
        return np.asarray(curves[rng.integers(0, len(curves), DRAWS)])
    product = log_c - np.log(fit.flops_per_parameter_sample)
    n = np.median(splits(fit, product)[0], axis=0)
    centre, scale = expected(fit, n, product - n, product - n)
    variance = np.concatenate([d.variance for _, d in prepared(fit).parts])
    discrepancy = np.sqrt(np.maximum(scale**2 - variance[:, None], 0.0))
    chosen = rng.permutation(len(centre))[np.arange(DRAWS) % len(centre)]
    # the discrepancy's uncertainty is one common deviation along the whole curve
    return np.asarray(centre[chosen] + discrepancy[chosen] * rng.normal(size=(DRAWS, 1)))


def _common_floor(one: Fit | JointFit, two: Fit | JointFit) -> float:
    floors = []
    for fit in (one, two):
        if not isinstance(fit, JointFit) or "E" not in fit.names:
            raise ValueError("a shared floor needs model sizes in both tables")
        e = fit.parameter("E")
        if e.value is None or e.lower is None or e.upper is None:
            raise ValueError(
                "a shared floor needs runs that identify it: the floor is open in a table"
            )
        floors.append((e.value, e.upper - e.lower))
    weights = np.array([1 / max(width, 1e-12) ** 2 for _, width in floors])
    return float(np.average([value for value, _ in floors], weights=weights))
