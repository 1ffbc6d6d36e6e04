"""What a spec may say: its sections, their keys, types and defaults. ``load.py`` reads it."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_serializer,
    model_validator,
)

from steep.base.memory import parse_bytes

Count = Annotated[int, Field(ge=1, le=10**12)]
Few = Annotated[int, Field(ge=1, le=1000)]
"""What trials or evaluations are multiplied by: more than that is a slip of the pen."""
Positive = Annotated[float, Field(gt=0)]
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> float:
    """Seconds from '90s', '10m', '2h', '1h30m' or '1.5h'. ValueError with a sentence otherwise."""
    parts = re.findall(r"([0-9.]+)\s*(min|[smhd])", text)
    rest = re.sub(r"([0-9.]+)\s*(min|[smhd])|\s", "", text)
    try:
        seconds = sum(float(value) * _SECONDS[unit] for value, unit in parts)
    except ValueError:
        seconds = 0.0
    if rest or not seconds > 0:
        raise ValueError(f"{text!r} is no duration: write 90s, 10m, 2h or 1h30m")
    return seconds


def written_duration(seconds: float) -> str:
    """As ``parse_duration`` reads it, no shorter: 15m, 45s, 1m40s."""
    minutes, rest = divmod(max(math.ceil(seconds), 1), 60)
    return (f"{minutes}m" if minutes else "") + (f"{rest}s" if rest else "")


def _duration(text: object) -> object:
    parse_duration(str(text))  # what is no text has no unit either
    return text


Duration = Annotated[str, BeforeValidator(_duration)]
Scalar = float | int | str | bool
Choices = Annotated[tuple[Scalar, ...], Field(min_length=1, strict=False)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions, no NaN, frozen."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
    )


class Member(Strict):
    """A member of the registry: its name; the other keys are its own options, checked by it."""

    model_config = ConfigDict(extra="allow")
    name: str
    """Which one; the other keys of the section are its own options."""

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Family(Member):
    """The models: a family, its own options, and the ladder of sizes."""

    name: str = "none"
    """A family of models; 'none' for training code of one's own."""
    sizes: tuple[Count, ...] = Field(min_length=1, strict=False)
    """The ladder of model sizes, ascending: widths, of most families. One size is one fixed
    model."""


class Split(Strict):
    """Parts cut from the pool where the data brings none: a share below 1, or a count."""

    validation: Positive | None = None
    """Validation set: a share below 1 or a number of items. None: the
    data must bring one."""
    test: Positive | None = None
    """Test part, which no choice depends on: a share below 1 or a number of items. None: the
    data's own, or none."""


class Shards(Strict):
    """The nested training subsets: their sizes, in units of the domain."""

    smallest: Positive
    """Size of the smallest shard, in the domain's unit (images, words, hours, ...)."""
    largest: Positive | None = None
    """Size of the largest shard. None: all the training data."""
    factor: Annotated[float, Field(ge=1.01, le=10)] = 2.0
    """Each shard is this many times as large as the one before."""
    held_out: Annotated[int, Field(ge=0)] = 0
    """How many of the largest shards are forecast first, then measured with one model each and made
    part of the fit."""
    permutations: Few = 1
    """How many random orders of the data shards are drawn from: more than one measures what the
    draw of the data does to the error."""


class Until(Strict):
    """When a search ends early: once its forecast is precise, or its budget spent."""

    forecast_interval: Positive | None = None
    """Width of the 90 % interval of the forecast at ten times the largest shard, relative to it:
    0.2 is 'known to a fifth'."""
    flops: Positive | None = None
    """Of the whole study: trials are requested while they are expected to fit."""


class Search(Strict):
    """How the best model of each shard is searched."""

    planner: str = "frugal"
    """Which trials are run, and in which order."""
    seeds: Few = 2
    """Seeds of each candidate that is compared; its score is their median."""
    confirm: Annotated[int, Field(ge=0, le=1000)] = 0
    """Of the planner grid: seeds of each shard's best fit, where more than ``seeds``."""
    hyperparameters: dict[str, Choices] = Field(default_factory=dict)
    """The grid, e.g. learning_rate: [0.03, 0.1]; single values belong under ``training``."""
    compare_at: Literal["ends", "all"] = "ends"
    """Compare hyperparameters at the smallest and largest shard only, or at every shard."""
    extend: Annotated[int, Field(ge=0, le=2)] = 2
    """How often a ladder whose edge is best may extend itself; of the planner frugal also the list
    of a numeric hyperparameter, by its own ratio, and as often again beyond what is best on a
    smaller shard. 0: nothing but what is listed is tried."""
    draws: Few = 8
    """Candidates a shard of the searches that draw them: paper, optuna."""
    sampler: str = "TPESampler"
    """Of the planner optuna, by its name there."""
    until: Until | None = None
    """When the planner frugal stops; None: when no further trial is worth its price."""


class Stop(Strict):
    """When a trial ends: geometric evaluations, patience, and a cap at twice their number."""

    evaluations: Few = 10
    """A trial makes at least this many evaluations and at most twice as many."""
    patience: Few = 3
    """Ends when V has not improved for this many evaluations."""
    improvement: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A lower error counts for patience where it is lower by more than this fraction, for errors
    that creep down within their noise; any lower one while it is no better than a constant answer,
    from which some models begin to learn late. The score is the lowest all the same."""
    ratio: Annotated[float, Field(ge=1.01, le=4)] = 1.35
    """Steps at one evaluation over steps at the one before."""
    first: Count | None = None
    """Steps before the first evaluation; None: 8 * sqrt(steps in an epoch)."""
    max_steps: Count | None = None
    """A lower cap on steps, for a budget; a trial that meets it is marked capped."""


def _bytes(text: str) -> str:
    parse_bytes(text)
    return text


class Resources(Strict):
    """What one worker gets, and with it one trial."""

    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs. 0: none is requested."""
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    """Cores, and threads of a trial. Results are the same to the last bit only for one number."""
    memory: Annotated[str, AfterValidator(_bytes)] | None = None
    """Memory: 16G. None: what the engine gives by itself."""


class Executor(Member):
    """Where workers run: a name alone, or with the executor's own options."""

    name: str = "local"
    """Which executor."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer
    def _as_written(self) -> Any:
        return {"name": self.name, **self.options} if self.options else self.name


class TimedTrial(Strict):
    """How long one trial of the user's own code took."""

    samples: Positive
    """The size of its shard, in the domain's unit."""
    size: Count
    """Of its model."""
    seconds: Positive
    """It took, on the machine where the study is to run."""


class Run(Strict):
    """Where and how trials run; nothing here changes a result."""

    executor: Executor = Executor()
    """Where workers run: a name, or a section with the name and the executor's own options."""
    workers: Few | None = None
    """Workers at a time. None: one a GPU, or a core where none is used; of an engine, its slots."""
    budget: Duration | None = None
    """Time on the clock, of all runs of the study together: 15m, 2h; of each from its first timing
    until its end, whatever it trained. The search takes what fits, a whole curve first. `steep run
    --budget` gives one call another. None: as long as it takes."""
    device: str = "auto"
    """'cpu', 'cuda' or 'cuda:1'; 'auto': a GPU where there is one."""
    lease: Annotated[float, Field(ge=1)] = 90.0
    """Seconds without a sign of life after which a worker counts as dead."""
    checkpoint: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between checkpoints of a trial."""
    max_attempts: Few = 3
    """How often a trial is tried before it counts as failed."""
    timed: Annotated[tuple[TimedTrial, ...], Field(strict=False)] = ()
    """Trials of the user's own code that `steep init` ran, or that you know of: the time of a study
    is predicted from them, until it has trials of its own."""
    pack: Few = 1
    """Trials alike but for seed and learning rate that a worker trains at once: for GPUs."""
    timeout: Positive | None = None
    """Seconds after which an attempt is killed as hung. None: 20 times what trials that have ended
    predict for it, at least 5 minutes; a day before any has ended."""


class Spec(Strict):
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
    """The study's name, and that of its folder."""
    domain: Member
    """The data: what kind it is and where its files are."""
    family: Family
    """The models that are trained."""
    shards: Shards
    """The training-set sizes."""
    split: Split = Split()
    """Validation and test parts, where the data brings none."""
    search: Search = Search()
    """How the best model of each shard is found."""
    training: dict[str, Scalar] = Field(default_factory=dict)
    """Hyperparameters held fixed; what is left out comes from the family's recipe."""
    stop: Stop = Stop()
    """When a trial ends."""
    trainer: Member = Member(name="engine")
    """What trains a model: steep's engine, or code of one's own."""
    metric: str | None = None
    """The metric that best models are selected by. None: the domain's first."""
    run: Run = Run()
    """Workers, devices, checkpoints."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Of the split and of the order of the data. Trials have seeds of their own, counted from 0."""
