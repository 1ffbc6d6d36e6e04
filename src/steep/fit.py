"""From the points of a learning curve to its laws: weights, intervals, and what they support."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from steep.base.metrics import check_items
from steep.base.spelling import no_such
from steep.laws import LAWS, Law
from steep.laws.law import Array
from steep.present import numbers
from steep.present.sentences import few_sizes
from steep.records import (
    CAPPED,
    FEWEST_POINTS,
    HELD_OUT,
    BestFit,
    Draws,
    Fit,
    Interval,
    LawFit,
    NoiseParts,
    Point,
    Region,
)
from steep.stats.curve import Curve, curve_from_columns, curve_from_points
from steep.stats.draws import joined, regions
from steep.stats.mixture import systematic
from steep.stats.noise import Noise, noise_model
from steep.stats.posterior import Sample, sample_law
from steep.stats.predictive import bounds_likelihood, doubling
from steep.stats.single import law_fits
from steep.stats.size_law import fit_size_law
from steep.stats.slope import RISES, Slope, no_fall, slope
from steep.tables.read import Table, TableCurve, curve_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fit", "fit_size_law", "points_of"]

DRAWS = 400
"""Posterior draws kept in a fit, over all laws: enough for 5 % and 95 % quantiles to 1 %."""
BOUNDED = 8
"""Times as many draws are made where upper bounds choose among them."""
OFF, RARE = 1e4, 3.0
"""Of a robust fit: what the variance of a point off the trend is multiplied by, and the log of the
odds against a point being off."""
SPAN = 1.1
"""Largest over smallest size below which nothing is fitted: a line through points beside each other
has any slope."""
OWN_LAWS = tuple(LAWS)
"""Those that are fitted unless told otherwise; a law from outside takes part where it is named."""
TOO_NEAR = (
    "The sizes lie too near to each other to fit a law: a factor of two between them is usual."
)


def fit(
    frame: pd.DataFrame | Table | TableCurve | None = None,
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
    higher_is_better: bool = False,
    best_guess: float | None = None,
    validation_se: float | None = None,
    validation_items: float | None = None,
    robust: bool = False,
    intervals: bool = True,
    unit: str | None = None,
    metric: str | None = None,
) -> Fit:
    """Fit the laws of ``laws/`` to one learning curve and weigh them by evidence.

    Give a ``frame`` with columns ``x`` and ``y`` (and the columns named by ``se`` and
    ``parameters``), or the arrays ``samples`` and ``error``: they are read by the rules of
    ``steep.read``, which the fit's ``notes`` tell, and what ``steep.read`` gave is taken as it is.
    ``higher_is_better`` says that these are accuracies: 1 - those is fitted. Or give ready
    ``points``. Repeated sizes are replicates. ``se`` is the standard error of each
    error, in its unit; ``best_guess`` the error of a constant guess; ``validation_se`` the relative
    standard error that one shared validation set gives to all points alike; for an error rate
    ``validation_items``, their number, tells it where no ``se`` does. ``robust`` gives points
    far off the trend less weight (it widens their noise, and says so in ``notes``). A curve that
    does not show a fall is 'not a power law': it has no exponent, laws or regions, and its forecast
    extends the last points. Laws with more parameters than there are sizes take no part.
    ``intervals=False`` leaves out the best fits of single laws, which cost more than the forecast.
    ``unit`` and ``metric`` are by default what the table's columns say. Deterministic.

    Raises ValueError for arguments that do not fit together and for a table that cannot be read
    (TableError names its cells); a curve that cannot be fitted is a ``Fit`` whose ``outcome`` says
    so.
    """
    curve, told = _curve(frame, samples, error, points, x, y, se, parameters, higher_is_better)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    empty = Fit(
        "too few points",
        (),
        unit=unit or told.unit,
        metric=metric or told.metric,
        level=level,
        best_guess=best_guess,
        notes=(*told.warnings, *told.notes),
        warnings=told.warnings,
    )
    names = None if laws is None else tuple(laws)
    return _fitted(curve, empty, names, validation_se, validation_items, robust, intervals)


@lru_cache(maxsize=64)  # a run asks for the fits of one study at every stage
def _fitted(
    curve: Curve,
    empty: Fit,
    laws: tuple[str, ...] | None,
    validation_se: float | None,
    validation_items: float | None,
    robust: bool,
    intervals: bool,
) -> Fit:
    """``empty`` with what the points of ``curve`` show; the arguments are those of ``fit``."""
    candidates, level = _candidates(laws), empty.level
    curve = _without_best_guess(curve, empty.best_guess)
    empty = replace(empty, points=curve.points, supports=few_sizes(len(curve.used)))
    used = curve.used
    shares = _validation_shares(used, empty.metric, validation_items)
    if len(used) < FEWEST_POINTS:
        return empty
    candidates = [c for c in candidates if laws is not None or len(c.names) <= len(used)]
    m, log_error = _logs(used)
    if m[-1] < SPAN * m[0]:
        return replace(empty, supports=TOO_NEAR)
    weigh = partial(_mixture, candidates, m, log_error, curve)
    mixed = weigh(np.ones(len(m)))
    if robust:
        mixed = _outliers_widened(mixed, weigh, m, log_error)
    factor, noise, found, weights = mixed.factor, mixed.noise, mixed.found, mixed.weights
    off = [f"The point at {numbers.exact(size)} {empty.unit} lies" for size in m[factor > 1]]
    notes = (*empty.notes, *(f"{point} off the trend and weighs less." for point in off))
    df = float(noise.df + len(used) - 1)
    draws = _draws(found, weights, noise, df, DRAWS * (BOUNDED if empty.bounds else 1))
    scale, line = joined(draws, "scale"), slope(np.log(m), log_error, noise)
    known = replace(
        empty,
        noise=_noise_parts(curve, scale, (validation_se, *shares[-1:])[-1]),
        reference=float(m[-1]),
        df=df,
        draws=draws,
        widened=tuple(factor.tolist()) if robust else (),
        notes=notes,
    )
    if why := no_fall(line, log_error, scale, df):
        reason, step = _about_no_fall(why, empty.metric)
        return replace(known, outcome="not a power law", beta_g_reason=reason, supports=step)
    known, weights = _bounded(known, found, weights)
    singles = law_fits(found, weights, m, log_error, noise, level if intervals else None)
    parts = regions(known.draws, m, level)
    beta_g, reason = _beta_g(m, log_error, curve, parts, level, factor, line)
    return replace(
        known,
        outcome="ok",
        laws=singles,
        beta_g=_widened(beta_g, shares, m),
        beta_g_reason=reason,
        regions=_with_best_guess(parts, curve),
        doubling=doubling(known, level),
        supports=_supports(singles, len(used)),
    )


def points_of(best_fits: Iterable[BestFit]) -> tuple[Point, ...]:
    """The best-fit models of a study as points; capped and withheld ones are kept but not used, nor
    are held-out ones before their model has all its seeds.

    Where the trials make a surface (``stats/searched.py``), it tells how far off a score may be."""
    points = []
    for best in best_fits:
        reason = HELD_OUT if best.waits else CAPPED if best.best.capped else best.withheld
        se = None if best.seed_se is None else best.seed_se / best.best.score
        if best.size_curve is not None and (se is not None or "rough" in best.flags):
            se = best.size_curve.score_se
        points.append(
            Point(
                samples=best.samples,
                error=best.best.score,
                se_log=se or None,
                parameters=float(best.best.parameters) or None,
                used=not reason,
                reason=reason,
                held_out=best.held_out,
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
    higher_is_better: bool,
) -> tuple[Curve, TableCurve]:
    """The points, and what the table says beside them."""
    if higher_is_better and (points is not None or isinstance(frame, Table | TableCurve)):
        raise ValueError(
            "higher_is_better is for tables: steep.read takes it too; points are errors"
        )
    if points is not None:
        return curve_from_points(tuple(points)), TableCurve("", {})
    beside = {name: v for name, v in (("se", se), ("parameters", parameters)) if v is not None}
    names = {name: v if isinstance(v, str) else name for name, v in beside.items()}
    arrays = {name: v for name, v in beside.items() if not isinstance(v, str)}
    if frame is None:
        if samples is None or error is None:
            raise ValueError("fit needs a frame, samples and error, or points")
        for value in (samples, error, *beside.values()):
            if isinstance(value, str):
                raise ValueError(f"{value!r} names a column, but no frame was given")
        frame, x, y = {"samples": samples, "error": error, **arrays}, "samples", "error"
    elif arrays:
        if not hasattr(frame, "assign"):
            raise ValueError("se and parameters as arrays belong beside a DataFrame or arrays")
        frame = frame.assign(**{name: list(v) for name, v in arrays.items()})
    found = curve_of(frame, x=x, y=y, higher_is_better=higher_is_better, **names)
    return curve_from_columns(found.columns), found


def _candidates(laws: Sequence[str] | None) -> list[Law]:
    names = list(OWN_LAWS) if laws is None else [_known(name) for name in laws]
    unknown = [name for name in names if name not in LAWS]
    if unknown:
        raise ValueError("; ".join(no_such("law", name, LAWS) for name in unknown))
    if not names:
        raise ValueError(f"no law to fit: there are {', '.join(LAWS)}")
    return [LAWS[name] for name in names]


def _known(name: str) -> str:
    """The name of a law; one from outside ('package.module:LAW') is known from now on."""
    if name in LAWS:
        return name
    from steep.spec import plugins

    if (law := plugins.law(name)) is None:
        return name
    LAWS[law.name] = law
    return str(law.name)


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
    return Curve(tuple(points), curve.within_squares, curve.within_df)


def _logs(used: Sequence[Point]) -> tuple[Array, Array]:
    return np.array([p.samples for p in used]), np.log([p.error for p in used])


# ---------------------------------------------------------------- the mixture


@dataclass(frozen=True)
class _Mixture:
    """Posteriors of the laws under one model of the noise."""

    factor: Array
    """(n,) by how much the variance of each point is widened."""
    noise: Noise
    found: list[Sample]

    @cached_property
    def weights(self) -> Array:
        """By prior and evidence; they sum to 1."""
        weight = np.exp(self._log_weights - self._log_weights.max())
        return weight / weight.sum()

    @cached_property
    def _log_weights(self) -> Array:
        prior = np.array([s.law.prior for s in self.found])
        evidence = np.array([s.log_evidence for s in self.found])
        return evidence + np.log(prior / prior.sum())

    @property
    def log_evidence(self) -> float:
        """Of all laws together."""
        return float(np.logaddexp.reduce(self._log_weights))


def _mixture(
    candidates: Sequence[Law], m: Array, log_error: Array, curve: Curve, factor: Array
) -> _Mixture:
    noise = noise_model(curve.used, curve.within_squares, curve.within_df, factor)
    log_ratio = np.log(m / m[-1])
    found = [sample_law(law, log_ratio, log_error, noise) for law in candidates]
    return _Mixture(factor, noise, found)


def _outliers_widened(
    now: _Mixture, weigh: Callable[[Array], _Mixture], m: Array, log_error: Array
) -> _Mixture:
    """With ``OFF`` times the variance of each point that is off the trend.

    Whether one is, the evidence says: that of all points with this one widened, over that with all
    alike, against the odds that a point is off. One after the other, at most a quarter of them.
    """
    for _ in range(len(m) // 4):
        places = _farthest(now, m, log_error)
        trials = [weigh(np.where(np.arange(len(m)) == i, OFF, now.factor)) for i in places]
        best = max(trials, key=lambda trial: trial.log_evidence)
        if best.log_evidence - now.log_evidence < RARE:
            break
        now = best
    return now


def _farthest(mixed: _Mixture, m: Array, log_error: Array) -> list[int]:
    """The three points that lie farthest from the laws, of those that are not widened yet: from
    each law's draw of the least absolute deviation, which one point does not move."""
    residual = np.zeros(len(m))
    for sample, weight in zip(mixed.found, mixed.weights, strict=True):
        off = log_error[:, None] - sample.law.log_shape(np.log(m / m[-1]), sample.z)
        off -= np.median(off, axis=0)
        residual += weight * np.abs(off[:, np.abs(off).sum(axis=0).argmin()])
    residual[mixed.factor > 1] = -1.0
    return np.argsort(-residual)[: min(3, int(np.sum(mixed.factor == 1)))].tolist()


def _bounded(known: Fit, found: Sequence[Sample], weights: Array) -> tuple[Fit, Array]:
    """A fit with ``DRAWS`` of its draws, and its laws with their weights, by how well they agree
    with errors that are upper bounds: a capped model's is a measurement censored from above."""
    if not known.bounds:
        return known, weights
    agree = bounds_likelihood(known)
    chosen = systematic(agree, DRAWS)
    share, kept, start = {}, [], 0
    for draws in known.draws:
        end = start + len(draws.level)
        share[draws.law] = float(agree[start:end].mean())
        mine = chosen[(chosen >= start) & (chosen < end)] - start
        start = end
        if len(mine):
            names = ("shape", "level", "scale", "structure")
            fields: Any = {n: tuple(getattr(draws, n)[i] for i in mine) for n in names}
            kept.append(replace(draws, **fields))
    weights = weights * np.array([share.get(s.law.name, float(agree.mean())) for s in found])
    return replace(known, draws=tuple(kept)), weights / weights.sum()


def _draws(
    found: Sequence[Sample], weights: Array, noise: Noise, df: float, count: int
) -> tuple[Draws, ...]:
    """``count`` equally weighted draws over laws, shapes and structures of the noise."""
    flat = np.concatenate(
        [
            w * np.exp(s.log_weight - s.log_evidence).ravel()
            for s, w in zip(found, weights, strict=True)
        ]
    )
    chosen = systematic(flat, count)
    ends = np.cumsum([s.log_weight.size for s in found])
    result = []
    for sample, end in zip(found, ends, strict=True):
        mine = chosen[(chosen < end) & (chosen >= end - sample.log_weight.size)]
        if len(mine) == 0:
            continue
        row, structure = np.divmod(mine - (end - sample.log_weight.size), len(noise.fresh))
        sigma = np.sqrt(sample.squares[row, structure] / df)
        result.append(
            Draws(
                law=sample.law.name,
                shape=tuple(tuple(z) for z in sample.z[row].tolist()),
                level=_floats(sample.level[row, structure]),
                scale=_floats(sigma * np.sqrt(noise.fresh[structure])),
                structure=tuple(structure.tolist()),
            )
        )
    return tuple(result)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(values.tolist())


# ---------------------------------------------------------------- what they say


def _beta_g(
    m: Array,
    log_error: Array,
    curve: Curve,
    parts: Sequence[Region],
    level: float,
    factor: Array,
    line: Slope,
) -> tuple[Interval | None, str]:
    """Slope of log error on log m over the power-law region, averaged over the noise.

    ``line`` is that through all points; some are left out where the curve surely bends
    (probability 0.9).
    """
    inside = np.ones(len(m), bool)
    for part in parts:
        if part.probability >= 0.9 and part.name == "small-data" and part.end is not None:
            inside &= m >= (part.end.value or 0.0)
        if part.probability >= 0.9 and part.name == "irreducible-error" and part.start is not None:
            inside &= m <= (part.start.value or np.inf)
    if inside.sum() < FEWEST_POINTS:
        return None, "fewer than three points lie in the power-law region"
    if not inside.all():
        points = [p for p, keep in zip(curve.used, inside, strict=True) if keep]
        noise = noise_model(points, curve.within_squares, curve.within_df, factor[inside])
        line = slope(np.log(m[inside]), log_error[inside], noise)
    found = line.interval(level)
    if (found.value or 0.0) >= 0:
        return None, "a straight line through the points does not fall"
    left = int(np.sum(~inside))
    return found, f"{left} points outside the power-law region are left out" if left else ""


def _with_best_guess(parts: tuple[Region, ...], curve: Curve) -> tuple[Region, ...]:
    """Points set aside at the best-guess level are in the small-data region for certain."""
    aside = [p.samples for p in curve.points if p.reason == "small-data"]
    if not aside:
        return parts
    first = curve.used[0].samples
    end = Interval(float((aside[-1] * first) ** 0.5), aside[-1], first)
    small = Region("small-data", None, end, len(aside) + parts[0].points, 1.0)
    return (small, *parts[1:])


def _noise_parts(curve: Curve, scale: Array, validation_se: float | None) -> NoiseParts:
    df = curve.within_df
    return NoiseParts(
        scatter=float(np.median(scale)),
        replicate=float(np.sqrt(curve.within_squares / df)) if df else None,
        replicate_df=df,
        given=all(p.se_log is not None for p in curve.used),
        validation=validation_se,
    )


def _about_no_fall(why: str, metric: str) -> tuple[str, str]:
    """Why no law was fitted, and what to look at, in the metric that was measured."""
    how = numbers.scale(metric)
    data = "and whether the larger training sets hold worse data"
    if why == RISES and how.higher:
        step = f"No law here falls: check whether lower values are the better ones, {data}."
        return f"the {how.label} falls with more samples", step
    if why == RISES:
        return why, f"No law here rises: check whether the column is an accuracy, {data}."
    step = "A wider range of sizes, or more seeds at each, may show"
    if how.higher:
        return f"the points show no significant increase of {how.label}", f"{step} an increase."
    return why, f"{step} a decrease."


def _validation_shares(
    used: Sequence[Point], metric: str, items: float | None
) -> tuple[float, ...]:
    """Relative standard error of each point by the number of ``items`` of one validation set, which
    the errors of items between 0 and 1 cannot exceed; () where it is not known or the points have
    standard errors of their own. Raises ValueError for what is no error rate."""
    if items is None:
        return ()
    check_items(items, metric, max((p.error for p in used), default=0.0))
    if all(p.se_log is not None for p in used):
        return ()
    return tuple(max(0.0, (1 - p.error) / (p.error * items)) ** 0.5 for p in used)


def _widened(beta_g: Interval | None, shares: Sequence[float], m: Array) -> Interval | None:
    """With what the validation set does to a slope: what is missed at a larger size was missed at
    the smaller ones, too, so that between the ends the variances of log error differ, and that
    difference does not cancel."""
    if beta_g is None or not shares:
        return beta_g
    extra = max(shares[-1] ** 2 - shares[0] ** 2, 0.0) ** 0.5 / float(np.log(m[-1] / m[0]))
    half = extra * float(ndtri(0.5 + beta_g.level / 2))
    value = beta_g.value or 0.0
    low, high = (value if end is None else end for end in (beta_g.lower, beta_g.upper))
    return replace(
        beta_g,
        lower=value - float(np.hypot(value - low, half)),
        upper=value + float(np.hypot(high - value, half)),
    )


def _supports(fits: Sequence[LawFit], n: int) -> str:
    if n <= FEWEST_POINTS:
        return few_sizes(n)
    heavy = [f.law for f in fits if f.weight >= 0.05]
    if len(heavy) == 1 and heavy[0] == "power":
        return f"{n} points support a pure power law: they show neither a floor nor a bend."
    if len(heavy) == 1:
        return f"{n} points support one law, {heavy[0]}, over the others that were tried."
    if "power" in heavy:
        return (
            f"{n} points are too few to show whether the error has a floor; the forecast averages "
            "over both cases."
        )
    names = f"{', '.join(heavy[:-1])} and {heavy[-1]}"
    return (
        f"{n} points show that a pure power law does not hold over all of them, but not which law "
        f"does; the forecast averages over {names}."
    )
