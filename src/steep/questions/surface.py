"""Results of a joint fit: errors at given sizes, the best split of compute, required samples.

Errors come from the laws and their discrepancy, weighted by evidence. Parameters and the best split
come from the laws alone, whose draws are widened by the discrepancy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from steep.laws.law import Array
from steep.laws.surface import Reference
from steep.laws.surfaces import SURFACES
from steep.records import ForUse, Frontier, Interval, JointDraws, JointFit, RequiredSamples
from steep.records import JointRow as Row
from steep.stats.draws import quantile_interval
from steep.stats.inverse import FARTHEST, first_crossings, target_crossing
from steep.stats.mixture import quantiles
from steep.stats.surface_noise import SurfaceNoise, surface_noise
from steep.stats.surface_posterior import Model, Runs

SPLITS, WIDE = 281, 14.0
"""The number of grid points for the best split, and the grid's reach from the runs, in log N."""
EVERY = 100
"""About how many draws of a law are used for the best model for use."""
OFF_LINE = 0.4
"""Largest distance (in log N and log D) from a line of runs at which errors are forecast."""
SPLIT = {"A", "B", "alpha", "beta"}
"""Parameters that determine the best split of compute."""


def runs_of(rows: tuple[Row, ...]) -> Runs:
    """The rows in logs; the runs are numbered if any has several rows."""
    n, d, u, y = (
        np.log([getattr(r, name) for r in rows])
        for name in ("parameters", "samples", "unique", "error")
    )
    names = [r.run for r in rows]
    shared = any(names) and len(set(names)) < len(names)
    run = np.unique(names, return_inverse=True)[1] if shared else None
    return Runs(n, d, np.minimum(u, d), y, run)


def reference_of(runs: Runs) -> Reference:
    return Reference(float(runs.n.mean()), float(runs.d.mean()), float(runs.y.mean()))


def model_of(
    law: str,
    runs: Runs,
    fixed: tuple[tuple[str, float], ...] = (),
    tied: tuple[tuple[str, str], ...] = (),
) -> Model:
    """A law with the ``fixed`` and ``tied`` parameters that it has. Others are ignored: a law
    without a floor satisfies a floor of zero."""
    names = set(SURFACES[law].names)
    held = {name: value for name, value in fixed if name in names}
    return Model(SURFACES[law], reference_of(runs), held, tuple(t for t in tied if {*t} <= names))


@dataclass(frozen=True)
class Prepared:
    """The runs, noise and laws that forecasts of a fit use."""

    runs: Runs
    noise: SurfaceNoise
    parts: tuple[tuple[Model, JointDraws], ...]


@lru_cache(maxsize=8)
def prepared(fit: JointFit) -> Prepared:
    """The ``Prepared`` of a fit. Raises ValueError if it has no draws."""
    if not fit.draws:
        raise ValueError(f"nothing to forecast from: {fit.outcome}. {fit.reason}")
    runs = runs_of(fit.rows)
    noise = surface_noise(runs.n, runs.d, runs.run, np.array([r.widened for r in fit.rows]))
    parts = tuple((model_of(d.law, runs, fit.fixed, fit.tied), d) for d in fit.draws)
    return Prepared(runs, noise, parts)


def expected(fit: JointFit, n: Array, d: Array, u: Array) -> tuple[Array, Array]:
    """Each draw's log error at log sizes (places,), with discrepancy, and the standard deviation of
    a new run there: both (draws, places)."""
    parts = prepared(fit)
    centres, scales = [], []
    for model, draws in parts.parts:
        z, structure = np.array(draws.forecast), np.array(draws.structure)
        centre = model.log_error(z, n, d, u)
        variance = np.repeat(np.array(draws.variance)[:, None], len(n), axis=1)
        residual = model.residual(z, parts.runs)
        for j in np.unique(structure):
            mine = structure == j
            columns, more = parts.noise.at(int(j), n, d)
            centre[mine] += (columns @ parts.noise.coefficients(int(j), residual[mine].T)).T
            variance[mine] *= 1.0 + more
        centres.append(centre)
        scales.append(np.sqrt(variance))
    return np.concatenate(centres), np.concatenate(scales)


# ---------------------------------------------------------------- errors


def predict_frame(
    fit: JointFit, parameters: Any, samples: Any, unique: Any, level: float | None
) -> Any:
    import pandas as pd

    n, d = np.broadcast_arrays(*(_sizes(v) for v in (parameters, samples)))
    u = d if unique is None else np.broadcast_to(_sizes(unique), d.shape)
    errors = errors_at(fit, n, d, u, _level(fit, level))
    columns = {"parameters": n, "samples": d} | ({} if unique is None else {"unique": u})
    lower, middle, upper = errors.T
    return pd.DataFrame(columns | {"error": middle, "lower": lower, "upper": upper})


def errors_at(fit: JointFit, n: Array, d: Array, u: Array, level: float) -> Array:
    """Lower, median and upper error of a new run at each place, (places, 3)."""
    if fit.line:
        _check_line(fit, n, d)
    if any(m.law.needs_unique for m, _ in prepared(fit).parts) and np.any(u > d * (1 + 1e-9)):
        raise ValueError("unique samples cannot be more than the samples seen")
    centre, scale = expected(fit, np.log(n), np.log(d), np.log(np.minimum(u, d)))
    ends = np.array([0.5 - level / 2, 0.5, 0.5 + level / 2])
    return np.exp(quantiles(centre, scale, fit.df, ends))


def _check_line(fit: JointFit, n: Array, d: Array) -> None:
    runs = prepared(fit).runs
    places = np.stack([runs.n, runs.d], axis=1)
    axis = np.linalg.svd(places - places.mean(axis=0))[2][1]
    off = np.abs((np.log(np.stack([n, d], axis=1)) - places.mean(axis=0)) @ axis)
    if np.any(off > OFF_LINE):
        ratio = float(np.exp(np.mean(runs.d - runs.n)))
        raise ValueError(
            "model size and data grow together in these runs: the error is known along their line "
            f"only, of about {ratio:g} {fit.unit} a parameter in the middle"
        )


def _sizes(values: Any) -> Array:
    sizes = np.atleast_1d(np.asarray(values, dtype=float))
    if sizes.ndim != 1 or not np.all(np.isfinite(sizes) & (sizes > 0)):
        raise ValueError(f"sizes must be positive numbers, not {values}")
    return sizes


def _level(fit: JointFit, level: float | None) -> float:
    level = fit.level if level is None else level
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return level


def samples_for(
    fit: JointFit, error: float, parameters: float, level: float | None = None
) -> RequiredSamples:
    """The samples, all distinct, at which a model of this size reaches ``error``."""
    if not 0 < error < np.inf:
        raise ValueError(f"a target error must be a positive number, not {error}")
    if fit.line or not fit.draws:
        return RequiredSamples(error, fit.outcome, level=_level(fit, level))
    runs = prepared(fit).runs
    first, last = float(np.exp(runs.d.min())), float(np.exp(runs.d.max()))
    log_d = np.linspace(runs.d.min(), runs.d.max() + np.log(FARTHEST), 300)
    n = np.full_like(log_d, float(np.log(_sizes(parameters)[0])))
    curves, _ = expected(fit, n, log_d, log_d)
    crossing = target_crossing(
        first_crossings(curves, log_d, error, first), _level(fit, level), first, last
    )
    s = crossing.samples
    return RequiredSamples(
        error, crossing.outcome, s.value, s.lower, s.upper, crossing.factor, crossing.unreachable,
        level=_level(fit, level), smallest=crossing.smallest,
    )  # fmt: skip


def residual_frame(fit: JointFit) -> Any:
    """Per row: the error, its expectation by the first law alone and by all with discrepancy, the
    residuals of log error from both, and whether the row lies off the surface."""
    import pandas as pd

    parts = prepared(fit)
    model, draws = parts.parts[0]
    middle = np.median(np.array(draws.alone), axis=0)[None]
    law = model.log_error(middle, parts.runs.n, parts.runs.d, parts.runs.u)[0]
    centre = np.median(expected(fit, parts.runs.n, parts.runs.d, parts.runs.u)[0], axis=0)
    return pd.DataFrame(
        {
            "row": [r.row for r in fit.rows],
            "parameters": [r.parameters for r in fit.rows],
            "samples": [r.samples for r in fit.rows],
            "error": [r.error for r in fit.rows],
            "law": np.exp(law),
            "surface": np.exp(centre),
            "residual_of_law": parts.runs.y - law,
            "residual": parts.runs.y - centre,
            "off": [r.widened > 1 for r in fit.rows],
        }
    )


# ---------------------------------------------------------------- the best split of compute


def split_refused(fit: JointFit) -> str:
    """Why a fit determines no best split of compute; '' if it does."""
    if not fit.draws:
        return f"{fit.outcome}: {fit.reason}"
    if fit.line:
        return fit.reason
    open_ones = [
        name
        for name, p in zip(fit.names, fit.parameters, strict=True)
        if name in SPLIT and (p.lower is None or p.upper is None)
    ]
    if open_ones:
        return f"the runs do not identify {', '.join(open_ones)}"
    return ""


def splits(fit: JointFit, compute: Array) -> tuple[Array, Array]:
    """Each draw's best log N at log compute / k (places,), and whether it lies inside the grid:
    both (draws, places)."""
    parts = prepared(fit)
    grid = np.linspace(-WIDE, WIDE, SPLITS)
    best, inside = [], []
    for model, draws in parts.parts:
        z = np.array(draws.alone)
        for c in compute:
            middle = 0.5 * (c + model.reference.log_n - model.reference.log_d)
            n = middle + grid
            error = model.log_error(z, n, c - n, c - n)
            at = np.clip(np.argmin(error, axis=1), 1, SPLITS - 2)
            left, mid, right = (error[np.arange(len(z)), at + k] for k in (-1, 0, 1))
            bend = np.maximum(left - 2 * mid + right, 1e-300)
            step = grid[1] - grid[0]
            best.append(n[at] + np.clip(0.5 * (left - right) / bend, -1, 1) * step)
            inside.append((at > 1) & (at < SPLITS - 2))
    shape = (len(parts.parts), len(compute))
    return _by_draw(best, shape), _by_draw(inside, shape)


def _by_draw(values: list[Array], shape: tuple[int, int]) -> Array:
    """Arrays (draws of the part,), listed by part and then place, as one (draws, places)."""
    parts, places = shape
    return np.concatenate(
        [np.stack(values[i * places : (i + 1) * places], axis=1) for i in range(parts)]
    )


def frontier(fit: JointFit, flops: Any, level: float | None = None) -> tuple[Frontier, ...]:
    """The best model at each compute, C = k N D, with all samples distinct. Raises ValueError if
    the runs do not determine the split."""
    refused = split_refused(fit)
    if refused:
        raise ValueError(f"no best split of compute follows from these runs: {refused}")
    level = _level(fit, level)
    computes = _sizes(flops)
    log_product = np.log(computes / fit.flops_per_parameter_sample)
    best, inside = splits(fit, log_product)
    points = []
    for i, c in enumerate(computes):
        size = quantile_interval(best[:, i], level)
        n = float(np.exp(size.value or 0.0))
        d = float(np.exp(log_product[i])) / n
        at_samples = np.array([d])
        low, mid, high = errors_at(fit, np.array([n]), at_samples, at_samples, level)[0].tolist()
        bounded = inside[:, i].mean() > 1 - (1 - level) / 4
        lower, upper = np.exp([size.lower or 0.0, size.upper or 0.0]).tolist()
        sizes = Interval(n, lower if bounded else None, upper if bounded else None, level)
        samples = Interval(
            d, d * n / upper if bounded else None, d * n / lower if bounded else None, level
        )
        points.append(Frontier(float(c), sizes, samples, Interval(mid, low, high, level)))
    return tuple(points)


def frontier_exponents(fit: JointFit, level: float | None = None) -> tuple[Interval, Interval]:
    """(a, beta_p): local exponents of the best-fit size at the largest compute, in compute (N ~
    C^a) and in data (N ~ D^beta_p). Raises ValueError if the runs do not determine the split."""
    refused = split_refused(fit)
    if refused:
        raise ValueError(f"no best split of compute follows from these runs: {refused}")
    runs = prepared(fit).runs
    top = float((runs.n + runs.d).max())
    best, _ = splits(fit, np.array([top - 1.0, top + 1.0]))
    share = np.clip((best[:, 1] - best[:, 0]) / 2.0, 1e-3, 1 - 1e-3)
    level = _level(fit, level)
    return quantile_interval(share, level), quantile_interval(share / (1 - share), level)


def best_for_use(fit: JointFit, error: float, served: float, level: float | None = None) -> ForUse:
    """The model that reaches ``error`` at the least compute of training and use: k N D plus 2 N
    times the samples ``served`` (Sardana et al. 2023). Raises ValueError if the runs do not
    determine the split."""
    refused = split_refused(fit)
    if refused:
        raise ValueError(f"no best split of compute follows from these runs: {refused}")
    if not (0 < error < np.inf and 0 <= served < np.inf):
        raise ValueError("the error must be positive, and the samples served not negative")
    level, k = _level(fit, level), fit.flops_per_parameter_sample
    candidates = []
    for model, draws in prepared(fit).parts:
        n = model.reference.log_n + np.linspace(-5.0, WIDE, 120)
        d = model.reference.log_d + np.linspace(-5.0, WIDE + 4.0, 160)
        grid_n, grid_d = (v.ravel() for v in np.meshgrid(n, d, indexing="ij"))
        for one in draws.alone[:: max(1, len(draws.alone) // EVERY)]:
            curves = model.log_error(np.array([one]), grid_n, grid_d, grid_d)
            needed = np.exp(first_crossings(curves.reshape(len(n), len(d)), d, error, None))
            total = np.exp(n) * (k * needed + 2.0 * served)
            best, alone = int(np.argmin(total)), int(np.argmin(np.exp(n) * needed))
            candidates.append((np.exp(n[best]), needed[best], total[best], np.exp(n[alone])))
    values = np.array(candidates)
    reachable = np.isfinite(values[:, 2])
    if reachable.mean() < 0.5:
        return ForUse(error, served, "not reachable")
    intervals = [quantile_interval(column[reachable], level) for column in values.T]
    if reachable.mean() < 1 - (1 - level) / 2:  # draws that never reach it leave the interval open
        intervals = [replace(i, upper=None) for i in intervals]
    return ForUse(error, served, "ok", *intervals)
