"""Forecasts of a fit: the error at any size, the samples for any error, and caveats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from steep.base.metrics import higher, is_share, original
from steep.laws.law import Array
from steep.records import (
    BEYOND_REACH,
    NOT_REACHABLE,
    PERHAPS_NOT,
    Fit,
    Forecast,
    ForecastPoint,
    Interval,
    RequiredSamples,
    SizeLaw,
)
from steep.stats.draws import joined, quantile_interval
from steep.stats.inverse import best_fit_sizes, reachable, target_crossing
from steep.stats.mixture import quantiles
from steep.stats.predictive import crossings, expected, highest, noise_of, with_same_items

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 700.0
"""Log of the largest error that is told: numbers end soon after."""
TRUSTED = 4.0
"""Extrapolation up to this multiple of the largest size is usually trusted (Hoiem et al. 2021)."""
BELOW = (
    "A requested size lies below the smallest one measured: this extrapolates to where curves are "
    "often flat."
)
FLOPS_PER_PARAMETER_SAMPLE = 6.0
"""Forward and backward pass of a dense model, per parameter and sample (Kaplan et al. 2020)."""


def forecast(
    fit: Fit,
    at: Iterable[float] = (),
    target: Iterable[float] = (),
    level: float | None = None,
    *,
    size_law: SizeLaw | None = None,
    smallest: float = 0.0,
    epochs: float = 1.0,
    flops_per_parameter_sample: float = FLOPS_PER_PARAMETER_SAMPLE,
    single_run: bool = False,
) -> Forecast:
    """Errors at the sizes ``at`` and samples for the errors ``target``, with intervals.

    ``at`` is in samples, ``target`` in the metric of the fit. An error's interval is a prediction
    interval for one new measurement like the points: of a mean of runs if they are such means, or
    of one run alone with ``single_run``. With a ``size_law``, each answer has the best-fit model
    size and the training compute; beyond the data at hand, the size is at least the ``smallest``
    adequate one there.

    A fit without draws ('too few points') gives an empty forecast whose caveat has the reason. One
    that is 'not a power law' answers no targets, and its errors extend the last points.

    Raises ValueError for sizes and targets that are not positive, and for ``single_run`` if the
    variation between runs is unknown.
    """
    level = _level(fit, level)
    at = _positive(at).tolist()
    if not fit.draws or fit.reference is None or fit.at_hand is None:
        return Forecast(fit.outcome, level, caveat=fit.supports, unit=fit.unit, metric=fit.metric)
    cost, law = (epochs, flops_per_parameter_sample), (size_law, smallest)
    errors = _errors(fit, np.array(at), level, single_run).tolist() if at else []
    answers = []
    for m, (lower, middle, upper) in zip(at, errors, strict=True):
        size = _sizes(fit, *law, np.log([m]), level)
        answers.append(
            ForecastPoint(
                m, m / fit.at_hand, middle, lower, upper, size, _flops(size, m, m, m, *cost)
            )
        )
    targets = tuple(samples_for(fit, t, level, *law, *cost) for t in target)
    farthest = [*at, *(t.samples for t in targets if t.samples is not None)]
    reach = max(farthest) / fit.reference if farthest else None
    return Forecast(
        outcome=fit.outcome,
        level=level,
        at=tuple(answers),
        targets=targets,
        reach=reach,
        caveat=_caveat(fit, at, reach, targets),
        notes=(fit.supports, *fit.notes, *_below_the_data(fit, at)),
        unit=fit.unit,
        metric=fit.metric,
        runs=1 if single_run else fit.runs,
    )


def on_the_same_items(fit: Fit, answer: ForecastPoint, level: float) -> ForecastPoint:
    """A forecast of what will be measured on the validation set of the fit's own points."""
    same = with_same_items(fit, answer.error)
    lower, middle, upper = _errors(same, np.array([answer.samples]), level)[0].tolist()
    return replace(answer, error=middle, lower=lower, upper=upper)


def without_compute(answer: Forecast) -> Forecast:
    """The forecast without compute, for models whose FLOPs were not counted."""
    return replace(
        answer,
        at=tuple(replace(a, flops=None) for a in answer.at),
        targets=tuple(replace(t, flops=None) for t in answer.targets),
    )


def predict_frame(
    fit: Fit, samples: float | Iterable[float], level: float | None, single_run: bool = False
) -> pd.DataFrame:
    """``samples, error, lower, upper`` as a DataFrame; ValueError for a fit without draws."""
    import pandas as pd

    m = _positive(samples)
    if not fit.draws:
        raise ValueError(f"nothing to predict from: {fit.outcome}")
    errors = _errors(fit, m, _level(fit, level), single_run)
    columns = {"samples": m, "error": errors[:, 1], "lower": errors[:, 0], "upper": errors[:, 2]}
    return pd.DataFrame(columns)


def as_measured(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The frame with errors converted back to the metric that they came from, such as accuracy."""
    made_of = original(metric)
    if made_of is None:
        return frame
    low, high = ("upper", "lower") if higher(metric) else ("lower", "upper")
    columns = {"samples": frame["samples"], made_of.name: made_of.value(frame["error"])}
    ends = {"lower": made_of.value(frame[low]), "upper": made_of.value(frame[high])}
    return type(frame)(columns | ends)


def samples_for(
    fit: Fit,
    error: float,
    level: float | None = None,
    size_law: SizeLaw | None = None,
    smallest: float = 0.0,
    epochs: float = 1.0,
    flops_per_parameter_sample: float = FLOPS_PER_PARAMETER_SAMPLE,
) -> RequiredSamples:
    """The samples at which the law itself, without measurement noise, reaches ``error``."""
    level = _level(fit, level)
    if not 0 < error < np.inf:
        raise ValueError(f"a target error must be a positive number, not {error}")
    if not fit.draws or fit.reference is None or fit.outcome == "not a power law":
        return RequiredSamples(error, fit.outcome, level=level)
    log_m = crossings(fit, error)
    crossing = target_crossing(log_m, level, fit.used[0].samples, fit.at_hand)
    m, lower, upper = crossing.samples.value, crossing.samples.lower, crossing.samples.upper
    answer = RequiredSamples(
        error,
        crossing.outcome,
        m,
        lower,
        upper,
        crossing.factor,
        crossing.unreachable,
        level=level,
        smallest=crossing.smallest,
    )
    if m is None:
        return answer
    size = _sizes(fit, size_law, smallest, log_m, level)
    flops = _flops(size, m, lower, upper, epochs, flops_per_parameter_sample)
    return replace(answer, parameters=size, flops=flops)


def local_slope(fit: Fit, samples: float, level: float | None = None) -> Interval:
    """d log error / d log samples at ``samples``, its median and interval over the draws."""
    level, m = _level(fit, level), _positive(samples)[0]
    if not fit.draws or fit.reference is None:
        return Interval(None, None, None, level)
    t, h = np.log(m / fit.reference), 1e-4
    curves, _ = expected(fit, np.array([t - h, t + h]))
    slopes = (curves[1] - curves[0]) / (2 * h)
    return quantile_interval(slopes, level)


def _level(fit: Fit, level: float | None) -> float:
    level = fit.level if level is None else level
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return level


def _positive(samples: float | Iterable[float]) -> Array:
    """One or several sizes as an array (sizes,)."""
    if isinstance(samples, Iterable) and not isinstance(samples, str):
        samples = list(samples)
    m = np.atleast_1d(np.array(samples, dtype=float))
    if m.ndim != 1 or not np.all(np.isfinite(m) & (m > 0)):
        raise ValueError(f"sizes must be positive numbers, not {samples}")
    return m


# ---------------------------------------------------------------- draws


def _errors(fit: Fit, m: Array, level: float, single_run: bool = False) -> Array:
    """(sizes, 3): lower, median and upper error of a new measurement at ``m`` (sizes,)."""
    assert fit.reference is not None
    centre, uncertain = expected(fit, np.log(m / fit.reference))
    variance = joined(fit.draws, "scale") ** 2 + (fit.noise.validation or 0.0) ** 2 + uncertain
    if single_run:
        variance = variance + _beside_the_mean(fit)
    ends = np.array([0.5 - level / 2, 0.5, 0.5 + level / 2])
    logs = quantiles(centre.T, np.sqrt(variance).T, fit.df, ends)
    errors = np.exp(np.minimum(logs, LARGEST))
    # an upper bound holds at larger sizes, too: longer training, or more of a search, lowers it
    for bound in fit.bounds:
        beyond = m >= bound.samples * (1 - 1e-9)
        errors[beyond] = np.minimum(errors[beyond], highest(bound))
    share = is_share(fit.metric) and all(p.error <= 1 for p in fit.points)
    return np.minimum(errors, 1.0) if share else errors


def _beside_the_mean(fit: Fit) -> Array | float:
    """Per draw, by how much the variance of one run exceeds that of a new point, which is a mean of
    as many runs as the largest size has."""
    replicates, parts = fit.used[-1].replicates, fit.noise
    if parts.given and parts.replicate is None:
        raise ValueError(
            "how single runs differ is not known from standard errors: give one row a run"
        )
    if parts.given:
        return (parts.replicate or 0.0) ** 2 * (1 - 1 / replicates)
    noise, structure = noise_of(fit), joined(fit.draws, "structure").astype(int)
    return joined(fit.draws, "scale") ** 2 / noise.fresh[structure] * (1 - 1 / replicates)


# ---------------------------------------------------------------- size and compute


def _sizes(
    fit: Fit, size_law: SizeLaw | None, smallest: float, log_m: Array, level: float
) -> Interval | None:
    """The best-fit model size at ``log_m``, over the size law's draws, as in ``steep.cost``.

    ``log_m`` is one size, or one per draw of the curve (inf: never reached)."""
    if size_law is None or size_law.outcome != "ok" or size_law.center is None:
        return None
    assert fit.at_hand is not None
    if len(log_m) == 1:
        log_m = np.repeat(log_m, len(size_law.draws))
    log_at_hand = float(np.log(fit.at_hand))
    log_p = best_fit_sizes(log_m, size_law.draws, size_law.center[0], smallest, log_at_hand)
    log_p = np.where(reachable(log_m, fit.at_hand), log_p, np.inf)
    ends = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    ends_at = np.exp(np.quantile(log_p, ends, method="inverted_cdf"))
    lower, middle, upper = (float(v) if np.isfinite(v) else None for v in ends_at)
    return Interval(middle, lower, upper, level)


def _flops(
    size: Interval | None,
    m: float,
    lower: float | None,
    upper: float | None,
    epochs: float,
    per_parameter_sample: float,
) -> Interval | None:
    """Training FLOPs at ``m`` samples with the given model size."""
    if size is None or size.value is None:
        return None
    unit = epochs * per_parameter_sample
    low = None if lower is None or size.lower is None else unit * lower * size.lower
    high = None if upper is None or size.upper is None else unit * upper * size.upper
    return Interval(unit * m * size.value, low, high, size.level)


# ---------------------------------------------------------------- words


def _below_the_data(fit: Fit, at: Iterable[float]) -> tuple[str, ...]:
    """The note that sizes below the smallest measured one are extrapolations as well."""
    if not fit.used or all(m >= fit.used[0].samples * (1 - 1e-9) for m in at):
        return ()
    return (BELOW,)


def _caveat(
    fit: Fit, at: Iterable[float], reach: float | None, targets: Iterable[RequiredSamples]
) -> str:
    """The most important caveat, one sentence without numbers, which are in the record."""
    if fit.warnings:
        return fit.warnings[0]
    if fit.outcome != "ok" or len(fit.used) < 4:
        return fit.supports
    if below := _below_the_data(fit, at):
        return below[0]
    outcomes = {t.outcome for t in targets}
    if NOT_REACHABLE in outcomes:
        return "A target lies at or below the floor that these points suggest."
    if PERHAPS_NOT in outcomes:
        return "These points do not show whether a target lies below the floor."
    if BEYOND_REACH in outcomes or (reach is not None and reach > 10 * TRUSTED):
        return (
            f"This extrapolates more than {int(10 * TRUSTED)}x beyond the data and assumes that "
            "the curve does not bend there."
        )
    if len(fit.used) < 5 or (reach is not None and reach > TRUSTED):
        return fit.supports
    if fit.noise.replicate is None and not fit.noise.given:
        return "Nothing was replicated: the noise is judged from the scatter about the laws alone."
    return fit.supports
