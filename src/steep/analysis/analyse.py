"""From a study's measurements to its analysis: select, fit, forecast, confront.

``study.py`` calls this after training, and again for every report. It needs only what the store
holds, so a study can be analysed on a machine that lacks its data.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import numpy as np

from steep.analysis.asked import Goal, errors_asked
from steep.analysis.held_out_size import Allowed, hyperparameters_at, predicted_size
from steep.analysis.size_laws import size_laws
from steep.base.metrics import answered_metric, counts_items
from steep.contracts.domain import Scores
from steep.fit import fit, points_of
from steep.forecast import forecast, on_the_same_items, without_compute
from steep.present import numbers
from steep.records import (
    FEWEST_POINTS,
    LOST,
    Analysis,
    BestFit,
    Candidate,
    Curve,
    Finding,
    Fit,
    Forecast,
    ForecastPoint,
    HeldOutForecast,
    Interval,
    Measurement,
    Point,
    Settings,
    Shard,
    SizeLaw,
    Status,
    Trial,
    settings,
)
from steep.select import Paired, candidates, select
from steep.spec.sections import Spec
from steep.stats.searched import with_size_curves
from steep.stats.tuning import certificate

FACTORS = (2.0, 4.0, 10.0)
"""Multiples of the data at hand at which a study forecasts by default."""
ALL = 0.9
"""Validation items that are worth this share of their number of independent ones are independent:
the rest is that seeds differ."""
SHOWN = 0.005
"""Regret of a held-out model, in log error, from which on a note says so."""
NEAR = 0.05
"""A default size this near (relatively) to a held-out shard that waits is left out, since the
shard itself is forecast."""

Items = Callable[[str], Mapping[str, np.ndarray] | None]
"""Trial id -> the per-item validation sums and counts of its best step."""


@dataclass(frozen=True)
class Facts:
    """What the analysis needs besides the measurements."""

    spec: Spec
    shards: tuple[Shard, ...]
    unit: str
    metric: str
    metrics: tuple[str, ...]
    best_guess: Mapping[str, float]
    validation_group: np.ndarray
    sizes: Mapping[int, tuple[int, float]]
    """Model size -> (parameters, training FLOPs per unit of m), if they are known."""
    items: int = 0
    """Items of V; 0 where the training code has its own and does not say."""
    training_samples: float = 0.0
    """All that there are to train on, of which the shards may use a part; 0 in studies that an
    earlier version began."""


def analyse(
    facts: Facts,
    measurements: Sequence[Measurement],
    items: Items,
    registered: Sequence[HeldOutForecast] = (),
    *,
    at: Sequence[float] = (),
    times: Sequence[float] = (),
    targets: Sequence[Goal | float] = (),
    level: float = 0.9,
    provenance: Settings = (),
    paired: Paired | None = None,
) -> Analysis:
    """Best-fit models, curves of every metric, size laws, forecasts and their confrontations.

    A held-out shard becomes a point of every curve with the first seed of its model; its
    registered forecast does not change. ``at`` are sizes m besides the default ones, ``times``
    multiples of the data at hand. ``targets`` are errors, or goals that each metric on V converts
    to its own errors. ``paired`` returns standard errors that are known already, in place of
    ``items``."""
    paired = paired or paired_by(facts, items)
    best_fits = select(measurements, facts.shards, seeds=facts.spec.search.seeds, paired=paired)
    best_fits = with_size_curves(
        best_fits, measurements, _cells(facts.spec), facts.spec.family.sizes
    )
    laws = size_laws(best_fits, level)
    curves = _curves(facts, best_fits, measurements, laws, at, times, targets, level)
    answer_metric = answered_metric(facts.spec.domain.name, facts.metric, facts.metrics)
    seeds = facts.spec.search.seeds
    confronted = tuple(
        _confront(c, measurements, best_fits, seeds, answer_metric) for c in registered
    )
    notes = (*_held_out_notes(facts, curves, confronted), *_data_note(facts))
    curves = tuple(_with_notes(c, notes) for c in curves)
    return Analysis(
        facts.spec.study,
        facts.spec.domain.name,
        facts.spec.family.name,
        facts.spec.trainer.name,
        facts.unit,
        facts.metric,
        settings(facts.best_guess),
        facts.shards,
        best_fits,
        curves,
        laws,
        confronted,
        (),
        provenance,
        tuning=certificate([b for b in best_fits if not b.best.capped]),
    )


def _cells(spec: Spec) -> int:
    """The number of candidates on each shard: sizes times hyperparameter combinations."""
    return len(spec.family.sizes) * prod(map(len, spec.search.hyperparameters.values()))


def with_findings(analysis: Analysis, findings: Sequence[Finding]) -> Analysis:
    return replace(analysis, findings=tuple(findings))


# ---------------------------------------------------------------- pairs


def paired_by(facts: Facts, items: Items) -> Paired:
    """A function for the standard error of the difference between two candidates' errors.

    The difference is taken per validation item, averaged over the seeds that both candidates
    have, and clustered by group."""

    def errors(candidate: Candidate, seed: int, shard: tuple[int, int, float]) -> np.ndarray | None:
        permutation, count, samples = shard
        trial = Trial(permutation, count, samples, candidate.size, candidate.hyperparameters, seed)
        sums = items(trial.id)
        if sums is None or facts.metric not in sums or "count" not in sums:
            return None
        return np.stack([sums[facts.metric], sums["count"]])

    @lru_cache(maxsize=1)
    def errors_of_best(
        candidate: Candidate, place: tuple[int, int, float]
    ) -> dict[int, np.ndarray | None]:
        """The best candidate's errors by seed. All others of its shard are compared with it, so
        they are read once."""
        return {seed: errors(candidate, seed, place) for seed in candidate.seeds}

    def standard_error(one: Candidate, other: Candidate, shard: Shard) -> float | None:
        place = (shard.permutation, shard.items, shard.samples)
        pairs = [
            (errors(one, seed, place), errors_of_best(other, place)[seed])
            for seed in set(one.seeds) & set(other.seeds)
        ]
        differences = [(a[0] - b[0], a[1]) for a, b in pairs if a is not None and b is not None]
        if not differences:
            return None
        difference = np.mean([d for d, _ in differences], axis=0)
        count = differences[0][1]
        if len(difference) != len(facts.validation_group):
            return None
        paired = Scores(count, {facts.metric: difference})
        se = paired.standard_error(facts.metric, facts.validation_group)
        return se if np.isfinite(se) else None

    return standard_error


# ---------------------------------------------------------------- curves


def _curves(
    facts: Facts,
    best_fits: Sequence[BestFit],
    measurements: Sequence[Measurement],
    laws: Sequence[tuple[str, SizeLaw]],
    at: Sequence[float],
    times: Sequence[float],
    targets: Sequence[Goal | float],
    level: float,
) -> tuple[Curve, ...]:
    """The curves of the selection metric on V and on the test part, then of every other metric of
    the same models."""
    fitted = [b for b in best_fits if not b.withheld]
    measured = {b.samples for b in best_fits}
    at_hand = max(measured, default=0.0)
    waiting = {s.samples for s in facts.shards if s.held_out} - measured
    default_sizes = {at_hand * f for f in FACTORS} if fitted else set()
    default_sizes = {m for m in default_sizes if all(abs(m / held - 1) > NEAR for held in waiting)}
    if fitted and _more_than_trained_on(facts):
        default_sizes.add(facts.training_samples)
    requested = {*at, *(at_hand * factor for factor in times if fitted)}
    places = sorted(default_sizes | requested | waiting)
    compute = compute_of(facts, fitted, measurements)

    def curve(
        metric: str, part: str, points: Sequence[Point], targets: Sequence[Goal | float]
    ) -> Curve:
        se, items = validation_noise(facts, fitted, metric, part)
        law = fit(
            points=points,
            level=level,
            best_guess=facts.best_guess.get(metric),
            validation_se=se,
            validation_items=items,
            unit=facts.unit,
            metric=metric,
        )
        goals = errors_asked(targets, metric, max((p.error for p in law.points), default=0.0))
        forecast_errors = _forecast(law, places, goals, laws, compute, smallest_adequate(fitted))
        return Curve(metric, part, law, forecast_errors)

    points = study_points(best_fits)
    curves = [curve(facts.metric, "validation", points, targets)]
    test_points = [
        replace(p, error=b.test_error)
        for p, b in zip(points, best_fits, strict=True)
        if b.test_error
    ]
    if len(test_points) == len(points) and points:
        curves.append(curve(facts.metric, "test", test_points, ()))
    for metric in facts.metrics:
        if metric != facts.metric and all(dict(b.metrics).get(metric) for b in best_fits):
            others = of_other_metric(points, best_fits, metric)
            curves.append(curve(metric, "validation", others, targets))
    return tuple(curves)


def study_points(best_fits: Sequence[BestFit]) -> tuple[Point, ...]:
    """The points of the selection metric's curve: one for each draw and size."""
    return _single_draws_widened(points_of(best_fits))


def of_other_metric(
    points: Sequence[Point], best_fits: Sequence[BestFit], metric: str
) -> list[Point]:
    """The points of the same models with their errors in another ``metric``.

    Its seed noise differs and is not known here. In a search so unfinished that points are rough,
    the selection metric's standard errors are used for it as well. A better model is better in it
    by as much more or less as it changes more or less with the data."""
    rough = any("rough" in b.flags for b in best_fits)
    errors = [float(dict(b.metrics)[metric]) for b in best_fits]
    ratio = _relative_change([p.error for p in points], errors)
    return [
        replace(p, error=error, se_log=p.se_log if rough else None, regret=ratio * p.regret)
        for p, error in zip(points, errors, strict=True)
    ]


def _relative_change(selected: Sequence[float], errors: Sequence[float]) -> float:
    """Of a metric's log error, relative to that of the metric that selects; 0 where it falls
    while the other rises, or does not change."""
    if len(set(selected)) < FEWEST_POINTS or min(*selected, *errors) <= 0:
        return 0.0
    return max(float(np.polyfit(np.log(selected), np.log(errors), 1)[0]), 0.0)


def _single_draws_widened(points: Sequence[Point]) -> tuple[Point, ...]:
    """Add the variance between draws of the data to the held-out points' standard errors.

    A held-out point is measured on the first draw alone, while others are means over draws. The
    variance between draws of one size, beyond the noise of their scores, is pooled over sizes.
    Draws of large shards differ less, so the result is rather too wide."""
    squares, freedom = 0.0, 0
    for samples in {p.samples for p in points if p.used and not p.held_out}:
        same = [p for p in points if p.used and p.samples == samples]
        if len(same) > 1 and all(p.se_log for p in same):
            logs = np.log([p.error for p in same])
            noise = float(np.mean([(p.se_log or 0.0) ** 2 for p in same]))
            squares += float(((logs - logs.mean()) ** 2).sum()) - (len(same) - 1) * noise
            freedom += len(same) - 1
    variance = max(squares / freedom, 0.0) if freedom else 0.0
    return tuple(
        replace(p, se_log=float(np.hypot(p.se_log, variance**0.5)))
        if p.held_out and p.se_log and variance
        else p
        for p in points
    )


def _forecast(
    law: Fit,
    places: Sequence[float],
    goals: Sequence[float],
    laws: Sequence[tuple[str, SizeLaw]],
    compute: tuple[float, float] | None,
    smallest: float,
) -> Forecast:
    size_law = dict(laws)["smallest adequate"]
    if compute is None:  # a trainer that counts no FLOPs
        return without_compute(
            forecast(law, at=places, target=goals, size_law=size_law, smallest=smallest)
        )
    per_parameter, epochs = compute
    return forecast(
        law,
        at=places,
        target=goals,
        size_law=size_law,
        smallest=smallest,
        epochs=epochs,
        flops_per_parameter_sample=per_parameter,
    )


def smallest_adequate(fitted: Sequence[BestFit]) -> float:
    """Parameters of the smallest adequate model on the data at hand; 0 if unknown: that of the
    largest searched shard, or the one trained on a larger held-out shard, which was predicted to
    need no more."""
    searched = [b for b in fitted if b.searched]
    if not searched:
        return 0.0
    last = max(searched, key=lambda b: b.samples)
    held_out = [b for b in fitted if b.held_out and b.samples > last.samples]
    return float(max(b.adequate.parameters for b in (last, *held_out)))


def compute_of(
    facts: Facts, fitted: Sequence[BestFit], measurements: Sequence[Measurement]
) -> tuple[float, float] | None:
    """(training FLOPs per parameter and unit, passes over the data) of the largest shard's model.

    The largest shard may be a held-out one, since its passes over the data count as well."""
    if not fitted:
        return None
    largest = max(fitted, key=lambda b: b.samples)
    size = facts.sizes.get(largest.adequate.size)
    passes = [
        m.samples_seen / m.trial.samples
        for m in measurements
        if m.trial.samples == largest.samples and m.trial.size == largest.adequate.size
    ]
    if size is None or not passes or not size[0]:
        return None
    return size[1] / size[0], float(np.median(passes))


def validation_noise(
    facts: Facts, fitted: Sequence[BestFit], metric: str, part: str = "validation"
) -> tuple[float | None, float | None]:
    """What all points of a curve share because they use the same V: the relative standard error,
    or for the share of items that are wrong their number. (None, None) where neither is known."""
    if part != "validation":
        return None, None
    measured = [b for b in fitted if b.validation_se and metric == facts.metric]
    # an item may hold many units (a paragraph's characters): their errors are no 0 or 1 of it
    each = facts.items if all(s.items == s.samples for s in facts.shards) else 0
    scores = [(b.best.score, b.validation_se or 0.0) for b in measured]
    relative = float(np.median([se / e for e, se in scores])) if scores else None
    # as many independent items as give the measured error: fewer than there are, where they come
    # in groups (a speaker's clips)
    shares = [1 + e * (1 - e) / se**2 for e, se in scores if e < 1]
    worth = float(np.median(shares)) if shares else float(each)
    errors = [b.best.score if metric == facts.metric else dict(b.metrics)[metric] for b in fitted]
    shares_of_items = counts_items(metric) and all(float(e) <= 1 for e in errors)
    if not each or not shares_of_items or worth > each / ALL:  # more: no item is 0 or 1
        return relative, None
    return None, each if worth > ALL * each else round(worth, 1)


# ---------------------------------------------------------------- held out


def confrontation(
    facts: Facts,
    shard: Shard,
    analysis: Analysis,
    level: float,
    now: str,
    allowed: Allowed = lambda samples, size: True,
) -> HeldOutForecast | None:
    """The forecast for a held-out shard, and the model that will be trained to test it, of an
    ``allowed`` size.

    None while there is nothing to forecast from (the fit's outcome has the reason)."""

    def forecast_of(curve: Curve) -> ForecastPoint | None:
        """Of what will be measured on the validation set that all points share."""
        at = next((a for a in curve.forecast.at if a.samples == shard.samples), None)
        return None if at is None else on_the_same_items(curve.fit, at, level)

    at = forecast_of(analysis.curves[0])
    fitted = [b for b in analysis.best_fits if b.searched]
    if at is None or not fitted:
        return None
    size, reason = predicted_size(facts, shard.samples, fitted, dict(analysis.size_laws), allowed)
    values = hyperparameters_at(size, max(fitted, key=lambda b: b.samples))
    first = analysis.headline
    shown = None if first is analysis.curves[0] else forecast_of(first)
    return HeldOutForecast(shard.samples, at, level, size, reason, values, now, told=shown)


def unforecast_trials(
    analysis: Analysis, facts: Facts, forecast_sizes: Collection[float]
) -> list[Trial]:
    """Trials of the held-out shards without a forecast (``forecast_sizes`` have one).

    They train the best fit of the largest searched shard, so that the curve has these points."""
    searched = [b for b in analysis.best_fits if b.searched]
    if not searched:
        return []
    best = max(searched, key=lambda b: b.samples).best
    return [
        Trial(0, shard.items, shard.samples, best.size, best.hyperparameters, seed)
        for shard in facts.shards
        if shard.held_out and shard.permutation == 0 and shard.samples not in forecast_sizes
        for seed in range(facts.spec.search.seeds)
    ]


def held_out_trials(confrontations: Sequence[HeldOutForecast], facts: Facts) -> list[Trial]:
    """The trials that test registered forecasts."""
    shards = {(s.permutation, s.samples): s for s in facts.shards}
    return [
        Trial(0, shards[(0, c.samples)].items, c.samples, c.size, c.hyperparameters, seed)
        for c in confrontations
        if (0, c.samples) in shards
        for seed in range(facts.spec.search.seeds)
    ]


def _confront(
    registered: HeldOutForecast,
    measurements: Sequence[Measurement],
    best_fits: Sequence[BestFit],
    seeds: int,
    answer_metric: str,
) -> HeldOutForecast:
    """The registered forecast with the measured error: of the seeds there are so far.

    The model is found by the registered size and hyperparameters, since a study that was extended
    may no longer contain the shard."""
    key = (0, registered.samples, registered.size, registered.hyperparameters)
    trained = [m for m in measurements if m.trial.candidate == key]
    candidate = next(iter(candidates(trained, alone=True)), None)
    diverged = sum(m.status is Status.DIVERGED for m in trained)
    ended = diverged + (0 if candidate is None else len(candidate.seeds))
    so_far = f"{ended} of {seeds} seeds so far" if trained and ended < seeds else ""
    if candidate is None:
        return replace(
            registered, remark=", ".join(filter(None, [so_far, *_lost(trained, not so_far)]))
        )
    at, error = registered.forecast, candidate.score
    tests = [m.test_error for m in trained if m.test_error is not None]
    metrics = [float(v) for m in trained for name, v in m.metrics if name == answer_metric]
    # whether more steps would lower the error beyond its noise is judged over the whole study
    same = [b.best for b in best_fits if (b.permutation, b.samples) == key[:2]]
    capped = next(
        (c.capped for c in same if (c.size, c.hyperparameters) == key[2:]), candidate.capped
    )
    inside: bool | None = at.lower <= error <= at.upper
    withheld = next((b.withheld for b in best_fits if (b.permutation, b.samples) == key[:2]), "")
    # more seeds, steps or search may change it: not decided
    if so_far or ((capped or withheld) and error >= at.lower):
        inside = None
    return replace(
        registered,
        error=error,
        parameters=candidate.parameters or None,
        test_error=float(np.median(tests)) if tests else None,
        inside=inside,
        remark=", ".join(
            filter(None, ["capped: an upper bound" if capped else "", so_far, withheld])
        ),
        told_error=float(np.median(metrics)) if registered.told and metrics else None,
    )


def _lost(trained: Sequence[Measurement], ended: bool) -> list[str]:
    """How the trials of a held-out shard's model ended without a score, and what helps once all
    have ``ended``."""
    diverged = sum(m.status is Status.DIVERGED for m in trained)
    failed = sum(m.status in LOST for m in trained) - diverged
    lost = []
    if diverged:
        helps = "; with more data (--extend) the study searches the shard" if ended else ""
        lost.append(f"{diverged} diverged{helps}")
    if failed:
        lost.append(f"{failed} failed; 'steep status' says why, and --retry-failed tries again")
    return lost


def _with_notes(curve: Curve, notes: Sequence[str]) -> Curve:
    """The curve with notes added to its fit and to its forecast."""
    return replace(
        curve,
        fit=replace(curve.fit, notes=(*curve.fit.notes, *notes)),
        forecast=replace(curve.forecast, notes=(*curve.forecast.notes, *notes)),
    )


def _held_out_notes(
    facts: Facts, curves: Sequence[Curve], confronted: Sequence[HeldOutForecast]
) -> tuple[str, ...]:
    """Notes on which held-out shards the fits contain, and why they lack the others."""
    held_out = sorted({s.samples for s in facts.shards if s.held_out})
    used = {p.samples for p in curves[0].fit.used}
    within = [numbers.exact(m) for m in held_out if m in used]
    if not held_out or not used:
        return ()
    notes = []
    if within:
        ends = " to ".join(numbers.exact(m) for m in (min(used), max(used)))
        now = "it is measured" if len(within) == 1 else "they are measured"
        notes.append(
            f"Fitted to {ends} {facts.unit}, the held-out {' and '.join(within)} included, now "
            f"that {now}."
        )
    for p in curves[0].fit.used:
        if p.held_out and p.regret >= SHOWN:
            notes.append(
                f"At the held-out {numbers.exact(p.samples)} {facts.unit} one model was trained, "
                f"of a predicted size: the best one is expected {numbers.relative(-p.regret)} "
                "lower, and the fit uses that."
            )
    remarks = {c.samples: c.remark for c in confronted}
    remarks |= {p.samples: p.reason for p in curves[0].fit.points if p.held_out and p.reason}
    for m in held_out:
        if m not in used:
            shard = f"The held-out {numbers.exact(m)} {facts.unit}"
            reason = remarks.get(m) or "not measured yet"
            if m in {p.samples for p in curves[0].fit.bounds}:
                why = {p.reason for p in curves[0].fit.bounds if p.samples == m}
                notes.append(f"{shard} are in the fit as an upper bound: {' and '.join(why)}.")
            else:
                notes.append(f"{shard} are not in the fit: {reason}.")
    return tuple(notes)


def _more_than_trained_on(facts: Facts) -> bool:
    """Whether the study leaves much of the data aside, as one that keeps to a time does."""
    return facts.training_samples > (1 + NEAR) * max((s.samples for s in facts.shards), default=0.0)


def _data_note(facts: Facts) -> tuple[str, ...]:
    if not _more_than_trained_on(facts):
        return ()
    largest = max(s.samples for s in facts.shards)
    return (
        f"There are {numbers.exact(facts.training_samples)} {facts.unit} to train on in all, of "
        f"which the largest training set of this study has {numbers.exact(largest)}.",
    )


def beta_g(analysis: Analysis) -> Interval | None:
    """The exponent of the selection metric on V."""
    return analysis.curves[0].fit.beta_g if analysis.curves else None
