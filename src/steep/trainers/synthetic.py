"""A trainer with a known truth: no data, no torch, a study of a hundred trials in seconds.

The error of a model with p parameters on m samples, at the best learning rate, is

    error(m, p) = floor + a * m**beta_g * (1 - k - w + k * r**(beta_g/beta_p) + w * r**g)
    r = p / (sigma * m**beta_p),   k = capacity,   g = excess,   w = -k * beta_g / (beta_p * g)

Its second factor is 1, and smallest, at r = 1. So, in closed form:

- the best-fit model has sigma * m**beta_p parameters,
- the composite curve is floor + a * m**beta_g,
- one model on ever more data tends to floor + a * k * (p/sigma)**(beta_g/beta_p): its capacity,
- models that are too large lose too (the w term), slowly.

Off its best learning rate a model's error grows by ``1 + valley * log(rate/best)**2``. Noise comes
in parts, each switched off by 0, all multiplying the error: seeds; the draw of the data (a prefix
mean over the permutation, so nested shards share it: correlation sqrt(m1/m2) for m1 < m2); the
validation items (one common effect of V on every trial, plus each trial's own).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from steep.base.metrics import metric_of
from steep.contracts.domain import Domain
from steep.contracts.trainer import Cost, Handle, Interrupted, ShardItems, Trainer
from steep.records import Evaluation, Measurement, Status, Trial, Value, settings
from steep.spec.load import Loaded
from steep.spec.sections import Count, Positive, Strict
from steep.spec.sections import Stop as StopRule

NonNegative = Annotated[float, Field(ge=0)]


class Fault(Strict):
    """Something that goes wrong with the trials it names (all, where it names none)."""

    kind: Literal["nan", "inf", "hang", "die", "raise", "oom", "device oom"]
    """'nan' and 'inf' are errors at ``step``; 'die' ends the process; 'hang' sleeps for ever."""
    step: Count = 1
    """The step at which it happens."""
    size: int | None = None
    """Only trials of this model size."""
    items: int | None = None
    """Only trials on so many items."""
    seed: int | None = None
    """Only trials of this seed."""
    attempts: int | None = None
    """Only the first so many attempts."""


class Options(Strict):
    a: Positive = 4.0
    """Error of the best-fit model: floor + a * samples**beta_g."""
    beta_g: Annotated[float, Field(lt=0)] = -0.3
    """Its exponent."""
    floor: NonNegative = 0.0
    """What no data removes of it."""
    sigma: Positive = 30.0
    """Parameters of the best-fit model: sigma * samples**beta_p."""
    beta_p: Positive = 0.6
    """Their exponent."""
    capacity: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of the reducible error of a best-fit model that its size alone accounts for."""
    excess: Positive = 0.3
    """Exponent by which the error grows with a model that is too large."""
    best_guess: Positive | None = None
    """No model is worse than this."""
    best_rate: Positive = 0.1
    """The learning rate that is best for a model of 10,000 parameters."""
    rate_shift: float = 0.0
    """The best learning rate falls as parameters**-rate_shift, from ``best_rate`` at 1e4."""
    valley: NonNegative = 0.1
    """The error is 1 + valley * log(rate / best rate)**2 times as large at another rate."""
    diverges_above: Positive | None = None
    """Learning rate above which the loss becomes NaN a third of the way through."""
    seed_noise: NonNegative = 0.0
    """Standard deviation of log error over seeds."""
    draw_noise: NonNegative = 0.0
    """The same over permutations, at 1000 samples; falls as 1/sqrt(samples)."""
    item_noise: NonNegative = 0.0
    """Spread of log error over validation items, common to all trials."""
    own_item_noise: NonNegative = 0.0
    """Spread of log error over validation items, each trial's own."""
    steps: Count = 100
    """Steps of a trial at its best evaluation; a few more follow, for the patience."""
    seconds_per_step: NonNegative = 0.0
    """How long a step sleeps."""
    log: str | None = None
    """A file to which every attempt appends a line before and after: what, trial, attempt,
    process, step."""
    faults: tuple[Fault, ...] = Field(default=(), strict=False)
    """What goes wrong, and with which trials: for tests."""


@dataclass(frozen=True)
class Truth:
    """The law of the module's docstring: everything a test may compare with."""

    options: Options

    def parameters(self, samples: float) -> float:
        """Size of the best-fit model."""
        return self.options.sigma * samples**self.options.beta_p

    def composite(self, samples: float) -> float:
        """Error of the best-fit model at its best learning rate, without noise."""
        return self._known(self.options.floor + self.options.a * samples**self.options.beta_g)

    def best_rate(self, parameters: float) -> float:
        return self.options.best_rate * (parameters / 1e4) ** -self.options.rate_shift

    def capacity(self, parameters: float) -> float:
        """Error of one model on endless data."""
        o = self.options
        return o.floor + o.a * o.capacity * (parameters / o.sigma) ** (o.beta_g / o.beta_p)

    def error(self, samples: float, parameters: float, rate: float) -> float:
        """Noise-free error: the floor, plus a power law of the samples times a factor for the model
        size and one for the learning rate, which are 1 at their best."""
        o = self.options
        r = parameters / self.parameters(samples)
        k, ratio = o.capacity, o.beta_g / o.beta_p
        w = -k * ratio / o.excess
        size_factor = 1 - k - w + k * r**ratio + w * r**o.excess
        rate_factor = 1 + o.valley * math.log(rate / self.best_rate(parameters)) ** 2
        reducible = o.a * samples**o.beta_g * size_factor * rate_factor
        return self._known(o.floor + reducible)

    def _known(self, error: float) -> float:
        return error if self.options.best_guess is None else min(error, self.options.best_guess)


def parameters_of(size: int) -> int:
    """The dial: a width; parameters grow with its square, as in most families."""
    return 100 * size**2


# ---------------------------------------------------------------- the trainer's contract


def recipe(family: str) -> Mapping[str, Value] | None:
    return {"learning_rate": 0.1}


def cost(loaded: Loaded, domain: Domain, size: int) -> Cost | None:
    """Six FLOPs per parameter and sample, as for a dense network."""
    parameters = parameters_of(size)
    return Cost(parameters, parameters, 6.0 * parameters)


def extent(
    loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray
) -> tuple[float, float] | None:
    """Samples seen: ten epochs up to the best evaluation, and what patience adds."""
    steps = evaluation_steps(_options(loaded).steps, loaded.spec.stop)
    per_step = 10 * trial.samples / _options(loaded).steps
    return per_step * steps[0], per_step * steps[-1]


def open_trainer(loaded: Loaded, domain: Domain) -> Trainer:
    """A trainer of the options in the spec."""
    options, stop = _options(loaded), loaded.spec.stop
    metric = metric_of(loaded.spec.metric, domain.metrics)
    truth = Truth(options)

    def train(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        return _train(truth, stop, metric, trial, shard, handle)

    return train


def _options(loaded: Loaded) -> Options:
    return Options.model_validate(loaded.spec.trainer.options)


# ---------------------------------------------------------------- one trial


@dataclass
class _Run:
    """Everything of a trial that changes from step to step: what a checkpoint holds."""

    step: int = 0
    state: str = ""
    """Stands for the weights: each step hashes it on, so that a step left out or done twice
    shows in the end."""
    curve: list[Evaluation] = field(default_factory=list)
    seconds: float = 0.0


def _train(
    truth: Truth, stop: StopRule, metric: str, trial: Trial, shard: ShardItems, handle: Handle
) -> Measurement:
    options = truth.options
    run = _resumed(trial, handle)
    _log(options, trial, handle, "begins", run.step)
    steps = evaluation_steps(options.steps, stop)
    target, errors = _errors(truth, trial, len(shard.validation))
    began = time.perf_counter() - run.seconds
    while run.step < steps[-1]:
        if handle.up_to_steps is not None and run.step >= handle.up_to_steps:
            handle.save(run.step, _state(run))
            return _measurement(truth, metric, trial, run, None, handle)
        if handle.stop_requested():
            handle.save(run.step, _state(run))
            raise Interrupted
        if handle.due():
            handle.save(run.step, _state(run))
        run.step += 1
        run.state = hashlib.sha256(f"{run.state} {run.step}".encode()).hexdigest()
        if options.seconds_per_step:
            time.sleep(options.seconds_per_step)
        run.seconds = time.perf_counter() - began
        broken = _fault(options, trial, run.step, handle.attempt)
        if broken is not None or run.step in steps:
            point = _evaluation(
                trial, run, broken or _at(target, run.step, options.steps), options.steps
            )
            handle.progress(point)
            run.curve.append(point)
    _log(options, trial, handle, "ends", run.step)
    return _measurement(truth, metric, trial, run, errors, handle)


def evaluation_steps(best: int, stop: StopRule) -> tuple[int, ...]:
    """Geometric, ``stop.evaluations`` up to step ``best``, then ``stop.patience`` more."""
    before = [round(best / stop.ratio**i) for i in range(stop.evaluations)]
    after = [math.ceil(best * stop.ratio**i) for i in range(1, stop.patience + 1)]
    steps = sorted({step for step in [*before, *after] if step >= 1})
    if stop.max_steps is not None:
        steps = [step for step in steps if step < stop.max_steps] + [stop.max_steps]
    return tuple(steps)


def _at(target: float, step: int, best: int) -> float:
    """The training curve: falls to ``target`` at step ``best``, then overfits."""
    return target * (1 + 0.2 * math.log(best / step) ** 2)


def _evaluation(trial: Trial, run: _Run, error: float, steps: int) -> Evaluation:
    seen = 10 * trial.samples * run.step / steps
    return Evaluation(run.step, seen, run.seconds, 0.9 * error, error, error)


def _resumed(trial: Trial, handle: Handle) -> _Run:
    while (data := handle.load()) is not None:
        try:
            saved = json.loads(data)
            saved["curve"] = [Evaluation(**point) for point in saved["curve"]]
            return _Run(**saved)
        except (ValueError, TypeError, KeyError) as error:
            handle.pass_over(str(error))
    return _Run(state=trial.id)


def _state(run: _Run) -> bytes:
    return json.dumps(asdict(run)).encode()


def _measurement(
    truth: Truth,
    metric: str,
    trial: Trial,
    run: _Run,
    errors: np.ndarray | None,
    handle: Handle,
) -> Measurement:
    """``errors`` per validation item, scaled to the curve's best; None for a rung."""
    status, reason = Status.COMPLETE, None
    best = min(run.curve, key=lambda point: point.validation_error, default=None)
    error = best.validation_error if best else None
    spread = test = None
    if errors is None:
        status, reason = Status.STOPPED, f"stopped after {run.step} steps, as planned"
    elif best is run.curve[-1]:
        status, reason = Status.CAPPED, f"still improving at the cap of {run.step} steps"
    if errors is not None and error is not None:
        errors = errors * (error / errors.mean())
        handle.items({"count": np.ones(len(errors)), metric: errors})
        spread = float(errors.std() / math.sqrt(len(errors)))
        test = error * math.exp(-_common(truth.options, len(errors)))
    parameters = parameters_of(trial.size)
    seen = run.curve[-1].samples_seen if run.curve else 0.0
    return Measurement(
        trial=trial,
        status=status,
        reason=reason,
        validation_error=error,
        validation_error_se=spread,
        validation_loss=error,
        test_error=test,
        test_loss=test,
        train_error=None if error is None else 0.9 * error,
        metrics=settings({metric: error}) if error is not None else (),
        parameters=parameters,
        parameters_without_embeddings=parameters,
        best_step=best.step if best else 0,
        steps=run.step,
        samples_seen=seen,
        flops=6.0 * parameters * seen,
        seconds=run.seconds,
        engine="synthetic",
        weights_hash=run.state,
        curve=tuple(run.curve),
    )


# ---------------------------------------------------------------- noise


def _errors(truth: Truth, trial: Trial, count: int) -> tuple[float, np.ndarray]:
    """The trial's error on V, and of each of the ``count`` validation items: its mean."""
    o = truth.options
    rate = float(trial.hyperparameter("learning_rate") or o.best_rate)
    if o.diverges_above is not None and rate > o.diverges_above:
        return math.nan, np.full(max(count, 1), math.nan)
    clean = truth.error(trial.samples, parameters_of(trial.size), rate)
    seeds = o.seed_noise * _normal("seed", trial.id, 1)[0]
    draw = o.draw_noise * math.sqrt(1000) * _walk(trial.permutation, trial.samples) / trial.samples
    common = np.array(_items(o.item_noise, max(count, 1)))
    own = o.own_item_noise * _normal("items", trial.id, max(count, 1)) - o.own_item_noise**2 / 2
    errors = clean * math.exp(seeds + draw) * np.exp(common + own)
    return float(errors.mean()), errors


@cache
def _items(spread: float, count: int) -> tuple[float, ...]:
    """Log difficulty of each validation item, the same for every trial; mean of exp is 1."""
    return tuple(spread * _normal("validation", "items", count) - spread**2 / 2)


def _common(options: Options, count: int) -> float:
    """The effect that V's sample of items has on the log error of every trial."""
    return math.log(float(np.exp(np.array(_items(options.item_noise, count))).mean()))


def _walk(permutation: int, samples: float) -> float:
    """A Brownian motion over the permutation, at ``samples``: the sum of its items' effects.

    Block j, which ends at item 2**j, is 64 independent steps."""
    total, start, block = 0.0, 0.0, 0
    while start < samples:
        end = 2.0**block
        steps = _normal("draw", f"{permutation} {block}", 64) * math.sqrt((end - start) / 64)
        inside = min(1.0, (samples - start) / (end - start)) * 64
        whole = int(inside)
        total += float(steps[:whole].sum())
        if whole < 64:
            total += float(steps[whole]) * (inside - whole)
        start, block = end, block + 1
    return total


def _normal(what: str, key: str, count: int) -> np.ndarray:
    """Standard normal numbers that depend on nothing but what they are for."""
    digest = hashlib.sha256(f"{what} {key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(count)


# ---------------------------------------------------------------- what goes wrong


def _fault(options: Options, trial: Trial, step: int, attempt: int) -> float | None:
    """Do what a fault says is to happen at this step; the broken error, where that is it."""
    rate = trial.hyperparameter("learning_rate")
    high = options.diverges_above
    if high is not None and rate is not None and float(rate) > high and 3 * step >= options.steps:
        return math.nan
    for fault in options.faults:
        if fault.step == step and _meant(fault, trial, attempt):
            return _do(fault.kind)
    return None


def _meant(fault: Fault, trial: Trial, attempt: int) -> bool:
    named: dict[str, Any] = {"size": fault.size, "items": fault.items, "seed": fault.seed}
    if any(want is not None and getattr(trial, name) != want for name, want in named.items()):
        return False
    return fault.attempts is None or attempt <= fault.attempts


def _do(kind: str) -> float | None:
    match kind:
        case "nan":
            return math.nan
        case "inf":
            return math.inf
        case "hang":
            while True:
                time.sleep(1)
        case "die":
            os._exit(7)
        case "oom":
            raise MemoryError("a simulated one")
        case "device oom":
            raise RuntimeError("CUDA out of memory. Tried to allocate 10.00 GiB")
    raise RuntimeError("a simulated failure")


def _log(options: Options, trial: Trial, handle: Handle, what: str, step: int) -> None:
    if options.log is None:
        return
    line = f"{what} {trial.id} {handle.attempt} {os.getpid()} {step}\n"
    with open(options.log, "ab", buffering=0) as file:
        file.write(line.encode())
