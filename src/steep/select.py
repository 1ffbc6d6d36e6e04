"""Selection: from the measurements of a study to the best-fit model of each shard.

A candidate's score is the *median over seeds of the run's minimum validation error*. The best fit
is the candidate with the lowest *estimate*, not the lowest score: the lowest of many noisy scores
is biased downwards (the winner's bias), the more so the fewer seeds it has. The estimate shrinks
each score towards the mean of its shard's good candidates by the share of its variance that is
seed noise (empirical Bayes, Efron & Morris 1975). Both the noise and the variance of the
candidates about their means are pooled over shards. If all candidates have the same number of
seeds, the lowest score wins.

Besides the best fit, the smallest adequate size is selected: the smallest one within one standard
error of the best fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, hypot, log

import numpy as np
import pandas as pd

from steep.records import (
    LOST,
    ONE_TRIED,
    SCORED,
    STOPPED_AHEAD,
    BestFit,
    Candidate,
    Measurement,
    Settings,
    Shard,
    Status,
)
from steep.stats.seeds import NEAR, seed_noise

Paired = Callable[[Candidate, Candidate, Shard], float | None]
"""Standard error of the difference of two candidates' errors over the validation items they
share (absolute), or None where per-item errors are not at hand."""

_MEDIAN_VARIANCE = {1: 1.0, 2: 0.5, 3: 0.4487, 4: 0.2982, 5: 0.2868, 6: 0.2147, 7: 0.2104}
"""Variance of the median of n unit normals (Harter & Balakrishnan, order-statistics tables)."""


ENDED = 0.01
"""A score that could still fall by less than this (in log) counts as final."""
LONGER = 2.5
"""How far a capped trial could still fall is judged as if it had this many times its steps: the
proposed stopping rule ends a trial when that many steps bring no improvement."""


def median_variance(n: int) -> float:
    """Variance of the median of ``n`` unit normals. Beyond the table, the asymptotic pi / (2 n)
    with a correction taken from the table's last odd and even entries: within 1 %."""
    return _MEDIAN_VARIANCE.get(n, np.pi / (2 * n + (0.92 if n % 2 else 2.68)))


def select(
    measurements: Iterable[Measurement],
    shards: Sequence[Shard],
    *,
    seeds: int,
    paired: Paired | None = None,
) -> tuple[BestFit, ...]:
    """The best-fit model of every shard that has a finished candidate, by (draw, size).

    Only COMPLETE and CAPPED runs have a score; a diverged seed counts as infinitely bad, but where
    too few seeds of a held-out shard's only model end. A best fit
    with fewer than ``seeds`` seeds is flagged 'incomplete', and its standard error contains its
    winner's bias."""
    trials = defaultdict(list)
    for measurement in measurements:
        trials[(measurement.trial.permutation, measurement.trial.samples)].append(measurement)
    pools = {
        (shard.permutation, shard.samples): candidates(
            trials[(shard.permutation, shard.samples)], shard.held_out
        )
        for shard in shards
    }
    noise = _noise(tuple(pools.values()))
    best_fits = []
    for shard in shards:
        pool = pools[(shard.permutation, shard.samples)]
        members = trials[(shard.permutation, shard.samples)]
        best_fit = _best_fit(shard, pool, members, noise, seeds, paired)
        if best_fit is not None:
            best_fits.append(best_fit)
    # a single size has no neighbours, so its being at an edge means nothing
    if len({m.trial.size for ms in trials.values() for m in ms}) == 1:
        best_fits = [_without_edges(best_fit) for best_fit in best_fits]
    return tuple(best_fits)


def _without_edges(best_fit: BestFit) -> BestFit:
    flags = tuple(f for f in best_fit.flags if not f.startswith("edge") and f != ONE_TRIED)
    return replace(best_fit, edge="", adequate_edge="", flags=flags)


def candidates(measurements: Iterable[Measurement], alone: bool = False) -> tuple[Candidate, ...]:
    """The candidates of one shard, scored, in order of size then hyperparameters. ``alone``: there
    is but one model, as on a held-out shard; its score is of the seeds that did not diverge, where
    too many did for a median of all."""
    groups: dict[tuple[int, Settings], list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        groups[(measurement.trial.size, measurement.trial.hyperparameters)].append(measurement)
    return tuple(
        candidate
        for (size, values), members in sorted(groups.items(), key=lambda g: (g[0][0], str(g[0][1])))
        if (candidate := _candidate(size, values, members, alone)) is not None
    )


def _candidate(
    size: int, values: Settings, members: list[Measurement], alone: bool
) -> Candidate | None:
    """The scored candidate of these trials, one per seed; None if it has no finite score."""
    members = sorted(members, key=lambda m: m.trial.seed)
    scored = [m for m in members if m.status in SCORED]
    scored = [m for m in scored if m.validation_error is not None]
    diverged = sum(m.status is Status.DIVERGED for m in members)
    if not scored:
        return None
    errors = [float(m.validation_error or 0.0) for m in scored]
    score, counted = float(np.median(errors + [np.inf] * diverged)), diverged
    if not np.isfinite(score):
        if not alone:
            return None
        score, counted = float(np.median(errors)), 0
    drop = _possible_drop(scored, errors, counted)
    return Candidate(
        size,
        values,
        tuple(m.trial.seed for m in scored),
        tuple(errors),
        score,
        scored[0].parameters or 0,
        scored[0].parameters_without_embeddings or 0,
        capped=drop > ENDED,
        fall=drop,
        diverged=diverged,
    )


def _possible_drop(scored: Sequence[Measurement], errors: Sequence[float], diverged: int) -> float:
    """How much lower (in log error) a score could be if its capped trials ran ``LONGER`` times as
    long and gained as much as in the last such stretch; inf if a training curve is unknown."""
    lowest = [
        error * exp(-_last_gain(m)) if m.status is Status.CAPPED else error
        for m, error in zip(scored, errors, strict=True)
    ]
    before, after = (float(np.median([*e, *[np.inf] * diverged])) for e in (errors, lowest))
    if before == after:
        return 0.0
    return log(before / after) if after > 0 else np.inf


def _last_gain(m: Measurement) -> float:
    """By how much (in log) the lowest error fell since step ``last / LONGER``."""
    earlier = [p.validation_error for p in m.curve if p.step <= m.curve[-1].step / LONGER]
    lowest = min((p.validation_error for p in m.curve), default=0.0)
    return log(min(earlier) / lowest) if earlier and lowest > 0 else np.inf


@dataclass(frozen=True)
class _Noise:
    """How much the scores of a study vary, in log error."""

    seeds: float | None
    """Standard deviation over seeds of candidates about as good as the best. None when no
    candidate has two seeds: the noise is then unknown, not zero."""
    between: float
    """Variance of the noise-free scores of a shard's good candidates about their mean; at least a
    quarter of one seed's variance, since data cannot show that candidates are exactly equal."""

    def bias(self, candidate: Candidate, pool: Sequence[Candidate]) -> float:
        """By how much (in log) a score is expected to be too low as one of its shard's ``pool``."""
        near = _near(pool)
        if self.seeds is None or candidate not in near or len(near) < 2:
            return 0.0
        variance = self.seeds**2 * median_variance(len(candidate.errors))
        share = variance / (variance + self.between) if variance else 0.0
        return share * (float(np.mean([log(c.score) for c in near])) - log(candidate.score))


def _noise(pools: Sequence[Sequence[Candidate]]) -> _Noise:
    """The noise of a study, pooled over the candidates of all shards."""
    variance, freedom = seed_noise(
        [np.log(c.errors) for c in pool if min(c.errors) > 0] for pool in pools
    )
    squares, degrees = 0.0, 0
    for near in map(_near, pools):
        logs = np.log([c.score for c in near])
        noise = [variance * median_variance(len(c.errors)) for c in near]
        if len(near) > 1:
            degrees += len(near) - 1
            squares += float(((logs - logs.mean()) ** 2).sum() - (len(near) - 1) * np.mean(noise))
    between = max(squares / max(degrees, 1), variance / 4)
    return _Noise(float(np.sqrt(variance)) if freedom else None, between)


def _near(pool: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with scores near the best one's. Bad candidates vary in other ways and say
    nothing about the noise of the good ones."""
    positive = [c for c in pool if c.score > 0]
    lowest = min((c.score for c in positive), default=0.0)
    return [c for c in positive if c.score < lowest * np.exp(NEAR)]


def _best_fit(
    shard: Shard,
    pool: Sequence[Candidate],
    members: Sequence[Measurement],
    noise: _Noise,
    seeds: int,
    paired: Paired | None,
) -> BestFit | None:
    """The best fit and the smallest adequate model among a shard's candidates."""
    if not pool:
        return None
    spread = noise.seeds
    pool = [replace(c, estimate=c.score * exp(noise.bias(c, pool))) for c in pool]

    def order(c: Candidate) -> tuple[float, float, int]:
        return c.expected, c.score, c.size

    best = min(pool, key=order)
    incomplete = len(best.seeds) + best.diverged < seeds
    flags = ["incomplete"] if incomplete else []
    seed_se = None if spread is None else spread * best.score * _median_sd(len(best.errors))
    # shards with all seeds share their winner's bias, which then does not bend the curve
    if seed_se is not None and incomplete:
        seed_se = hypot(seed_se, best.expected - best.score)
    sizes = sorted({c.size for c in pool})
    per_size = {s: min((c for c in pool if c.size == s), key=order) for s in sizes}
    within = {s: _within_one_se(per_size[s], best, shard, spread, paired) for s in sizes}
    adequate = per_size[min(s for s in sizes if within[s])]
    plateau = best.size > adequate.size or any(within[s] for s in sizes if s > best.size)
    # a size whose trials failed, diverged or were stopped counts as tried: no edge then
    tried = sorted({*sizes, *(m.trial.size for m in members if tried_in_vain(m, best.score))})
    if len(tried) == 1 and not shard.held_out:  # it says nothing of larger or smaller ones
        flags.append(ONE_TRIED)
    if any(m.status is Status.STOPPED and _ahead(m, best.score - (seed_se or 0)) for m in members):
        flags.append(STOPPED_AHEAD)
    edge = "" if shard.held_out else _edge(best.size, tried)
    # a possible further fall within the seeds' noise is added to the noise, not flagged
    if seed_se is not None and best.fall * best.score <= seed_se:
        best, seed_se = replace(best, capped=False), hypot(seed_se, best.fall * best.score)
    if best.capped:
        flags.append("capped")
    if best.diverged:
        flags.append("diverged seeds")
    if plateau:
        flags.append("plateau")
    if edge:
        flags.append(f"edge {edge}")
    of_best = [m for m in members if _belongs(m, best) and m.validation_error is not None]
    return BestFit(
        shard.permutation,
        shard.samples,
        shard.unit,
        shard.held_out,
        best,
        adequate,
        plateau,
        edge,
        "" if shard.held_out else _edge(adequate.size, tried),
        seed_se,
        _mean([m.validation_error_se for m in of_best]),
        _median([m.test_error for m in of_best]),
        _median_metrics(of_best),
        tuple(pool),
        tuple(flags),
    )


def _median_sd(n: int) -> float:
    """Standard deviation of the median of ``n`` unit normals."""
    return float(np.sqrt(median_variance(n)))


def _within_one_se(
    one: Candidate, best: Candidate, shard: Shard, spread: float | None, paired: Paired | None
) -> bool:
    """Whether ``one`` is within one standard error of ``best``, over seeds and, where per-item
    errors are known, over the validation items in pairs."""
    if one is best:
        return True
    if spread is None:  # the noise of seeds is not known: only an equal or better score counts
        return one.score <= best.score
    over_seeds = spread * np.hypot(
        one.score * _median_sd(len(one.errors)), best.score * _median_sd(len(best.errors))
    )
    over_items = (paired(one, best, shard) if paired else None) or 0.0
    return bool(one.score - best.score <= np.hypot(over_seeds, over_items))


def _edge(size: int, sizes: Sequence[int]) -> str:
    """'high' or 'low' if ``size`` is the largest or smallest of ``sizes``, else ''; '' of a single
    size, which shows neither end."""
    if len(sizes) == 1:
        return ""
    return "high" if size == sizes[-1] else "low" if size == sizes[0] else ""


def tried_in_vain(measurement: Measurement, best: float) -> bool:
    """Whether a trial has no score because it did badly: it failed, diverged, or was stopped with
    an error that was still above the ``best`` score."""
    stopped = measurement.status is Status.STOPPED and measurement.validation_error is not None
    if stopped:
        return not _ahead(measurement, best)
    return measurement.status in LOST


def _ahead(measurement: Measurement, score: float) -> bool:
    """Whether a trial's error, at the end or where it was stopped, is already below a score."""
    return measurement.validation_error is not None and measurement.validation_error < score


def _belongs(measurement: Measurement, candidate: Candidate) -> bool:
    """Whether a trial has the candidate's size and hyperparameters."""
    trial = measurement.trial
    return trial.size == candidate.size and trial.hyperparameters == candidate.hyperparameters


def _mean(values: Sequence[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return float(np.mean(present)) if present else None


def _median(values: Sequence[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return float(np.median(present)) if present else None


def _median_metrics(members: Sequence[Measurement]) -> Settings:
    """Each metric's median over the seeds of the best-fit model."""
    values: dict[str, list[float]] = defaultdict(list)
    for measurement in members:
        for name, value in measurement.metrics:
            values[name].append(float(value))
    return tuple((name, float(np.median(v))) for name, v in sorted(values.items()))


# ---------------------------------------------------------------- ladders


def next_size(sizes: Sequence[int], direction: str, smallest: int = 1) -> int | None:
    """The size that extends a ladder at an edge by its last ratio; None below ``smallest``."""
    ascending = sorted(sizes)
    pairs = list(pairwise(ascending)) or [(ascending[0], 2 * ascending[0])]
    if direction == "high":
        low, high = pairs[-1]
        return max(round(high * high / low), high + 1)
    low, high = pairs[0]
    shrunk = min(round(low * low / high), low - 1)
    return shrunk if shrunk >= smallest else None


# ---------------------------------------------------------------- the long table


def table(
    measurements: Iterable[Measurement], *, study: str, domain: str, family: str, unit: str
) -> pd.DataFrame:
    """One row per trial, in tidy form: the content of ``results/trials.csv``."""
    return pd.DataFrame(
        {"study": study, "domain": domain, "family": family} | _row(m, unit) for m in measurements
    )


def _row(m: Measurement, unit: str) -> dict[str, object]:
    t = m.trial
    before = {
        "permutation": t.permutation,
        "shard": t.items,
        "samples": t.samples,
        "unit": unit,
        "size": t.size,
        "parameters": m.parameters,
        "parameters_without_embeddings": m.parameters_without_embeddings,
        "seed": t.seed,
    }
    after = {name: getattr(m, name) for name in _COLUMNS}
    after |= {"status": m.status.value, "reason": m.reason}
    after |= {f"metric_{name}": value for name, value in m.metrics}
    after |= {"versions": "; ".join(f"{name} {version}" for name, version in m.versions)}
    taken = {"study", "domain", "family", *before, *after}
    return before | beside(t.hyperparameters, taken) | after


def beside(hyperparameters: Settings, taken: Collection[str]) -> dict[str, object]:
    """Hyperparameters as columns; one whose name is ``taken`` gets a prefix."""
    return {f"hyperparameter_{n}" if n in taken else n: v for n, v in hyperparameters}


_COLUMNS = (
    "validation_error",
    "validation_error_se",
    "validation_loss",
    "test_error",
    "test_loss",
    "train_error",
    "best_step",
    "steps",
    "samples_seen",
    "evaluations",
    "flops",
    "seconds",
    "peak_memory",
    "engine",
    "device",
    "threads",
    "weights_hash",
)


def trainable_sizes(sizes: Sequence[int]) -> list[int]:
    """All sizes that a study may train: its ladder, extended twice at each end, and the sizes that
    divide each step in four."""
    ladder = list(sizes)
    for direction in ("high", "high", "low", "low"):
        extra = next_size(ladder, direction)
        ladder = sorted({*ladder, extra}) if extra is not None else ladder
    between = {
        round(low * (high / low) ** (k / 4)) for low, high in pairwise(ladder) for k in range(4)
    }
    return sorted(between | set(ladder))
