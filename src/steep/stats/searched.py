"""Error against model size on each shard, from a study's trials, and what they missed.

All trials of one draw of the data make one surface (``response.py``); of each shard it gives

- the U-curve: error against size at the best hyperparameters of each, with intervals;
- its minimum with an interval: in every draw of the surface the vertex of the parabola through the
  lowest size and its neighbours, or the ladder's edge;
- the *leftover of the search*: the root mean square, over draws, of f(chosen) - min f over the
  sizes and hyperparameters that were compared in the study, on this shard or on another. It is the
  expected opportunity cost of Chick & Inoue 2001 (Operations Research 49:732) with squared loss. It
  shrinks as candidates are tried and repeated;
- of a shard whose search is unfinished the *regret*: by how much the best model is expected to lie
  below the score, sizes of the ladder included that no shard has tried yet;
- the standard error of the shard's score: the root mean square, over draws, of log score - min f,
  less its mean over the finished shards, and less the regret. Where the lowest configuration of a
  draw has a hyperparameter at the end of its list, the one a step beyond counts as well, for it
  might be better still: nobody tried (``tuning.py``). The choice is off by what the search missed,
  and its score by the noise of its seeds; but of many candidates as good as each other the luckiest
  has a score that is low on every shard, and varies less than one candidate's. So it is less than
  the sum of the two, and it is what a point of the learning curve weighs by.

A held-out shard is measured with one model, whose size and hyperparameters were predicted from the
other shards: it has no optimum of its own, and no search to be lucky in. The surface extends to it
and gives by how much that model may be worse than the best of all that the study tried anywhere.
What is expected of this, less what the other shards' scores lie above their best, is its regret: a
model trained at one predicted size is never better than the best one, so that its score alone
would pull a curve upward. The standard error is what the draws vary about it, and the noise of its
seeds. That the score disagrees with the other shards is not held against it otherwise: one that is
better than expected weighs as much as any, one that is worse leaves open that a better model was
missed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, hypot, log, log10

import numpy as np

from steep.laws.law import Array
from steep.records import (
    AHEAD,
    FEWEST_POINTS,
    LOST,
    ONE_SEED,
    ONE_TRIED,
    SCORED,
    STOPPED_AHEAD,
    UNFINISHED,
    BestFit,
    Measurement,
    Settings,
    SizeCurve,
    Status,
    Value,
)
from steep.stats.response import BEND, Surface, fit_surface, squash, unsquash
from steep.stats.seeds import WORSE, seed_noise
from steep.stats.tuning import following

SIZE_EXPONENT = 0.3
"""Of the model size in m, as first expected: parameters as m**0.6 (the paper: 0.5 to 1), for a size
whose square they follow."""
FAR = 20.0
"""Log error: as far from the lowest of a shard as it may be drawn, where results leave all open."""
WORDS_APART = 1.5
"""Distance between the values of a hyperparameter that is no positive number."""
MOST = 150
"""Configurations, the best of each shard first, that a surface is made of: bad ones say little."""
DRAWS = 400
UNSURE = 0.1
"""Of an unfinished search: expected excess of its choice, in log error, from which on a shard says
too little to be a point of the learning curve."""
ROUGH = 0.3
"""Where too few shards for a curve would be left, those up to this are points all the same, as
unsure as they are: a rough curve says more than none."""
REACH = 2
"""Shards to either side of one on which a comparison of hyperparameters is taken to hold."""
UNCOMPARED = 0.07
"""Standard error, in log error, that a score has more where nothing within ``REACH`` compares the
hyperparameters of its model. The surface expects them to do on large shards what they did on small
ones; on the grid of characters by Adam they do not."""


@dataclass(frozen=True)
class Configuration:
    size: int
    hyperparameters: Settings


Tried = dict[Configuration, tuple[Measurement, ...]]
"""What is known of one shard, by configuration."""
PredictMinimum = Callable[[int, Measurement], tuple[float, float] | None]
"""(shard, stopped trial) -> (log error in the end, its standard error), where that can be
predicted."""


def scored(m: Measurement) -> bool:
    ended = m.status in SCORED
    return ended and m.validation_error is not None and m.validation_error > 0


def lost(m: Measurement) -> bool:
    return m.status in LOST


def by_config(measurements: Iterable[Measurement], permutation: int, samples: float) -> Tried:
    """The measurements of one shard."""
    found: dict[Configuration, list[Measurement]] = {}
    for m in measurements:
        if (m.trial.permutation, m.trial.samples) == (permutation, samples):
            found.setdefault(Configuration(m.trial.size, m.trial.hyperparameters), []).append(m)
    return {config: tuple(ms) for config, ms in found.items()}


@dataclass(frozen=True)
class Coordinates:
    """Where a configuration lies on the surface: log m, log size about its expectation,
    hyperparameters."""

    samples: float
    size: int
    choices: tuple[tuple[str, tuple[Value, ...]], ...]
    """The hyperparameters compared, with their values."""

    def place(self, samples: float, config: Configuration) -> tuple[float, ...]:
        x = log(samples / self.samples)
        z = log(config.size / self.size) - SIZE_EXPONENT * x
        given = dict(config.hyperparameters)
        return (x, z, *(_coordinate(given.get(name, v[0]), v) for name, v in self.choices))


def _coordinate(value: Value, choices: Sequence[Value]) -> float:
    if all(not isinstance(c, (str, bool)) and c > 0 for c in choices):
        return log(float(value))
    return WORDS_APART * choices.index(value)


def surface_of(
    samples: Sequence[float],
    tried: Sequence[Tried],
    coordinates: Coordinates,
    configs: Sequence[tuple[int, Configuration]],
    predict_minimum: PredictMinimum = lambda shard, m: None,
    worse: float = 0.0,
    coarse: bool = False,
) -> Surface:
    """The surface at ``configs`` (shard, configuration) from what was ``tried`` on each shard: of a
    configuration its whole trials, else what a stopped one predicts. ``worse`` is the noise of a
    seed that a configuration has more, per log error above the best (``seeds.py``): of a whole
    study. A search has too few repeats to know (docs/decisions/searching.md)."""
    rows: list[tuple[int, Configuration, float, int, float, float]] = []
    known = [{config: _logs(ms) for config, ms in here.items()} for here in tried]
    for i, (here, logs) in enumerate(zip(tried, known, strict=True)):
        lowest = min((float(np.mean(v)) for v in logs.values() if v), default=0.0)
        for config, ms in here.items():
            gone = sum(map(lost, ms))
            failed = sum(m.status is Status.FAILED for m in ms)
            if logs[config] or failed == 1:  # one crash says nothing of the error
                gone -= failed
            if logs[config] or gone:
                values = squash(np.array([*(v - lowest for v in logs[config]), *[np.inf] * gone]))
                mean = float(values.mean())
                more = (worse * mean) ** 2 / len(values)
                rows.append((i, config, lowest + mean, len(values), more, mean))
            elif (begun := [m for m in ms if not lost(m)]) and (
                predicted := predict_minimum(i, begun[0])
            ) is not None:
                above = float(squash(np.array(predicted[0] - lowest)))
                rows.append((i, config, lowest + above, 1, predicted[1] ** 2, above))
    rows = sorted(sorted(rows, key=lambda r: r[5])[:MOST], key=lambda r: (r[0], str(r[1])))
    at = np.array([coordinates.place(samples[i], config) for i, config, *_ in rows])
    values, counts, extra = (np.array([row[k] for row in rows], float) for k in (2, 3, 4))
    places = np.array([coordinates.place(samples[i], config) for i, config in configs])
    repeated = (
        [np.array(v) for config, v in logs.items() if v and not any(map(lost, here[config]))]
        for here, logs in zip(tried, known, strict=True)
    )
    within = seed_noise(repeated, worse)
    return fit_surface(at, values, counts, extra, within, places, coarse=coarse)


def _logs(measured: Sequence[Measurement]) -> list[float]:
    return [log(m.validation_error or 1.0) for m in measured if scored(m)]


# ---------------------------------------------------------------- of a study that was searched


def with_size_curves(
    best_fits: Sequence[BestFit],
    measurements: Sequence[Measurement],
    configs: int | None = None,
    ladder: Sequence[int] = (),
) -> tuple[BestFit, ...]:
    """The best fits with the size curve of their shards, where two shards were tried and two sizes
    or hyperparameters: of one size the curve is a point, with what the search missed.

    Where a search is unfinished it may yet choose sizes of the ``ladder`` that it has tried on no
    shard. A shard whose best model is not known to within ``UNSURE``, or behind a trial that was
    stopped, is withheld, or taken roughly where too few would be left; without a size curve, one
    where a single candidate has finished of the ``configs`` that the search chooses from (by
    default those that were tried on any shard). Where every shard has tried a single size nothing
    is known of the others: all are withheld."""
    found = {}
    for permutation in sorted({b.permutation for b in best_fits}):
        fitted = [b for b in best_fits if b.permutation == permutation]
        fitted = [b for b in fitted if b.best.score > 0]
        for b, curve in zip(fitted, _size_curves(fitted, measurements, ladder), strict=False):
            found[permutation, b.samples] = curve
    if configs is None:
        configs = len({(c.size, c.hyperparameters) for b in best_fits for c in b.candidates})
    drawn = [replace(b, size_curve=found.get((b.permutation, b.samples))) for b in best_fits]
    # where no shard shows how error changes with size, nothing is known of the sizes not tried
    alone = all(ONE_TRIED in b.flags for b in drawn if not b.held_out)
    unsure = [
        _withheld(b, configs, ladder) or (alone and not b.held_out and _untried_beside(b, ladder))
        for b in drawn
    ]
    known = {b.samples for b, out in zip(drawn, unsure, strict=True) if not b.held_out and not out}
    rough = len(known) < FEWEST_POINTS and not alone
    return _with_held_out(
        _unsure(b, rough, _behind(b, measurements), ladder) if out else b
        for b, out in zip(drawn, unsure, strict=True)
    )


def _with_held_out(best_fits: Iterable[BestFit]) -> tuple[BestFit, ...]:
    """The best fits, with the held-out shards withheld as well where the largest searched shard is:
    their model was predicted while nothing said which is best there, and may be far too small."""
    found = tuple(best_fits)
    searched = [b for b in found if not b.held_out]
    last = max(searched, key=lambda b: b.samples, default=None)
    if last is None or not last.withheld:
        return found
    flags = ("withheld",)
    return tuple(
        replace(b, withheld=last.withheld, flags=b.flags + flags) if b.held_out else b
        for b in found
    )


def _behind(b: BestFit, measurements: Sequence[Measurement]) -> float:
    """By how much, in log error, a best fit is behind a trial of its shard that was stopped."""
    if STOPPED_AHEAD not in b.flags:
        return 0.0
    place = (b.permutation, b.samples)
    errors = [
        m.validation_error
        for m in measurements
        if m.status is Status.STOPPED and (m.trial.permutation, m.trial.samples) == place
    ]
    return log(b.best.score / min(e for e in errors if e is not None and e > 0))


def _unsure(b: BestFit, rough: bool, behind: float, ladder: Sequence[int]) -> BestFit:
    """A shard that is withheld; or, if it is not too unsure to be a ``rough`` point, one with what
    its model may lose to others, or is ``behind`` one of them, in its standard error."""
    curve = b.size_curve
    if rough and curve is not None and max(curve.leftover, behind) <= ROUGH:
        curve = replace(curve, score_se=hypot(curve.score_se, curve.leftover, behind))
        return replace(b, size_curve=curve, flags=(*b.flags, "rough"))
    return replace(b, withheld=_why(b, ladder), flags=(*b.flags, "withheld"))


def _unfinished(b: BestFit, ladder: Sequence[int]) -> bool:
    """Whether its choice may not be the last word: where one seed is all that is wanted, nothing
    shows that a search has come back to its choice to confirm it; and a search tries the sizes
    beside its choice before it ends."""
    return "incomplete" in b.flags or len(b.best.seeds) == 1 or _untried_beside(b, ladder)


def _untried_beside(b: BestFit, ladder: Sequence[int]) -> bool:
    """Whether no larger size, or no smaller one, than the best was tried where there are some."""
    larger, smaller = (any(sign * s > sign * b.best.size for s in ladder) for sign in (1, -1))
    if ONE_TRIED in b.flags:
        return larger or smaller
    return (b.edge == "high" and larger) or (b.edge == "low" and smaller)


def _why(b: BestFit, ladder: Sequence[int]) -> str:
    if STOPPED_AHEAD in b.flags:
        return AHEAD
    return UNFINISHED if "incomplete" in b.flags or _untried_beside(b, ladder) else ONE_SEED


def _withheld(b: BestFit, configs: int, ladder: Sequence[int]) -> bool:
    if STOPPED_AHEAD in b.flags:
        return not b.held_out
    if b.held_out or not _unfinished(b, ladder):
        return False
    if b.size_curve is not None:
        return b.size_curve.leftover > UNSURE
    return len(b.candidates) == 1 < configs


def _size_curves(
    fitted: Sequence[BestFit], measurements: Sequence[Measurement], ladder: Sequence[int]
) -> list[SizeCurve]:
    samples = [b.samples for b in fitted]
    tried = [by_config(measurements, b.permutation, b.samples) for b in fitted]
    # of a held-out shard's only model the seeds that ended say how good it is
    tried = [
        {c: tuple(m for m in ms if not lost(m)) or ms for c, ms in here.items()}
        if b.held_out
        else here
        for b, here in zip(fitted, tried, strict=True)
    ]
    sizes = {config.size for here in tried for config in here}
    if sum(not b.held_out for b in fitted) < 2 or (len(sizes) < 2 and not _compared(tried)):
        return []
    every = {config.hyperparameters for here in tried for config in here}
    coordinates = Coordinates(samples[0], min(sizes), _compared(tried))
    open_ = [b.held_out or _unfinished(b, ladder) for b in fitted]
    parts = []
    for here, unfinished in zip(tried, open_, strict=True):
        # an unfinished search may yet choose what it has tried on other shards alone, and sizes
        # beyond those
        values = every if unfinished else {c.hyperparameters for c in here}
        # a step beyond a list, and the value before its end, which may not have been tried here
        more = {w for v in values for pair in _beyond(v, coordinates.choices) for w in pair}
        more -= values
        outside = {z for z in ladder if unfinished and not min(sizes) <= z <= max(sizes)}
        pairs = ((sizes, values), (sizes, more), (outside, values))
        parts.append([_configurations(*pair) for pair in pairs])
    configs = [(i, c) for i, part in enumerate(parts) for group in part for c in group]
    surface = surface_of(samples, tried, coordinates, configs, worse=WORSE)
    if surface.noise > BEND:  # what is squashed has less noise than its seeds
        return []
    known = {m.trial.size: float(m.parameters or 0) for m in measurements if scored(m)}
    random = np.random.default_rng(0)
    shards = []
    for i, b in enumerate(fitted):
        draws = _of_shard(surface, configs, i, tried[i], random)
        own = [config for shard, config in configs if shard == i]
        listed, inside = parts[i][0], np.asarray(draws[:, : len(parts[i][0])])
        lowest = _lowest(own, draws, len(listed), coordinates.choices)
        untried = _lowest_untried(own, draws, sizes)
        chosen = np.asarray(draws[:, own.index(Configuration(b.best.size, b.best.hyperparameters))])
        best = np.minimum(inside.min(axis=1), untried)
        shards.append(_Shard(listed, inside, chosen, np.minimum(lowest, untried), best))
    scores = _regret_and_se(fitted, shards, open_)
    for i, (b, (regret, se)) in enumerate(zip(fitted, scores, strict=True)):
        near = tried[max(i - REACH, 0) : i + REACH + 1]
        compared = any(_compared_at(b.best.size, here) for here in near)
        if open_[i] and not b.held_out and len(every) > 1 and not compared:
            scores[i] = regret, hypot(se, UNCOMPARED)
    return [_size_curve(shard, known, *scores[i], random) for i, shard in enumerate(shards)]


def _configurations(sizes: Iterable[int], values: Iterable[Settings]) -> tuple[Configuration, ...]:
    ordered = sorted(values, key=str)
    return tuple(Configuration(z, v) for z in sorted(sizes) for v in ordered)


def _lowest_untried(
    configs: Sequence[Configuration], draws: Array, tried: Collection[int]
) -> Array:
    """Of each draw (draws, configs) the lowest log error of the sizes beyond those that were
    ``tried`` on any shard; inf where none are among ``configs``.

    Error is taken to be convex in log size: a step beyond the last size gains no more than the step
    to it did."""
    index = {config: k for k, config in enumerate(configs)}
    found = np.full(len(draws), np.inf)
    inside = sorted(tried)
    if len(inside) < 2:
        return found
    ends = ((inside[-2:], lambda z: z > inside[-1]), (inside[1::-1], lambda z: z < inside[0]))
    for values in {c.hyperparameters for c in configs}:
        for (before, last), outside in ends:
            sizes = {c.size for c in configs if outside(c.size) and c.hyperparameters == values}
            one, other = (draws[:, index[Configuration(z, values)]] for z in (before, last))
            slope = (other - one) / abs(log(last / before))
            for z in sorted(sizes, reverse=last < before):
                step = abs(log(z / last))
                at = np.maximum(draws[:, index[Configuration(z, values)]], other + slope * step)
                found = np.minimum(found, at)
                slope, other, last = (at - other) / step, at, z
    return found


@dataclass(frozen=True)
class _Shard:
    """Draws of the log error of one shard's configurations."""

    configs: tuple[Configuration, ...]
    draws: Array
    """(draws, configs)"""
    chosen: Array
    """(draws,) of the configuration that was chosen,"""
    lowest: Array
    """of the best one, a step beyond the lists and the untried sizes of an unfinished search
    included,"""
    best: Array
    """and of the best of the lists and those sizes."""


def _beyond(
    values: Settings, choices: Sequence[tuple[str, tuple[Value, ...]]]
) -> Iterable[tuple[Settings, Settings]]:
    """Where one of these ``values`` is at an end of its list: the combinations a step beyond it,
    and the one before it."""
    given = dict(values)
    for name, listed in choices:
        new = following(name, given[name], listed) if name in given else None
        if new is not None:
            ordered = sorted(listed, key=lambda v: (isinstance(v, str), v))
            before = ordered[1] if given[name] == ordered[0] else ordered[-2]
            yield (
                tuple((n, new if n == name else v) for n, v in values),
                tuple((n, before if n == name else v) for n, v in values),
            )


def _lowest(
    configs: Sequence[Configuration],
    draws: Array,
    listed: int,
    choices: Sequence[tuple[str, tuple[Value, ...]]],
) -> Array:
    """Of each draw (draws, configs) the lowest log error of the first ``listed`` configurations, or
    of those a step beyond that one.

    Error is taken to be convex in the logarithm of a hyperparameter: a step beyond the last value
    gains no more than the step to it did."""
    best = draws[:, :listed].argmin(axis=1)
    found = draws[np.arange(len(draws)), best]
    index = {config: k for k, config in enumerate(configs)}
    for k in set(best.tolist()):
        mine, size = best == k, configs[k].size
        for beyond, before in _beyond(configs[k].hyperparameters, choices):
            at, inner = (index.get(Configuration(size, values)) for values in (beyond, before))
            if at is None or inner is None:
                continue
            gained = draws[mine, inner] - draws[mine, k]
            gain = np.minimum(draws[mine, k] - draws[mine, at], gained)
            found[mine] = np.minimum(found[mine], draws[mine, k] - gain)
    return found


def _compared_at(size: int, here: Tried) -> bool:
    """Whether several combinations of hyperparameters were tried with one model size."""
    return sum(config.size == size for config in here) > 1


def _of_shard(
    surface: Surface,
    configs: Sequence[tuple[int, Configuration]],
    shard: int,
    tried: Tried,
    random: np.random.Generator,
) -> Array:
    """Log error of the shard's configurations, (draws, configs)."""
    here = np.array([k for k, (i, _) in enumerate(configs) if i == shard])
    lowest = min(float(np.mean(logs)) for ms in tried.values() if (logs := _logs(ms)))
    with np.errstate(over="ignore"):
        drawn = unsquash(_draws(surface, here, random) - lowest)
    return lowest + np.clip(drawn, -FAR, FAR)


def _regret_and_se(
    fitted: Sequence[BestFit], shards: Sequence[_Shard], open_: Sequence[bool]
) -> list[tuple[float, float]]:
    """Of each shard's log score: by how much the best model is expected to lie below it, where its
    search is unfinished or it is held out, and the standard error of what is left of it.

    What all scores are off by is the luck of the lowest of many; what
    an unfinished search has missed is none of it."""
    off = [log(b.best.score) - here.lowest for b, here in zip(fitted, shards, strict=True)]
    mean = {i: float(off[i].mean()) for i, b in enumerate(fitted) if not b.held_out}
    sure = [i for i in mean if np.mean((shards[i].chosen - shards[i].best) ** 2) <= UNSURE**2]
    finished = [mean[i] for i in sure if not open_[i]]
    common = float(np.mean(finished or [min(0.0, gap) for gap in mean.values()]))
    found = []
    for b, here, gap, unfinished in zip(fitted, shards, off, open_, strict=True):
        seeds = 0.0
        if b.held_out:
            gap = here.chosen - here.lowest
            seeds = (b.seed_se or 0.0) / b.best.score
        regret = max(float(gap.mean()) - common, 0.0) if unfinished else 0.0
        se = float(np.sqrt(((gap - common - regret) ** 2).mean() + seeds**2))
        found.append((_rounded(regret), _rounded(se)))
    return found


def _rounded(value: float) -> float:
    """To four digits: 400 draws are no more precise, and with a nearly singular covariance the
    sixth digit depends on the number of threads, which results should not."""
    return round(value, 3 - floor(log10(abs(value)))) if value else 0.0


def _compared(tried: Sequence[Tried]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    values: dict[str, set[Value]] = {}
    for here in tried:
        for config in here:
            for name, value in config.hyperparameters:
                values.setdefault(name, set()).add(value)
    return tuple(
        (name, tuple(sorted(v, key=lambda x: (isinstance(x, str), x))))
        for name, v in sorted(values.items())
        if len(v) > 1
    )


def _draws(surface: Surface, here: Array, random: np.random.Generator) -> Array:
    value, vector = np.linalg.eigh(surface.covariance[np.ix_(here, here)])
    # the symmetric root: eigenvectors have no sign, and of equal eigenvalues no direction
    root = (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
    return np.asarray(surface.mean[here] + random.standard_normal((DRAWS, len(here))) @ root)


def _size_curve(
    shard: _Shard,
    known: Mapping[int, float],
    missed: float,
    score_se: float,
    random: np.random.Generator,
) -> SizeCurve:
    """Error against model size on one shard, from draws of its surface. ``known`` maps sizes to
    parameters."""
    configs, draws = shard.configs, shard.draws
    regret, excess = shard.chosen - shard.best, shard.chosen - shard.lowest
    sizes = sorted({config.size for config in configs})
    of_size = np.array([config.size for config in configs])
    lowest = np.stack([draws[:, of_size == size].min(axis=1) for size in sizes], axis=1)
    error = np.exp(np.quantile(lowest, [0.05, 0.5, 0.95], axis=0))
    best = _minima(np.log(sizes), lowest, random)
    low, mid, high = np.exp(np.quantile(best, [0.05, 0.5, 0.95])).tolist()
    scale = sorted((s, p) for s, p in known.items() if p > 0)

    def parameters(size: float) -> float:
        if len(scale) < 2:
            return 0.0
        x, y = np.log([s for s, _ in scale]), np.log([p for _, p in scale])
        return float(np.exp(np.interp(log(size), x, y)))

    return SizeCurve(
        sizes=tuple(sizes),
        parameters=tuple(parameters(s) for s in sizes),
        lower=tuple(map(_rounded, error[0].tolist())),
        error=tuple(map(_rounded, error[1].tolist())),
        upper=tuple(map(_rounded, error[2].tolist())),
        minimum=(_rounded(parameters(mid)), _rounded(parameters(low)), _rounded(parameters(high))),
        minimum_size=(_rounded(mid), _rounded(low), _rounded(high)),
        leftover=_rounded(float(np.sqrt((regret**2).mean()))),
        score_se=score_se,
        excess=_rounded(float(excess.mean())),
        excess_sd=_rounded(float(excess.std())),
        regret=missed,
    )


def _minima(u: Array, lowest: Array, random: np.random.Generator) -> Array:
    """Log size of the minimum of each draw (draws, sizes).

    A U-curve is no parabola: between the sizes of a ladder its minimum is not known to better than
    a quarter of a step to both sides."""
    at = lowest.argmin(axis=1)
    found = u[at].copy()
    inner = (at > 0) & (at < len(u) - 1)
    rows, j = np.flatnonzero(inner), at[inner]
    a, b, c = (lowest[rows, j + k] for k in (-1, 0, 1))
    left, right = u[j] - u[j - 1], u[j + 1] - u[j]
    down, up = (b - a) / left, (c - b) / right  # slopes to both sides: down <= 0 <= up
    bend = np.maximum(up - down, 1e-12)
    middle_left, middle_right = u[j] - left / 2, u[j] + right / 2
    middle = middle_left + (middle_right - middle_left) * (-down / bend)
    found[rows] = middle + random.uniform(-0.25, 0.25, len(rows)) * (left + right) / 2
    return found
