"""The best-fit model's size against data, log-log, with one-sided points at the ladder's edge.

A best fit at the largest size tried says "at least this size", one at the smallest "at most":
each enters as the probability of lying beyond (Tobin 1958), never as a value. Draws come from the
exact posterior of the two-sided points and are weighted by the one-sided ones.

A best fit is one of the sizes tried, so even without noise it lies off the law by an error about
uniform over half a step of the ladder to both sides. Where the steps are known the scatter is never
below that: a few points on a coarse ladder can lie on a wrong line exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import gammaincinv, log_ndtr

from steep.laws.law import Array
from steep.records import Interval, Point, SizeLaw
from steep.stats.draws import weighted_interval
from steep.stats.importance import quasi_normal
from steep.stats.mixture import systematic

FEWEST_TWO_SIDED = 4
COVER = 4096
DRAWS = 400


def fit_size_law(
    samples: Iterable[float],
    parameters: Iterable[float],
    edge: Iterable[str] | None = None,
    level: float = 0.9,
    step: Iterable[float] | None = None,
) -> SizeLaw:
    """Fit s(m) = sigma * m**beta_p to best-fit sizes.

    ``edge`` is '' for an optimum inside the ladder, 'low' or 'high' for one at its edge; ``step``
    the ratio (at least 1) of neighbouring sizes of the ladder about each best fit, where known.
    With fewer than four two-sided optima on different sizes of data the outcome is 'not measured'.
    Raises ValueError for unequal lengths, sizes that are not positive, an unknown edge or steps
    below 1.
    """
    m, s = (np.asarray(list(v), dtype=float) for v in (samples, parameters))
    side = np.array([""] * len(m) if edge is None else list(edge))
    ratio = np.ones(len(m)) if step is None else np.asarray(list(step), dtype=float)
    if not len(m) == len(s) == len(side) == len(ratio):
        raise ValueError("samples, parameters, edge and step have different lengths")
    if not np.all((ratio >= 1) & np.isfinite(ratio)):
        raise ValueError("a step is the ratio of a larger size to a smaller one, at least 1")
    if not np.all((m > 0) & (s > 0) & np.isfinite(m) & np.isfinite(s)):
        raise ValueError("samples and parameters must be positive numbers")
    if not np.isin(side, ["", "low", "high"]).all():
        raise ValueError(f"edge is '', 'low' or 'high', not {sorted(set(side.tolist()))}")
    inside = side == ""
    two_sided, censored = int(inside.sum()), int((~inside).sum())
    if len(np.unique(m[inside])) < FEWEST_TWO_SIDED:
        reason = (
            f"{two_sided} of the best fits {'lies' if two_sided == 1 else 'lie'} inside the ladder "
            f"of model sizes and {censored} at "
            f"its edge; the exponent needs {FEWEST_TWO_SIDED} inside, on different shards"
        )
        return SizeLaw("not measured", reason, two_sided=two_sided, censored=censored, level=level)
    x, y = np.log(m), np.log(s)
    center = float(x[inside].mean())
    least = float(np.mean(np.log(ratio[inside]) ** 2) / 12) ** 0.5
    draws, weight, sigma, df = _draws(x - center, y, side, least or _resolution(y), least)
    kept = draws[systematic(weight, DRAWS)]
    return SizeLaw(
        outcome="ok",
        beta_p=weighted_interval(draws[:, 1], weight, level),
        sigma=weighted_interval(np.exp(draws[:, 0] - draws[:, 1] * center), weight, level),
        scatter=float(np.exp(weight @ np.log(sigma))),
        two_sided=two_sided,
        censored=censored,
        df=float(df),
        center=(center, float(weight @ draws[:, 0])),
        draws=tuple((float(a), float(b)) for a, b in kept),
        level=level,
    )


def mixed(laws: Sequence[SizeLaw], level: float = 0.9) -> SizeLaw:
    """What equally likely ``laws`` of the same shards say together.

    Of one that is not measured the exponent may be anything: it counts half on either side. An end
    of an interval that is open in more of them than lie beyond it is open."""
    ok = [law for law in laws if law.beta_p is not None and law.center is not None]
    if 2 * len(ok) <= len(laws):
        return next(law for law in laws if law not in ok)
    center = float(np.mean([law.center[0] for law in ok if law.center]))
    draws = np.concatenate(
        [
            np.array(law.draws) + [[(center - law.center[0]) * b, 0.0] for _, b in law.draws]
            for law in ok
            if law.center
        ]
    )
    beside, beyond = (1 - len(ok) / len(laws)) / 2, (1 - level) / 2

    def interval(values: Array, of_laws: Sequence[Interval | None]) -> Interval:
        lower, upper = (
            beside + sum(getattr(i, end) is None for i in of_laws) / len(laws)
            for end in ("lower", "upper")
        )
        ends = (np.array([0.5, beyond, 1 - beyond]) - beside) / (1 - 2 * beside)
        middle, low, high = np.quantile(values, np.clip(ends, 0.0, 1.0)).tolist()
        return Interval(
            middle, None if lower > beyond else low, None if upper > beyond else high, level
        )

    kept = draws[systematic(np.ones(len(draws)), DRAWS)]
    return replace(
        ok[0],
        beta_p=interval(draws[:, 1], [law.beta_p for law in ok]),
        sigma=interval(np.exp(draws[:, 0] - draws[:, 1] * center), [law.sigma for law in ok]),
        scatter=float(np.exp(np.mean([np.log(law.scatter or 1.0) for law in ok]))),
        center=(center, float(draws[:, 0].mean())),
        draws=tuple((float(a), float(b)) for a, b in kept),
    )


def size_law_of(points: Iterable[Point], level: float = 0.9) -> SizeLaw | None:
    """The law of the model sizes that come with points; None where none do."""
    sized = {p.samples: p.parameters for p in points if p.parameters}
    if not sized:
        return None
    if len(set(sized.values())) == 1:
        return SizeLaw("not measured", "all points have the same one", level=level)
    return fit_size_law(sized, sized.values(), level=level)


def _resolution(y: Array) -> float:
    """The same guessed from the best-fit sizes, where nobody says what the ladder was."""
    steps = np.diff(np.unique(np.round(y, 9)))
    return float(steps.min()) / 12**0.5 if len(steps) else 0.1


def _draws(
    x: Array, y: Array, side: Array, resolution: float, least: float
) -> tuple[Array, Array, Array, float]:
    """(level, slope) draws (draws, 2), weights (draws,), scatters (draws,), degrees of freedom.

    No scatter is below ``least``.
    """
    inside = side == ""
    n = int(inside.sum())
    design = np.stack([np.ones(n), x[inside]], axis=1)
    normal = np.linalg.inv(design.T @ design)
    mean = normal @ design.T @ y[inside]
    residual = y[inside] - design @ mean
    # the ladder's resolution stands in as one prior observation: equal steps can fit exactly
    df = n - 2 + 1.0
    squares = float(residual @ residual) + resolution**2
    z = quasi_normal(COVER, 3)
    uniform = (np.argsort(np.argsort(z[:, 2])) + 0.5) / COVER
    sigma = np.maximum(np.sqrt(squares / (2.0 * gammaincinv(df / 2.0, uniform))), least)
    draws = mean + sigma[:, None] * (z[:, :2] @ np.linalg.cholesky(normal).T)
    beyond = np.zeros(COVER)
    for where, sign in (("high", 1.0), ("low", -1.0)):
        chosen = side == where
        expected = draws[:, :1] + draws[:, 1:] * x[None, chosen]
        beyond += log_ndtr(sign * (expected - y[None, chosen]) / sigma[:, None]).sum(axis=1)
    weight = np.exp(beyond - beyond.max())
    return draws, weight / weight.sum(), sigma, df
