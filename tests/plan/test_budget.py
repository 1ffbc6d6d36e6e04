"""What a run may still spend: what trials to come are expected to take, from those that ended."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import worlds
from steep.contracts.planner import SearchSpace
from steep.plan.budget import MARGIN, Budget
from steep.records import Measurement, Status, Trial, settings

VALUES = settings({"learning_rate": 0.1})
HELD = Trial(0, 8000, 8000.0, 8, VALUES, 0)


def search_space() -> SearchSpace:
    return worlds.search_space(sizes=(2, 4, 8, 16), samples=(1000, 2000, 4000))


def took(trial: Trial) -> float:
    """Seconds on a machine where a trial takes twice as long as is usual."""
    return 2 * usual(trial)


def usual(trial: Trial) -> float:
    return 0.01 * trial.samples * trial.size / 4


def budget(seconds: float = 3600.0, **options: float) -> Budget:
    made = Budget(
        search_space(),
        lambda trial: 1e6 * trial.samples * trial.size,
        counted=True,
        workers=1,
        held_out=lambda done: [HELD],
        seconds=seconds,
        now=lambda: 0.0,
        **options,
    )
    made.timed_by(usual)
    return made


def whole() -> list[Measurement]:
    trials = [
        Trial(0, m, float(m), size, VALUES, 0) for m in (1000, 2000, 4000) for size in (2, 4, 8)
    ]
    return [
        Measurement(
            t,
            Status.COMPLETE,
            validation_error=1.0,
            steps=100,
            seconds=took(t),
            flops=3e6 * t.samples * t.size,
        )
        for t in trials
    ]


def test_what_trials_take_is_learnt_from_those_that_ended() -> None:
    """Twice the seconds and three times the FLOPs that were expected, on the held-out shard too."""
    made = budget()
    made.update(whole())
    assert made.time(HELD) == pytest.approx(took(HELD), rel=0.05)
    assert made.cost(HELD) == pytest.approx(3e6 * 8000 * 8, rel=0.2)


@pytest.mark.parametrize("status", [Status.STOPPED, Status.DIVERGED])
def test_parts_of_trials_do_not_tell_how_long_whole_ones_take(status: Status) -> None:
    """A search stops most of its trials early: taken for whole ones, they predicted the held-out
    trial at half of its time, and it was cut off by the end of the budget."""
    parts = [
        replace(
            m,
            trial=replace(m.trial, seed=1),
            status=status,
            seconds=0.1 * m.seconds,
            flops=0.1 * (m.flops or 0.0),
        )
        for m in whole()
    ]
    plain, made = budget(), budget()
    plain.update(whole())
    made.update([*whole(), *parts])
    assert made.time(HELD) == plain.time(HELD)
    assert made.cost(HELD) == plain.cost(HELD)
    assert made.search_ends() == plain.search_ends()
    spent = sum(m.flops or 0.0 for m in (*whole(), *parts))
    assert Budget.flops_left(_of_flops([*whole(), *parts], 2 * spent)) == pytest.approx(spent)


def _of_flops(done: list[Measurement], flops: float) -> Budget:
    made = Budget(
        search_space(),
        lambda trial: 1e6 * trial.samples * trial.size,
        counted=True,
        workers=1,
        held_out=lambda done: [],
        flops=flops,
    )
    made.update(done)
    return made


def test_trials_that_learnt_nothing_do_not_tell_either() -> None:
    """They end after a few evaluations; what is still to be trained is a model that learns."""
    idle = [
        replace(m, trial=replace(m.trial, seed=1), validation_error=4.0, seconds=0.1 * m.seconds)
        for m in whole()
    ]
    plain, made, misled = budget(), budget(learnt_below=3.9), budget()
    plain.update(whole())
    made.update([*whole(), *idle])
    misled.update([*whole(), *idle])
    assert made.time(HELD) == plain.time(HELD)
    assert (misled.time(HELD) or math.inf) < 0.7 * (plain.time(HELD) or 0.0)


def test_half_as_much_again_is_kept_for_the_held_out_trial() -> None:
    made = budget(3600.0)
    made.update(whole())
    expected = (made.time(HELD) or math.nan) * MARGIN + 10.0
    assert made.search_ends() == pytest.approx(3600.0 - expected)


def test_that_trials_last_longer_at_a_smaller_rate_is_learnt() -> None:
    """A search that had tried fast rates expected the held-out trial, at a slow one, to be as fast;
    it was cut off by the end of the budget."""
    rates = (0.004, 0.01, 0.025)
    asked = worlds.search_space(sizes=(2, 4, 8, 16), samples=(1000, 2000, 4000), rates=rates)

    def seconds(trial: Trial) -> float:
        return took(trial) * 0.01 / float(dict(trial.hyperparameters)["learning_rate"])

    made = Budget(
        asked, usual, counted=False, workers=1, held_out=lambda done: [], seconds=3600.0,
        now=lambda: 0.0,
    )  # fmt: skip
    made.timed_by(usual)
    cells = [(1000, 2, 0.004), (1000, 4, 0.01), (1000, 4, 0.025), (2000, 8, 0.025)]
    cells += [(4000, 4, 0.025), (4000, 8, 0.025), (1000, 8, 0.025), (2000, 8, 0.01)]
    trials = [
        Trial(0, m, float(m), size, settings({"learning_rate": rate}), 0) for m, size, rate in cells
    ]
    made.update(
        [
            Measurement(t, Status.COMPLETE, validation_error=1.0, steps=9, seconds=seconds(t))
            for t in trials
        ]
    )
    slow = replace(HELD, hyperparameters=settings({"learning_rate": 0.004}))
    assert made.time(slow) == pytest.approx(seconds(slow), rel=0.2)


def test_nothing_is_kept_for_a_held_out_shard_before_a_forecast_is_possible() -> None:
    """Of six minutes one was left: it was kept for a shard that one measured shard cannot forecast.
    With three of them it is kept."""
    made = budget()
    first = [m for m in whole() if m.trial.samples == 1000.0]
    made.update(first)
    assert made.search_ends() == 3600.0 - 10.0
    made.update(whole())
    assert made.search_ends() == pytest.approx(3600.0 - MARGIN * took(HELD) - 10.0, rel=0.05)
