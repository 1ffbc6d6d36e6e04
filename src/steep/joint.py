"""Error against data and model size together: fit, best-fit frontier, and what compute buys."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np

from steep.laws.law import Array
from steep.laws.surface import SURFACES, SurfaceLaw
from steep.records import Frontier, Interval, JointFit
from steep.spelling import no_such
from steep.stats.robust import Predict, huber_fit

HUBER = 1e-3
"""Width of the quadratic part of the loss, in log error (Hoffmann et al. 2022)."""
RESAMPLES = 200
APART = 0.15
"""Standard deviation of the runs about the best line through log N and log D below which the two
are one: a ladder with so many samples a parameter, or the best fits of a study."""
FLOPS_PER_PARAMETER_SAMPLE = 6.0


def fit_joint(
    samples: Iterable[float],
    parameters: Iterable[float],
    error: Iterable[float],
    *,
    unique: Iterable[float] | None = None,
    law: str = "chinchilla",
    delta: float = HUBER,
    level: float = 0.9,
    resamples: int = RESAMPLES,
) -> JointFit:
    """Fit a law of data and model size to runs (runs,) by Huber's loss of log error, summed.

    ``samples`` D is what a run saw, ``parameters`` N its size, ``unique`` the distinct samples
    among D (the law 'repeated' needs it). ``law`` is 'chinchilla', 'rosenfeld' or 'repeated'; a
    huge ``delta`` gives least squares. Intervals are percentiles of a bootstrap over runs
    with a fixed seed. Raises ValueError for unknown laws and values without a logarithm.
    """
    if law not in SURFACES:
        raise ValueError(no_such("joint law", law, SURFACES))
    if law == "repeated" and unique is None:
        raise ValueError("the law of repeated data needs the number of unique samples")
    surface = SURFACES[law]
    d, n, e = (np.asarray(list(v), dtype=float) for v in (samples, parameters, error))
    u = d if unique is None else np.asarray(list(unique), dtype=float)
    if not len(d) == len(n) == len(e) == len(u):
        raise ValueError("samples, parameters, error and unique have different lengths")
    if not all(np.all(np.isfinite(v) & (v > 0)) for v in (d, n, e, u)):
        raise ValueError("sizes and errors must be positive numbers")
    count = len(surface.names)
    if len(e) <= count or len(np.unique(n)) < 2 or len(np.unique(d)) < 2:
        reason = f"{count} parameters need more runs, over several sizes of data and of model"
        return JointFit("too few points", law, surface.formula, reason=reason, runs=len(e))
    apart = np.stack([np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean()])
    if np.linalg.svd(apart, compute_uv=False)[-1] / len(e) ** 0.5 < APART:
        reason = (
            "model size and data grow together in these runs, so that their effects cannot be told "
            "apart: vary one while the other stays"
        )
        return JointFit("not identifiable", law, surface.formula, reason=reason, runs=len(e))
    logs = (np.log(n), np.log(d), np.log(np.minimum(u, d)))

    def predict(search: Array) -> Array:
        with np.errstate(all="ignore"):
            return surface.log_surface(search, *logs)

    best, loss, settled = _best(surface, predict, np.log(e), delta)
    draws = _bootstrap(predict, np.log(e), best, delta, resamples)
    residual = predict(best[None, :])[0] - np.log(e)
    return JointFit(
        outcome="ok" if settled else "not converged",
        law=law,
        formula=surface.formula,
        names=surface.names,
        parameters=_intervals(surface.natural(best), surface.natural(draws), level),
        draws=tuple(tuple(v) for v in surface.natural(draws).tolist()),
        loss=loss,
        scatter=float(1.4826 * np.median(np.abs(residual))),
        delta=delta,
        runs=len(e),
        level=level,
    )


def frontier(
    fit: JointFit,
    flops: Iterable[float],
    level: float | None = None,
    flops_per_parameter_sample: float = FLOPS_PER_PARAMETER_SAMPLE,
) -> tuple[Frontier, ...]:
    """Best-fit model size, samples and error at each compute, with C = 6 N D by default.

    N = G (C/6)^a, D = (C/6)^b / G, G = (alpha A / (beta B))^(1/(alpha+beta)), a = beta /
    (alpha+beta) (Hoffmann et al. 2022, equation 4). ValueError for another law or a failed fit.
    """
    if fit.law != "chinchilla" or not fit.parameters:
        raise ValueError(f"a frontier follows from a fitted chinchilla law, not {fit.law!r}")
    level = fit.level if level is None else level
    best = np.array([[p.value for p in fit.parameters]], dtype=float)
    draws = np.array(fit.draws) if fit.draws else best
    result = []
    for c in flops:
        middle = _optimum(best, c / flops_per_parameter_sample)
        spread = _optimum(draws, c / flops_per_parameter_sample)
        size, samples, error = (
            _around(float(v[0]), s, level) for v, s in zip(middle, spread, strict=True)
        )
        result.append(Frontier(float(c), size, samples, error))
    return tuple(result)


def frontier_exponents(fit: JointFit, level: float | None = None) -> tuple[Interval, Interval]:
    """(a, beta_p): best-fit size against compute, N ~ C^a, and against data, N ~ D^beta_p."""
    if fit.law != "chinchilla" or not fit.parameters:
        raise ValueError(f"a frontier follows from a fitted chinchilla law, not {fit.law!r}")
    level = fit.level if level is None else level
    alpha, beta = (fit.parameter(name).value or 0.0 for name in ("alpha", "beta"))
    draws = np.array(fit.draws)
    a = _around(beta / (alpha + beta), draws[:, 4] / (draws[:, 3] + draws[:, 4]), level)
    return a, _around(beta / alpha, draws[:, 4] / draws[:, 3], level)


def predict_joint(
    fit: JointFit,
    samples: Iterable[float],
    parameters: Iterable[float],
    unique: Iterable[float] | None = None,
) -> Array:
    """Error of the fitted surface at each (samples, parameters[, unique]), shape (points,)."""
    surface = SURFACES[fit.law]
    d, n = (np.asarray(list(v), dtype=float) for v in (samples, parameters))
    u = d if unique is None else np.asarray(list(unique), dtype=float)
    natural = np.array([[p.value for p in fit.parameters]], dtype=float)
    search = np.where(surface.logs, np.log(np.maximum(natural, 1e-300)), natural)
    return np.exp(surface.log_surface(search, np.log(n), np.log(d), np.log(u))[0])


def _best(
    surface: SurfaceLaw, predict: Predict, target: Array, delta: float
) -> tuple[Array, float, bool]:
    """Best of the published grid of starts; settled when another start ends in the same place."""
    starts = np.array(list(product(*surface.grid)))
    rough, loss = huber_fit(predict, target, starts, delta, iterations=25)
    top = np.argsort(loss)[:8]
    fine, loss = huber_fit(predict, target, rough[top], delta, iterations=500, tolerance=1e-13)
    order = np.argsort(loss)
    settled = bool(loss[order[1]] <= loss[order[0]] * (1 + 1e-4) + 1e-12)
    return fine[order[0]], float(loss[order[0]]), settled


def _bootstrap(predict: Predict, target: Array, best: Array, delta: float, resamples: int) -> Array:
    n = len(target)
    rng = np.random.default_rng(20220329)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(float)
    start = np.repeat(best[None, :], resamples, axis=0)
    return huber_fit(predict, target, start, delta, counts, iterations=60, tolerance=1e-6)[0]


def _intervals(best: Array, draws: Array, level: float) -> tuple[Interval, ...]:
    return tuple(_around(float(v), draws[:, i], level) for i, v in enumerate(best))


def _around(value: float, draws: Array, level: float) -> Interval:
    lower, upper = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2]).tolist()
    return Interval(value, min(lower, value), max(upper, value), level)


def _optimum(natural: Array, product_nd: float) -> tuple[Array, Array, Array]:
    e, a, b, alpha, beta = natural.T
    log_g = np.log(alpha * a / (beta * b)) / (alpha + beta)
    share = beta / (alpha + beta)
    log_n = log_g + share * np.log(product_nd)
    log_d = np.log(product_nd) - log_n
    error = e + a * np.exp(-alpha * log_n) + b * np.exp(-beta * log_d)
    return np.exp(log_n), np.exp(log_d), error
