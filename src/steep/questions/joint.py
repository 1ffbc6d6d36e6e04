"""Joint fits of the error in data and model size: laws weighted by evidence, with discrepancy.

``docs/decisions/joint.md`` describes the method. What a table does not determine is reported as an
outcome rather than a number: too few runs, sizes that grow together, errors of two kinds, an
unbounded parameter, a law that does not describe the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steep.base.spelling import no_such
from steep.laws.law import Array
from steep.laws.surfaces import SURFACES
from steep.present.joint import backtest_sentence
from steep.questions.joint_rows import JointTable, rows_of
from steep.questions.surface import model_of, runs_of
from steep.records import (
    MISFIT,
    NOT_IDENTIFIABLE,
    Backtest,
    Influence,
    Interval,
    JointDraws,
    JointFit,
    JointLaw,
    JointRow,
    Score,
)
from steep.records import Misfit as MisfitRecord
from steep.stats.draws import weighted_interval
from steep.stats.mixture import systematic
from steep.stats.surface_noise import LENGTHS, PRIOR_DF, SurfaceNoise, features, surface_noise
from steep.stats.surface_posterior import (
    LawOnlyFit,
    Model,
    Posterior,
    Runs,
    alone_of,
    descend,
    off_surface,
    open_ends,
    posterior,
    rough_modes,
    shifts_without,
)
from steep.tables.read import read

APART = 0.15
"""If the runs' standard deviation about the best line through log N and log D is below this, the
two sizes grow together: a ladder with a fixed ratio of samples to parameters, or a study's best
fits."""
DRAWS = 400
LEAD = 0.5
"""Chinchilla's parameters are reported, since most readers compare with them, if its weight is at
least this share of the heaviest law's; else those of the heaviest law."""
ALIKE = ("chinchilla", "rosenfeld")
"""Laws whose common parameters have the same meaning."""
LIGHT = 0.02
"""Laws with an evidence weight below this are not used."""
CLEAR = 3.0
"""A discrepancy is reported if its log Bayes factor is above this."""
VISIBLE = 0.01
"""Discrepancy in log error, at the 95th percentile of the runs, that makes a law a misfit."""
TWO_KINDS, KINDS_APART = 0.9, 0.15
"""The errors are of two kinds if two groups explain at least this share of the residuals' variance
and are at least this far apart."""
POWERS = {"alpha", "beta"}
NO_SURFACE = 0.6
"""If the scatter about the best law is at least this share of the errors' own scatter, the runs
show no surface."""
FLOPS_PER_PARAMETER_SAMPLE = 6.0


@dataclass(frozen=True)
class _Options:
    laws: tuple[str, ...]
    fixed: tuple[tuple[str, float], ...]
    tied: tuple[tuple[str, str], ...]
    level: float


def joint(
    frame: Any,
    samples: str | None = None,
    parameters: str | None = None,
    error: str | None = None,
    unique: str | None = None,
    run: str | None = None,
    law: str | Sequence[str] | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Sequence[tuple[str, str]] = (),
    floor: float | None = None,
    *,
    flops: str | None = None,
    flops_per_parameter_sample: float = FLOPS_PER_PARAMETER_SAMPLE,
    level: float = 0.9,
    higher_is_better: bool = False,
) -> JointFit:
    """Fit laws of data and model size to a table of runs: a DataFrame, columns by name, a path.

    The columns ``samples`` D, ``parameters`` N, ``error``, ``unique`` (distinct samples among D),
    ``run`` (rows of one run share an error) and ``flops`` are guessed by name if not given. If a
    table has no samples, D = flops / (``flops_per_parameter_sample`` * N). ``law`` is one or
    several of 'chinchilla', 'kaplan', 'rosenfeld', 'interacting' and 'repeated'; by default all
    that apply, weighted by evidence. ``fixed`` holds parameters at values and ``floor`` the floor
    E; ``tied`` makes the second of a pair equal to the first. The result is deterministic.

    Raises ValueError for unreadable input; what the runs do not determine is an outcome.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    curves = read(
        frame, x=samples, y=error, parameters=parameters, unique=unique, compute=flops,
        flops_per_parameter_sample=flops_per_parameter_sample,
        higher_is_better=higher_is_better, all_rows=True, every_size=True,
    ).curves  # fmt: skip
    if len(curves) != 1:
        raise ValueError("a joint fit needs one table of runs: give one of its curves")
    held = dict(fixed or {}) | ({} if floor is None else {"E": float(floor)})
    return joint_of_curve(
        curves[0], run=run, law=law, fixed=held, tied=tied, level=level,
        flops_per_parameter_sample=flops_per_parameter_sample,
    )  # fmt: skip


def joint_of_curve(
    curve: Any,
    *,
    run: str | None = None,
    law: str | Sequence[str] | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Sequence[tuple[str, str]] = (),
    level: float = 0.9,
    flops_per_parameter_sample: float = FLOPS_PER_PARAMETER_SAMPLE,
) -> JointFit:
    """``joint`` for a curve from ``steep.read(..., every_size=True)``."""
    table = rows_of(curve, run)
    options = _options(table, law, fixed or {}, tied, level)
    fitted = fit_rows(table.rows, options, table.cells)
    return replace(
        fitted,
        total=table.total,
        flops_per_parameter_sample=flops_per_parameter_sample,
        unit=curve.unit,
        metric=curve.metric,
        notes=(*curve.notes, *table.notes, *fitted.notes),
    )


def refit(fit: JointFit, rows: tuple[JointRow, ...], floor: float | None = None) -> JointFit:
    """Repeat a fit with other rows, or with a fixed ``floor``, which excludes laws without one."""
    laws = tuple(one.law for one in fit.laws if floor is None or "E" in SURFACES[one.law].names)
    fixed = fit.fixed if floor is None else tuple({**dict(fit.fixed), "E": floor}.items())
    options = _Options(laws, fixed, fit.tied, fit.level)
    fitted = fit_rows(tuple(replace(r, widened=1.0) for r in rows), options)
    return replace(fitted, flops_per_parameter_sample=fit.flops_per_parameter_sample)


TIMES = (2.0, 4.0, 10.0, 30.0)
HIDDEN = 40
"""A back-test forecasts from runs with this many times less compute (``TIMES``) than the largest,
and scores at most ``HIDDEN`` hidden runs at once."""


def backtest_joint(fit: JointFit) -> Backtest:
    """Hide the runs of most compute, forecast them from the others, and score the forecasts; a
    score's ``samples`` are FLOPs. Checkpoints of one run are hidden together and count as one."""
    k = fit.flops_per_parameter_sample
    empty = Backtest("too few points", fit.level, unit="FLOPs", metric=fit.metric)
    empty = replace(empty, sentence=backtest_sentence(empty))
    if not fit.draws:
        return empty
    last_rows: dict[str, JointRow] = {}
    for i, row in enumerate(fit.rows):
        name = row.run or str(i)
        if row.widened == 1 and (name not in last_rows or row.samples > last_rows[name].samples):
            last_rows[name] = row
    largest = {name: k * r.parameters * r.samples for name, r in last_rows.items()}
    top = max(largest.values())
    scores: list[Score] = []
    for times in TIMES:
        hidden = [name for name, c in largest.items() if c > top / times * (1 + 1e-9)]
        rows = tuple(r for i, r in enumerate(fit.rows) if (r.run or str(i)) not in hidden)
        hidden = sorted(hidden, key=lambda name: largest[name])[-HIDDEN:]
        if not rows or not hidden:
            continue
        refitted = refit(fit, rows)
        if refitted.draws:
            last_compute = max(k * r.parameters * r.samples for r in rows)
            scores += _scores(refitted, [last_rows[name] for name in hidden], last_compute, k)
    if not scores:
        return empty
    scores.sort(key=lambda s: (s.factor, -s.points))
    result = replace(
        empty,
        outcome="ok",
        scores=tuple(scores),
        log_error=float(np.mean([s.log_error for s in scores])),
        last_value=float(np.mean([s.last_value for s in scores])),
        coverage=float(np.mean([s.inside for s in scores])),
        interval_score=float(np.mean([s.interval_score for s in scores])),
        width=float(np.median([s.upper / s.lower for s in scores])),
    )
    return replace(result, sentence=backtest_sentence(result))


def _scores(fit: JointFit, hidden: Sequence[JointRow], seen: float, k: float) -> list[Score]:
    n, d, u = zip(*((r.parameters, r.samples, r.unique) for r in hidden), strict=True)
    try:
        frame = fit.predict(list(n), list(d), list(u))
    except ValueError:  # off the line of a ladder
        return []
    lowest = min(r.error for r in fit.rows)
    scores = []
    for row, predicted in zip(hidden, frame.itertuples(), strict=True):
        truth, low, high = np.log([row.error, predicted.lower, predicted.upper]).tolist()
        missed = max(low - truth, 0.0) + max(truth - high, 0.0)
        scores.append(
            Score(
                samples=k * row.parameters * row.samples,
                last=seen,
                points=len(fit.rows),
                error=row.error,
                forecast=float(predicted.error),
                lower=float(predicted.lower),
                upper=float(predicted.upper),
                log_error=abs(float(np.log(predicted.error)) - truth),
                inside=bool(low <= truth <= high),
                interval_score=high - low + 2.0 / (1.0 - fit.level) * missed,
                last_value=abs(float(np.log(lowest)) - truth),
            )
        )
    return scores


def _options(
    table: JointTable,
    law: str | Sequence[str] | None,
    fixed: Mapping[str, float],
    tied: Sequence[tuple[str, str]],
    level: float,
) -> _Options:
    repeated = any(r.unique < r.samples * (1 - 1e-9) for r in table.rows)
    if law is None:
        laws = tuple(n for n, s in SURFACES.items() if s.needs_unique == repeated)
    else:
        laws = (law,) if isinstance(law, str) else tuple(law)
    for name in laws:
        if name not in SURFACES:
            raise ValueError(no_such("joint law", name, SURFACES))
        if SURFACES[name].needs_unique and not table.has_unique:
            raise ValueError(
                "the law of repeated data needs the number of unique samples of each run"
            )
    required = {*fixed, *(name for pair in tied for name in pair)}
    required -= {"E"} if fixed.get("E") == 0 else set()
    applicable = tuple(n for n in laws if required <= set(SURFACES[n].names))
    if not applicable:
        names = sorted({name for n in laws for name in SURFACES[n].names})
        unknown = sorted(required - set(names)) or sorted(required)
        raise ValueError(no_such("parameter of these laws", unknown[0], names))
    for name, value in fixed.items():
        least = 0.0 if name in ("E", "A", "B") else 1e-6
        if not (np.isfinite(value) and value >= least) and name not in ("gamma", "delta"):
            raise ValueError(f"{name} = {value}: a fixed parameter must be a positive number")
    held, both_free = dict(fixed), []
    for first, second in tied:
        if second in fixed or not {first, second} <= POWERS:
            raise ValueError(f"{first} = {second}: two exponents can be tied, the second not held")
        if first in held:
            held[second] = held[first]
        else:
            both_free.append((first, second))
    return _Options(applicable, tuple(held.items()), tuple(both_free), level)


# ---------------------------------------------------------------- the fit


@dataclass(frozen=True)
class _Fitted:
    """One law's posterior with discrepancy, and its posterior without."""

    model: Model
    found: Posterior
    alone: LawOnlyFit


def fit_rows(
    rows: tuple[JointRow, ...],
    options: _Options,
    cells: Mapping[str, Sequence[object]] | None = None,
) -> JointFit:
    runs = runs_of(rows)
    count = len(rows) if runs.run is None else len(np.unique(runs.run))
    plain = JointFit("ok", rows=rows, total=len(rows), runs=count, level=options.level,
                     fixed=options.fixed, tied=options.tied)  # fmt: skip
    models = [model_of(law, runs, options.fixed, options.tied) for law in options.laws]
    models = [m for m in models if len(m.free) < count and len(np.unique(runs.y)) > 1]
    sizes = [len(np.unique(np.round(v, 9))) for v in (runs.n, runs.d)]
    if not models or min(sizes) < 2:
        fewest = min(
            len(model_of(law, runs, options.fixed, options.tied).free) for law in options.laws
        )
        reason = (
            f"{fewest} parameters need more runs, over several sizes of data and of model; these "
            f"are {count} with {sizes[0]} sizes of model and {sizes[1]} of data"
        )
        return replace(plain, outcome="too few points", reason=reason)
    if _one_line(runs) and not {"A", "B", "alpha", "beta"} <= {name for name, _ in options.fixed}:
        return _along_a_line(plain, runs)
    ends = rough_modes(models[0], runs)
    residual = models[0].residual(ends[:1], runs)[0]
    misfit = _two_kinds(residual, cells or {}, rows) or _no_surface(residual, runs)
    if misfit:
        return replace(plain, outcome=MISFIT, reason=misfit)
    base = off_surface(models[0], runs, ends)
    return _weighed(replace(plain, rows=_widened(rows, base)), models, runs, base)


def _one_line(runs: Runs) -> bool:
    apart = np.stack([runs.n - runs.n.mean(), runs.d - runs.d.mean()])
    return bool(np.linalg.svd(apart, compute_uv=False)[-1] / len(runs) ** 0.5 < APART)


def _widened(rows: tuple[JointRow, ...], base: Array) -> tuple[JointRow, ...]:
    return tuple(replace(r, widened=float(b)) for r, b in zip(rows, base, strict=True))


def _weighed(
    plain: JointFit, models: Sequence[Model], runs: Runs, base: Array, line: bool = False
) -> JointFit:
    """All laws fitted and weighted, with their misfit and the influential rows."""
    noise = surface_noise(runs.n, runs.d, runs.run, base)
    posteriors = [(m, posterior(m, runs, noise)) for m in models]
    evidence = np.array([p.log_evidence for _, p in posteriors])
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    lead = 0 if weight[0] >= LEAD * weight.max() else int(np.argmax(weight))
    order = [lead, *(k for k in np.argsort(-weight).tolist() if k != lead)]
    posteriors, weight = [posteriors[k] for k in order], weight[order]
    used = [k == 0 or w > LIGHT for k, w in enumerate(weight)]
    fitted = [
        _Fitted(m, p, alone_of(m, runs, noise, p))
        for (m, p), use in zip(posteriors, used, strict=True)
        if use
    ]
    weights = weight[used] / weight[used].sum()
    draws = tuple(
        _draws(f, int(np.ceil(w * DRAWS)), len(runs)) for f, w in zip(fitted, weights, strict=True)
    )
    alike = [f for f in fitted if f.model.law.name in ALIKE]
    laws = [
        _law(f, float(w), runs, noise, plain.level, alike if k == 0 and f in alike else [f])
        for k, (f, w) in enumerate(zip(fitted, weight[used], strict=True))
    ]
    laws += [
        JointLaw(m.law.name, "ok", m.law.formula, weight=float(w), reason="too light to matter")
        for (m, _), w, use in zip(posteriors, weight, used, strict=True)
        if not use
    ]
    first = fitted[0]
    # statements about residuals are about the requested law, or Chinchilla's
    requested = next((f for f in fitted if f.model is models[0]), None)
    if requested is None:
        model, known = next((m, p) for m, p in posteriors if m is models[0])
        requested = _Fitted(model, known, alone_of(model, runs, noise, known))
    misfit = _misfit(requested, runs, noise)
    scatter = np.sqrt(np.mean(np.concatenate([d.variance for d in draws])))
    clear = misfit.odds > CLEAR and misfit.largest > VISIBLE
    result = replace(
        plain,
        outcome=MISFIT if clear else "ok",
        laws=tuple(laws),
        draws=draws,
        line=line,
        scatter=float(scatter),
        df=PRIOR_DF + plain.runs,
        misfit=misfit if misfit.odds > CLEAR else None,
    )
    return replace(result, influence=_influence(result, first, runs, noise))


def _along_a_line(plain: JointFit, runs: Runs) -> JointFit:
    """A fit of runs whose model size and data grow together: only a curve along their line."""
    reason = (
        "model size and data grow together in these runs, so that their effects cannot be "
        "separated: vary one while the other stays"
    )
    unidentified = replace(plain, outcome=NOT_IDENTIFIABLE, reason=reason, line=True)
    model = model_of("chinchilla", runs, (("B", 0.0), ("beta", 0.5)))
    if len(model.free) + 1 >= plain.runs:
        return unidentified
    base = np.ones(len(runs))
    plain = replace(plain, fixed=tuple(model.fixed.items()), tied=())
    fitted = _weighed(plain, [model], runs, base, line=True)
    law = fitted.laws[0]
    # one power with a floor describes the errors along the line as well as two powers with another
    # floor, so the parameters are not identifiable
    none = Interval(None, None, None, plain.level)
    parameters = (none,) * len(law.names)
    law = replace(law, outcome=NOT_IDENTIFIABLE, parameters=parameters, reason=reason)
    return replace(
        fitted, outcome=NOT_IDENTIFIABLE, reason=reason, laws=(law,), misfit=None, influence=()
    )


def _draws(fitted: _Fitted, count: int, rows: int) -> JointDraws:
    posterior_, alone = fitted.found, fitted.alone
    weight = np.exp(posterior_.log_weight - posterior_.log_weight.max())
    flat = systematic(weight.ravel(), count)
    which, structure = np.divmod(flat, weight.shape[1])
    variance = posterior_.squares[which, structure] / (PRIOR_DF + rows)
    return JointDraws(
        fitted.model.law.name,
        tuple(map(tuple, posterior_.z[which].tolist())),
        tuple(structure.tolist()),
        tuple(variance.tolist()),
        tuple(map(tuple, alone.z[systematic(alone.weight, count)].tolist())),
    )


def _law(
    fitted: _Fitted,
    weight: float,
    runs: Runs,
    noise: SurfaceNoise,
    level: float,
    alike: Sequence[_Fitted],
) -> JointLaw:
    """The law's best parameters without discrepancy, with quantile limits.

    The limits are taken over the law and the laws ``alike``, which share its parameters. A limit
    that the runs do not set is open; a parameter with two open limits has no value."""
    model, alone = fitted.model, fitted.alone
    law, r = model.law, model.reference
    shares = np.exp([f.found.log_evidence - fitted.found.log_evidence for f in alike])
    natural = [f.model.law.natural(f.model.coordinates(f.alone.z), r) for f in alike]
    best = law.natural(model.coordinates(alone.mode[None]), r)[0]
    ends = open_ends(model, runs, noise, fitted.found, level)
    intervals, unidentified = [], []
    tied = {b: a for a, b in model.tied}
    for i, name in enumerate(law.names):
        value = float(best[i])
        if name in model.fixed:
            intervals.append(Interval(value, value, value, level))
            continue
        containing = [k for k, f in enumerate(alike) if name in f.model.law.names]
        values = np.concatenate(
            [natural[k][:, alike[k].model.law.names.index(name)] for k in containing]
        )
        weights = np.concatenate([shares[k] * alike[k].alone.weight for k in containing])
        interval = weighted_interval(values, weights / weights.sum(), level)
        low, high = float(interval.lower or 0.0), float(interval.upper or 0.0)
        index = model.free.index(law.names.index(tied.get(name, name)))
        below, above = ends[index]
        if below and above:
            unidentified.append(name)
        both = below and above
        intervals.append(
            Interval(
                None if both else value,
                None if below else min(low, value),
                None if above else max(high, value),
                level,
            )
        )
    reason = f"the runs do not identify {', '.join(unidentified)}" if unidentified else ""
    outcome = NOT_IDENTIFIABLE if unidentified else "ok"
    return JointLaw(law.name, outcome, law.formula, law.names, tuple(intervals), weight, reason)


# ---------------------------------------------------------------- misfit and influence


def _two_kinds(
    residual: Array, cells: Mapping[str, Sequence[object]], rows: tuple[JointRow, ...]
) -> str:
    """The problem that the residuals fall into two groups, so that the column has errors of two
    kinds; '' if they do not."""
    order = np.sort(residual)
    n = len(order)
    least = max(3, n // 10)
    if n < 2 * least + 2:
        return ""
    total = np.cumsum(order)
    k = np.arange(least, n - least)
    low, high = total[k - 1] / k, (total[-1] - total[k - 1]) / (n - k)
    between = k * (n - k) / n * (high - low) ** 2
    at = int(np.argmax(between))
    if between[at] < TWO_KINDS * n * np.var(order) or high[at] - low[at] < KINDS_APART:
        return ""
    upper = residual > 0.5 * (low[at] + high[at])
    distinguishing = [
        name for name, column in cells.items()
        if len(set(map(str, column))) <= 8 and len({(str(v), bool(g)) for v, g in
                                                    zip(column, upper, strict=True)})
        == len(set(map(str, column))) > 1
    ]  # fmt: skip
    hint = f": column {distinguishing[0]!r} separates them" if distinguishing else ""
    ratio = round(float(np.exp(high[at] - low[at])), 2)
    return (
        f"the errors fall into two groups, {ratio:g}x apart at the same sizes, of "
        f"{int(upper.sum())} and {int((~upper).sum())} rows: two "
        f"different losses in one table{hint or '?'}"
    )


def _no_surface(residual: Array, runs: Runs) -> str:
    """The problem that the runs differ from the best law almost as much as from each other; '' if
    they do not."""
    size = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
    spread = 1.4826 * float(np.median(np.abs(runs.y - np.median(runs.y))))
    if size < NO_SURFACE * spread or size < 1e-9:
        return ""
    return (
        "the errors follow no falling surface over data and model size: about the best one they "
        f"scatter by {round(100 * size, 2):g} %, and among themselves by "
        f"{round(100 * spread, 2):g} %"
    )


def _misfit(fitted: _Fitted, runs: Runs, noise: SurfaceNoise) -> MisfitRecord:
    """The smooth part of the law's residuals, and the log odds that it is not noise."""
    posterior_, alone = fitted.found, fitted.alone
    share = np.logaddexp.reduce(posterior_.log_weight, axis=0)
    exact = np.array([s.bilinear == 0 == s.smooth for s in noise.structures])
    prior = np.array([s.log_prior for s in noise.structures])
    odds = float(
        np.logaddexp.reduce(share[~exact]) - np.logaddexp.reduce(share[exact])
        - np.logaddexp.reduce(prior[~exact]) + np.logaddexp.reduce(prior[exact])
    )  # fmt: skip
    some = np.flatnonzero(~exact)
    j = int(some[np.argmax(share[some])])
    residual = fitted.model.residual(alone.mode[None], runs)
    length = LENGTHS[noise.structures[j].length]
    columns, _ = features(noise.plane, runs.n, runs.d, length)
    smooth = columns @ noise.coefficients(j, residual.T)[:, 0]
    at = noise.plane.scaled(runs.n, runs.d)
    corners = [
        float(smooth[mine].mean()) if mine.any() else 0.0
        for side in (-1, 1)
        for other in (-1, 1)
        if (mine := (side * at[:, 0] > 0) & (other * at[:, 1] > 0)) is not None
    ]
    return MisfitRecord(
        fitted.model.law.name,
        float(np.sqrt(np.mean(smooth**2))),
        float(np.quantile(np.abs(smooth), 0.95)),
        odds,
        (corners[0], corners[1], corners[2], corners[3]),
    )


def _influence(
    fit: JointFit, fitted: _Fitted, runs: Runs, noise: SurfaceNoise
) -> tuple[Influence, ...]:
    """Influential rows: those off the surface, with their effect if they had full weight, and those
    without which a parameter would leave its own interval."""
    model, alone = fitted.model, fitted.alone
    law, r = model.law, model.reference
    best = law.natural(model.coordinates(alone.mode[None]), r)[0]
    parameters = list(zip(law.names, fit.parameters, strict=True))
    influences = []
    if fit.off:
        plain = surface_noise(runs.n, runs.d, runs.run, ratios=(0.0,))
        ends, _ = descend(model, runs, plain, 0, alone.mode[None], 60)
        other = law.natural(model.coordinates(ends), r)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.nan_to_num(np.abs(np.log(other / best)))
        i = int(np.argmax(moved))
        influences.append(Influence(fit.off, law.names[i], float(best[i]), float(other[i])))
    groups, shifted = shifts_without(model, runs, noise, alone)
    values = law.natural(model.coordinates(shifted), r)
    for rows, value in zip(groups, values, strict=True):
        if any(fit.rows[k].widened > 1 for k in rows):
            continue
        for i, (name, p) in enumerate(parameters):
            outside = (p.lower is not None and value[i] < p.lower) or (
                p.upper is not None and value[i] > p.upper
            )
            if outside and name not in model.fixed:
                row_numbers = tuple(fit.rows[k].row for k in rows)
                influences.append(Influence(row_numbers, name, float(value[i]), float(best[i])))
                break
    return tuple(influences)
