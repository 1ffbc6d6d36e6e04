"""Results of analyses of fits: comparisons, back-tests, findings."""

from __future__ import annotations

from dataclasses import dataclass

from steep.records.fits import Interval


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
    errors: tuple[tuple[float, float], ...] = ()
    """Lowest and highest error of each curve among them."""
    paired: bool = False
    """Compared size by size, so that noise which both curves share cancels."""
    slopes: tuple[Interval, ...] = ()
    """Mean local slope of each curve over the common range."""
    difference: Interval | None = None
    """Slope of the first minus slope of the second."""
    relative_difference: Interval | None = None
    """The difference as a share of the mean slope, as it is printed."""
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
    needs_more: str = ""
    """The curve that needs more data for the same error,"""
    times: Interval | None = None
    """and how many times the data of the other: the multiplier or its inverse, as it is printed."""
    multiplier_at: float | None = None
    """The error for which the multiplier holds."""
    any_error: bool = False
    """Slopes are the same, so the multiplier holds for every error of the common range."""
    extrapolates: bool = False
    """The multiplier is of an error that was not measured on both curves."""
    no_multiplier: str = ""
    """Why there is none: 'an error does not fall', 'too far apart', 'mixed units' or 'out of
    reach'."""
    unreached: tuple[str, ...] = ()
    """The curves whose forecast does not reach the requested error."""
    crossing: Crossing | None = None
    sentences: tuple[str, ...] = ()
    """Verdict, multiplier and crossing in words, then what to hold against them."""


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        from steep.present.notebook import comparison_line

        return comparison_line(self)

    def _repr_html_(self) -> str:
        from steep.present.notebook import comparison_html

        return comparison_html(self)


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
    registered: bool = False
    """The forecast that was written down before this size was trained."""

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
