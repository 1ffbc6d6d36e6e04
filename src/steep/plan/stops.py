"""When trials stop: learnt from finished studies, then from the study's own trials.

A trial ends ``patience`` evaluations after the one that last lowered its error by more than
``improvement`` of itself (schedule.py), so its length depends on where that one, its turn, lies. In
finished trials

    x = log(step of the turn / step of the first evaluation)

is about normal around a plane in the logs of model size, steps in an epoch and learning rate. Where
that plane lies differs from study to study: much between domains, less between families, and with
the optimizer. ``data/typical_stops.yaml`` holds a row for each published study, and the prior of a
new one is their average, weighed by what it has in common with each: a Gaussian process over
studies (Rasmussen & Williams 2006, chapter 2) whose covariance adds up over shared labels. Where an
improvement is required trials turn earlier, so each published study has a second row for that rule,
of the same trials cut where it would have ended them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_ndtr

from steep import data
from steep.engine.schedule import last_improvement, without_improvement
from steep.laws.law import Array
from steep.records import SCORED, Measurement, Status, Trial
from steep.spec.sections import Spec, Stop
from steep.stats.regression import Linear

EPOCH = 64.0
"""Steps in an epoch at which a study's level is given."""
COLUMNS = ("level", "by_size", "by_epoch", "by_rate")
SHARED = {"any": 0.40, "domain": 0.50, "family": 0.15, "optimizer": 0.10, "metric": 0.05}
"""Variance of the level that studies with this label in common share,"""
OWN = 0.15
"""and what is each study's own: two of characters by SGD differ by 1.5, with other rates."""
SLOPES = (0.2, 0.3, 0.35)
"""Standard deviation of the slopes from study to study. They are taken to be alike everywhere: what
a study's trials show of them is uncertain by as much."""
MOVES = 0.35
"""Standard deviation of x that a study's trials at one place have in common beyond the plane: its
first trials all lie on the smallest shards and say less of the others than their number shows."""


@dataclass(frozen=True)
class Kind:
    """What a study's trials have in common with those of others."""

    domain: str
    family: str
    optimizer: str
    metric: str

    def covariance(self, other: Kind) -> float:
        """Of the two studies' levels."""
        shared = [n for n in ("domain", "family", "optimizer", "metric")
                  if getattr(self, n) == getattr(other, n)]  # fmt: skip
        return SHARED["any"] + sum(SHARED[name] for name in shared)


@dataclass(frozen=True)
class FinishedStudy:
    """A finished study: the plane of its trials and their scatter about it."""

    study: str
    kind: Kind
    plane: tuple[float, float, float, float]
    spread: float
    trials: int
    improvement: float = 0.0
    """Of the rule that ended its trials."""


@dataclass(frozen=True)
class Stopping:
    """When the trials of a study stop, as far as it is known."""

    kind: Kind
    plane: Linear
    """Coefficients of 1, log(size / middle size), log(steps in an epoch / ``EPOCH``) and
    log(learning rate / middle rate); its noise is the scatter of single trials."""
    trials: int
    """Of finished studies of this domain and family; 0: none is known."""
    own: int = 0
    """Finished trials of this very study among what is known."""


def finished_studies(improvement: float = 0.0) -> list[FinishedStudy]:
    """The rows of ``data/typical_stops.yaml``, a study each: of trials that had to improve where
    an ``improvement`` is required."""
    rows = data.values("typical_stops.yaml")["studies"]
    every = [
        FinishedStudy(
            row["study"],
            Kind(row["domain"], row["family"], row["optimizer"], row["metric"]),
            (row["level"], row["by_size"], row["by_epoch"], row["by_rate"]),
            row["spread"],
            row["trials"],
            row.get("improvement", 0.0),
        )
        for row in rows
    ]
    alike = {row.study: row for row in every if (row.improvement > 0) == (improvement > 0)}
    return list({**{row.study: row for row in every}, **alike}.values())


def expected(kind: Kind, studies: Sequence[FinishedStudy]) -> Stopping:
    """What to expect of a study before its first trial. Raises ValueError without ``studies``."""
    if not studies:
        raise ValueError("no finished studies to learn from")
    between = np.array([[a.kind.covariance(b.kind) for b in studies] for a in studies])
    between += OWN * np.eye(len(studies))
    shared = np.array([kind.covariance(s.kind) for s in studies])
    weight = np.linalg.solve(between, shared)
    planes = np.array([s.plane for s in studies])
    scatter = np.log([s.spread for s in studies])
    mean = np.median(planes, axis=0)
    mean[0] = planes[:, 0].mean() + weight @ (planes[:, 0] - planes[:, 0].mean())
    noise = math.exp(scatter.mean() + weight @ (scatter - scatter.mean()))
    left = sum(SHARED.values()) - float(shared @ weight) + OWN
    variances = [left, *(sd**2 for sd in SLOPES)]
    alike = (s for s in studies if (s.kind.domain, s.kind.family) == (kind.domain, kind.family))
    return Stopping(
        kind, Linear(mean, np.diag(variances), noise), trials=sum(s.trials for s in alike)
    )


def turn(m: Measurement, stop: Stop, best_guess: float = math.inf) -> int:
    """Step of the evaluation from which ``m``'s patience ran, were it trained by ``stop``, where a
    constant answer has the error ``best_guess``."""
    errors = [point.validation_error for point in m.curve]
    ends = range(stop.evaluations, len(errors))
    since = (without_improvement(stop, errors[:n], best_guess) for n in ends)
    end = next((n for n, k in zip(ends, since, strict=True) if k >= stop.patience), None)
    return m.curve[max(last_improvement(stop, errors[:end], best_guess), 0)].step


def _turns(finished: Sequence[Measurement], stop: Stop, best_guess: float) -> tuple[Array, Array]:
    """(trials,) x of each one's turn, and whether it was cut while its error still fell."""
    steps = [turn(m, stop, best_guess) for m in finished]
    x = [math.log(max(step, 1) / m.curve[0].step) for m, step in zip(finished, steps, strict=True)]
    cut = [
        m.status == Status.CAPPED and step == m.curve[-1].step
        for m, step in zip(finished, steps, strict=True)
    ]
    return np.array(x), np.array(cut)


def learnt(
    prior: Stopping, spec: Spec, finished: Sequence[Measurement], best_guess: float = math.inf
) -> Stopping:
    """``prior`` after the study's own ``finished`` trials.

    Trials of one shard and size share a deviation from the plane (``MOVES``), so many of them weigh
    little more than one. Of a trial that was cut while its error still fell, the turn lies beyond
    its last evaluation: it counts with the mean of what the plane expects there."""
    if not finished:
        return prior
    (x, cut), places = _turns(finished, spec.stop, best_guess), place_of(spec, finished)
    groups: dict[tuple[float, ...], list[int]] = {}
    for i, place in enumerate(places):
        groups.setdefault(tuple(np.round(place[:3], 6)), []).append(i)
    plane = prior.plane
    for members in groups.values():
        noise = math.sqrt(MOVES**2 + plane.noise**2 / len(members))
        at = places[members].mean(axis=0, keepdims=True)
        spread = math.sqrt(float(at[0] @ plane.covariance @ at[0]) + noise**2)
        beyond = mean_beyond(x[members], float(at[0] @ plane.mean), spread)
        turns = np.where(cut[members], beyond, x[members])
        updated = replace(plane, noise=noise).given(at, turns.mean(keepdims=True))
        plane = replace(updated, noise=prior.plane.noise)
    return replace(prior, plane=plane, own=len(finished))


def mean_beyond(at_least: Array, mean: float, spread: float) -> Array:
    """Mean of a normal number that is known to lie above ``at_least``."""
    z = (at_least - mean) / spread
    hazard = np.exp(-(z**2) / 2 - log_ndtr(-z)) / math.sqrt(2 * math.pi)
    return np.asarray(mean + spread * hazard)


def place(size: float, per_epoch: float, rate: float, spec: Spec) -> tuple[float, ...]:
    """A trial's place on the plane (4,), relative to the middle of its study's ladder and rates."""
    rates = spec.search.hyperparameters.get("learning_rate", (rate,))
    known = [float(r) for r in rates if not isinstance(r, (str, bool)) and r > 0 and rate > 0]
    middle = np.log(known).mean() if known else 0.0
    size_0 = np.log(spec.family.sizes).mean()
    by_rate = math.log(rate) - middle if known else 0.0
    return 1.0, math.log(size) - size_0, math.log(per_epoch / EPOCH), by_rate


def place_of(spec: Spec, finished: Sequence[Measurement]) -> Array:
    """``place`` of finished trials, (trials, 4)."""
    return np.array(
        [
            place(m.trial.size, m.trial.samples * m.steps / m.samples_seen, rate_of(m.trial), spec)
            for m in finished
        ]
    ).reshape(-1, len(COLUMNS))


def rate_of(trial: Trial) -> float:
    """Its learning rate; 0 where it has none."""
    rate = trial.hyperparameter("learning_rate")
    return float(rate) if isinstance(rate, (int, float)) else 0.0


def plane_of(
    spec: Spec, finished: Sequence[Measurement], best_guess: float = math.inf
) -> tuple[Array, float]:
    """The plane (4,) of a finished study's trials by least squares, and their scatter: a row of
    ``data/typical_stops.yaml``. Slopes that its trials do not show stay near the usual ones."""
    (x, _), places = _turns(finished, spec.stop, best_guess), place_of(spec, finished)
    usual = Linear(np.array([3.0, -0.5, 0.2, -0.4]), np.diag([9.0, 0.25, 0.25, 0.25]), 0.6)
    mean = usual.given(places, x).mean
    return mean, float(np.std(x - places @ mean))


def ended(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Those that say when a trial stops."""
    return [m for m in measurements if m.curve and m.status in SCORED]


def last_evaluation(stop: Stop, schedule: Sequence[int], best: float) -> int:
    """Index of the evaluation at which a trial ends whose best evaluation is the one nearest, in
    ratio, to ``best`` steps."""
    steps = np.log(schedule)
    at = int(np.searchsorted((steps[1:] + steps[:-1]) / 2, math.log(max(best, 1.0))))
    return min(max(at + stop.patience, stop.evaluations - 1), len(schedule) - 1)
