"""Contract suites: what a new member of the registry must pass. Call them from a test.

    def test_contract():
        testing.check_domain(my_domain)

Each raises AssertionError saying which promise is broken. Torch is imported when a suite needs it.
"""

from __future__ import annotations

import inspect
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from steep import records
from steep.contracts.domain import Domain, Items, Position
from steep.contracts.family import Family
from steep.contracts.planner import Planner, SearchSpace
from steep.contracts.trainer import Interrupted, ShardItems, Trainer
from steep.laws.law import Law
from steep.planners.history import seen
from steep.records import ENDED, Evaluation, Measurement, Sample, Status, Trial
from steep.testing.kinds import CHECK_MODEL


@dataclass
class MemoryHandle:
    """A trainer's handle that keeps everything in memory. Steps are counted by ``due``."""

    attempt: int = 1
    up_to_steps: int | None = None
    save_every: int | None = None
    """Ask for a checkpoint each time this many steps are done; None: never."""
    stop_after: int | None = None
    """Ask to stop once this many steps of this handle are done; None: never."""
    checkpoint: bytes | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    errors: dict[str, np.ndarray] = field(default_factory=dict)
    saved_steps: list[int] = field(default_factory=list)
    checks: int = 0
    home: Path | None = None
    """Where a trial's folder and files of shards are; None: a new temporary folder."""

    def folder(self) -> tuple[Path, bool]:
        place = self._home() / "trial"
        place.mkdir(exist_ok=True)
        return place, any(place.iterdir())

    def drop_folder(self) -> None:
        shutil.rmtree(self.folder()[0])

    def shard_file(self, name: str, data: Callable[[], bytes]) -> Path:
        path = self._home() / name
        path.write_bytes(data())
        return path

    def _home(self) -> Path:
        if self.home is None:
            self.home = Path(tempfile.mkdtemp())
        return self.home

    def progress(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)

    def save(self, step: int, state: bytes) -> None:
        self.saved_steps.append(step)
        self.checkpoint = state

    def load(self) -> bytes | None:
        return self.checkpoint

    def pass_over(self, why: str) -> None:
        self.checkpoint = None

    def due(self) -> bool:
        self.checks += 1
        return self.save_every is not None and self.checks % self.save_every == 0

    def stop_requested(self) -> bool:
        return self.stop_after is not None and self.checks >= self.stop_after

    def items(self, errors: dict[str, np.ndarray]) -> None:
        self.errors = errors

    def samples(self, samples: Sequence[Sample]) -> None:
        self.written = tuple(samples)


# ---------------------------------------------------------------- domains


def check_items(items: Items) -> None:
    """``Domain.items()``: one row an item, in the types that the contract names."""
    count = len(items.size)
    assert count > 0, "a domain without items"
    for name, kind in (
        ("size", np.float64),
        ("digest", np.uint64),
        ("group", np.int64),
        ("part", np.int8),
    ):
        array = getattr(items, name)
        assert array.shape == (count,), f"Items.{name} has shape {array.shape}, not ({count},)"
        assert array.dtype == kind, f"Items.{name} is {array.dtype}, not {np.dtype(kind)}"
    assert (items.size > 0).all(), "an item of no size"
    assert set(np.unique(items.part)) <= {0, 1, 2, 3}, "Items.part: see POOL"
    if items.label is not None:
        assert items.label.shape == (count,), "one label an item"
        assert items.label.dtype == np.int64, f"Items.label is {items.label.dtype}, not int64"
    for file, digest in items.files.items():
        assert len(digest) == 64, f"files[{file!r}] is not a SHA-256"


def check_domain(
    domain: Domain,
    family: Family,
    options: Any,
    size: int,
    hyperparameters: Mapping[str, Any],
    tolerance: float = 1e-4,
) -> None:
    """All that a domain promises, tried with a small model of a family that fits it."""
    items = domain.items()
    check_items(items)
    again = domain.items()
    assert (again.digest == items.digest).all(), "items() differs from call to call"
    assert family.kind == domain.kind, f"family {family.name} is no {domain.kind}"
    rows = np.arange(min(len(items.size), 24))
    shard, validation = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    guess = domain.best_guess(shard, validation)
    assert set(guess) == set(domain.metrics), "best_guess: not the domain's metrics"
    assert all(np.isfinite(value) and value > 0 for value in guess.values()), guess
    _check_batches(domain, shard, hyperparameters)
    _check_training(domain, family, options, size, hyperparameters, shard)
    model = family.build(size, domain.shape, options)
    _check_scores(domain, model, validation, tolerance)
    if hasattr(domain, "decoded"):
        for name, value in domain.decoded(model.eval().requires_grad_(False), validation).items():
            assert name not in domain.metrics, f"decoded: {name} is a metric already"
            assert np.isfinite(value), f"decoded: {name} is {value}"
    if hasattr(domain, "samples"):
        model = model.eval().requires_grad_(False)
        once, twice = (domain.samples(model, validation) for _ in range(2))
        assert len(once) == len(validation), "samples: one of each item"
        assert all(isinstance(one, Sample) for one in once), "samples: not records of Sample"
        assert once == twice, "samples: a second call says something else"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if hasattr(one, "shape"):
        return one.shape == other.shape and bool((one == other).all())
    return bool(one == other)


def _check_batches(domain: Domain, shard: np.ndarray, values: Mapping[str, Any]) -> None:
    steps = domain.steps_per_epoch(shard, values)
    assert steps >= 1, "an epoch without a step"
    count = 2 * steps + 1

    def take(position: Position, count: int, seed: int = 3) -> list[tuple[Any, Position]]:
        return list(islice(domain.batches(shard, values, seed, position), count))

    whole = take((0, 0), count)
    positions = [position for _, position in whole]
    assert positions[steps - 1] == (1, 0), f"after {steps} steps: {positions[steps - 1]}"
    assert positions[2 * steps - 1] == (2, 0), "epochs of different length"
    for cut in {1, steps, count // 2}:
        rest = take(positions[cut - 1], count - cut)
        assert _equal([b for b, _ in rest], [b for b, _ in whole[cut:]]), (
            f"resumed after {cut} batches, the batches are others"
        )
    if len(shard) > 1:
        other = take((0, 0), count, seed=4)
        assert not _equal([b for b, _ in other], [b for b, _ in whole]), "seed without effect"


def _check_training(
    domain: Domain,
    family: Family,
    options: Any,
    size: int,
    values: Mapping[str, Any],
    shard: np.ndarray,
) -> None:
    import torch

    torch.manual_seed(0)
    model = family.build(size, domain.shape, options)
    state = None
    for batch, _ in islice(domain.batches(shard, values, 0, (0, 0)), 3):
        model.zero_grad()
        total, count, state = domain.loss(model, batch, state)
        assert total.ndim == 0, "loss: the sum must be a scalar"
        assert total.requires_grad, "loss: the sum has no gradient"
        assert count > 0, "loss: no units"
        total.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert torch.isfinite(parameter.grad).all(), f"{name} gets an infinite gradient"
    tensors: list[Any] = [state]
    while tensors:
        inner = tensors.pop()
        if isinstance(inner, tuple):
            tensors += inner
        else:
            assert inner is None or not inner.requires_grad, "loss: the state is not detached"


def _check_scores(domain: Domain, model: Any, rows: np.ndarray, tolerance: float) -> None:
    """Neither order nor company of the items changes an item's result."""
    import torch

    model.eval()
    with torch.inference_mode():
        scores = domain.evaluate(model, rows)
        shuffled = np.random.default_rng(0).permutation(len(rows))
        others = domain.evaluate(model, rows[shuffled])
        alone = [domain.evaluate(model, rows[i : i + 1]) for i in range(min(len(rows), 4))]
    assert set(scores.sums) == set(domain.metrics), "evaluate: not the domain's metrics"
    for name, sums in [("count", scores.count), *scores.sums.items()]:
        assert sums.shape == (len(rows),), f"{name}: one value an item"
        assert sums.dtype == np.float64, f"{name} is {sums.dtype}, not float64"
        assert np.isfinite(sums).all(), f"{name} is not finite"
    for name, sums in scores.sums.items():
        np.testing.assert_allclose(
            others.sums[name], sums[shuffled], rtol=tolerance, atol=tolerance
        )
        for row, single in enumerate(alone):
            np.testing.assert_allclose(
                single.sums[name], sums[row : row + 1], rtol=tolerance, atol=tolerance
            )


# ---------------------------------------------------------------- families


def check_family(
    family: Family, options: Any, shape: Mapping[str, int], sizes: Sequence[int] = (8, 16)
) -> None:
    """Sizes ascend, shapes are right, seeds decide, the recipe is complete, FLOPs are counted."""
    import torch

    from steep.engine.count import cost
    from steep.engine.optimizers import OPTIMIZERS

    recipe = family.recipe
    for name in ("optimizer", "learning_rate", "batch_size"):
        assert name in recipe, f"recipe lacks {name}"
    assert recipe["optimizer"] in OPTIMIZERS, f"no optimizer {recipe['optimizer']!r}"
    misfit = family.misfit(options, recipe)
    assert misfit is None, f"the options and the recipe do not go together: {misfit}"
    torch.manual_seed(0)
    first = family.build(sizes[0], shape, options)
    torch.manual_seed(0)
    second = family.build(sizes[0], shape, options)
    for (name, one), other in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), f"{name}: the same seed gives other weights"
    if family.kind in CHECK_MODEL:
        CHECK_MODEL[family.kind](first, shape)
    costs = [cost(family, size, shape, options) for size in sizes]
    for small, large in pairwise(costs):
        assert 0 < small.parameters < large.parameters, (
            "parameters do not ascend with the model size"
        )
        assert 0 < small.flops < large.flops, "FLOPs do not ascend with the model size"
        assert small.parameters_without_embeddings <= small.parameters
    counted = sum(parameter.numel() for parameter in first.parameters())
    assert costs[0].parameters == counted, "parameters() and cost() disagree"


# ---------------------------------------------------------------- trainers


def check_trainer(
    train: Trainer, trial: Trial, shard: ShardItems, resumable: bool = True
) -> Measurement:
    """A whole measurement; the same again; and, where it is resumable, killed and gone on."""
    handle = MemoryHandle()
    whole = train(trial, shard, handle)
    assert whole.trial == trial, "the measurement is of another trial"
    assert whole.status in ENDED, f"status {whole.status}"
    assert records.decode(Measurement, records.encode(whole)) == whole, "JSON changes it"
    if whole.status == Status.COMPLETE:
        assert whole.validation_error is not None, "COMPLETE without an error"
        assert whole.parameters is not None, "COMPLETE without a parameter count"
        assert len(whole.curve) == len(handle.evaluations), "progress() missed an evaluation"
        if whole.curve:
            lowest = min(point.validation_error for point in whole.curve)
            assert whole.validation_error == lowest, "not the minimum over the run"
            assert whole.best_step <= whole.steps, "best step after the last"
    again = train(trial, shard, MemoryHandle())
    assert again.validation_error == whole.validation_error, "not repeatable"
    assert again.weights_hash == whole.weights_hash, "the same trial ends with other weights"
    if resumable and whole.steps > 2:
        _check_resume(train, trial, shard, whole)
    return whole


def _check_resume(train: Trainer, trial: Trial, shard: ShardItems, whole: Measurement) -> None:
    half = max(1, whole.steps // 2)
    rung = MemoryHandle(up_to_steps=half)
    stopped = train(trial, shard, rung)
    assert stopped.status == Status.STOPPED, f"up_to_steps={half} ended {stopped.status}"
    assert stopped.steps == half, f"stopped at {stopped.steps}, not {half}"
    stop = MemoryHandle(stop_after=half, checkpoint=None)
    try:
        train(trial, shard, stop)
    except Interrupted:
        pass
    else:
        raise AssertionError("a handle that is asked to stop did not raise Interrupted")
    for handle in (rung, stop):
        assert handle.checkpoint is not None, "stopped without a checkpoint"
        rest = train(trial, shard, MemoryHandle(checkpoint=handle.checkpoint))
        assert rest.weights_hash == whole.weights_hash, "resumed, it ends with other weights"
        assert rest.validation_error == whole.validation_error, "resumed, the error is another"
        assert [e.step for e in rest.curve] == [e.step for e in whole.curve]


# ---------------------------------------------------------------- planners


def check_planner(
    plan: Planner,
    search_space: SearchSpace,
    measure: Callable[[Trial], Measurement],
    rounds: int = 1000,
) -> list[Measurement]:
    """Plans until nothing is requested: no finished trial again, pure in the set of results.

    ``measure`` stands for a trainer that trains to the end; a trial requested up to a rung is cut
    there, where it has a training curve. Returns every measurement of the search."""
    found: dict[Trial, Measurement] = {}
    generator = random.Random(0)
    for _ in range(rounds):
        finished = list(found.values())
        requests = plan(search_space, tuple(finished), (), None)
        shuffled = finished + finished[:1]
        generator.shuffle(shuffled)
        again = plan(search_space, tuple(shuffled), (), None)
        assert again == requests, "the plan depends on the order of the results, or on repeats"
        if not requests:
            return finished
        trials = [entry.trial for entry in requests]
        assert len({trial.id for trial in trials}) == len(trials), "a trial requested twice"
        done = {m.trial.id for m in finished if m.status != Status.STOPPED}
        assert not done & {trial.id for trial in trials}, "a finished trial is requested again"
        for entry in requests:
            stood = found[entry.trial].steps if entry.trial in found else -1
            further = entry.up_to_steps is None or entry.up_to_steps > stood
            assert further, "a stopped trial is requested no further than it came"
        with_running = plan(search_space, tuple(finished), tuple(trials[:1]), None)
        assert trials[0] in [entry.trial for entry in with_running], "a running trial is dropped"
        chosen = generator.choice(requests)
        found[chosen.trial] = seen(measure(chosen.trial), chosen.up_to_steps)
    raise AssertionError(f"still planning after {rounds} trials")


def check_law(law: Law, truth: Sequence[float]) -> None:
    """A law: complete, one curve in both coordinate systems, recovered from noiseless points.

    ``truth`` holds natural parameters that bend the curve between 50 and 500,000 samples.
    """
    from steep.stats.profile import fit_law

    count = len(law.names)
    assert law.name, "a law has a name"
    assert law.formula, f"{law.name}: no formula"
    assert law.citation, f"{law.name}: no citation"
    lengths = {count, len(law.lower), len(law.upper), len(law.scales), len(law.shape) + 1}
    assert len(lengths) == 1, f"{law.name}: names, bounds, scales and shape do not match"
    guess = np.array(law.guess(np.array([10.0, 100.0]), np.array([0.4, 0.2])))
    inside = (np.array(law.lower) <= guess) & (guess <= np.array(law.upper))
    assert inside.all(), f"{law.name}: the guess breaks the bounds"

    z = np.random.default_rng(1).normal(size=(20, len(law.shape)))
    ratio = np.linspace(-5.0, 5.0, 11)
    relative = np.exp(law.log_shape(ratio, z))
    shape = [s.value(z[:, i]) for i, s in enumerate(law.shape)]
    natural = law.natural(0.17, 3000.0, *shape)
    curve = law.curve(3000.0 * np.exp(ratio)[:, None], *natural)
    worst = float(np.max(np.abs(0.17 * relative / curve - 1.0)))
    assert worst < 1e-6, f"{law.name}: shape and natural parameters are two curves ({worst})"

    m = np.geomspace(50, 500_000, 24)
    log_error = np.log(law.curve(m, *truth))
    start = np.array([truth], dtype=float) * 1.02
    found = fit_law(law, m, log_error, np.eye(len(m)), start, 0.0, len(m) - count, None)
    error = float(np.max(np.abs(found.parameters / np.array(truth) - 1.0)))
    assert error < 1e-6, f"{law.name}: not recovered to six digits ({error})"


def check_member(module: Any, *names: str) -> None:
    """A member's module holds what its contract names, and every name has a docstring."""
    for name in ("Options", *names):
        assert hasattr(module, name), f"{module.__name__} lacks {name}"
    assert inspect.getdoc(module), f"{module.__name__} does not say what it is"
