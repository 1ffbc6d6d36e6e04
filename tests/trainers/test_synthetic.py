"""The synthetic trainer keeps the promises of its docstring: a test can trust it as truth."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from steep.contracts.trainer import Interrupted, ShardItems
from steep.domains import external
from steep.records import Measurement, Status, Trial, settings
from steep.spec import load
from steep.trainers import synthetic
from steep.trainers.synthetic import Options, Truth, parameters_of


class Handle:
    """Keeps what a trainer tells; asks to stop at a step, if told to."""

    def __init__(self, up_to_steps: int | None = None, drain_at: int | None = None) -> None:
        self.attempt, self.up_to_steps, self.drain_at = 1, up_to_steps, drain_at
        self.state: bytes | None = None
        self.kept: dict[str, np.ndarray] = {}
        self.last = 0
        self.flag = threading.Event()

    def progress(self, evaluation: Any) -> None:
        self.last = evaluation.step
        if self.drain_at is not None and self.last >= self.drain_at:
            self.flag.set()

    def save(self, step: int, state: bytes) -> None:
        self.state = state

    def load(self) -> bytes | None:
        return self.state

    def due(self) -> bool:
        return False

    def stop_requested(self) -> bool:
        return self.flag.is_set()

    def items(self, errors: dict[str, np.ndarray]) -> None:
        self.kept = errors


def trainer(stop: dict[str, Any] | None = None, **options: Any) -> Any:
    values = {
        "study": "s",
        "domain": {"name": "external", "items": 100},
        "family": {"sizes": [2]},
        "shards": {"smallest": 10},
        "trainer": {"name": "synthetic", **options},
        "stop": stop or {},
    }
    loaded = load.from_values(values)
    domain = external.open_domain(external.Options(items=100), Path())
    return synthetic.open_trainer(loaded, domain)


def trial(samples: float = 1000.0, size: int = 5, rate: float = 0.1, **which: Any) -> Trial:
    made = Trial(0, int(samples), samples, size, settings({"learning_rate": rate}), 0)
    return replace(made, **which)


def shard(validation: int = 500) -> ShardItems:
    return ShardItems(np.arange(10), np.arange(validation), np.arange(5))


def run(train: Any, of: Trial, handle: Handle | None = None, validation: int = 500) -> Measurement:
    measured: Measurement = train(of, shard(validation), handle or Handle())
    return measured


OPTIONS = [
    Options(),
    Options(a=2.0, beta_g=-0.5, beta_p=0.8, sigma=3.0, capacity=0.7, excess=0.1, floor=0.05),
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("samples", [100.0, 1e4, 1e6])
def test_the_best_size_and_its_error_are_the_closed_form(options: Options, samples: float) -> None:
    truth = Truth(options)
    rate = options.best_rate
    found = minimize_scalar(
        lambda log_p: truth.error(samples, math.exp(log_p), rate),
        bracket=(math.log(truth.parameters(samples)) - 1, math.log(truth.parameters(samples)) + 1),
    )
    assert math.exp(found.x) == pytest.approx(truth.parameters(samples), rel=1e-3)
    assert found.fun == pytest.approx(truth.composite(samples), rel=1e-9)
    assert truth.composite(samples) == options.floor + options.a * samples**options.beta_g


@pytest.mark.parametrize("options", OPTIONS)
def test_one_model_on_endless_data_meets_its_capacity(options: Options) -> None:
    truth = Truth(options)
    endless = truth.error(1e60, 1e4, options.best_rate)
    assert endless == pytest.approx(truth.capacity(1e4), rel=1e-3)


def test_the_best_learning_rate_is_the_valley_and_shifts_with_size() -> None:
    truth = Truth(Options(rate_shift=0.25, valley=0.3))
    small, large = truth.best_rate(1e4), truth.best_rate(1e8)
    assert (small, large) == (pytest.approx(0.1), pytest.approx(0.01))
    best = truth.error(1e4, 1e8, large)
    assert best < truth.error(1e4, 1e8, 1.5 * large)
    assert best < truth.error(1e4, 1e8, large / 1.5)


def test_a_trial_measures_the_truth_when_there_is_no_noise() -> None:
    measured = run(trainer(), trial())
    truth = Truth(Options()).error(1000.0, parameters_of(5), 0.1)
    assert measured.validation_error == pytest.approx(truth, rel=1e-12)
    assert measured.status == Status.COMPLETE
    assert measured.best_step == 100
    assert measured.parameters == 2500


def test_items_agree_with_the_error_and_share_their_difficulty() -> None:
    train = trainer(item_noise=0.5, own_item_noise=0.2)
    first, second = Handle(), Handle()
    one, two = run(train, trial(size=5), first), run(train, trial(size=6), second)
    for measured, handle in ((one, first), (two, second)):
        assert handle.kept["error"].mean() == pytest.approx(measured.validation_error)
        assert len(handle.kept["count"]) == 500
    correlation = np.corrcoef(np.log(first.kept["error"]), np.log(second.kept["error"]))[0, 1]
    assert correlation == pytest.approx(0.5**2 / (0.5**2 + 0.2**2), abs=0.05)


def test_validation_noise_is_common_to_all_trials_and_not_in_the_test_error() -> None:
    train = trainer(item_noise=0.5)
    ratios, tests = [], []
    for size in (2, 5, 9):
        measured = run(train, trial(size=size))
        truth = Truth(Options()).error(1000.0, parameters_of(size), 0.1)
        assert measured.validation_error is not None
        assert measured.test_error is not None
        ratios.append(measured.validation_error / truth)
        tests.append(measured.test_error / truth)
    assert ratios == pytest.approx([ratios[0]] * 3)
    assert abs(ratios[0] - 1) > 1e-4
    assert tests == pytest.approx([1.0] * 3)


def test_seed_noise_has_its_size_and_differs_between_trials() -> None:
    train = trainer(seed_noise=0.05)
    errors = [run(train, trial(seed=seed)).validation_error for seed in range(300)]
    logs = np.log(np.array(errors, float)) - math.log(Truth(Options()).error(1000.0, 2500, 0.1))
    assert logs.std() == pytest.approx(0.05, rel=0.15)
    assert abs(logs.mean()) < 3 * 0.05 / math.sqrt(300)


def test_the_draw_of_the_data_is_nested() -> None:
    walks = np.array(
        [[synthetic._walk(p, m) / m for m in (500.0, 1000.0, 2000.0)] for p in range(600)]
    )
    assert walks.std(axis=0) == pytest.approx([m**-0.5 for m in (500, 1000, 2000)], rel=0.1)
    correlation = np.corrcoef(walks.T)
    assert correlation[0, 1] == pytest.approx(math.sqrt(0.5), abs=0.07)
    assert correlation[0, 2] == pytest.approx(0.5, abs=0.08)


def test_the_draw_is_the_same_for_every_size_and_seed() -> None:
    train = trainer(draw_noise=0.1)

    def effect(of: Trial) -> float:
        error = run(train, of).validation_error
        assert error is not None
        return error / Truth(Options()).error(of.samples, parameters_of(of.size), 0.1)

    assert effect(trial(size=2)) == pytest.approx(effect(trial(size=7, seed=3)))
    assert effect(trial()) != pytest.approx(effect(trial(permutation=1)), rel=1e-4)


@pytest.mark.parametrize("stop_at", [1, 17, 60, 99])
def test_a_resumed_trial_equals_one_that_was_not_interrupted(stop_at: int) -> None:
    train = trainer(seed_noise=0.1)
    whole = run(train, trial())
    handle = Handle(up_to_steps=stop_at)
    rung = run(train, trial(), handle)
    assert (rung.status, rung.steps) == (Status.STOPPED, stop_at)
    handle.up_to_steps = None
    resumed = run(train, trial(), handle)
    assert resumed.weights_hash == whole.weights_hash
    assert [p.validation_error for p in resumed.curve] == [p.validation_error for p in whole.curve]


def test_a_drained_trial_can_go_on() -> None:
    train = trainer()
    handle = Handle(drain_at=20)
    with pytest.raises(Interrupted):
        run(train, trial(), handle)
    handle.flag.clear()
    handle.drain_at = None
    assert run(train, trial(), handle).weights_hash == run(train, trial()).weights_hash


def test_a_cap_on_steps_is_met_while_still_improving() -> None:
    measured = run(trainer({"max_steps": 50}), trial())
    assert measured.status == Status.CAPPED
    assert measured.steps == 50
    assert measured.validation_error is not None
    assert measured.validation_error > Truth(Options()).error(1000.0, 2500, 0.1)


def test_no_model_is_worse_than_the_best_guess() -> None:
    measured = run(trainer(best_guess=0.3), trial(samples=10.0))
    assert measured.validation_error == pytest.approx(0.3)
