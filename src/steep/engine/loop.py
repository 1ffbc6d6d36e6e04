"""The one training loop: every domain, family and optimizer goes through ``train``.

A trial trains until the validation error has not improved for ``patience`` evaluations, which lie
on a geometric grid of steps (schedule.py), or until the grid ends. Everything that changes from
step to step is in ``Run``; a checkpoint holds all of it, so that a trial killed at any moment and
resumed ends with the same bits as one that never was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from steep.contracts.domain import Domain, Position, Scores
from steep.contracts.family import Family
from steep.contracts.trainer import Handle, Interrupted, ShardItems
from steep.engine import checkpoint, environment
from steep.engine.average import Average
from steep.engine.count import cost
from steep.engine.optimizers import OPTIMIZERS, Optimizer
from steep.engine.plain import plainly
from steep.engine.schedule import evaluation_steps, without_improvement
from steep.records import Evaluation, Measurement, Settings, Status, Trial, settings
from steep.spec.sections import Stop

DECODED_ITEMS = 200
SAMPLES = 8
"""Items of V that ``Domain.decoded`` is called for: a report, and slow."""


@dataclass(frozen=True)
class Setup:
    """What all trials of a study share."""

    domain: Domain
    family: Family
    options: Any
    hyperparameters: Mapping[str, Any]
    """The recipe with the study's fixed values; a trial's own win over them."""
    stop: Stop
    metric: str
    """Selection metric: its minimum over the run is the trial's error."""
    group: np.ndarray
    """``Items.group`` of every item, for the standard error on V."""
    device: str = "cpu"
    train_items: int = 1000
    """Items of the shard on which the training error of the best model is measured."""
    gradients: Literal["alone", "packed", "graphs"] = "alone"
    """'packed': they come from packed.py, together with other trials'; 'graphs': graphs.py."""
    precision: str = "float32"
    """Of gradients: 'float32', 'tf32' or 'bfloat16'."""

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What gradients are computed under. In bfloat16 ``torch.autocast`` decides what is safe
        to round, which it cannot in kernels of ours."""
        if self.precision != "bfloat16":
            yield
            return
        with plainly(), torch.autocast(torch.device(self.device).type, torch.bfloat16):
            yield


@dataclass
class Best:
    """The evaluation with the lowest error so far."""

    step: int
    error: float
    weights: dict[str, Tensor]
    scores: Scores


@dataclass
class Run:
    """Everything of a trial that changes from step to step."""

    model: torch.nn.Module
    optimizer: Optimizer
    engine: str
    """What computes its gradients."""
    average: Average | None = None
    """Averaged weights, evaluated in place of the last ones; None where the recipe has none."""
    state: Any = None
    """The domain's: hidden state of a stream."""
    step: int = 0
    position: Position = (0, 0)
    samples_seen: float = 0.0
    loss_sum: float = 0.0
    """Training loss, and units, since the last evaluation."""
    loss_count: float = 0.0
    curve: list[Evaluation] = field(default_factory=list)
    best: Best | None = None
    seconds: float = 0.0
    """Spent by earlier attempts, up to the checkpoint."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self.started


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one batch, whose gradient is in the model's parameters."""

    total: Tensor
    """Summed over units."""
    count: float
    """Units."""
    state: Any
    """The domain's, after the batch."""


def train(setup: Setup, trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
    """Train one trial to its end, or to ``handle.up_to_steps``.

    Raises Interrupted after saving when the handle asks to stop."""
    return answered(training(setup, trial, shard, handle), partial(gradient, setup))


def gradient(setup: Setup, run: Run, batch: Any) -> Loss:
    """Put the gradient of the mean loss over the batch's units into the model's parameters."""
    with setup.computing():
        total, count, state = setup.domain.loss(run.model, batch, run.state)
    (total / count).backward()
    return Loss(total.detach(), count, state)


Training = Generator[tuple["Run", Any], Loss | None, Measurement]
"""A trial that asks, step by step, for the gradient of (run, batch), and returns its result."""


def answered(steps: Training, gradient: Callable[[Run, Any], Loss]) -> Measurement:
    """The trial's result, each of its steps with the gradient from ``gradient``."""
    answer = None
    while True:
        try:
            run, batch = steps.send(answer)
        except StopIteration as end:
            measured: Measurement = end.value
            return measured
        answer = gradient(run, batch)


def training(setup: Setup, trial: Trial, shard: ShardItems, handle: Handle) -> Training:
    """One trial, all but its gradients. Raises as ``train``."""
    values = {**setup.hyperparameters, **dict(trial.hyperparameters)}
    steps_per_epoch = setup.domain.steps_per_epoch(shard.train, values)
    schedule = evaluation_steps(setup.stop, steps_per_epoch)
    run = _resumed(setup, trial, values, handle)
    status, reason = yield from _advance(setup, run, trial, shard, handle, values, schedule)
    return _measure(setup, run, trial, shard, handle, status, reason)


# ---------------------------------------------------------------- training


def _begin(setup: Setup, trial: Trial, values: Mapping[str, Any]) -> Run:
    torch.manual_seed(trial.seed)
    model = setup.family.build(trial.size, setup.domain.shape, setup.options).to(setup.device)
    optimizer = OPTIMIZERS[values["optimizer"]](model.parameters(), values)
    eta = float(values.get("averaging", -1))
    with setup.computing():
        packed = setup.gradients == "packed"
        engine = "packed" if packed else str(getattr(model, "engine", "torch"))
    if setup.gradients == "graphs":
        engine = f"{engine}-graphs"
    if setup.precision != "float32":
        engine = f"{engine}-{setup.precision}"
    return Run(model, optimizer, engine, Average(model, eta) if eta >= 0 else None)


def _advance(
    setup: Setup,
    run: Run,
    trial: Trial,
    shard: ShardItems,
    handle: Handle,
    values: Mapping[str, Any],
    schedule: tuple[int, ...],
) -> Generator[tuple[Run, Any], Loss, tuple[Status, str | None]]:
    """Step after step until the trial ends; how it ended and why."""
    batches = setup.domain.batches(shard.train, values, trial.seed, run.position)
    guess = _best_guess(setup, shard)
    while not (ended := _ended(run, setup.stop, schedule, guess)):
        if handle.up_to_steps is not None and run.step >= handle.up_to_steps:
            handle.save(run.step, _snapshot(run, trial))
            return Status.STOPPED, f"stopped after {run.step} steps, as planned"
        if handle.stop_requested():
            handle.save(run.step, _snapshot(run, trial))
            raise Interrupted(f"saved at step {run.step}")
        if handle.due():
            handle.save(run.step, _snapshot(run, trial))
        batch, position = next(batches)
        run.optimizer.zero_grad()
        loss = _step(setup.domain, run, batch, (yield run, batch), float(values.get("clip", 0.0)))
        run.position = position
        if not math.isfinite(loss):
            return Status.DIVERGED, f"training loss is {loss} at step {run.step}"
        if run.step == schedule[len(run.curve)]:
            error = _evaluate(setup, run, shard)
            if not math.isfinite(error):
                return Status.DIVERGED, f"validation error is {error} at step {run.step}"
            handle.progress(run.curve[-1])
    return ended


def _step(domain: Domain, run: Run, batch: Any, loss: Loss, clip: float) -> float:
    """One update by the gradient of ``loss``; returns the summed loss."""
    run.state = loss.state
    if clip > 0:
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), clip)
    run.optimizer.step()
    value = float(loss.total)
    run.step += 1
    if run.average is not None:
        run.average.update(run.step)
    units = getattr(domain, "units", None)
    run.samples_seen += units(batch) if units is not None else loss.count
    run.loss_sum += value
    run.loss_count += loss.count
    return value


def _best_guess(setup: Setup, shard: ShardItems) -> float:
    """Of V, by the shard; no number where no rule asks for it."""
    if not setup.stop.improvement:
        return math.inf
    known = setup.domain.best_guess(shard.train, shard.validation)
    return float(known.get(setup.metric, math.inf))


def _ended(
    run: Run, stop: Stop, schedule: tuple[int, ...], best_guess: float
) -> tuple[Status, str | None] | tuple[()]:
    """Empty while the trial goes on."""
    made = len(run.curve)
    since = without_improvement(stop, [point.validation_error for point in run.curve], best_guess)
    if since >= stop.patience and made >= min(stop.evaluations, len(schedule)):
        return Status.COMPLETE, None
    if made == len(schedule):
        return Status.CAPPED, f"still improving at the cap of {schedule[-1]} steps"
    return ()


def _evaluate(setup: Setup, run: Run, shard: ShardItems) -> float:
    """Evaluate V, extend the curve, keep the best weights. Returns the error, finite or not."""
    with run.average.in_place() if run.average is not None else nullcontext():
        scores = _scores(setup, run, shard.validation)
        weights = {name: value.clone() for name, value in run.model.state_dict().items()}
    error, loss = scores.mean(setup.metric), scores.mean(_loss(setup.domain))
    if not (math.isfinite(error) and math.isfinite(loss)):
        return error if math.isfinite(loss) else loss
    train_loss = run.loss_sum / run.loss_count if run.loss_count else None
    point = Evaluation(run.step, run.samples_seen, run.elapsed, train_loss, loss, error)
    run.curve.append(point)
    run.loss_sum = run.loss_count = 0.0
    if run.best is None or error < run.best.error:
        run.best = Best(run.step, error, weights, scores)
    return error


def _loss(domain: Domain) -> str:
    """The metric that is the loss, where another one selects."""
    return "cross_entropy" if "cross_entropy" in domain.metrics else domain.metrics[0]


@contextmanager
def _evaluating(run: Run) -> Iterator[torch.nn.Module]:
    """The model as it is evaluated, without gradients."""
    run.model.eval()
    with torch.inference_mode():
        yield run.model
    run.model.train()


def _scores(setup: Setup, run: Run, items: np.ndarray) -> Scores:
    with _evaluating(run) as model:
        return setup.domain.evaluate(model, items)


# ---------------------------------------------------------------- checkpoints


def _snapshot(run: Run, trial: Trial) -> bytes:
    tensors = {f"model.{name}": value for name, value in run.model.state_dict().items()}
    for name, value in run.optimizer.tensors().items():
        tensors[f"optimizer.{name}"] = value
    if run.average is not None:
        tensors |= {f"average.{name}": value for name, value in run.average.weights.items()}
    tensors["rng"] = torch.get_rng_state()
    best = None
    if run.best is not None:
        best = {"step": run.best.step, "error": run.best.error}
        tensors |= {f"best.{name}": value for name, value in run.best.weights.items()}
        tensors["scores.count"] = torch.from_numpy(run.best.scores.count)
        for name, sums in run.best.scores.sums.items():
            tensors[f"scores.sums.{name}"] = torch.from_numpy(sums)
    metadata = {
        "trial": trial.id,
        "engine": run.engine,
        "torch": torch.__version__,
        "state": checkpoint.flatten("state", run.state, tensors),
        "step": run.step,
        "position": run.position,
        "samples_seen": run.samples_seen,
        "loss_sum": run.loss_sum,
        "loss_count": run.loss_count,
        "curve": [asdict(point) for point in run.curve],
        "best": best,
        "seconds": run.elapsed,
    }
    return checkpoint.pack(tensors, metadata)


def _resumed(setup: Setup, trial: Trial, values: Mapping[str, Any], handle: Handle) -> Run:
    """The run as the newest checkpoint that can be read left it, else from its start."""
    while (data := handle.load()) is not None:
        run = _begin(setup, trial, values)
        try:
            _resume(run, trial, data)
        except Exception as error:  # its bytes are what was written, but not what is expected
            handle.pass_over(f"{type(error).__name__}: {error}")
            continue
        return run
    return _begin(setup, trial, values)


def _resume(run: Run, trial: Trial, data: bytes) -> None:
    """Continue where ``data`` left off. A run by another engine or torch version starts over:
    continuing it would mix two kinds of rounding in one trial, which no record shows."""
    tensors, saved = checkpoint.unpack(data)
    if saved["trial"] != trial.id:
        raise checkpoint.CheckpointError(f"checkpoint of trial {saved['trial']}, not {trial.id}")
    if (saved["engine"], saved["torch"]) != (run.engine, torch.__version__):
        return

    def tensors_of(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    run.model.load_state_dict(tensors_of("model."))
    run.optimizer.restore(tensors_of("optimizer."))
    if run.average is not None:
        run.average.restore(tensors_of("average."))
    torch.set_rng_state(tensors["rng"])
    device = next(run.model.parameters()).device
    on_device = {name: value.to(device) for name, value in tensors.items()}
    run.state = checkpoint.unflatten(saved["state"], on_device)
    run.position = (saved["position"][0], saved["position"][1])
    run.curve = [Evaluation(**point) for point in saved["curve"]]
    for name in ("step", "samples_seen", "loss_sum", "loss_count", "seconds"):
        setattr(run, name, saved[name])
    if saved["best"] is not None:
        sums = {name: value.numpy() for name, value in tensors_of("scores.sums.").items()}
        scores = Scores(tensors["scores.count"].numpy(), sums)
        run.best = Best(saved["best"]["step"], saved["best"]["error"], tensors_of("best."), scores)


# ---------------------------------------------------------------- the result


def _measure(
    setup: Setup,
    run: Run,
    trial: Trial,
    shard: ShardItems,
    handle: Handle,
    status: Status,
    reason: str | None,
) -> Measurement:
    size = cost(setup.family, trial.size, setup.domain.shape, setup.options)
    common: dict[str, Any] = {
        "trial": trial,
        "status": status,
        "reason": reason,
        "parameters": size.parameters,
        "parameters_without_embeddings": size.parameters_without_embeddings,
        "steps": run.step,
        "samples_seen": run.samples_seen,
        "flops": size.flops * run.samples_seen,
        "engine": run.engine,
        "device": setup.device,
        "threads": torch.get_num_threads(),
        "versions": environment.versions(),
        "curve": tuple(run.curve),
    }
    if status != Status.DIVERGED:
        common["weights_hash"] = checkpoint.weights_hash(run.model)
        if run.best is not None:
            common |= _errors(setup, run, run.best, shard, handle, status)
    common |= {"seconds": run.elapsed, "peak_memory": environment.peak_memory(setup.device)}
    return Measurement(**common)


def _errors(
    setup: Setup, run: Run, best: Best, shard: ShardItems, handle: Handle, status: Status
) -> dict[str, Any]:
    """What the best step's model does; the test part is looked at here and nowhere else."""
    loss = _loss(setup.domain)
    scores = best.scores
    spread = scores.standard_error(setup.metric, setup.group[shard.validation])
    errors: dict[str, Any] = {
        "validation_error": best.error,
        "validation_error_se": spread if math.isfinite(spread) else None,
        "validation_loss": scores.mean(loss),
        "metrics": settings({name: scores.mean(name) for name in setup.domain.metrics}),
        "best_step": best.step,
    }
    handle.items({"count": scores.count, **scores.sums})
    if status == Status.STOPPED:  # it may go on: its best is not known yet
        return errors
    run.model.load_state_dict(best.weights)
    errors["metrics"] += _decoded(setup, run, shard.validation)
    if hasattr(setup.domain, "samples"):
        with _evaluating(run) as model:
            samples = setup.domain.samples(model, _spread(shard.validation, SAMPLES))
        handle.samples(samples)
    train = _scores(setup, run, shard.train[: setup.train_items])
    errors["train_error"] = train.mean(setup.metric)
    if len(shard.test):
        test = _scores(setup, run, shard.test)
        errors |= {"test_error": test.mean(setup.metric), "test_loss": test.mean(loss)}
    return errors


def _decoded(setup: Setup, run: Run, items: np.ndarray) -> Settings:
    """Scores of what the model writes by itself, where the domain has them, of items from all
    over V."""
    if not hasattr(setup.domain, "decoded"):
        return ()
    with _evaluating(run) as model:
        return settings(setup.domain.decoded(model, _spread(items, DECODED_ITEMS)))


def _spread(items: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the items, from all over them."""
    return items[np.linspace(0, len(items) - 1, min(len(items), most)).astype(int)]
