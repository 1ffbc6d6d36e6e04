"""What training takes: one step of a model, a machine, and what a target error costs there."""

from __future__ import annotations

from dataclasses import dataclass

from steep.records.fits import Interval


@dataclass(frozen=True)
class StepCost:
    """One training step of one model, counted. Everything is affine in the units of m in a batch:
    a part that comes with every unit, and a part that comes once a step."""

    size: int
    """The family's model size (such as its width)."""
    parameters: int
    parameters_without_embeddings: int
    units: float
    """Units of m in one sample: symbols in a sequence, hours in a clip, 1 for an image."""
    batch: float
    """Units of m in the study's batch."""
    flops: float
    """Per unit: matrix products and convolutions, forward and backward."""
    pointwise: float
    """Per unit: FLOPs of everything else."""
    bytes: float
    """Per unit: read and written by every operation, nothing fused; 32-bit numbers."""
    step_bytes: float
    """Per step, whatever the batch: weights (of a recurrent layer, at every step of time), their
    gradients and their update."""
    activations: float
    """Bytes of memory per unit in the batch."""
    memory: float
    """Bytes of memory whatever the batch: intercept of the measured peaks."""
    weights: float
    """Bytes below which no batch comes: weights, gradients and states of the optimizer."""
    operations: float = 0.0
    """In a step, whatever the batch: each is launched on an accelerator by its host."""

    def footprint(self, units: float) -> float:
        """Bytes that a step on ``units`` of m has alive at the most."""
        return max(self.weights, self.memory + self.activations * units)


@dataclass(frozen=True)
class Machine:
    """One device of a kind, as fast as training gets it."""

    name: str
    title: str
    precision: str
    """'fp32', 'tf32' (32-bit numbers, products on tensor cores) or 'bf16'."""
    flops: float
    """Peak FLOP/s at that precision."""
    bandwidth: float | None = None
    """Peak bytes/s of its memory; None: unknown, and moving takes no time."""
    memory: float | None = None
    """Bytes; None: unknown, and everything fits."""
    link: float | None = None
    """Bytes/s to other devices, one direction; None: it works alone."""
    watts: float | None = None
    launch: float = 0.0
    """Seconds to launch an operation; a step is not faster than its operations are launched."""
    flops_share: float = 1.0
    """Achievable share of ``flops``."""
    bandwidth_share: float = 1.0
    link_share: float = 1.0
    source: str = ""

    @property
    def number_bytes(self) -> float:
        """Bytes of a number that moves, over the four it was counted with."""
        return 0.5 if self.precision == "bf16" else 1.0


@dataclass(frozen=True)
class FirstOrder:
    """Hestness et al. 2019 (PPoPP): asymptotic models, per sample of ``units`` of m: FLOPs gamma p,
    bytes lambda p + mu b sqrt(p) a step of b samples, memory delta p. An interval spans all the
    models they were taken from: how far a constant is from being one."""

    units: float
    gamma: Interval
    lambda_: Interval
    mu: Interval
    delta: Interval
    models: int
    smallest: float
    largest: float
    """Parameters, from where to where."""
    exponent: float
    """d log FLOPs / d log parameters between the ends; 1 where ``gamma`` is a constant."""


@dataclass(frozen=True)
class TrialTimes:
    """How long a study's own trials took, as a power of data and of parameters."""

    center: tuple[float, float]
    """(log m, log parameters) to which the draws refer; log parameters 0 where none are known."""
    draws: tuple[tuple[float, float, float], ...]
    """(log seconds at the center, exponent of data, exponent of parameters), equally weighted."""
    trials: int
    largest: float
    """The largest m among them."""


@dataclass(frozen=True)
class Scaling:
    """How error, best-fit size and the cost of a step hang on data and parameters: all that a
    projection needs, as draws."""

    name: str
    unit: str
    metric: str
    log_samples: tuple[float, ...]
    """A grid of log m, ascending (places,)."""
    log_error: tuple[tuple[float, ...], ...]
    """Equally weighted draws of the expected log error on the grid (draws, places)."""
    size_center: float
    """log m to which the draws of the size law refer."""
    size_draws: tuple[tuple[float, float], ...]
    """(log parameters at the center, beta_p), equally weighted; () where no model size is known."""
    steps: tuple[StepCost, ...]
    """Counted models, smallest first: what a model of any size costs lies between them; () where
    nothing is known of what a step costs."""
    samples: float | None = None
    """Data at hand: the largest size measured."""
    first: float | None = None
    """The smallest size measured."""
    highest: float | None = None
    """The largest error measured: above 1 it is not a rate."""
    smallest: float = 0.0
    """Parameters of the smallest adequate model there: with more data none is smaller."""
    epochs: float | None = None
    """Passes over the data in a training run; None where nobody knows: one is taken."""
    level: float = 0.9
    assumptions: tuple[str, ...] = ()
    """What is not measured, in sentences."""
    notes: tuple[str, ...] = ()
    """What the curve stands on: the notes of its fit."""
    guesses: tuple[str, ...] = ()
    """What stands for what nobody measured, as phrases: stated before anything else."""
    times: TrialTimes | None = None
    """Of a study whose trainer is the user's own code."""

    @property
    def passes(self) -> float:
        return 1.0 if self.epochs is None else self.epochs


@dataclass(frozen=True)
class Projection:
    """What one target error takes: data, model, compute, and memory and time on some machine."""

    target: float
    outcome: str
    """'ok', one of those of ``RequiredSamples``, or 'does not fit in memory'."""
    samples: Interval | None = None
    factor: float | None = None
    """Times the data at hand."""
    unreachable: float = 0.0
    """Probability that no amount of data reaches the target with this family."""
    parameters: Interval | None = None
    flops: Interval | None = None
    """Of one training run."""
    memory: Interval | None = None
    """Bytes on each device."""
    seconds: Interval | None = None
    """Where the model does not fit: what it would take if memory were enough."""
    joules: Interval | None = None
    price: Interval | None = None
    """In the unit of the user's price a device-hour."""
    bound: str = ""
    """What takes the time, in most draws: 'compute', 'bandwidth', 'link' or 'launches'."""
    utilisation: float | None = None
    """FLOPs of the model over what the devices could do at their peak in that time."""
    at_once: float | None = None
    """Units of m that one device takes through the model at once."""
    fits: float = 1.0
    """Probability that the model fits, of draws that reach the target."""
    level: float = 0.9
    smallest: float | None = None
    """The smallest size measured, where the lower end of ``samples`` lies below it."""


@dataclass(frozen=True)
class Purchase:
    """What a multiple of today's training compute buys, split best between data and model."""

    factor: float
    flops: Interval
    samples: Interval
    parameters: Interval
    error: Interval
    ratio: Interval
    """Error over the error at today's compute."""
    loss: Interval
    """A method that is ``factor`` times as fast may raise the error by this share and be even."""


@dataclass(frozen=True)
class Limit:
    """What holds the error where it is."""

    word: str
    """'data', 'compute' or 'floor'."""
    samples: float
    flops: Interval | None
    """One training run of the best-fit model on all of the data; None where nobody knows."""
    budget: float | None
    """FLOPs at hand; None if not given."""
    slope: Interval
    """d log error / d log m here."""
    steepest: Interval
    """The same where the curve falls fastest, up to here."""
    grows: bool = True
    """Whether the best model is known to grow with the data."""


@dataclass(frozen=True)
class CostAnswer:
    """What ``steep cost`` says."""

    name: str
    unit: str
    metric: str
    machine: Machine | None
    """None: time, if given, is that of the study's own trials."""
    devices: int
    batch: float | None
    """Units of m in a step of all devices together; None if not given."""
    projections: tuple[Projection, ...]
    purchases: tuple[Purchase, ...] = ()
    limit: Limit | None = None
    first_order: tuple[FirstOrder, ...] = ()
    """Over the ladder, then of larger models."""
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the curve stands on: the notes of its fit."""
    level: float = 0.9
    price: float | None = None
    guesses: tuple[str, ...] = ()
    times: TrialTimes | None = None
    """What the time rests on, where there is no machine."""
    highest: float | None = None
    """The largest error measured: above 1 it is not a rate."""


@dataclass(frozen=True)
class Claim:
    """A printed figure beside what follows from its own paper's constants."""

    table: int
    domain: str
    what: str
    printed: float
    computed: float
    agrees: bool
    """To within rounding."""
    remark: str = ""


@dataclass(frozen=True)
class CostCurve:
    """Error against compute and time on one device, along the best split of data and model."""

    machine: Machine
    purchases: tuple[Purchase, ...]
    seconds: tuple[float | None, ...]
    """Of one training run at each of them; None where the model does not fit."""


@dataclass(frozen=True)
class CostReport:
    """What a study's report says to people who decide."""

    answer: CostAnswer
    elsewhere: tuple[CostAnswer, ...] = ()
    """The same targets on one device of other kinds."""
    curves: tuple[CostCurve, ...] = ()
