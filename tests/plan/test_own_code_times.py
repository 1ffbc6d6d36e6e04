"""Trials of the user's own code, timed by init: what plan and a budget make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steep.contracts.planner import TrialRequest
from steep.plan import clock
from steep.plan.estimate import predict
from steep.plan.lengths import LearnedLengths, timed_before
from steep.records import Measurement, Status, Trial
from steep.spec.sections import TimedTrial
from steep.study import Study
from worlds import search_space

OWN_TIMES: dict[str, Callable[[float, int], float]] = {
    "data and size": lambda m, size: 2e-4 * m * size,
    "always the same": lambda m, size: 3.0,
    "root of the data": lambda m, size: 0.1 * m**0.5,
    "start-up and data": lambda m, size: 2 + 1e-3 * m,
    "start-up, data and size": lambda m, size: 2 + 1e-4 * m * size,
}


@pytest.mark.parametrize("kind", OWN_TIMES)
def test_what_init_timed_of_own_code_predicts_large_trials(kind: str) -> None:
    """Four small trials of scripts of very different kinds: what the largest takes, 32 times the
    data and 8 times the size, within 1.4. Without them nobody could know."""
    seconds = OWN_TIMES[kind]
    timed = [
        TimedTrial(samples=m, size=size, seconds=seconds(m, size))
        for m, size in ((250, 8), (250, 128), (1000, 8), (4000, 8))
    ]
    sized = search_space(sizes=(8, 16, 32, 64, 128)).spec
    told = sized.model_copy(update={"run": sized.run.model_copy(update={"timed": tuple(timed)})})
    lengths = LearnedLengths(told, timed_before(told))
    for size in (8, 64, 128):
        expected = lengths.expected(Trial(0, 8000, 8000.0, size, (), 0))
        assert abs(math.log(expected / seconds(8000, size))) < math.log(1.4)


def test_a_plan_of_own_code_is_predicted_from_what_init_timed(tmp_path: Path) -> None:
    """With no trial finished it said nothing at all."""
    values: dict[str, Any] = {
        "study": "own",
        "domain": {"name": "external", "items": 800},
        "family": {"sizes": [1]},
        "shards": {"smallest": 50},
        "search": {"seeds": 1},
        "run": {"timed": [{"samples": 50, "size": 1, "seconds": 2.0}]},
    }
    study = Study(values, tmp_path / "own", trainer=lambda shard, size, seed: 0.1)
    predicted = clock.prediction(study, None, 1)
    assert predicted is not None
    assert predicted.own_trials == 1
    budget = clock.spending(study, (), 1, seconds=600.0, known=clock.lengths(study, None))
    trial = Trial(0, 50, 50.0, 1, (), 0)
    assert budget.time(trial) == pytest.approx(2.0, rel=0.3)
    values.pop("run")
    unknown = Study(values, tmp_path / "own", trainer=lambda shard, size, seed: 0.1)
    assert clock.prediction(unknown, None, 1) is None


def test_a_search_of_own_code_is_not_stretched() -> None:
    """By what searches of trials by the engine take beyond simulated ones: it was 2.15 times the
    training, where simulated studies of own code took 0.8 of what was simulated."""
    space = search_space(sizes=(8,), rates=(0.05, 0.1, 0.2, 0.4), samples=(100,))
    told = space.spec.model_copy(
        update={
            "run": space.spec.run.model_copy(
                update={"timed": (TimedTrial(samples=100, size=8, seconds=2.0),)}
            )
        }
    )
    lengths = LearnedLengths(told, timed_before(told))
    trial = Trial(0, 100, 100.0, 8, (("learning_rate", 0.1),), 0)

    def ask(done: Any, running: Any, now: float, spent: float) -> list[TrialRequest]:
        return [] if done or running else [TrialRequest(trial)]

    plain, adaptive = (
        predict(space, lengths, ask, workers=1, adaptive=adaptive) for adaptive in (False, True)
    )
    assert adaptive.training == plain.training
    assert adaptive.trials == plain.trials == 1


@pytest.mark.parametrize("reported", [None, 3])
def test_what_is_kept_for_own_codes_held_out_model_is_of_its_size(
    tmp_path: Path, reported: int | None
) -> None:
    """Size 8 is best on all shards: on twice the data it grows as data**0.7, to 8 * 1.6, of which
    16 is nearest on the ladder; where trials report size**3 parameters, to size 9.4, which is
    nearest to 8. Time was kept for a model of size 8, so that none larger was affordable."""
    values: dict[str, Any] = {
        "study": "own",
        "domain": {"name": "external", "items": 8000},
        "family": {"sizes": [4, 8, 16, 32]},
        "shards": {"smallest": 250, "largest": 8000, "held_out": 1},
    }
    study = Study(values, tmp_path / "own", trainer=lambda shard, size, seed: 0.1)
    done = [
        Measurement(
            Trial(0, shard.items, shard.samples, size, (), seed),
            Status.COMPLETE,
            validation_error=shard.samples**-0.3 * (1 + abs(math.log(size / 8)) + 1e-3 * seed),
            seconds=1.0,
            parameters=size**reported if reported else None,
        )
        for shard in study.search_space.shards
        for size in (4, 8, 16)
        for seed in (0, 1)
    ]
    samples = max(m.trial.samples for m in done)
    held = clock.held_out(study, done)
    assert {t.samples / samples for t in held} == {2.0}
    assert {t.size for t in held} == {8 if reported else 16}
