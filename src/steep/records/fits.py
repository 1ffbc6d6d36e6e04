"""A learning curve fitted and forecast: points, laws, regions, size laws, intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, log
from typing import Any

from steep.records.trials import AHEAD, ONE_SEED, UNFINISHED


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that belongs to it. A bound that does not exist is None."""

    value: float | None
    lower: float | None
    upper: float | None
    level: float = 0.9


FEWEST_POINTS = 3
"""Sizes of data below which no curve is fitted or forecast: a line through two has no error."""
CAPPED = "capped"
"""Why a point is not used: its model still improved at the cap on steps."""
UPPER_BOUNDS = (CAPPED, UNFINISHED, ONE_SEED, AHEAD)
"""Why a point is not used though it says that the error is no higher: more steps, or the rest of a
search, would lower it."""


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
    """Why the point is not used: 'small-data', 'capped'."""
    held_out: bool = False
    """Its error was forecast before it was measured."""
    regret: float = 0.0
    """By how much, in log error, a better model than the one measured is expected to lie below:
    where one model was trained at a predicted size, or a search is unfinished."""

    @property
    def log_best(self) -> float:
        """Log error of the best model, as expected: what a law is fitted to."""
        return (log(self.error) if self.error > 0 else -inf) - self.regret


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
    """Between replicates, as if of the largest size; None where nothing is replicated."""
    replicate_df: int = 0
    replicate_growth: float = 0.0
    """The variance between replicates goes as size**-replicate_growth."""
    given: bool = False
    """Standard errors came with the points."""
    validation: float | None = None
    """The common effect of one validation set on all points; moves the level, not the slope."""
    validation_items: float | None = None
    """The number of items that it was computed from; None where it was measured or given."""


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
    structure: tuple[int, ...]
    """Per draw, which structure of the noise (``stats.noise``) it was made with."""


@dataclass(frozen=True, repr=False)
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
    widened: tuple[float, ...] = ()
    """Of a robust fit, by how much the variance of each used point is widened."""
    notes: tuple[str, ...] = ()
    """What was done to the input: sentences, ``warnings`` first."""
    warnings: tuple[str, ...] = ()
    """What precedes any answer: that this may not be a learning curve."""
    doubling: Interval | None = None
    """Share of the error that twice the largest size used takes off it; None without a law."""

    @property
    def used(self) -> tuple[Point, ...]:
        """The points that the laws were fitted to."""
        return tuple(point for point in self.points if point.used)

    @property
    def bounds(self) -> tuple[Point, ...]:
        """Upper bounds of the error, from their sizes on: models that met the cap on steps, and the
        best so far where the search is unfinished."""
        return tuple(point for point in self.points if point.reason in UPPER_BOUNDS)

    @property
    def at_hand(self) -> float | None:
        """The data: the largest size measured, a point of the fit or an upper bound. '10x the data'
        is ten times this. A shard belongs to it as soon as one of its models is measured."""
        return max((p.samples for p in (*self.used, *self.bounds)), default=None)

    @property
    def runs(self) -> int | None:
        """Of how many runs a point of the largest size is the mean; None where standard errors were
        given in place of runs, or no point was used."""
        return None if self.noise.given or not self.used else self.used[-1].replicates

    def law(self, name: str) -> LawFit:
        """The fit of the law called ``name``. KeyError when it was not a candidate."""
        return {fit.law: fit for fit in self.laws}[name]

    def predict(
        self,
        samples: Any,
        level: float | None = None,
        single_run: bool = False,
        as_error: bool = False,
    ) -> Any:
        """A DataFrame ``samples, error, lower, upper``: intervals of a new measurement like the
        points, or of a ``single_run`` where these are means of several; see forecast.py.

        Of an accuracy, another score or a perplexity the second column is that metric, by its name
        ('accuracy'), unless ``as_error``. ``samples`` is one size or several: a number, or '10x'
        (of the data), '1e6' or '2M' as on the command line. Raises ValueError for anything
        else."""
        from steep.analysis.asked import sizes_asked
        from steep.forecast import as_measured, predict_frame

        found = predict_frame(self, sizes_asked(samples, self), level, single_run)
        return found if as_error else as_measured(found, self.metric)

    def samples_for(self, error: float | str, level: float | None = None) -> TargetAnswer:
        """Samples needed for a target, with their interval, or why there are none. The target is
        a number in the metric of the fit (an accuracy of 0.9, a perplexity of 20), or '5%' as on
        the command line, and the answer is in that metric, too. Raises ValueError for anything
        else."""
        from steep.analysis.asked import error_asked
        from steep.forecast import samples_for
        from steep.present.notebook import target_answer

        return target_answer(samples_for(self, error_asked(error, self), level), self)

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

    def __repr__(self) -> str:
        from steep.present.notebook import fit_line

        return fit_line(self)

    def _repr_html_(self) -> str:
        from steep.present.notebook import fit_html

        return fit_html(self)


NO_EMBEDDINGS = "the trainer does not count parameters without embeddings"
"""Why there is no size law of those, although parameters are counted."""
ONE_SIZE = "only one model size has been trained"
"""Why a size law has no exponent, whether or not the study has other sizes."""


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
    places: int = 0
    """Sizes on shards whose errors a law from the whole surface rests on; 0: single optima."""
    df: float = 0.0
    center: tuple[float, float] | None = None
    """(log samples, log parameters) at the middle of the two-sided points."""
    draws: tuple[tuple[float, float], ...] = field(default=(), repr=False)
    """Posterior draws (log parameters at the center, beta_p), equally weighted."""
    level: float = 0.9


@dataclass(frozen=True)
class ForecastPoint:
    """The error forecast at one size."""

    samples: float
    factor: float
    """Times the data at hand (``Fit.at_hand``); below 1, inside."""
    error: float
    lower: float
    upper: float
    parameters: Interval | None = None
    """Best-fit model size there, where a size law was given."""
    flops: Interval | None = None
    """Training compute there, by default 6 * parameters * samples * epochs."""


ALREADY_MET = "already met at the smallest size"
ALREADY_REACHED = "already reached"
PERHAPS_NOT = "perhaps not reachable with this model family"
NOT_REACHABLE = "not reachable with this model family"
BEYOND_REACH = "beyond reach"
"""Outcomes of a target, beside 'ok'. It is not reachable where the draws say so at the level of the
interval, perhaps not where more than half of them do; beyond reach is a million times the data."""


@dataclass(frozen=True)
class RequiredSamples:
    """The samples needed for one target error."""

    target: float
    outcome: str
    """'ok', one of those above, or that of a fit which gives no forecast."""
    samples: float | None = None
    """Of a target that is already met at the smallest size: that size."""
    lower: float | None = None
    """None where the end lies below the smallest size, or is itself out of reach."""
    upper: float | None = None
    """None when the interval is open: the target may lie below the floor."""
    factor: float | None = None
    unreachable: float = 0.0
    """Probability that no amount of data reaches the target with this family."""
    parameters: Interval | None = None
    flops: Interval | None = None
    level: float = 0.9
    smallest: float | None = None
    """The smallest size measured, where ``lower`` lies below it: nobody knows how far."""


@dataclass(frozen=True, repr=False)
class TargetAnswer:
    """What a target takes, as ``samples_for`` answers it: in the metric of its user."""

    sentence: str
    """The answer in words, which is also its ``repr``."""
    metric: str
    """'error', 'accuracy', 'perplexity'."""
    target: float
    """A value of ``metric``: an accuracy of 0.9."""
    outcome: str
    """'ok', 'already reached' or another one of ``RequiredSamples``."""
    samples: float | None
    """inf where the target is not reachable, surely or probably; None without an answer."""
    lower: float | None
    """None where the end lies below ``smallest``, or without an answer."""
    upper: float | None
    """inf where the interval has no upper limit; None without an answer."""
    level: float
    factor: float | None = None
    """Times the data at hand; at most 1 of a target that is already reached."""
    unreachable: float = 0.0
    """Probability that no amount of data reaches the target with this family."""
    smallest: float | None = None
    """The smallest size measured, where ``lower`` lies below it: nobody knows how far."""

    def __repr__(self) -> str:
        return f"<{self.sentence}>"


@dataclass(frozen=True, repr=False)
class Forecast:
    """What a fit says of sizes not yet trained, and what it cannot say."""

    outcome: str
    """That of the fit; anything but 'ok' comes with the reason as caveat."""
    level: float = 0.9
    at: tuple[ForecastPoint, ...] = ()
    targets: tuple[RequiredSamples, ...] = ()
    reach: float | None = None
    """The largest factor beyond the used points, among ``at`` and what ``targets`` need."""
    caveat: str = ""
    """The largest caveat, one sentence."""
    notes: tuple[str, ...] = field(default=())
    unit: str = "samples"
    metric: str = "error"
    runs: int | None = None
    """The intervals of errors are of a mean of so many runs, as many as the largest size has; None:
    of a measurement like the points, which came with standard errors."""

    def __repr__(self) -> str:
        from steep.present.notebook import forecast_line

        return forecast_line(self)

    def _repr_html_(self) -> str:
        from steep.present.notebook import forecast_html

        return forecast_html(self)
