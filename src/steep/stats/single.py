"""Each law on its own: best fit, profile-likelihood intervals, and an outcome as a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steep.laws.law import Array
from steep.records import Interval, LawFit
from steep.stats.noise import Noise
from steep.stats.posterior import Sample
from steep.stats.profile import fit_law

LIGHT = 0.05
"""Evidence weight below which a law among several is not fitted on its own."""
STARTS = 6
"""Draws that a law's fit starts from, the best of them."""
TINY = 1e-290
MANY = 4
"""Natural parameters above which it gets none either: they are hardly ever determined."""


def law_fits(
    found: Sequence[Sample],
    weights: Array,
    m: Array,
    log_error: Array,
    noise: Noise,
    level: float | None,
) -> tuple[LawFit, ...]:
    """The best fit of every law, heaviest first. Without ``level`` only the weights are given.

    Parameters belong to laws that matter: a light law among several has none, one with many
    parameters has estimates without intervals. Fitted alone (``fit(..., laws=[name])``) a law has
    both.
    """
    fits = []
    for sample, weight in zip(found, weights, strict=True):
        law, one = sample.law, float(weight)
        if level is None:
            fits.append(LawFit(law.name, "ok", weight=one, formula=law.formula))
            continue
        if one < LIGHT and len(found) > 1:
            reason = "too light to matter: its parameters come when it is fitted alone"
            fits.append(LawFit(law.name, "ok", weight=one, formula=law.formula, reason=reason))
            continue
        fits.append(_law_fit(sample, one, m, log_error, noise, level, alone=len(found) == 1))
    return tuple(sorted(fits, key=lambda f: -f.weight))


def _law_fit(
    sample: Sample,
    weight: float,
    m: Array,
    log_error: Array,
    noise: Noise,
    level: float,
    alone: bool,
) -> LawFit:
    law, n = sample.law, len(m)
    if n <= len(law.names):
        reason = f"{len(law.names)} parameters, {n} sizes"
        return LawFit(law.name, "too few points", weight=weight, formula=law.formula, reason=reason)
    structure = _structure(sample)
    df = noise.df + n - len(law.names)
    squares = float(noise.sum_squares[structure])
    fitted = fit_law(
        law,
        m,
        log_error,
        noise.whiten[structure],
        _starts(sample, m[-1], structure),
        squares,
        df,
        level if alone or len(law.names) <= MANY else None,
    )
    if not fitted.converged:
        reason = "not identifiable from these points: its parameters trade off"
        return LawFit(law.name, "not converged", weight=weight, formula=law.formula, reason=reason)
    residual = log_error - np.log(law.curve(m, *fitted.parameters))
    variance = (fitted.squares + squares) / df
    log_likelihood = -0.5 * n * np.log(2 * np.pi * variance) - 0.5 * fitted.squares / variance
    return LawFit(
        law=law.name,
        outcome="bound hit" if fitted.at_bound else "ok",
        names=law.names,
        parameters=tuple(
            Interval(_number(v), _number(lo), _number(up), level)
            for v, lo, up in zip(fitted.parameters, fitted.lower, fitted.upper, strict=True)
        ),
        weight=weight,
        scatter=float(np.sqrt(np.sum(residual**2) / (n - len(law.names)))),
        log_likelihood=float(log_likelihood - 0.5 * noise.log_det[structure]),
        reason=", ".join(fitted.at_bound),
        formula=law.formula,
    )


def _structure(sample: Sample) -> int:
    """The structure of the noise that the points favour under this law."""
    return int(np.argmax(np.logaddexp.reduce(sample.log_weight, axis=0)))


def _starts(sample: Sample, reference: float, structure: int) -> Array:
    """The best draws in natural parameters, (starts, natural)."""
    best = np.argsort(sample.squares[:, structure])[:STARTS]
    law = sample.law
    shape = [s.value(sample.z[best, i]) for i, s in enumerate(law.shape)]
    level = np.exp(sample.level[best, structure])
    return np.stack(np.broadcast_arrays(*law.natural(level, reference, *shape)), axis=1)


def _number(value: float) -> float | None:
    """Without the ends of the search in logs, which stand for zero and infinity."""
    if not np.isfinite(value) or abs(value) > 1 / TINY:
        return None
    return 0.0 if abs(value) < TINY else float(value)
