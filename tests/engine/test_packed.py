"""Packed trials take the steps that they would take alone, and end as they would."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import STOP, setup_of, text

from steep.contracts.trainer import Interrupted, ShardItems
from steep.engine import loop, packed
from steep.engine.loop import Setup
from steep.models import resnet, rhn, transformer
from steep.records import Measurement, Status, Trial, settings
from steep.testing import MemoryHandle


@pytest.fixture(params=["rhn", "transformer", "resnet", "channels-last", "bottleneck"])
def case(request, tmp_path: Path) -> tuple[Setup, int]:
    """The engine alone is the plain one, so that only packing differs."""
    family, options, size = {
        "rhn": (rhn.FAMILY, rhn.Options(depth=2, engine="plain"), 5),
        "transformer": (transformer.FAMILY, transformer.Options(layers=2), 8),
        "resnet": (resnet.FAMILY, resnet.Options(stages=2, engine="torch"), 4),
        "channels-last": (resnet.FAMILY, resnet.Options(stages=2, engine="torch"), 8),
        "bottleneck": (resnet.FAMILY, resnet.Options(stages=2, engine="torch"), 4),
    }[request.param]
    return setup_of(family, options, tmp_path), size


def trials(size: int, rates: tuple[float, ...] = (0.001, 0.01, 0.03)) -> list[Trial]:
    return [
        Trial(0, 20, 20.0, size, settings({"learning_rate": rate}), seed)
        for seed, rate in enumerate(rates)
    ]


def shard() -> ShardItems:
    rows = np.arange(40)
    return ShardItems(rows[:18], rows[18:30], rows[30:])


def together(
    setup: Setup, many: list[Trial], handles: list[MemoryHandle] | None = None
) -> list[Measurement]:
    handles = handles or [MemoryHandle() for _ in many]
    members = [(trial, shard(), handle) for trial, handle in zip(many, handles, strict=True)]
    ended = dict(packed.train(replace(setup, gradients="packed"), members))
    return [ended[k]() for k in range(len(many))]


def same(one: Measurement, other: Measurement) -> None:
    """But for rounding, times and the engine's name."""
    assert (one.status, one.steps, one.best_step) == (other.status, other.steps, other.best_step)
    assert one.samples_seen == other.samples_seen
    for name in ("validation_error", "validation_loss", "train_error", "test_error"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-3)
    for point, alone in zip(one.curve, other.curve, strict=True):
        assert point.step == alone.step
        assert point.train_loss == pytest.approx(alone.train_loss, rel=1e-3)
        assert point.validation_error == pytest.approx(alone.validation_error, rel=1e-3)


def test_equals_the_trials_alone(case: tuple[Setup, int]) -> None:
    """Three seeds and rates, their own data orders, batches shorter at epochs' ends, each to its
    own end."""
    setup, size = case
    many = trials(size)
    for trial, packed_ in zip(many, together(setup, many), strict=True):
        alone = loop.train(setup, trial, shard(), MemoryHandle())
        same(packed_, alone)
        assert packed_.engine == "packed"


def test_one_step_equals_to_rounding(case: tuple[Setup, int]) -> None:
    """In float64, where rounding is out of the way: weights, buffers and state after a step."""
    setup, size = case
    torch.set_default_dtype(torch.float64)
    if setup.family.kind == "classifier":
        take = setup.domain._take
        setup.domain._take = lambda rows: (take(rows)[0].double(), take(rows)[1])
    try:
        pairs = [[], []]
        for runs in pairs:
            for trial in trials(size):
                values = {**setup.hyperparameters, **dict(trial.hyperparameters)}
                run = loop._begin(setup, trial, values)
                batches = setup.domain.batches(shard().train, values, trial.seed, (0, 0))
                runs.append((run, next(batches)[0], next(batches)[0]))
        for step in (1, 2):
            runs, batches = zip(*((r[0], r[step]) for r in pairs[0]), strict=True)
            many = packed.gradients(setup.domain, runs, batches)
            for loss, (run, *own), packed_run in zip(many, pairs[1], runs, strict=True):
                run.optimizer.zero_grad()
                alone = loop.gradient(setup, run, own[step - 1])
                torch.testing.assert_close(loss.total, alone.total)
                assert loss.count == alone.count
                for one, other in ((packed_run, loss), (run, alone)):
                    one.state = other.state
                    one.optimizer.step()
                mine, theirs = packed_run.model.state_dict(), run.model.state_dict()
                assert set(mine) == set(theirs)
                for name, value in mine.items():
                    assert value.stride() == theirs[name].stride()
                    torch.testing.assert_close(value, theirs[name])
                if alone.state is not None:
                    torch.testing.assert_close(loss.state, alone.state)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_diverged_trial_leaves_the_others_alone(tmp_path: Path) -> None:
    options = rhn.Options(depth=2, engine="plain")
    domain = text(tmp_path)
    values = {**rhn.FAMILY.recipe, "optimizer": "sgd", "batch_size": 4, "clip": 0.0}
    values["sequence_length"] = 9
    setup = Setup(domain, rhn.FAMILY, options, values, STOP, "cross_entropy", domain.items().group)
    many = trials(5, rates=(0.1, 1e38, 0.3))
    first, wild, last = together(setup, many)
    assert [m.status == Status.DIVERGED for m in (first, wild, last)] == [False, True, False]
    same(first, loop.train(setup, many[0], shard(), MemoryHandle()))
    same(last, loop.train(setup, many[2], shard(), MemoryHandle()))


@pytest.mark.parametrize("step", [2, 5])
def test_drained_and_resumed_equals_never_drained(case: tuple[Setup, int], step: int) -> None:
    """One member is drained, the others go on; it resumes beside a fresh one, whose batches are
    of other shapes at other times."""
    setup, size = case
    many = trials(size)
    whole = together(setup, many)
    handles = [MemoryHandle(), MemoryHandle(stop_after=step), MemoryHandle()]
    members = [(trial, shard(), handle) for trial, handle in zip(many, handles, strict=True)]
    ended = dict(packed.train(replace(setup, gradients="packed"), members))
    with pytest.raises(Interrupted):
        ended[1]()
    same(ended[0](), whole[0])
    resumed = MemoryHandle(checkpoint=handles[1].checkpoint)
    other, again = together(setup, [many[2], many[1]], [MemoryHandle(), resumed])
    same(again, whole[1])
    same(other, whole[2])


def test_time_is_shared_between_the_members(case: tuple[Setup, int]) -> None:
    """Their seconds add up to what the pack took."""
    import time

    setup, size = case
    began = time.perf_counter()
    seconds = [measured.seconds for measured in together(setup, trials(size))]
    took = time.perf_counter() - began
    assert sum(seconds) == pytest.approx(took, rel=0.2)
