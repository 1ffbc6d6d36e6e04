"""All that a study says: what the report draws and ``results/`` holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from steep.base.metrics import answered_metric
from steep.records.costs import CostReport
from steep.records.fits import Fit, Forecast, ForecastPoint, Interval, SizeLaw
from steep.records.plans import Prediction, TimeSpent
from steep.records.questions import Finding
from steep.records.trials import ENDED, BestFit, Settings, Shard, Status, Trial


@dataclass(frozen=True)
class Baseline:
    """What a simple method reaches without training."""

    what: str
    metric: str
    values: tuple[tuple[float, float], ...]
    """(samples, error), ascending."""


@dataclass(frozen=True)
class HeldOutForecast:
    """A forecast met by the truth: registered before the held-out shard was trained, or else made
    ``afterwards``.

    What is measured is the one model that was trained to meet it, on the first draw of the data;
    where the study has grown beyond the shard and searched it, its best fit may be better."""

    samples: float
    forecast: ForecastPoint
    level: float
    size: int
    """The predicted model size that was trained, and why it was that one."""
    size_reason: str
    hyperparameters: Settings
    registered: str
    """UTC time at which the forecast was written to the store."""
    error: float | None = None
    """Measured: median over seeds of the minimum validation error; None until one has ended."""
    parameters: int | None = None
    test_error: float | None = None
    inside: bool | None = None
    """Whether the measured error lies within the forecast's interval; None where that is open."""
    remark: str = ""
    """What is missing: seeds, or a run that did not meet the cap on steps."""
    afterwards: bool = False
    """Nothing proves that it was written down before its shard was trained: the one that was is
    lost, say."""
    told: ForecastPoint | None = None
    """The forecast of the metric that answers are about, where another one selects."""
    told_error: float | None = None
    """That metric of the model, measured: median over seeds."""

    @property
    def in_headline_metric(self) -> HeldOutForecast:
        """In the metric that answers are about; as it is where no such forecast was made."""
        if self.told is None:
            return self
        error, inside = self.told_error, None
        if error is not None and not self.remark:
            inside = self.told.lower <= error <= self.told.upper
        return replace(self, forecast=self.told, error=error, test_error=None, inside=inside)


@dataclass(frozen=True)
class Curve:
    """One metric's learning curve of best-fit models, fitted and forecast."""

    metric: str
    part: str
    """'validation' or 'test'."""
    fit: Fit
    forecast: Forecast


@dataclass(frozen=True)
class Tuning:
    """How far the best fits may still be below what the search found (``stats/tuning.py``)."""

    samples: tuple[float, ...]
    below: tuple[float, ...]
    """By shard, the fraction of its error that a better model is expected to take off,"""
    at_most: tuple[float, ...]
    """and the most, with 95 % probability."""
    beta_g: Interval
    """What that adds to the exponent: above 0 where the curve of best models is less steep."""


@dataclass(frozen=True)
class Analysis:
    """All that a study says: what the report draws and ``results/`` holds."""

    study: str
    domain: str
    family: str
    trainer: str
    unit: str
    metric: str
    best_guess: Settings
    """Each metric's best-guess level."""
    shards: tuple[Shard, ...]
    best_fits: tuple[BestFit, ...]
    curves: tuple[Curve, ...]
    """The selection metric on V first; then the same on the test part; then other metrics."""
    size_laws: tuple[tuple[str, SizeLaw], ...]
    """By definition: 'smallest adequate', 'lowest score', each also 'without embeddings'."""
    confrontations: tuple[HeldOutForecast, ...] = ()
    findings: tuple[Finding, ...] = ()
    provenance: Settings = ()
    """Versions, machine, data fingerprints, seconds, FLOPs: what it took and on what."""

    prediction: Prediction | None = None
    """How long the study was expected to take, before it trained."""
    took: TimeSpent | None = None
    cost: CostReport | None = None
    """What lower errors would take; None where nothing can be projected."""
    baseline: Baseline | None = None
    tuning: Tuning | None = None
    """How well the points are tuned; None where the trials do not show it."""

    @property
    def one_model(self) -> bool:
        """Whether all that was trained is of one size: there is no ladder to speak of."""
        return len({c.size for b in self.best_fits for c in b.candidates}) == 1

    @property
    def headline(self) -> Curve:
        """The curve that answers are about: that of the metric by which models were selected, but
        of images the error rate, whatever selected. IndexError where there is no curve."""
        first = self.curves[0]
        wanted = answered_metric(self.domain, first.metric, [c.metric for c in self.curves])
        return next(c for c in self.curves if c.metric == wanted)

    @property
    def largest(self) -> tuple[BestFit, float]:
        """The best fit of the largest shard that has one, and its error by the headline's metric;
        of shards whose search is too unfinished to say only where there are no others."""
        best = max([b for b in self.best_fits if not b.withheld] or self.best_fits, key=_samples)
        if self.headline.metric == self.metric:
            return best, best.best.score
        return best, float(dict(best.metrics)[self.headline.metric])

    def registered_of(self, curve: Curve) -> tuple[HeldOutForecast, ...]:
        """The forecasts of held-out shards that were written down for a curve before training."""
        pairs = [(self.metric, c) for c in self.confrontations]
        pairs += [pair for pair in self.headline_forecasts if pair[0] != self.metric]
        return tuple(
            c
            for metric, c in pairs
            if (metric, "validation") == (curve.metric, curve.part) and not c.afterwards
        )

    @property
    def headline_forecasts(self) -> tuple[tuple[str, HeldOutForecast], ...]:
        """Each confrontation with its metric: that of the headline where it was forecast, too."""
        headline = self.headline.metric if self.curves else self.metric
        return tuple(
            (headline if c.told else self.metric, c.in_headline_metric) for c in self.confrontations
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """Metrics of the best-fit models that no curve shows: scores of what a model writes by
        itself (BLEU)."""
        shown = {self.metric, *(curve.metric for curve in self.curves)}
        return tuple(sorted({name for b in self.best_fits for name, _ in b.metrics} - shown))


def _samples(best: BestFit) -> float:
    return best.samples


QUEUED = "queued"
"""The place of an attempt that no worker has taken yet."""


@dataclass(frozen=True)
class TrialStanding:
    """How far a trial is."""

    trial: Trial
    status: Status
    attempts: int | None
    """None: nobody wrote that down."""
    reason: str | None
    """Why it ended as it did; of one that is to be tried again, why the last attempt failed."""
    seconds: float | None
    """What the ended trial took, or the running attempt has taken so far."""
    error: float | None = None
    """Its validation error, by the metric that selects."""
    place: str | None = None
    """Of a running attempt on another machine: where, or QUEUED."""


@dataclass(frozen=True)
class Standing:
    """How far a study is."""

    rows: tuple[TrialStanding, ...]
    analysis: Analysis | None
    """Of what has finished; None before anything has."""
    left: Interval | None
    """Seconds on the clock, by the last estimate."""
    complete: bool
    budget: str | None = None
    """Time that the spec gives the study, over all its runs, as it is written there;"""
    budget_left: float | None = None
    """and what of that is left, in seconds on the clock."""
    driven: bool = False
    """Whether a driver has the study open, perhaps between two trials."""
    unit: str = "samples"
    """Of the sizes of training sets: 'rows', 'images'."""

    @property
    def running(self) -> bool:
        """Whether any trial runs."""
        return any(row.status == Status.RUNNING for row in self.rows)

    @property
    def going(self) -> bool:
        """Whether it goes on by itself: a trial runs, or a driver is about to start one."""
        return self.running or self.driven

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.complete and not self.running

    @property
    def used_up(self) -> bool:
        """Whether its budget is, with something left to train and nobody at it."""
        return self.budget is not None and not self.budget_left and not self.going and not self.done

    @property
    def ended(self) -> int:
        return sum(row.status in ENDED for row in self.rows)
