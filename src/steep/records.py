"""Every record that travels between the stages: frozen, plain-valued, and JSON both ways.

A record holds floats, integers, strings, tuples and other records, nothing else, so that
``decode(cls, encode(record)) == record`` for all of them. A number that does not exist is
``None``, never NaN: NaN is what a broken measurement looks like, and it must not travel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

Value = float | int | str | bool
Settings = tuple[tuple[str, Value], ...]
"""Named values in a hashable, order-free form: sorted (name, value) pairs."""


def settings(values: Mapping[str, Value]) -> Settings:
    """A mapping as sorted pairs, so that equal settings are equal records."""
    return tuple(sorted(values.items()))


# ---------------------------------------------------------------- the study, before training


@dataclass(frozen=True)
class Shard:
    """A nested training subset: the first ``items`` items of one seeded permutation."""

    permutation: int
    """Which draw of the data; 0 unless the study measures the variance of the draw."""
    items: int
    samples: float
    """Exact size m of the prefix, in the domain's primary unit."""
    unit: str
    held_out: bool = False
    """Kept out of the fit: its error is forecast first and measured afterwards."""


@dataclass(frozen=True)
class Trial:
    """One training run to be done: (shard, model size, hyperparameters, seed)."""

    permutation: int
    items: int
    samples: float
    size: int
    """The family's dial, e.g. width; parameters are counted when the model is built."""
    hyperparameters: Settings
    seed: int

    @property
    def id(self) -> str:
        """A name derived from the content; nothing ever parses it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def hyperparameter(self, name: str) -> Value | None:
        return dict(self.hyperparameters).get(name)

    @property
    def candidate(self) -> tuple[int, float, int, Settings]:
        """What the seeds of one candidate share: everything but the seed."""
        return (self.permutation, self.samples, self.size, self.hyperparameters)


# ---------------------------------------------------------------- what a trial brings back


class Status(StrEnum):
    """How a trial stands or ended. Only COMPLETE enters a fit by default."""

    PLANNED = "planned"
    RUNNING = "running"
    COMPLETE = "complete"
    CAPPED = "capped"  # met the step cap while still improving: the minimum is an upper bound
    STOPPED = "stopped"  # ended by the planner: the minimum is an upper bound
    DIVERGED = "diverged"  # NaN or inf; kept and shown, never best
    FAILED = "failed"  # tried max_attempts times; the reason says why
    TIMEOUT = "timeout"


ENDED = (
    Status.COMPLETE,
    Status.CAPPED,
    Status.STOPPED,
    Status.DIVERGED,
    Status.FAILED,
    Status.TIMEOUT,
)


@dataclass(frozen=True)
class Evaluation:
    """One point of a training curve (error against steps)."""

    step: int
    samples_seen: float
    seconds: float
    train_loss: float | None
    """Mean loss per unit over the steps since the last evaluation."""
    validation_loss: float
    validation_error: float


@dataclass(frozen=True)
class Measurement:
    """What one trial measured. Losses are means per unit; errors are in the study's metric."""

    trial: Trial
    status: Status
    reason: str | None = None
    validation_error: float | None = None
    """The study's selection metric at the run's best evaluation (its minimum over the run)."""
    validation_error_se: float | None = None
    """Sampling error of V itself: clustered over the items' groups."""
    validation_loss: float | None = None
    test_error: float | None = None
    test_loss: float | None = None
    train_error: float | None = None
    metrics: Settings = ()
    """Every metric of the domain at the best step, validation part, by name."""
    parameters: int | None = None
    parameters_without_embeddings: int | None = None
    best_step: int = 0
    steps: int = 0
    samples_seen: float = 0.0
    flops: float | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    """Bytes, the worker's largest resident set."""
    engine: str = ""
    device: str = "cpu"
    threads: int = 1
    versions: Settings = ()
    weights_hash: str | None = None
    """SHA-256 of the weights after the last step: equal runs have equal hashes."""
    curve: tuple[Evaluation, ...] = ()

    @property
    def evaluations(self) -> int:
        return len(self.curve)


# ---------------------------------------------------------------- the search, decided


@dataclass(frozen=True)
class Candidate:
    """One (model size, hyperparameters) on one shard, scored over its seeds."""

    size: int
    hyperparameters: Settings
    seeds: tuple[int, ...]
    errors: tuple[float, ...]
    """Each seed's minimum validation error, in the order of ``seeds``."""
    score: float
    """Median over seeds of the minimum validation error."""
    parameters: int
    parameters_without_embeddings: int
    capped: bool = False
    diverged: int = 0
    """Seeds of this candidate that diverged; more than half of them bars it from being best."""


@dataclass(frozen=True)
class BestFit:
    """The best-fit model of one shard, with what the search can and cannot say about it."""

    permutation: int
    samples: float
    unit: str
    held_out: bool
    best: Candidate
    adequate: Candidate
    """The smallest candidate size within one standard error of the best."""
    plateau: bool
    """No larger size is better than noise (paired over seeds and validation items)."""
    edge: str
    """'' for an optimum inside the ladder; 'low' or 'high' at its edge (a one-sided point)."""
    adequate_edge: str
    """The same for the smallest adequate size."""
    seed_se: float | None
    """Standard error of the score from seeds (variance pooled over shards), absolute."""
    validation_se: float | None
    """Sampling error of V on this candidate, absolute; common to all points of a study."""
    test_error: float | None
    metrics: Settings
    candidates: tuple[Candidate, ...]
    flags: tuple[str, ...] = ()


# ---------------------------------------------------------------- fits


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that belongs to it. A bound that does not exist is None."""

    value: float | None
    lower: float | None
    upper: float | None
    level: float = 0.9


@dataclass(frozen=True)
class Point:
    """One point of a learning curve as a fit sees it: all the replicates of one size."""

    samples: float
    error: float
    """Geometric mean over the replicates."""
    se_log: float | None = None
    """Known standard error of log error at this point (seeds, replicates), without scatter."""
    replicates: int = 1
    parameters: float | None = None
    """Size of the model, where the table gives one."""
    used: bool = True
    reason: str = ""
    """Why the point is not used: 'small-data', 'zero', 'capped', 'held out', ..."""


@dataclass(frozen=True)
class LawFit:
    """One law fitted to one curve."""

    law: str
    outcome: str
    """'ok', 'too few points', 'bound hit', 'not converged'."""
    names: tuple[str, ...] = ()
    parameters: tuple[Interval, ...] = ()
    """Maximum-likelihood values with profile-likelihood intervals, in the order of ``names``."""
    weight: float = 0.0
    """Evidence weight among the candidates; they sum to 1."""
    scatter: float | None = None
    """Root mean square of the residuals of log error about the law, per degree of freedom."""
    log_likelihood: float | None = None
    reason: str = ""
    """Of an outcome that is not 'ok': which bound, what is missing."""
    formula: str = ""

    def parameter(self, name: str) -> Interval:
        """The parameter called ``name``. KeyError for one that the law does not have."""
        return dict(zip(self.names, self.parameters, strict=True))[name]


@dataclass(frozen=True)
class NoiseParts:
    """What the noise of the points is made of, as standard deviations of log error."""

    scatter: float | None = None
    """All of it, for one typical point: what the residuals of the best law show."""
    replicate: float | None = None
    """Between replicates of one size, pooled; None where nothing is replicated."""
    replicate_df: int = 0
    given: bool = False
    """Standard errors came with the points."""
    validation: float | None = None
    """The common effect of one validation set on all points; moves the level, not the slope."""


@dataclass(frozen=True)
class Region:
    """A part of a learning curve, in samples. A boundary that is not seen is None."""

    name: str
    """'small-data', 'power-law' or 'irreducible-error'."""
    start: Interval | None = None
    end: Interval | None = None
    points: int = 0
    """How many of the points lie in it."""
    probability: float = 0.0
    """How sure it is that the curve reaches this region within the points."""


@dataclass(frozen=True)
class Draws:
    """Equally weighted posterior draws of one law: what a forecast is made from."""

    law: str
    shape: tuple[tuple[float, ...], ...]
    """Per draw, the law's shape as normal scores (``Law.log_shape`` reads them)."""
    level: tuple[float, ...]
    """Per draw, log error of the law at ``Fit.reference``."""
    scale: tuple[float, ...]
    """Per draw, the scale (standard deviation) of a new point's log error about the law."""
    level_scale: tuple[float, ...]
    """Per draw, the scale of the level's own error."""
    wander: tuple[float, ...]
    """Per draw, the departure from the law: random walk, per root of one unit of log samples."""
    bend: tuple[float, ...]
    """Per draw, random walk of the slope, per root of one unit of log samples."""
    structure: tuple[int, ...]
    """Per draw, which structure of the noise (``stats.noise``) it was made with."""


@dataclass(frozen=True)
class Fit:
    """A learning curve fitted: the candidate laws, their weights, the region they hold in."""

    outcome: str
    """'ok', 'too few points', 'not a power law', 'bound hit', 'not converged'."""
    points: tuple[Point, ...] = ()
    laws: tuple[LawFit, ...] = ()
    """Heaviest first."""
    beta_g: Interval | None = None
    """Exponent of a pure power law over the power-law region; None where it is not measured."""
    beta_g_reason: str = ""
    """Why ``beta_g`` is None, or what to hold against it."""
    regions: tuple[Region, ...] = ()
    noise: NoiseParts = NoiseParts()
    supports: str = ""
    """One sentence: what the points can and cannot support."""
    unit: str = "samples"
    metric: str = "error"
    level: float = 0.9
    best_guess: float | None = None
    reference: float | None = None
    """Largest used size; the draws are relative to it."""
    df: float = 0.0
    """Degrees of freedom of the t distributions about the draws."""
    draws: tuple[Draws, ...] = ()
    notes: tuple[str, ...] = ()
    """What was done to the input: sentences."""

    @property
    def used(self) -> tuple[Point, ...]:
        """The points that the laws were fitted to."""
        return tuple(point for point in self.points if point.used)

    def law(self, name: str) -> LawFit:
        """The fit of the law called ``name``. KeyError when it was not a candidate."""
        return {fit.law: fit for fit in self.laws}[name]

    def predict(self, samples: Any, level: float | None = None) -> Any:
        """A DataFrame ``samples, error, lower, upper``: predictive intervals, see forecast.py."""
        from steep.forecast import predict_frame

        return predict_frame(self, samples, level)

    def samples_for(self, error: float, level: float | None = None) -> SamplesFor:
        """Samples needed for ``error``, with its interval, or 'not reachable'."""
        from steep.forecast import samples_for

        return samples_for(self, error, level)

    def local_slope(self, samples: float, level: float | None = None) -> Interval:
        """d log error / d log samples at ``samples``, over laws and parameters."""
        from steep.forecast import local_slope

        return local_slope(self, samples, level)

    def summary(self) -> str:
        """The fit in words and a table; the text is made in present/."""
        from steep.present.fits import summary

        return summary(self)

    def plot(self, ax: Any = None) -> Any:
        """Log-log plot with bands on a matplotlib axis; needs ``steep[plots]``."""
        from steep.present.plots import plot_fit

        return plot_fit(self, ax)


@dataclass(frozen=True)
class SizeLaw:
    """The best-fit model's size s(m) = sigma * m**beta_p, or why it is not measured."""

    outcome: str
    """'ok' or 'not measured'."""
    reason: str = ""
    beta_p: Interval | None = None
    sigma: Interval | None = None
    scatter: float | None = None
    """Standard deviation of log parameters about the law."""
    two_sided: int = 0
    censored: int = 0
    df: float = 0.0
    center: tuple[float, float] | None = None
    """(log samples, log parameters) at the middle of the two-sided points."""
    draws: tuple[tuple[float, float], ...] = ()
    """Posterior draws (log parameters at the center, beta_p), equally weighted."""
    level: float = 0.9


@dataclass(frozen=True)
class JointFit:
    """A law of data and model size together, fitted to single runs."""

    outcome: str
    """'ok', 'too few points' or 'not converged'."""
    law: str
    formula: str = ""
    names: tuple[str, ...] = ()
    parameters: tuple[Interval, ...] = ()
    """Estimates with bootstrap percentile intervals, in the order of ``names``."""
    draws: tuple[tuple[float, ...], ...] = ()
    """Bootstrap estimates (resamples, parameters)."""
    loss: float | None = None
    """Huber loss of log error, summed over runs."""
    scatter: float | None = None
    """Robust standard deviation of log error about the surface."""
    delta: float | None = None
    runs: int = 0
    reason: str = ""
    level: float = 0.9

    def parameter(self, name: str) -> Interval:
        """The parameter called ``name``. KeyError for one that the law does not have."""
        return dict(zip(self.names, self.parameters, strict=True))[name]


@dataclass(frozen=True)
class Frontier:
    """The best-fit model at one compute: where data and size are in balance."""

    flops: float
    parameters: Interval
    samples: Interval
    error: Interval


@dataclass(frozen=True)
class At:
    """The error forecast at one size."""

    samples: float
    factor: float
    """Beyond the largest used point: 4 means four times its samples; below 1, inside."""
    error: float
    lower: float
    upper: float
    parameters: Interval | None = None
    """Best-fit model size there, where a size law was given."""
    flops: Interval | None = None
    """Training compute there, 6 * parameters * samples * epochs unless told otherwise."""


@dataclass(frozen=True)
class SamplesFor:
    """The samples needed for one target error."""

    target: float
    outcome: str
    """'ok', 'already reached', 'not reachable with this model family', 'beyond reach'."""
    samples: float | None = None
    lower: float | None = None
    upper: float | None = None
    """None when the interval is open: the target may lie below the floor."""
    factor: float | None = None
    unreachable: float = 0.0
    """Probability that no amount of data reaches the target with this family."""
    parameters: Interval | None = None
    flops: Interval | None = None
    level: float = 0.9


@dataclass(frozen=True)
class Forecast:
    """What a fit says of sizes not yet trained, and what it cannot say."""

    outcome: str
    """That of the fit; anything but 'ok' comes with the reason as caveat."""
    level: float = 0.9
    at: tuple[At, ...] = ()
    targets: tuple[SamplesFor, ...] = ()
    reach: float | None = None
    """The largest factor beyond the used points among ``at``."""
    caveat: str = ""
    """The largest caveat, one sentence."""
    notes: tuple[str, ...] = field(default=())
    unit: str = "samples"
    metric: str = "error"


# ---------------------------------------------------------------- comparisons and diagnosis


@dataclass(frozen=True)
class Crossing:
    """Where two curves meet, between ``start`` and ``end`` samples."""

    outcome: str
    """'cross', 'do not cross' (within the range examined) or 'cannot tell'."""
    start: float
    end: float
    samples: Interval | None = None
    """Of a crossing: where."""


@dataclass(frozen=True)
class Pair:
    """Two learning curves compared on their common range, by straight lines in log-log."""

    first: str
    second: str
    outcome: str
    """'ok', 'no common range' or 'too few points'; anything but 'ok' leaves the rest empty."""
    start: float | None = None
    end: float | None = None
    """The common range, in samples."""
    points: tuple[int, int] = (0, 0)
    """How many points of each curve were compared."""
    paired: bool = False
    """Compared size by size, so that noise which both curves share cancels."""
    slopes: tuple[Interval, ...] = ()
    """Mean local slope of each curve over the common range."""
    difference: Interval | None = None
    """Slope of the first minus slope of the second."""
    verdict: str = "cannot tell"
    """'same exponent' (to within the margin), 'different exponents' or 'cannot tell'."""
    margin: float = 0.0
    """Of equivalence, as a share of the slope."""
    power_same: float = 0.0
    """Probability that a comparison like this says 'same exponent' of equal exponents."""
    power_different: float = 0.0
    """Probability that it finds a difference as large as the margin."""
    smallest_margin: float | None = None
    """Share of the slope at which ``power_same`` would be 80 %."""
    multiplier: Interval | None = None
    """Data that the first needs over data that the second needs for the same error."""
    multiplier_at: float | None = None
    """The error for which the multiplier holds."""
    any_error: bool = False
    """Slopes are the same, so the multiplier holds for every error of the common range."""
    crossing: Crossing | None = None
    sentences: tuple[str, ...] = ()
    """Verdict, multiplier and crossing in words, then what to hold against them."""


@dataclass(frozen=True)
class Comparison:
    """Two or more learning curves compared, each with each."""

    curves: tuple[str, ...]
    pairs: tuple[Pair, ...]
    margin: float
    level: float
    sentence: str
    unit: str = "samples"
    metric: str = "error"
    notes: tuple[str, ...] = ()

    def pair(self, first: str, second: str) -> Pair:
        """The comparison of these two, in the order in which they were given."""
        return {(p.first, p.second): p for p in self.pairs}[(first, second)]


@dataclass(frozen=True)
class Score:
    """One hidden size, forecast from the smaller ones."""

    samples: float
    last: float
    """The largest size that the fit saw."""
    points: int
    """How many sizes the fit saw."""
    error: float
    """Measured, hidden from the fit."""
    forecast: float
    lower: float
    upper: float
    log_error: float
    """|log forecast - log error|."""
    inside: bool
    interval_score: float
    """Of the interval of log error (Gneiting & Raftery 2007): width plus fines; less is better."""
    last_value: float
    """|log error| of the plainest forecast: the error stays what it was at ``last``."""

    @property
    def factor(self) -> float:
        return self.samples / self.last


@dataclass(frozen=True)
class Backtest:
    """Forecasts of sizes that were measured but hidden: what to expect of the next forecast."""

    outcome: str
    """'ok' or 'too few points'."""
    level: float
    scores: tuple[Score, ...] = ()
    """Nearest first, then by how much was hidden."""
    log_error: float | None = None
    """Mean of |log forecast - log error|."""
    last_value: float | None = None
    """The same of the plainest forecast."""
    coverage: float | None = None
    """Share of the hidden errors inside their intervals."""
    interval_score: float | None = None
    width: float | None = None
    """Median of upper over lower end."""
    sentence: str = ""
    unit: str = "samples"
    metric: str = "error"


# ---------------------------------------------------------------- a study, analysed


@dataclass(frozen=True)
class Confrontation:
    """A forecast met by the truth: registered before the held-out shard was trained."""

    samples: float
    forecast: At
    level: float
    size: int
    """The predicted size on the dial that was trained, and why it was that one."""
    size_reason: str
    hyperparameters: Settings
    registered: str
    """UTC time at which the forecast was written to the store."""
    error: float | None = None
    """Measured: median over seeds of the minimum validation error; None while not trained."""
    parameters: int | None = None
    test_error: float | None = None
    inside: bool | None = None
    """Whether the measured error lies within the forecast's interval."""


@dataclass(frozen=True)
class Finding:
    """Something a reader must know before betting on a number."""

    kind: str
    """'capped', 'edge', 'plateau', 'diverged', 'off trend', 'noise', ..."""
    severity: str
    """'note', 'warning' or 'serious'."""
    where: str
    """Which shard, trial or point, in words."""
    evidence: str
    next_step: str


@dataclass(frozen=True)
class Curve:
    """One metric's learning curve of best-fit models, fitted and forecast."""

    metric: str
    part: str
    """'validation' or 'test'."""
    fit: Fit
    forecast: Forecast


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
    confrontations: tuple[Confrontation, ...] = ()
    findings: tuple[Finding, ...] = ()
    provenance: Settings = ()
    """Versions, machine, data fingerprints, seconds, FLOPs: what it took and on what."""


# ---------------------------------------------------------------- JSON

Record = TypeVar("Record")


@cache
def _adapter(cls: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def encode(record: Any) -> str:
    """A record as JSON text. Raises ValueError on NaN or infinity."""
    return json.dumps(asdict(record), allow_nan=False, separators=(",", ":"))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no valid number in a record")


def decode(cls: type[Record], text: str) -> Record:
    """The record back from ``encode``'s text; ValueError on any other shape, NaN or infinity."""
    if "NaN" in text or "Infinity" in text:
        json.loads(text, parse_constant=_refuse)
    record: Record = _adapter(cls).validate_json(text)
    return record
