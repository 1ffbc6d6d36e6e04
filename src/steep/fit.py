"""From the points of a learning curve to its laws: weights, intervals, and what they support."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.laws import LAWS, Law
from steep.laws.law import Array
from steep.records import BestFit, Draws, Fit, Interval, LawFit, NoiseParts, Point, Region
from steep.stats.curve import Curve, curve_from_arrays, curve_from_points
from steep.stats.mixture import quantiles, systematic
from steep.stats.noise import Noise, noise_model
from steep.stats.posterior import Sample, sample_law
from steep.stats.single import law_fits
from steep.stats.size_law import fit_size_law

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fit", "fit_size_law", "points_of"]

DRAWS = 400
"""Posterior draws kept in a fit, over all laws: enough for 5 % and 95 % quantiles to 1 %."""
FEWEST = 3
"""Distinct sizes below which nothing is fitted: a line through two points has no error."""


def fit(
    frame: pd.DataFrame | None = None,
    *,
    samples: Iterable[float] | None = None,
    error: Iterable[float] | None = None,
    points: Sequence[Point] | None = None,
    x: str = "samples",
    y: str = "error",
    se: str | Iterable[float] | None = None,
    parameters: str | Iterable[float] | None = None,
    level: float = 0.9,
    laws: Sequence[str] | None = None,
    best_guess: float | None = None,
    validation_se: float | None = None,
    intervals: bool = True,
    unit: str = "samples",
    metric: str = "error",
) -> Fit:
    """Fit the laws of ``laws/`` to one learning curve and weigh them by evidence.

    Give a ``frame`` with columns ``x`` and ``y`` (and the columns named by ``se`` and
    ``parameters``), or the arrays ``samples`` and ``error``, or ready ``points``. Repeated sizes
    are replicates. ``se`` is the standard error of each error, in its unit; ``best_guess`` the
    error of a constant guess; ``validation_se`` the relative standard error that one shared
    validation set gives to all points alike. ``intervals=False`` leaves out the best fits of single
    laws, which cost more than the forecast. Deterministic.

    Raises ValueError for arguments that do not fit together; a curve that cannot be fitted is a
    ``Fit`` whose ``outcome`` says so.
    """
    curve = _curve(frame, samples, error, points, x, y, se, parameters)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    candidates = _candidates(laws)
    curve = _without_best_guess(curve, best_guess)
    empty = Fit(
        outcome="too few points",
        points=curve.points,
        unit=unit,
        metric=metric,
        level=level,
        best_guess=best_guess,
        notes=curve.notes,
        supports="Too few sizes to fit a law: at least three different ones are needed.",
    )
    used = curve.used
    if len(used) < FEWEST:
        return empty
    noise = _noise(curve)
    m, log_error = _logs(used)
    log_ratio = np.log(m / m[-1])
    found = [sample_law(law, log_ratio, log_error, noise) for law in candidates]
    weights = _weights(found)
    df = noise.df + len(used) - 1
    draws = _draws(found, weights, noise, df)
    singles = law_fits(found, weights, m, log_error, noise, level if intervals else None)
    beta_g, reason = _beta_g(m, log_error, noise, level)
    outcome = "ok" if beta_g is not None and (beta_g.value or 0.0) < 0 else "not a power law"
    return Fit(
        outcome=outcome,
        points=curve.points,
        laws=singles,
        beta_g=beta_g if outcome == "ok" else None,
        beta_g_reason=reason if outcome == "ok" else "the error does not fall with more samples",
        regions=_regions(curve, m),
        noise=_noise_parts(curve, draws, validation_se),
        supports=_supports(singles, len(used)),
        unit=unit,
        metric=metric,
        level=level,
        best_guess=best_guess,
        reference=float(m[-1]),
        df=float(df),
        draws=draws,
        notes=curve.notes,
    )


def points_of(best_fits: Iterable[BestFit]) -> tuple[Point, ...]:
    """The best-fit models of a study as points; held-out and capped ones are kept but not used."""
    points = []
    for best in best_fits:
        reason = "held out" if best.held_out else "capped" if best.best.capped else ""
        se = None if best.seed_se is None else best.seed_se / best.best.score
        points.append(
            Point(
                samples=best.samples,
                error=best.best.score,
                se_log=se or None,
                parameters=float(best.best.parameters),
                used=not reason,
                reason=reason,
            )
        )
    return tuple(points)


# ---------------------------------------------------------------- input


def _curve(
    frame: Any,
    samples: Any,
    error: Any,
    points: Sequence[Point] | None,
    x: str,
    y: str,
    se: Any,
    parameters: Any,
) -> Curve:
    if points is not None:
        return curve_from_points(tuple(points))
    if frame is not None:
        missing = [c for c in (x, y, se, parameters) if isinstance(c, str) and c not in frame]
        if missing:
            raise ValueError(f"no column {missing[0]!r}; the columns are {list(frame.columns)}")
        samples, error = frame[x], frame[y]
        se = frame[se] if isinstance(se, str) else se
        parameters = frame[parameters] if isinstance(parameters, str) else parameters
    if samples is None or error is None:
        raise ValueError("fit needs a frame, samples and error, or points")
    columns = [_array(c) for c in (samples, error, se, parameters)]
    lengths = {len(c) for c in columns if c is not None}
    if len(lengths) > 1:
        raise ValueError(f"the columns have different lengths: {sorted(lengths)}")
    assert columns[0] is not None
    assert columns[1] is not None
    return curve_from_arrays(columns[0], columns[1], columns[2], columns[3])


def _array(values: Any) -> Array | None:
    if values is None:
        return None
    if isinstance(values, str):
        raise ValueError(f"{values!r} names a column, but no frame was given")
    return np.asarray(list(values), dtype=float)


def _candidates(laws: Sequence[str] | None) -> list[Law]:
    names = list(LAWS) if laws is None else list(laws)
    unknown = [name for name in names if name not in LAWS]
    if unknown or not names:
        raise ValueError(f"unknown law {unknown}; the laws are {list(LAWS)}")
    return [LAWS[name] for name in names]


def _without_best_guess(curve: Curve, best_guess: float | None) -> Curve:
    """Leading points at the best-guess level say nothing about the slope."""
    if best_guess is None:
        return curve
    points = list(curve.points)
    for i, point in enumerate(points):
        if point.error < 0.97 * best_guess:
            break
        if point.used:
            points[i] = replace(point, used=False, reason="small-data")
    return Curve(tuple(points), curve.within_squares, curve.within_df, curve.notes)


def _logs(used: Sequence[Point]) -> tuple[Array, Array]:
    return np.array([p.samples for p in used]), np.log([p.error for p in used])


def _noise(curve: Curve) -> Noise:
    return noise_model(curve.used, curve.within_squares, curve.within_df)


# ---------------------------------------------------------------- the mixture


def _weights(found: Sequence[Sample]) -> Array:
    evidence = np.array([s.log_evidence for s in found])
    weight = np.exp(evidence - evidence.max())
    return np.asarray(weight / weight.sum())


def _draws(found: Sequence[Sample], weights: Array, noise: Noise, df: float) -> tuple[Draws, ...]:
    """``DRAWS`` equally weighted draws over laws, shapes and structures of the noise."""
    flat = np.concatenate(
        [
            w * np.exp(s.log_weight - s.log_evidence).ravel()
            for s, w in zip(found, weights, strict=True)
        ]
    )
    chosen = systematic(flat, DRAWS)
    ends = np.cumsum([s.log_weight.size for s in found])
    information = noise.information
    result = []
    for sample, end in zip(found, ends, strict=True):
        mine = chosen[(chosen < end) & (chosen >= end - sample.log_weight.size)]
        if len(mine) == 0:
            continue
        row, structure = np.divmod(mine - (end - sample.log_weight.size), len(information))
        sigma = np.sqrt(sample.squares[row, structure] / df)
        result.append(
            Draws(
                law=sample.law.name,
                shape=tuple(tuple(float(v) for v in z) for z in sample.z[row]),
                level=_floats(sample.level[row, structure]),
                scale=_floats(sigma * np.sqrt(noise.fresh[structure])),
                level_scale=_floats(sigma / np.sqrt(information[structure])),
                wander=_floats(sigma * np.sqrt(noise.wander[structure])),
                bend=_floats(sigma * np.sqrt(noise.bend[structure])),
                structure=tuple(int(j) for j in structure),
            )
        )
    return tuple(result)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


# ---------------------------------------------------------------- what they say


def _beta_g(m: Array, log_error: Array, noise: Noise, level: float) -> tuple[Interval | None, str]:
    """Slope of log error on log m: generalised least squares, averaged over the noise.

    Each structure of the noise gives the slope a t distribution; they are mixed by how well they
    explain the points.
    """
    df = noise.df + len(m) - 2
    design = noise.whiten @ np.stack([np.ones(len(m)), np.log(m / m[-1])], axis=1)
    target = noise.whiten @ log_error
    normal = np.linalg.inv(np.swapaxes(design, 1, 2) @ design)
    value = np.einsum("jpq,jnq,jn->jp", normal, design, target)
    residual = target - np.einsum("jnp,jp->jn", design, value)
    squares = np.sum(residual**2, axis=1) + noise.sum_squares
    evidence = noise.log_prior - 0.5 * noise.log_det - 0.5 * df * np.log(squares)
    evidence += 0.5 * np.linalg.slogdet(normal)[1]
    weight = np.exp(evidence - evidence.max())
    scale = np.sqrt(squares / df * normal[:, 1, 1])
    chosen = systematic(weight, DRAWS)
    ends = np.array([0.5 - level / 2, 0.5, 0.5 + level / 2])
    lower, middle, upper = quantiles(value[chosen, 1:], scale[chosen, None], df, ends)[0].tolist()
    if middle >= 0:
        return None, "the error does not fall with more samples"
    return Interval(middle, lower, upper, level), ""


def _regions(curve: Curve, m: Array) -> tuple[Region, ...]:
    skipped = sum(p.reason == "small-data" for p in curve.points)
    start = Interval(float(m[0]), None, None)
    end = Interval(float(m[-1]), None, None)
    law = Region("power-law", start, end, len(m), 1.0)
    if skipped == 0:
        return (law,)
    return (Region("small-data", None, start, skipped, 1.0), law)


def _noise_parts(curve: Curve, draws: Sequence[Draws], validation_se: float | None) -> NoiseParts:
    scales = np.concatenate([d.scale for d in draws])
    df = curve.within_df
    return NoiseParts(
        scatter=float(np.median(scales)),
        replicate=float(np.sqrt(curve.within_squares / df)) if df else None,
        replicate_df=df,
        given=all(p.se_log is not None for p in curve.used),
        validation=validation_se,
    )


def _supports(fits: Sequence[LawFit], n: int) -> str:
    heavy = [f.law for f in fits if f.weight >= 0.05]
    if len(heavy) == 1:
        return f"The {n} points support one law, {heavy[0]}, over the others tried."
    if "power" in heavy:
        return f"{n} points cannot tell a floor from none: the forecast carries both."
    return f"{n} points cannot tell these laws apart: {', '.join(heavy)}; the forecast carries all."
