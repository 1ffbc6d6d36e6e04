"""A summary of a search over sizes and hyperparameters: edges, how trials ended, mixtures.

It has only facts, from best fits and measurements; ``search_findings.py`` judges and words them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np

from steep.records import SCORED, BestFit, Candidate, Measurement, Point, Status, Tuning, Value
from steep.select import median_variance
from steep.stats.tuning import certificate, may_fall_with_size

FALLBACK_SE = 0.02
"""Standard error of log error if it is not known from seeds: 2 %."""
AS_GOOD = 0.2
"""Log error above the best within which a larger size may be better at a rate of its own."""
NEAR = 4.5
"""Values tried on shards within this ratio of sizes count as tried on a shard."""
IMPROVING = 0.01
"""A run that gained more than this in log error at its last evaluation was still improving."""


@dataclass(frozen=True)
class Place:
    """The position of a shard's best fit on the ladder of sizes."""

    best: BestFit
    edge: str
    plateau: bool


@dataclass(frozen=True)
class Grid:
    """A hyperparameter whose best value is at the edge of those compared."""

    samples: float
    unit: str
    name: str
    value: float
    values: tuple[float, ...]
    advantage: float
    """Log error of the next value minus that of the best one."""
    sure: bool
    """Whether the advantage is more than three standard errors."""


@dataclass(frozen=True)
class SearchSummary:
    points: tuple[Point, ...] = ()
    unit: str = ""
    draws: int = 0
    shards: int = 0
    trials: int = 0
    ladder: tuple[Place, ...] = ()
    too_small: bool = False
    """The largest model tried was the best at the two largest shards, or at most shards."""
    grids: tuple[Grid, ...] = ()
    one_rate: str = ""
    """A learning rate of which larger sizes than the best had no lower value than it, though they
    are nearly as good; '' where they had one on some shard."""
    tuning: Tuning | None = None
    inconsistent: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """(name, best values by shard) of hyperparameters whose best value goes back and forth by more
    than noise."""
    capped: tuple[BestFit, ...] = ()
    improving: tuple[tuple[BestFit, float], ...] = ()
    """Best fits whose last evaluation was the best one, with its gain in log error."""
    incomplete: tuple[BestFit, ...] = ()
    """Best fits with fewer seeds than the spec requests."""
    withheld: tuple[BestFit, ...] = ()
    """Best fits left out of the laws: the search is too unfinished to know the best model."""
    lost: tuple[tuple[str, int, bool], ...] = ()
    """(how trials ended, their number, whether one is a seed of a best fit)."""
    mixed: tuple[tuple[str, tuple[str, ...], bool], ...] = ()
    """(property, its values, whether each model size has only one of them)."""
    validation_se: float | None = None
    """The relative standard error of validation at the largest shard."""
    fixed: bool = False
    """One model with one setting: there is nothing to search."""
    overfit: float | None = None
    """Training error over validation error of the best fit at the largest shard."""

    def cause_of_bend(self, held_out: bool = False) -> tuple[str, str, str]:
        """(cause, reasons, next step) of a curve that flattens at large sizes; ``held_out``: at a
        held-out shard alone, where one model was trained and no search chose it."""
        if not self.shards:
            return (
                "floor or capacity",
                "A table of errors alone cannot tell a floor of the data from a model that is "
                "too small or badly tuned there.",
                "Train a larger model at the largest size: if it is no better, it is the floor.",
            )
        largest = max((p.best.samples for p in self.ladder), default=0.0)
        if any(g.samples >= largest / 2.1 for g in self.grids):
            return (
                "tuning",
                "The largest shards take a hyperparameter at the edge of its grid.",
                "Search hyperparameters beyond it at the largest shard.",
            )
        if len({c.size for p in self.ladder for c in p.best.candidates}) == 1:
            return (
                "floor or capacity",
                "Models of one size were trained: a floor of the data and what that model can "
                "learn look alike.",
                "Train a larger model at the largest size: if it is no better, it is the floor.",
            )
        if self.too_small or any(
            p.edge == "high" and not p.plateau for p in self.ladder if p.best.samples == largest
        ):
            return (
                "capacity",
                "The largest shards take the largest model tried.",
                "Extend the ladder of sizes at the largest shards.",
            )
        if (untuned := self._untuned()) is not None:
            return untuned
        if self.overfit is not None and self.overfit > 0.8:
            return (
                "capacity or tuning",
                "At the largest shard the training error is nearly the validation error: "
                "the model does not fit even what it saw.",
                "Train longer, with larger models or other learning rates, at the largest shard.",
            )
        if held_out:
            return (
                "floor, capacity or tuning",
                "It does so at the held-out shard alone, where one model was trained: a floor of "
                "the data and a poor choice of size or hyperparameters look alike there.",
                "Extend the study beyond it with more data (--extend): it is searched then.",
            )
        return (
            "floor",
            "Larger models were no better and no optimum is at an edge: an irreducible error is "
            "the likelier cause.",
            "Look at the validation items that every model gets wrong: labels set the floor.",
        )

    def _untuned(self) -> tuple[str, str, str] | None:
        """The same where trials inside the ladder and the lists were not tuned."""
        if self.one_rate:
            return (
                "tuning",
                f"Larger models were compared at the {self.one_rate} that is best for smaller ones "
                f"alone, and the best one commonly falls with size.",
                f"Try the next larger size at a lower {self.one_rate} at the largest shard.",
            )
        if self.improving or self.capped:
            return (
                "tuning",
                "Trials ended while they still improved.",
                "Train longer at the largest shards.",
            )
        return None


def examine(best_fits: Sequence[BestFit], measurements: Sequence[Measurement]) -> SearchSummary:
    """Summarise the best fits and all measurements of a study.

    Held-out shards, where one model was trained, are left out of ladders and grids. So are shards
    whose search is too unfinished to know the best model. Shards whose best fit lacks seeds are
    left out of the ladder, since larger sizes may still be tried."""
    every = sorted(best_fits, key=lambda b: (b.samples, b.permutation))
    settled = [b for b in every if not b.withheld]
    searched = [b for b in settled if not b.held_out]
    ended = [m for m in measurements if m.status not in (Status.PLANNED, Status.RUNNING)]
    complete = [b for b in searched if "incomplete" not in b.flags]
    places = tuple(Place(b, b.edge, b.plateau) for b in complete)
    runs = [(b, _of(b, ended)) for b in settled]
    return SearchSummary(
        points=tuple(_point(b) for b in settled if not b.best.capped),
        unit=every[0].unit if every else "",
        draws=len({b.permutation for b in every}),
        shards=len(every),
        trials=len(ended),
        ladder=places,
        too_small=_too_small(places),
        grids=tuple(g for b in searched for g in _edges(b, ended)),
        one_rate=_one_rate([p.best for p in places]),
        tuning=certificate([b for b in searched if not b.best.capped]),
        inconsistent=tuple(_inconsistent(searched)),
        capped=tuple(b for b in settled if b.best.capped),
        improving=tuple((b, gain) for b, found in runs if (gain := _gain(found)) > IMPROVING),
        incomplete=tuple(b for b in every if "incomplete" in b.flags),
        withheld=tuple(b for b in every if b.withheld),
        lost=tuple(_lost(settled, ended)),
        mixed=tuple(_mixed(ended)),
        validation_se=_validation_se(settled),
        fixed=len({(c.size, c.hyperparameters) for b in every for c in b.candidates}) == 1,
        overfit=_overfit(runs[-1][1]) if runs else None,
    )


def _point(b: BestFit) -> Point:
    se = None if b.seed_se is None else b.seed_se / b.best.score
    return Point(b.samples, b.best.score, se or None, parameters=float(b.best.parameters))


def _of(b: BestFit, measurements: Iterable[Measurement]) -> list[Measurement]:
    """The measurements of a shard's best-fit model."""
    key = (b.permutation, b.samples, b.best.size, b.best.hyperparameters)
    return [m for m in measurements if m.trial.candidate == key]


def _too_small(places: Sequence[Place]) -> bool:
    high = [p.edge == "high" and not p.plateau for p in places]
    return len(high) >= 2 and (all(high[-2:]) or 2 * sum(high) > len(high))


# ---------------------------------------------------------------- hyperparameters


def _one_rate(searched: Sequence[BestFit]) -> str:
    """See ``SearchSummary.one_rate``."""
    listed: dict[str, set[Value]] = {}
    for c in (c for b in searched for c in b.candidates):
        for name, value in c.hyperparameters:
            listed.setdefault(name, set()).add(value)
    for name, values in sorted(listed.items()):
        if len(values) < 2 or not may_fall_with_size(name, sorted(values, key=str)):
            continue
        larger = [(b, c) for b in searched for c in b.candidates if c.size > b.best.size]
        rates = [
            (dict(c.hyperparameters)[name], dict(b.best.hyperparameters)[name], b, c)
            for b, c in larger
        ]
        near = any(0 < c.score < b.best.score * exp(AS_GOOD) for _, _, b, c in rates)
        if near and all(float(value) >= float(best) for value, best, *_ in rates):
            return name
    return ""


def _compared(b: BestFit, name: str) -> list[tuple[float, Candidate]]:
    """Candidates that differ from the best one in the hyperparameter ``name`` alone."""

    def rest(c: Candidate) -> dict[str, object]:
        return {k: v for k, v in c.hyperparameters if k != name}

    alike = [c for c in b.candidates if c.size == b.best.size and rest(c) == rest(b.best)]
    values = [(dict(c.hyperparameters).get(name), c) for c in alike]
    numeric = [
        (float(v), c) for v, c in values if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    return sorted(numeric, key=lambda pair: pair[0])


def _se(b: BestFit, other: Candidate) -> float:
    """Standard error of the difference in log error between another candidate and the best one,
    each with the noise of its number of seeds."""
    se = FALLBACK_SE if not b.seed_se else b.seed_se / b.best.score
    seeds = (median_variance(len(c.errors)) for c in (other, b.best))
    return float(se * (1 + next(seeds) / next(seeds)) ** 0.5)


def _edges(b: BestFit, ended: Sequence[Measurement]) -> Iterable[Grid]:
    """The hyperparameters whose best value is the largest or smallest that was tried."""
    for name, _ in b.best.hyperparameters:
        compared = _compared(b, name)
        values = [v for v, _ in compared]
        best = dict(b.best.hyperparameters)[name]
        if len(values) < 2 or best not in (values[0], values[-1]):
            continue
        tried = _tried(b, name, ended)
        if any(v < best if best == values[0] else v > best for v in tried):
            continue
        following = compared[1][1] if best == values[0] else compared[-2][1]
        gain, se = _log_ratio(following.expected, b.best.expected), _se(b, following)
        if gain > max(2 * se, 0.01):
            yield Grid(b.samples, b.unit, name, float(best), tuple(values), gain, gain > 3 * se)


def _tried(b: BestFit, name: str, ended: Sequence[Measurement]) -> set[float]:
    """The values that were tried, with a score or diverged, on the shard of a best fit, or on a
    shard of similar size where this shard's best value was tried as well."""
    values: dict[float, set[float]] = {}
    for m in ended:
        value = m.trial.hyperparameter(name)
        counts = m.validation_error is not None or m.status is Status.DIVERGED
        if counts and not isinstance(value, str) and value is not None:
            values.setdefault(m.trial.samples, set()).add(float(value))
    best = float(dict(b.best.hyperparameters)[name])
    near = {s: v for s, v in values.items() if abs(log(s / b.samples)) < log(NEAR) and best in v}
    return set().union(*near.values(), values.get(b.samples, set()))


def _log_ratio(one: float, other: float) -> float:
    return log(one / other) if one > 0 and other > 0 else 0.0


def _inconsistent(best_fits: Sequence[BestFit]) -> Iterable[tuple[str, tuple[float, ...]]]:
    """Hyperparameters whose best value reverses its direction by more than noise, over shards in
    order of size."""
    names = sorted({name for b in best_fits for name, _ in b.best.hyperparameters})
    for name in names:
        path: list[tuple[float, BestFit, dict[float, Candidate]]] = []
        for b in best_fits:
            compared = dict(_compared(b, name))
            if len(compared) >= 2:
                path.append((float(dict(b.best.hyperparameters)[name]), b, compared))
        turns = 0
        for (before, _, _), (current, b, compared), (after, _, _) in zip(
            path, path[1:], path[2:], strict=False
        ):
            turned = (current - before) * (after - current) < 0
            others = [compared[v] for v in (before, after) if v in compared]
            if turned and others:
                other = min(others, key=lambda c: c.expected)
                turns += _log_ratio(other.expected, b.best.expected) > 3 * _se(b, other)
        if turns:
            yield name, tuple(value for value, _, _ in path)


# ---------------------------------------------------------------- how trials ended


def _gain(runs: Sequence[Measurement]) -> float:
    """Median gain of the last evaluation over the best earlier one; 0 if it was not the best."""
    gains = []
    for m in runs:
        errors = [e.validation_error for e in m.curve]
        if m.status is Status.COMPLETE and len(errors) >= 3:
            gains.append(max(0.0, _log_ratio(min(errors[:-1]), errors[-1])))
    return float(np.median(gains)) if gains else 0.0


def _lost(
    best_fits: Sequence[BestFit], ended: Sequence[Measurement]
) -> Iterable[tuple[str, int, bool]]:
    words = (
        (Status.DIVERGED, "diverged"),
        (Status.FAILED, "failed"),
        (Status.TIMEOUT, "timed out"),
    )
    for status, word in words:
        count = sum(m.status is status for m in ended)
        at_best = status is Status.DIVERGED and any(b.best.diverged for b in best_fits)
        if count:
            yield word, count, at_best


def _mixed(ended: Sequence[Measurement]) -> Iterable[tuple[str, tuple[str, ...], bool]]:
    finished = [m for m in ended if m.status in SCORED]
    kinds: dict[str, list[tuple[int, str]]] = {
        "engines": [(m.trial.size, m.engine) for m in finished if m.engine],
        "devices": [(m.trial.size, m.device) for m in finished],
        "thread counts": [(m.trial.size, str(m.threads)) for m in finished],
    }
    for m in finished:
        for name, version in m.versions:
            kinds.setdefault(f"versions of {name}", []).append((m.trial.size, str(version)))
    for what, pairs in kinds.items():
        values = tuple(sorted({value for _, value in pairs}))
        if len(values) > 1:
            yield what, values, len(set(pairs)) == len({size for size, _ in pairs})


def _validation_se(best_fits: Sequence[BestFit]) -> float | None:
    measured = [b for b in best_fits if b.validation_se is not None and b.best.score > 0]
    if not measured:
        return None
    return float((measured[-1].validation_se or 0.0) / measured[-1].best.score)


def _overfit(runs: Sequence[Measurement]) -> float | None:
    ratios = [
        m.train_error / m.validation_error
        for m in runs
        if m.train_error is not None and m.validation_error
    ]
    return float(np.median(ratios)) if ratios else None
