"""The best model size at a given compute by three methods: law, isoFLOP parabolas, envelope.

These are approaches 3, 2 and 1 of Hoffmann et al. 2022. The minimum of a parabola is biased if its
budget is wide or not centred on the minimum, because the error is not a parabola in log N. The bias
of parabolas through the law at the same sizes is subtracted, with a note.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from steep.laws.law import Array, Index
from steep.questions.surface import _level, prepared, split_refused, splits
from steep.records import Allocation, Interval, JointFit
from steep.stats.draws import quantile_interval

SAME_BUDGET, WIDEST = 0.08, 0.2
"""The smallest gap in log compute between budgets, and the largest spread within one."""
FEWEST_SIZES, FEWEST_BUDGETS = 4, 3
DRAWS = 400
SHIFTED = 0.02
"""A parabola's bias in log N above this is noted."""


def allocations(
    fit: JointFit, flops: Sequence[float], level: float | None = None
) -> tuple[Allocation, ...]:
    """The best sizes at each of ``flops`` by each method; a method that these runs do not allow has
    the reason."""
    level = _level(fit, level)
    computes = np.asarray(list(flops), dtype=float)
    return (
        _by_law(fit, computes, level),
        _by_parabolas(fit, computes, level),
        _by_envelope(fit, computes, level),
    )


def disagreement(found: Sequence[Allocation]) -> str:
    """Which methods' intervals do not overlap at the first compute; '' if all do."""
    measured = [a for a in found if a.outcome == "ok"]
    pairs = []
    for i, one in enumerate(measured):
        for other in measured[i + 1 :]:
            a, b = one.parameters[0], other.parameters[0]
            if _ends(a)[1] < _ends(b)[0] or _ends(b)[1] < _ends(a)[0]:
                pairs.append(f"{one.method} and {other.method}")
    return f"{', '.join(pairs)} disagree: their intervals do not overlap" if pairs else ""


def _ends(i: Interval) -> tuple[float, float]:
    return (0.0 if i.lower is None else i.lower, np.inf if i.upper is None else i.upper)


def _by_law(fit: JointFit, computes: Array, level: float) -> Allocation:
    refused = split_refused(fit)
    if refused:
        return Allocation("law", "not measured", refused)
    logs = np.log(computes / fit.flops_per_parameter_sample)
    best, _ = splits(fit, np.concatenate([logs, [logs[0] - 0.5, logs[0] + 0.5]]))
    exponent = quantile_interval(best[:, -1] - best[:, -2], level)
    return _allocation("law", best[:, :-2], exponent, computes, level)


def _allocation(
    method: str,
    log_sizes: Array,
    exponent: Interval,
    computes: Array,
    level: float,
    notes: tuple[str, ...] = (),
) -> Allocation:
    sizes = []
    for column in log_sizes.T:
        i = quantile_interval(column, level)
        middle, low, high = np.exp([i.value or 0.0, i.lower or 0.0, i.upper or 0.0]).tolist()
        sizes.append(Interval(middle, low, high, level))
    return Allocation(method, "ok", "", exponent, tuple(computes.tolist()), tuple(sizes), notes)


# ---------------------------------------------------------------- isoFLOP parabolas


def _budgets(log_c: Array, n: Array) -> list[Index]:
    """The rows of each compute at which enough sizes were trained."""
    order = np.argsort(log_c)
    cuts = np.flatnonzero(np.diff(log_c[order]) > SAME_BUDGET) + 1
    return [
        rows
        for rows in np.split(order, cuts)
        if np.ptp(log_c[rows]) < WIDEST and len(np.unique(np.round(n[rows], 6))) >= FEWEST_SIZES
    ]


def _by_parabolas(fit: JointFit, computes: Array, level: float) -> Allocation:
    rows = [r for r in fit.rows if r.widened == 1]
    if not rows:
        return Allocation("isoFLOP", "not measured", "no rows")
    n, d, y = (np.log([getattr(r, k) for r in rows]) for k in ("parameters", "samples", "error"))
    log_c = n + d
    budgets = _budgets(log_c, n)
    if len(budgets) < FEWEST_BUDGETS:
        reason = (
            f"{len(budgets)} computes have {FEWEST_SIZES} sizes each, of {FEWEST_BUDGETS} needed"
        )
        return Allocation("isoFLOP", "not measured", reason)
    fits = [_parabola(n[b], y[b]) for b in budgets]
    df = sum(len(b) - 3 for b in budgets)
    spread = np.sqrt(sum(f[2] for f in fits) / max(df, 1))
    bias = _bias(fit, [(n[b], log_c[b]) for b in budgets])
    rng = np.random.default_rng(20220329)
    draws, places, edge = [], [], 0
    for b, (coefficients, root, _), shift in zip(budgets, fits, bias, strict=True):
        noise = student.rvs(max(df, 1), size=(DRAWS, 3), random_state=rng) * spread
        _, c1, c2 = coefficients[:, None] + root @ noise.T
        bottom = np.where(c2 > 0, -c1 / (2 * np.where(c2 > 0, c2, 1.0)), np.nan) + n[b].mean()
        best = -coefficients[1] / (2 * coefficients[2]) + n[b].mean()
        if (
            coefficients[2] <= 0
            or not n[b].min() < best < n[b].max()
            or np.isnan(bottom).mean() > 0.1
        ):
            edge += 1
            continue
        finite = bottom[np.isfinite(bottom)]
        draws.append(rng.choice(finite, DRAWS) + shift)
        places.append(float(log_c[b].mean()))
    if len(draws) < FEWEST_BUDGETS:
        reason = f"the minimum lies at the edge of {edge} of {len(budgets)} budgets"
        return Allocation("isoFLOP", "not measured", reason)
    notes: tuple[str, ...] = ()
    if edge:
        notes += (f"{edge} of {len(budgets)} budgets have their minimum at the edge: left out.",)
    if np.max(np.abs(bias)) > SHIFTED:
        notes += ("Minima are corrected for the bias of a parabola, as the law has it.",)
    line, slope = _line(
        np.array(places), np.stack(draws), np.log(computes / fit.flops_per_parameter_sample)
    )
    return _allocation("isoFLOP", line, quantile_interval(slope, level), computes, level, notes)


def _parabola(n: Array, y: Array) -> tuple[Array, Array, float]:
    """(coefficients about the mean of n, root of their covariance for unit noise, squares)."""
    design = np.vander(n - n.mean(), 3, increasing=True)
    normal = np.linalg.inv(design.T @ design)
    coefficients = normal @ design.T @ y
    return (
        coefficients, np.linalg.cholesky(normal), float(np.sum((y - design @ coefficients) ** 2))
    )  # fmt: skip


def _bias(fit: JointFit, budgets: Sequence[tuple[Array, Array]]) -> Array:
    """The law's minimum minus that of a parabola through the law at a budget's sizes."""
    if not fit.draws or fit.line:
        return np.zeros(len(budgets))
    model, draws = prepared(fit).parts[0]
    z = np.median(np.array(draws.alone), axis=0)[None]
    biases = []
    for n, log_c in budgets:
        c = float(log_c.mean())
        coefficients, _, _ = _parabola(n, model.log_error(z, n, c - n, c - n)[0])
        grid = np.linspace(n.min() - 3.0, n.max() + 3.0, 2001)
        true = grid[np.argmin(model.log_error(z, grid, c - grid, c - grid)[0])]
        curved = coefficients[2] > 0
        apparent = n.mean() - coefficients[1] / (2 * coefficients[2]) if curved else true
        inside = n.min() < true < n.max()
        biases.append(true - apparent if inside else 0.0)
    return np.array(biases)


def _line(x: Array, y: Array, at: Array) -> tuple[Array, Array]:
    """Straight lines through draws y (places, draws) at x (places,), weighted by the draws' spread
    and widened by the scatter about the line: values (draws, at) and slopes (draws,)."""
    weight = 1.0 / np.maximum(y.var(axis=1), 1e-12)
    design = np.stack([np.ones_like(x), x - np.average(x, weights=weight)], axis=1)
    normal = np.linalg.inv(design.T @ (design * weight[:, None]))
    coefficients = normal @ (design * weight[:, None]).T @ y
    middle = coefficients.mean(axis=1)
    residual = np.median(y, axis=1) - design @ middle
    # budgets that scatter more than their own errors widen the line (Birge's ratio)
    ratio = max(1.0, float(np.sqrt(np.sum(weight * residual**2) / max(len(x) - 2, 1))))
    coefficients = middle[:, None] + (coefficients - middle[:, None]) * ratio
    places = np.stack([np.ones_like(at), at - np.average(x, weights=weight)], axis=1)
    return (places @ coefficients).T, coefficients[1]


# ---------------------------------------------------------------- envelope of training curves


def _by_envelope(fit: JointFit, computes: Array, level: float) -> Allocation:
    rows = [r for r in fit.rows if r.run]
    names = list(dict.fromkeys(r.run for r in rows))
    curves = []
    for name in names:
        run_rows = sorted((r for r in rows if r.run == name), key=lambda r: r.samples)
        if len(run_rows) >= 3:
            log_c = np.log([r.parameters * r.samples for r in run_rows])
            curves.append(
                (float(np.log(run_rows[0].parameters)), log_c, np.log([r.error for r in run_rows]))
            )
    if len({round(n, 6) for n, _, _ in curves}) < 4:
        return Allocation("envelope", "not measured", "it needs training curves of 4 model sizes")
    low, high = min(c[1][0] for c in curves), max(c[1][-1] for c in curves)
    grid = np.linspace(low, high, 80)
    sizes = np.array([n for n, _, _ in curves])
    table = np.stack([np.interp(grid, c, e, left=np.inf, right=np.inf) for _, c, e in curves])
    rng = np.random.default_rng(20220329)
    at = np.log(computes / fit.flops_per_parameter_sample)
    values, slopes = [], []
    every = np.arange(len(curves))
    for k in range(DRAWS // 2):
        chosen = every if k == 0 else rng.choice(every, len(every))
        line = _hull(grid, sizes[chosen], table[chosen])
        if line is not None:
            slopes.append(line[1])
            values.append(line[0] + line[1] * at)
    if len(values) < DRAWS // 3:
        return Allocation("envelope", "not measured", "the lowest curve is one at the edge")
    return _allocation(
        "envelope", np.array(values), quantile_interval(np.array(slopes), level), computes, level
    )


def _hull(grid: Array, sizes: Array, table: Array) -> tuple[float, float] | None:
    """A line through log N of the lowest curve at each compute at which both larger and smaller
    models were trained."""
    x, y = [], []
    for k, c in enumerate(grid):
        measured = np.isfinite(table[:, k])
        if measured.sum() < 3:
            continue
        best = sizes[measured][np.argmin(table[measured, k])]
        if sizes[measured].min() < best < sizes[measured].max():
            x.append(c)
            y.append(best)
    if len(set(y)) < 2 or np.ptp(x) < 0.5:
        return None
    slope, level = np.polyfit(x, y, 1)
    return float(level), float(slope)
