"""Error against data and model size: a joint fit, what it forecasts, what compute buys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steep.records.fits import Interval, TargetAnswer

MISFIT, NOT_IDENTIFIABLE = "misfit", "not identifiable"


@dataclass(frozen=True)
class JointRow:
    """One row of a table of runs as a joint fit sees it."""

    row: int
    """Of the table, from 1."""
    parameters: float
    samples: float
    unique: float
    """Distinct samples; ``samples`` where none were repeated."""
    error: float
    run: str = ""
    """Rows of one run share its error; '' where each row is a run."""
    widened: float = 1.0
    """By how much its variance is widened: above 1 the row lies off the surface."""


@dataclass(frozen=True)
class JointLaw:
    """One law of data and model size, fitted."""

    law: str
    outcome: str
    """'ok' or 'not identifiable': these runs do not identify some parameters."""
    formula: str = ""
    names: tuple[str, ...] = ()
    parameters: tuple[Interval, ...] = ()
    """In the order of ``names``; a bound that the runs do not set is None."""
    weight: float = 0.0
    reason: str = ""

    def parameter(self, name: str) -> Interval:
        """The parameter called ``name``. KeyError for one that the law does not have."""
        return dict(zip(self.names, self.parameters, strict=True))[name]


@dataclass(frozen=True)
class JointDraws:
    """Equally weighted draws of one law, in normal scores of its free parameters."""

    law: str
    forecast: tuple[tuple[float, ...], ...]
    """Together with the discrepancy: what errors are forecast from."""
    structure: tuple[int, ...]
    variance: tuple[float, ...]
    """Of a row's log error, per draw of ``forecast``."""
    alone: tuple[tuple[float, ...], ...]
    """Of the law alone, as wide as the discrepancy makes it: its parameters and best split."""


@dataclass(frozen=True)
class Misfit:
    """What the runs have that a law has not: its discrepancy, in log error."""

    law: str
    size: float
    """Root mean square over the runs."""
    largest: float
    odds: float
    """Log Bayes factor of a discrepancy against none."""
    corners: tuple[float, float, float, float]
    """Mean at small N and D, small N and large D, large N and small D, large N and D."""


@dataclass(frozen=True)
class Influence:
    """Rows that a parameter hangs on."""

    rows: tuple[int, ...]
    parameter: str
    without: float
    """The parameter without these rows."""
    with_them: float


@dataclass(frozen=True)
class Frontier:
    """The best-fit model at one compute: where data and size are in balance. Open: no limit."""

    flops: float
    parameters: Interval
    samples: Interval
    error: Interval


@dataclass(frozen=True)
class Allocation:
    """The best model size by one way of reading the runs."""

    method: str
    """'law', 'isoFLOP' or 'envelope'."""
    outcome: str
    """'ok' or 'not measured'."""
    reason: str = ""
    exponent: Interval | None = None
    """a of N ~ C^a."""
    flops: tuple[float, ...] = ()
    parameters: tuple[Interval, ...] = ()
    """At each of ``flops``."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForUse:
    """The model that reaches an error at the least compute of training and serving."""

    error: float
    served: float
    """Samples that will be served, at 2 N FLOPs each."""
    outcome: str
    """'ok', or 'not reachable' where more than half of the draws never reach the error."""
    parameters: Interval | None = None
    samples: Interval | None = None
    flops: Interval | None = None
    """Of training and serving together."""
    training_only: Interval | None = None
    """The best size if nothing were served."""


@dataclass(frozen=True)
class ComputeMultiplier:
    """How much compute of the first one compute of the second is worth, at the same error."""

    first: str
    second: str
    outcome: str
    """'ok' or 'not measured'."""
    reason: str = ""
    flops: tuple[float, ...] = ()
    """Compute of the second."""
    multiplier: tuple[Interval, ...] = ()
    """Above 1 the second is the better one; open where the first never gets there."""
    shared_floor: float | None = None
    """The floor that both were held at, where that was requested."""
    extrapolates: tuple[bool, ...] = ()
    """Whether the compute lies beyond the runs of either."""


@dataclass(frozen=True, repr=False)
class JointFit:
    """Laws of data and model size together, fitted to the rows of a table of runs."""

    outcome: str
    """'ok', 'misfit', 'too few points' or 'not identifiable'."""
    reason: str = ""
    laws: tuple[JointLaw, ...] = ()
    """First the one whose parameters are reported, then by weight; see ``joint.LEAD``."""
    rows: tuple[JointRow, ...] = ()
    """Those that the laws were fitted to."""
    total: int = 0
    """Rows of the table; of an untuned sweep fewer carry the law."""
    runs: int = 0
    draws: tuple[JointDraws, ...] = field(default=())
    fixed: tuple[tuple[str, float], ...] = ()
    tied: tuple[tuple[str, str], ...] = ()
    line: bool = False
    """Data and size grow together: the error is known along the line of the runs only."""
    scatter: float | None = None
    """Standard deviation of the log error of one run about the surface."""
    df: float = 0.0
    misfit: Misfit | None = None
    influence: tuple[Influence, ...] = ()
    flops_per_parameter_sample: float = 6.0
    unit: str = "samples"
    metric: str = "error"
    level: float = 0.9
    notes: tuple[str, ...] = ()

    @property
    def law(self) -> str:
        return self.laws[0].law if self.laws else ""

    @property
    def parameters(self) -> tuple[Interval, ...]:
        return self.laws[0].parameters if self.laws else ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.laws[0].names if self.laws else ()

    def parameter(self, name: str) -> Interval:
        """A parameter of the first law. KeyError for one that it does not have."""
        return self.laws[0].parameter(name)

    @property
    def off(self) -> tuple[int, ...]:
        """Rows that lie off the surface and carry hardly any weight."""
        return tuple(r.row for r in self.rows if r.widened > 1)

    def predict(
        self, parameters: Any, samples: Any, unique: Any = None, level: float | None = None
    ) -> Any:
        """A DataFrame ``parameters, samples, error, lower, upper``: the error of a new run at each
        place, with the interval of one run. ValueError where the runs do not determine it."""
        from steep.questions.surface import predict_frame

        return predict_frame(self, parameters, samples, unique, level)

    def frontier(self, flops: Any, level: float | None = None) -> tuple[Frontier, ...]:
        """The best model at each compute. ValueError where these runs do not determine the
        split."""
        from steep.questions.surface import frontier

        return frontier(self, flops, level)

    def samples_for(
        self, error: float | str, parameters: float, level: float | None = None
    ) -> TargetAnswer:
        """Samples that a model of ``parameters`` needs for ``error``, with their interval. An
        ``error`` is a number in the metric of the fit, or '5%'; so is the answer's target."""
        from steep.analysis.asked import joint_error_asked
        from steep.present.joint import joint_target_answer
        from steep.questions.surface import samples_for

        found = samples_for(self, joint_error_asked(error, self), parameters, level)
        return joint_target_answer(self, found, parameters)

    def residuals(self) -> Any:
        """A DataFrame of the rows with what the law and its discrepancy expect of each."""
        from steep.questions.surface import residual_frame

        return residual_frame(self)

    def summary(self) -> str:
        """The fit in words and tables."""
        from steep.present.joint import summary

        return summary(self)

    def plot(self, ax: Any = None) -> Any:
        """Error against compute, by model size, on a matplotlib axis; needs ``steep[plots]``."""
        from steep.present.plots import plot_drawing
        from steep.present.surface import surface_drawing

        return plot_drawing(surface_drawing(self), ax)

    def __repr__(self) -> str:
        from steep.present.joint import line

        return line(self)

    def _repr_html_(self) -> str:
        from steep.present.joint import page

        return page(self)
