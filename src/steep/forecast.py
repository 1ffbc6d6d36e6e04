"""From a fit to decisions: error at any size, samples for any error, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from steep.laws.law import Array
from steep.records import At, Fit, Forecast, Interval, SamplesFor, SizeLaw
from steep.stats.draws import joined, log_curves, quantile_interval
from steep.stats.mixture import quantiles
from steep.stats.noise import departures, noise_model

if TYPE_CHECKING:
    import pandas as pd

NOT_REACHABLE = "not reachable with this model family"
BEYOND_REACH = "beyond reach"
FARTHEST = 1e6
"""Times the largest point: farther out, a needed number of samples is only 'beyond reach'."""
TRUSTED = 4.0
"""Times the largest point: what extrapolation is usually trusted for (Hoiem et al. 2021)."""
FLOPS_PER_PARAMETER_SAMPLE = 6.0
"""Forward and backward pass of a dense model, per parameter and sample (Kaplan et al. 2020)."""


def forecast(
    fit: Fit,
    at: Iterable[float] = (),
    target: Iterable[float] = (),
    level: float | None = None,
    *,
    size_law: SizeLaw | None = None,
    epochs: float = 1.0,
    flops_per_parameter_sample: float = FLOPS_PER_PARAMETER_SAMPLE,
) -> Forecast:
    """Errors at the sizes ``at`` and samples for the errors ``target``, with intervals.

    ``at`` in samples, ``target`` in the metric of the fit. With a ``size_law`` each answer has
    the best-fit model size and the training compute there. A fit without draws ('too few
    points') gives an empty forecast whose caveat is the reason.
    """
    level = _level(fit, level)
    at = _positive(at).tolist()
    if not fit.draws or fit.reference is None:
        return Forecast(fit.outcome, level, caveat=fit.supports, unit=fit.unit, metric=fit.metric)
    cost = (epochs, flops_per_parameter_sample)
    errors = _errors(fit, np.array(at), level).tolist() if at else []
    answers = []
    for m, (lower, middle, upper) in zip(at, errors, strict=True):
        size = _sizes(size_law, np.log([m]), level)
        answers.append(
            At(m, m / fit.reference, middle, lower, upper, size, _flops(size, m, m, m, *cost))
        )
    targets = tuple(samples_for(fit, t, level, size_law, *cost) for t in target)
    reach = max((a.factor for a in answers), default=None)
    return Forecast(
        outcome=fit.outcome,
        level=level,
        at=tuple(answers),
        targets=targets,
        reach=reach,
        caveat=_caveat(fit, reach, targets),
        notes=(fit.supports, *fit.notes),
        unit=fit.unit,
        metric=fit.metric,
    )


def predict_frame(fit: Fit, samples: float | Iterable[float], level: float | None) -> pd.DataFrame:
    """``samples, error, lower, upper`` as a DataFrame; ValueError for a fit without draws."""
    import pandas as pd

    m = _positive(samples)
    if not fit.draws:
        raise ValueError(f"nothing to predict from: {fit.outcome}")
    found = _errors(fit, m, _level(fit, level))
    columns = {"samples": m, "error": found[:, 1], "lower": found[:, 0], "upper": found[:, 2]}
    return pd.DataFrame(columns)


def samples_for(
    fit: Fit,
    error: float,
    level: float | None = None,
    size_law: SizeLaw | None = None,
    epochs: float = 1.0,
    flops_per_parameter_sample: float = FLOPS_PER_PARAMETER_SAMPLE,
) -> SamplesFor:
    """Samples at which the law itself (without the noise of one measurement) meets ``error``."""
    level = _level(fit, level)
    if not 0 < error < np.inf:
        raise ValueError(f"a target error must be a positive number, not {error}")
    if not fit.draws or fit.reference is None:
        return SamplesFor(error, fit.outcome, level=level)
    log_m, never = _meets(fit, error)
    unreachable = float(np.mean(never))
    ends = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    lower, middle, upper = np.quantile(log_m, ends, method="inverted_cdf")
    farthest = np.log(fit.reference * FARTHEST)
    if middle > farthest:
        outcome = NOT_REACHABLE if unreachable > 0.5 else BEYOND_REACH
        low = float(np.exp(lower)) if lower <= farthest else None
        return SamplesFor(error, outcome, None, low, None, None, unreachable, level=level)
    m = float(np.exp(middle))
    high = float(np.exp(upper)) if upper <= farthest else None
    size = _sizes(size_law, log_m[log_m <= farthest], level)
    return SamplesFor(
        target=error,
        outcome="ok" if m > fit.reference else "already reached",
        samples=m,
        lower=float(np.exp(lower)),
        upper=high,
        factor=m / fit.reference,
        unreachable=unreachable,
        parameters=size,
        flops=_flops(size, m, float(np.exp(lower)), high, epochs, flops_per_parameter_sample),
        level=level,
    )


def local_slope(fit: Fit, samples: float, level: float | None = None) -> Interval:
    """d log error / d log samples at ``samples``, its median and interval over the draws."""
    level, m = _level(fit, level), _positive(samples)[0]
    if not fit.draws or fit.reference is None:
        return Interval(None, None, None, level)
    t, h = np.log(m / fit.reference), 1e-4
    curves, _ = _expected(fit, np.array([t - h, t + h]))
    slopes = (curves[1] - curves[0]) / (2 * h)
    return quantile_interval(slopes, level)


def _level(fit: Fit, level: float | None) -> float:
    level = fit.level if level is None else level
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return level


def _positive(samples: float | Iterable[float]) -> Array:
    """Sizes (sizes,), one or several."""
    if isinstance(samples, Iterable) and not isinstance(samples, str):
        samples = list(samples)
    m = np.atleast_1d(np.array(samples, dtype=float))
    if m.ndim != 1 or not np.all(np.isfinite(m) & (m > 0)):
        raise ValueError(f"sizes must be positive numbers, not {samples}")
    return m


# ---------------------------------------------------------------- draws


def curve_draws(fit: Fit, log_samples: Array) -> Array:
    """Draws of the expected log error at log m (places,), (draws, places): what a question of one's
    own can be asked of. ValueError for a fit without draws."""
    if not fit.draws or fit.reference is None:
        raise ValueError(f"nothing to predict from: {fit.outcome}")
    return _expected(fit, log_samples - np.log(fit.reference))[0].T


def _errors(fit: Fit, m: Array, level: float) -> Array:
    """(sizes, 3): lower, median and upper error of a new measurement at ``m`` (sizes,)."""
    assert fit.reference is not None
    centre, uncertain = _expected(fit, np.log(m / fit.reference))
    variance = joined(fit.draws, "scale") ** 2 + (fit.noise.validation or 0.0) ** 2 + uncertain
    ends = np.array([0.5 - level / 2, 0.5, 0.5 + level / 2])
    return np.exp(quantiles(centre.T, np.sqrt(variance).T, fit.df, ends))


def _expected(fit: Fit, log_ratio: Array) -> tuple[Array, Array]:
    """Each draw's log error, departure included, given the points, and its variance.

    Both (sizes, draws). Among the points a draw follows them. Beyond, it leaves with their slope
    and returns to its law's.
    """
    used, parts = fit.used, fit.noise
    within = (parts.replicate or 0.0) ** 2 * parts.replicate_df
    widened = np.array(fit.widened) if fit.widened else 1.0
    noise = noise_model(used, within, parts.replicate_df, widened)
    at = np.log([p.samples / used[-1].samples for p in used])
    residual = np.log([p.error for p in used])[:, None] - log_curves(fit.draws, at)
    structure = joined(fit.draws, "structure").astype(int)
    sigma2 = joined(fit.draws, "scale") ** 2 / noise.fresh[structure]
    to_places = departures(noise, at[:, None], log_ratio)
    own = departures(noise, log_ratio, log_ratio)
    centre = log_curves(fit.draws, log_ratio)
    variance = np.zeros_like(centre)
    for j in np.unique(structure):
        mine, whiten = structure == j, noise.whiten[j]
        near = whiten @ to_places[j]
        left = own[j] - np.sum(near**2, axis=0)
        left += (1.0 - whiten.sum(axis=1) @ near) ** 2 / noise.information[j]
        centre[:, mine] += near.T @ (whiten @ residual[:, mine])
        variance[:, mine] = np.maximum(left, 0.0)[:, None] * sigma2[mine]
    return centre, variance


def _meets(fit: Fit, error: float) -> tuple[Array, Array]:
    """Per draw, log samples at which its curve falls to ``error``, and whether it never does.

    The level's own uncertainty is spread over the draws as evenly spaced t deviates would be.
    """
    assert fit.reference is not None
    log_ratio = np.linspace(np.log(1e-4), np.log(FARTHEST * 1e6), 400)
    curves, _ = _expected(fit, log_ratio)
    goal = np.log(error)
    below = curves <= goal
    never = ~below.any(axis=0)
    first = np.argmax(below, axis=0)
    before = np.maximum(first - 1, 0)
    index = np.arange(curves.shape[1])
    high, low = curves[before, index], curves[first, index]
    share = np.where(high > low, (high - goal) / np.maximum(high - low, 1e-300), 0.0)
    step = log_ratio[1] - log_ratio[0]
    log_m = log_ratio[before] + np.clip(share, 0.0, 1.0) * step
    return np.where(never, np.inf, log_m + np.log(fit.reference)), never


# ---------------------------------------------------------------- size and compute


def _sizes(size_law: SizeLaw | None, log_m: Array, level: float) -> Interval | None:
    """Best-fit model size at ``log_m`` (any number of draws of it), over the size law's draws."""
    if size_law is None or size_law.outcome != "ok" or size_law.center is None or not len(log_m):
        return None
    draws = np.array(size_law.draws)
    x = np.resize(log_m, len(draws)) if len(log_m) > 1 else np.full(len(draws), log_m[0])
    log_size = draws[:, 0] + draws[:, 1] * (x - size_law.center[0])
    return quantile_interval(np.exp(log_size), level)


def _flops(
    size: Interval | None,
    m: float,
    lower: float,
    upper: float | None,
    epochs: float,
    per_parameter_sample: float,
) -> Interval | None:
    if size is None or size.value is None or size.lower is None or size.upper is None:
        return None
    unit = epochs * per_parameter_sample
    high = None if upper is None else unit * upper * size.upper
    return Interval(unit * m * size.value, unit * lower * size.lower, high, size.level)


# ---------------------------------------------------------------- words


def _caveat(fit: Fit, reach: float | None, targets: Iterable[SamplesFor]) -> str:
    """The largest caveat, one sentence without numbers (those are in the record)."""
    if fit.outcome != "ok":
        return f"The fit says '{fit.outcome}': {fit.beta_g_reason or fit.supports}."
    if any(t.outcome in (NOT_REACHABLE, BEYOND_REACH) for t in targets):
        return "A target lies at or below the floor that these points suggest."
    if reach is not None and reach > 10 * TRUSTED:
        return (
            "This reaches far beyond the data: a bend that the points do not show would break it."
        )
    if len(fit.used) < 5 or (reach is not None and reach > TRUSTED):
        return fit.supports
    if fit.noise.replicate is None and not fit.noise.given:
        return "Nothing was replicated: the noise is judged from the scatter about the laws alone."
    return fit.supports
