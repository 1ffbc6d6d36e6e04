"""Fit the laws to the points of a learning curve: weights, intervals, and a summary sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from steep.base.metrics import as_error, check_items, counts_a_class, is_perplexity
from steep.base.spelling import no_such
from steep.laws import LAWS, Law
from steep.laws.law import Array
from steep.present import numbers
from steep.present.sentences import few_sizes
from steep.records import (
    CAPPED,
    FEWEST_POINTS,
    BestFit,
    Draws,
    Fit,
    Interval,
    LawFit,
    NoiseParts,
    Point,
    Region,
)
from steep.stats.curve import Curve, curve_from_points, curve_of_table, run_noise
from steep.stats.draws import joined, regions
from steep.stats.mixture import systematic
from steep.stats.noise import Noise, noise_model
from steep.stats.posterior import Sample, sample_law
from steep.stats.predictive import bounds_likelihood, doubling
from steep.stats.single import law_fits
from steep.stats.size_law import fit_size_law
from steep.stats.slope import RISES, Slope, no_fall, slope
from steep.tables.read import Table, TableCurve, curve_of, in_logarithms

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fit", "fit_size_law", "points_of"]

DRAWS = 400
"""Posterior draws kept in a fit, over all laws: enough for 5 % and 95 % quantiles to 1 %."""
BOUNDED = 8
"""With upper bounds, this many times ``DRAWS`` are made and then resampled by the bounds."""
OFF, RARE = 1e4, 3.0
"""In a robust fit: the factor on the variance of an outlier, and the log odds against a point being
one."""
SPAN = 1.1
"""Nothing is fitted if the largest size is less than this times the smallest: the slope of a line
through such points is arbitrary."""
OWN_LAWS = tuple(LAWS)
"""The laws that are fitted by default; those of plug-ins only if they are named."""
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
    """Fit the laws of ``laws/`` to one learning curve and weight them by their evidence.

    The points are given in one of three ways: a ``frame`` with columns ``x`` and ``y`` (and those
    named by ``se`` and ``parameters``), the arrays ``samples`` and ``error``, or ``points``. A
    frame and arrays are read by the rules of ``steep.read``, with its notes in the fit's ``notes``;
    a result of ``steep.read`` is used as it is. Rows of one size are replicates.

    ``se`` is the standard error of each error, in its unit. ``best_guess`` is the error of a
    constant guess. ``validation_se`` is the relative standard error that all points share because
    they use the same validation set; for an error rate it is computed from the number of
    ``validation_items``, unless there is a ``se``, which then holds it. Standard errors of
    ``points`` are of seeds and replicates alone, and never do. ``higher_is_better``: the values are
    accuracies, and 1 - value is fitted. ``robust`` gives points far off the trend less weight, with
    a note. ``intervals=False`` leaves out the best fits of single laws, which take longer than the
    forecast. ``unit`` and ``metric`` are taken from the table by default. Of a ``metric`` that
    is a perplexity the values are perplexities, and their logarithms are fitted.

    Laws with more parameters than there are sizes are not fitted. A curve without a significant
    decrease has the outcome 'not a power law': no exponent, laws or regions, and a forecast that
    extends the last points. The result is deterministic.

    Raises ValueError for inconsistent arguments and for a table that cannot be read (TableError
    names its cells). A curve that cannot be fitted gives a ``Fit`` whose ``outcome`` has the
    reason.
    """
    curve, table = _curve(
        frame, samples, error, points, x, y, se, parameters, higher_is_better, metric
    )
    metric = as_error(metric) if metric and is_perplexity(metric) else metric
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    empty = Fit(
        "too few points",
        (),
        unit=unit or table.unit,
        metric=metric or table.metric,
        level=level,
        best_guess=table.best_guess if best_guess is None else best_guess,
        notes=(*table.warnings, *table.notes),
        warnings=table.warnings,
    )
    names = None if laws is None else tuple(laws)
    if validation_se is None and validation_items is None:  # a study's own table says it
        validation_se, validation_items = table.validation_se, table.validation_items
    beside = points is not None or bool(table.points)
    common = Common(validation_se, validation_items, beside)
    return _fitted(curve, empty, names, common, robust, intervals)


@dataclass(frozen=True)
class Common:
    """What is known of the error that all points share because they use one validation set."""

    se: float | None
    """Relative standard error."""
    items: float | None
    """The number of its items, for an error rate."""
    beside: bool
    """The points' own standard errors do not hold it."""


@lru_cache(maxsize=64)  # a run fits the same curves of a study at several stages
def _fitted(
    curve: Curve,
    empty: Fit,
    laws: tuple[str, ...] | None,
    common: Common,
    robust: bool,
    intervals: bool,
) -> Fit:
    """``empty`` completed with the fit to the points of ``curve``; arguments as for ``fit``."""
    candidates, level = _candidates(laws), empty.level
    curve = _without_best_guess(curve, empty.best_guess)
    empty = replace(empty, points=curve.points, supports=_few(curve))
    used = curve.used
    shares = _validation_shares(used, empty.metric, common)
    if len(used) < FEWEST_POINTS:
        return empty
    candidates = [c for c in candidates if laws is not None or len(c.names) <= len(used)]
    m, log_error = _logs(used)
    if m[-1] < SPAN * m[0]:
        return replace(empty, supports=TOO_NEAR)
    mixture_for = partial(_mixture, candidates, m, log_error, curve)
    mixture = mixture_for(np.ones(len(m)))
    if robust:
        mixture = _outliers_widened(mixture, mixture_for, m, log_error)
    factor, noise, samples, weights = mixture.factor, mixture.noise, mixture.found, mixture.weights
    off = [f"The point at {numbers.exact(size)} {empty.unit} lies" for size in m[factor > 1]]
    notes = (*empty.notes, *(f"{point} off the trend and weighs less." for point in off))
    notes += _about_positives(used, empty.metric, common)
    df = float(noise.df + len(used) - 1)
    draws = _draws(samples, weights, noise, df, DRAWS * (BOUNDED if empty.bounds else 1))
    scale, line = joined(draws, "scale"), slope(np.log(m), log_error, noise)
    fitted = replace(
        empty,
        noise=_noise_parts(curve, scale, common, shares),
        reference=float(m[-1]),
        df=df,
        draws=draws,
        widened=tuple(factor.tolist()) if robust else (),
        notes=notes,
    )
    if cause := no_fall(line, log_error, scale, df):
        reason, step = _about_no_fall(cause, empty.metric)
        return replace(fitted, outcome="not a power law", beta_g_reason=reason, supports=step)
    fitted, weights = _bounded(fitted, samples, weights)
    singles = law_fits(samples, weights, m, log_error, noise, level if intervals else None)
    parts = regions(fitted.draws, m, level)
    beta_g, reason = _beta_g(m, log_error, curve, parts, level, factor, line)
    return replace(
        fitted,
        outcome="ok",
        laws=singles,
        beta_g=_widened(beta_g, shares, m),
        beta_g_reason=reason,
        regions=_with_best_guess(parts, curve),
        doubling=doubling(fitted, level),
        supports=_few(curve) or _summary_sentence(singles, len(used)),
    )


def points_of(best_fits: Iterable[BestFit]) -> tuple[Point, ...]:
    """The best-fit models of a study as points. Capped and withheld ones are marked as not used.

    The standard error of a score comes from the surface of errors over sizes
    (``stats/searched.py``) if the trials suffice for one, else from its seeds."""
    points = []
    best_fits = tuple(best_fits)
    unfinished = any({"incomplete", "rough"} & {*b.flags} for b in best_fits if not b.held_out)
    for best in best_fits:
        reason = CAPPED if best.best.capped else best.withheld
        se = None if best.seed_se is None else best.seed_se / best.best.score
        regret = 0.0
        if best.size_curve is not None and (se is not None or unfinished):
            se, regret = best.size_curve.score_se, best.size_curve.regret
        points.append(
            Point(
                samples=best.samples,
                error=best.best.score,
                se_log=se or None,
                parameters=float(best.best.parameters) or None,
                used=not reason,
                reason=reason,
                held_out=best.held_out,
                regret=regret,
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
    metric: str | None,
) -> tuple[Curve, TableCurve]:
    """The points, and the table that they were read from."""
    if higher_is_better and (points is not None or isinstance(frame, Table | TableCurve)):
        raise ValueError(
            "higher_is_better is for tables: steep.read takes it too; points are errors"
        )
    if points is not None:
        if metric and is_perplexity(metric):
            raise ValueError(
                f"points are errors: give the perplexities as samples and error, or points of "
                f"{as_error(metric)!r}"
            )
        return curve_from_points(tuple(points)), TableCurve("", {})
    columns = {name: v for name, v in (("se", se), ("parameters", parameters)) if v is not None}
    names = {name: v if isinstance(v, str) else name for name, v in columns.items()}
    arrays = {name: v for name, v in columns.items() if not isinstance(v, str)}
    if frame is None:
        if samples is None or error is None:
            raise ValueError("fit needs a frame, samples and error, or points")
        for value in (samples, error, *columns.values()):
            if isinstance(value, str):
                raise ValueError(f"{value!r} names a column, but no frame was given")
        y = metric if metric and is_perplexity(metric) else "error"
        frame, x = {"samples": samples, y: error, **arrays}, "samples"
    elif arrays:
        if not hasattr(frame, "assign"):
            raise ValueError("se and parameters as arrays belong beside a DataFrame or arrays")
        frame = frame.assign(**{name: list(v) for name, v in arrays.items()})
    if metric and is_perplexity(metric) and hasattr(frame, "assign"):
        names_in = [metric if column == y else column for column in frame.columns]
        frame, y = frame.set_axis(names_in, axis=1), metric
    table = curve_of(frame, x=x, y=y, higher_is_better=higher_is_better, **names)
    if metric and is_perplexity(metric):
        table = in_logarithms(table, metric)
    return curve_of_table(table), table


def _candidates(laws: Sequence[str] | None) -> list[Law]:
    names = list(OWN_LAWS) if laws is None else [_known(name) for name in laws]
    unknown = [name for name in names if name not in LAWS]
    if unknown:
        raise ValueError("; ".join(no_such("law", name, LAWS) for name in unknown))
    if not names:
        raise ValueError(f"no law to fit: there are {', '.join(LAWS)}")
    return [LAWS[name] for name in names]


def _known(name: str) -> str:
    """The name of a law; a plug-in ('package.module:LAW') is registered under its name first."""
    if name in LAWS:
        return name
    from steep.spec import plugins

    if (law := plugins.law(name)) is None:
        return name
    LAWS[law.name] = law
    return str(law.name)


def _without_best_guess(curve: Curve, best_guess: float | None) -> Curve:
    """Exclude leading points at the best-guess level, which carry no information on the slope."""
    if best_guess is None:
        return curve
    points = list(curve.points)
    for i, point in enumerate(points):
        if point.error < 0.97 * best_guess:
            break
        if point.used:
            points[i] = replace(point, used=False, reason="small-data")
    return replace(curve, points=tuple(points))


def _logs(used: Sequence[Point]) -> tuple[Array, Array]:
    return np.array([p.samples for p in used]), np.array([p.log_best for p in used])


# ---------------------------------------------------------------- the mixture


@dataclass(frozen=True)
class _Mixture:
    """Posteriors of the laws under one model of the noise."""

    factor: Array
    """(n,) factors on the variance of each point."""
    noise: Noise
    found: list[Sample]

    @cached_property
    def weights(self) -> Array:
        """The laws' posterior weights, from prior and evidence; they sum to 1."""
        weight = np.exp(self._log_weights - self._log_weights.max())
        return weight / weight.sum()

    @cached_property
    def _log_weights(self) -> Array:
        prior = np.array([s.law.prior for s in self.found])
        evidence = np.array([s.log_evidence for s in self.found])
        return evidence + np.log(prior / prior.sum())

    @property
    def log_evidence(self) -> float:
        """The log evidence of all laws together."""
        return float(np.logaddexp.reduce(self._log_weights))


def _mixture(
    candidates: Sequence[Law], m: Array, log_error: Array, curve: Curve, factor: Array
) -> _Mixture:
    noise = noise_model(curve.used, curve.run_noise, factor)
    log_ratio = np.log(m / m[-1])
    samples = [sample_law(law, log_ratio, log_error, noise) for law in candidates]
    return _Mixture(factor, noise, samples)


def _outliers_widened(
    mixture: _Mixture, mixture_for: Callable[[Array], _Mixture], m: Array, log_error: Array
) -> _Mixture:
    """The mixture with ``OFF`` times the variance for each outlier.

    A point is an outlier if widening its variance raises the log evidence by at least ``RARE``.
    Outliers are found one after the other, at most a quarter of the points."""
    for _ in range(len(m) // 4):
        places = _farthest(mixture, m, log_error)
        trials = [
            mixture_for(np.where(np.arange(len(m)) == i, OFF, mixture.factor)) for i in places
        ]
        best = max(trials, key=lambda trial: trial.log_evidence)
        if best.log_evidence - mixture.log_evidence < RARE:
            break
        mixture = best
    return mixture


def _farthest(mixed: _Mixture, m: Array, log_error: Array) -> list[int]:
    """The three points that lie farthest from the laws and are not widened yet.

    The distance is taken from each law's draw with the least sum of absolute deviations, which a
    single outlier hardly influences."""
    residual = np.zeros(len(m))
    for sample, weight in zip(mixed.found, mixed.weights, strict=True):
        off = log_error[:, None] - sample.law.log_shape(np.log(m / m[-1]), sample.z)
        off -= np.median(off, axis=0)
        residual += weight * np.abs(off[:, np.abs(off).sum(axis=0).argmin()])
    residual[mixed.factor > 1] = -1.0
    return np.argsort(-residual)[: min(3, int(np.sum(mixed.factor == 1)))].tolist()


def _bounded(fitted: Fit, samples: Sequence[Sample], weights: Array) -> tuple[Fit, Array]:
    """Resample a fit's draws to ``DRAWS`` and reweight its laws by their agreement with upper
    bounds: the error of a capped model is a measurement censored from above."""
    if not fitted.bounds:
        return fitted, weights
    agree = bounds_likelihood(fitted)
    chosen = systematic(agree, DRAWS)
    share, kept_draws, start = {}, [], 0
    for draws in fitted.draws:
        end = start + len(draws.level)
        share[draws.law] = float(agree[start:end].mean())
        indices = chosen[(chosen >= start) & (chosen < end)] - start
        start = end
        if len(indices):
            names = ("shape", "level", "scale", "structure")
            fields: Any = {n: tuple(getattr(draws, n)[i] for i in indices) for n in names}
            kept_draws.append(replace(draws, **fields))
    weights = weights * np.array([share.get(s.law.name, float(agree.mean())) for s in samples])
    return replace(fitted, draws=tuple(kept_draws)), weights / weights.sum()


def _draws(
    samples: Sequence[Sample], weights: Array, noise: Noise, df: float, count: int
) -> tuple[Draws, ...]:
    """``count`` equally weighted posterior draws over laws, shapes and noise structures."""
    flat = np.concatenate(
        [
            w * np.exp(s.log_weight - s.log_evidence).ravel()
            for s, w in zip(samples, weights, strict=True)
        ]
    )
    chosen = systematic(flat, count)
    ends = np.cumsum([s.log_weight.size for s in samples])
    result = []
    for sample, end in zip(samples, ends, strict=True):
        indices = chosen[(chosen < end) & (chosen >= end - sample.log_weight.size)]
        if len(indices) == 0:
            continue
        row, structure = np.divmod(indices - (end - sample.log_weight.size), len(noise.fresh))
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


# ---------------------------------------------------------------- exponent and summary


def _beta_g(
    m: Array,
    log_error: Array,
    curve: Curve,
    parts: Sequence[Region],
    level: float,
    factor: Array,
    line: Slope,
) -> tuple[Interval | None, str]:
    """The slope of log error on log m over the power-law region, averaged over the noise, and the
    reason if there is none or points were left out.

    ``line`` is the slope through all points. Points are left out where the curve bends with a
    probability of at least 0.9."""
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
        noise = noise_model(points, run_noise(curve.within, points[-1].samples), factor[inside])
        line = slope(np.log(m[inside]), log_error[inside], noise)
    interval = line.interval(level)
    if (interval.value or 0.0) >= 0:
        return None, "a straight line through the points does not fall"
    excluded = int(np.sum(~inside))
    return (
        interval,
        f"{excluded} points outside the power-law region are left out" if excluded else "",
    )


def _with_best_guess(parts: tuple[Region, ...], curve: Curve) -> tuple[Region, ...]:
    """The regions, with the points excluded at the best-guess level in the small-data region."""
    excluded = [p.samples for p in curve.points if p.reason == "small-data"]
    if not excluded:
        return parts
    first = curve.used[0].samples
    end = Interval(float((excluded[-1] * first) ** 0.5), excluded[-1], first)
    small = Region("small-data", None, end, len(excluded) + parts[0].points, 1.0)
    return (small, *parts[1:])


def _noise_parts(curve: Curve, scale: Array, common: Common, shares: Sequence[float]) -> NoiseParts:
    runs = curve.run_noise
    return NoiseParts(
        scatter=float(np.median(scale)),
        replicate=None if runs is None else runs.variance**0.5,
        replicate_df=0 if runs is None else runs.df,
        replicate_growth=0.0 if runs is None else runs.growth,
        given=all(p.se_log is not None for p in curve.used),
        validation=shares[-1] if shares else common.se,
        validation_items=common.items if shares else None,
    )


def _about_no_fall(cause: str, metric: str) -> tuple[str, str]:
    """Why no law was fitted, and what to check, in terms of the measured metric."""
    scale = numbers.scale(metric)
    data = "and whether the larger training sets hold worse data"
    if cause == RISES and scale.higher:
        step = f"No law here falls: check whether lower values are the better ones, {data}."
        return f"the {scale.label} falls with more samples", step
    if cause == RISES:
        return cause, f"No law here rises: check whether the column is an accuracy, {data}."
    step = "A wider range of sizes, or more seeds at each, may show"
    if scale.exponential:
        cause = cause.replace("error", scale.label)
    if scale.higher:
        return f"the points show no significant increase of {scale.label}", f"{step} an increase."
    return cause, f"{step} a decrease."


def _validation_shares(used: Sequence[Point], metric: str, common: Common) -> tuple[float, ...]:
    """The relative standard error of each point due to the items of one validation set.

    It is that of a binomial share, the largest that errors of items between 0 and 1 can have. ()
    if the number is unknown or the points' own standard errors hold it. Raises ValueError if
    the metric is not an error rate."""
    items = common.items
    if items is None:
        return ()
    check_items(items, metric, max((p.error for p in used), default=0.0))
    if not common.beside and all(p.se_log is not None for p in used):
        return ()
    return tuple(max(0.0, (1 - p.error) / (p.error * items)) ** 0.5 for p in used)


def _about_positives(used: Sequence[Point], metric: str, common: Common) -> tuple[str, ...]:
    """That a metric of a class has a sampling error that no number of items tells."""
    given = not common.beside and all(p.se_log is not None for p in used)
    if not counts_a_class(metric) or common.se is not None or given:
        return ()
    label = numbers.scale(metric).label
    said = "no interval has it"
    if common.items is not None:
        said = "the intervals have that of an accuracy on as many items, which may be far smaller"
    return (
        f"The sampling error of {label} depends on how many validation items are positive, which "
        f"is not known here: {said}.",
    )


def _widened(beta_g: Interval | None, shares: Sequence[float], m: Array) -> Interval | None:
    """The exponent's interval, widened by the error of the shared validation set.

    Items that are wrong at a larger size are mostly wrong at the smaller ones too, so the points'
    errors cancel in the slope except for the difference between their variances at the two ends."""
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


def _few(curve: Curve) -> str:
    return few_sizes(len(curve.used), len(curve.points))


def _summary_sentence(fits: Sequence[LawFit], n: int) -> str:
    """A sentence on which laws the points support."""
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
