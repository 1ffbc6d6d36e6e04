"""A held-out model takes the hyperparameters that are best at its own size, if they are known."""

from __future__ import annotations

from steep.analysis.held_out_size import hyperparameters_at
from steep.records import BestFit, Measurement, Settings, Shard, Status, Trial, settings
from steep.select import select

HIGH, LOW = settings({"lr": 0.03}), settings({"lr": 0.01})


def last(errors: dict[tuple[int, Settings], float]) -> BestFit:
    shard = Shard(0, 4000, 4000.0, "items")
    found = [
        Measurement(
            Trial(0, 4000, 4000.0, size, values, seed), Status.COMPLETE, validation_error=error
        )
        for (size, values), error in errors.items()
        for seed in (0, 1)
    ]
    return select(found, [shard], seeds=2)[0]


def test_a_larger_size_takes_its_own_rate() -> None:
    best = last({(8, HIGH): 0.20, (8, LOW): 0.24, (16, HIGH): 0.22, (16, LOW): 0.21})
    assert hyperparameters_at(8, best) == HIGH
    assert hyperparameters_at(16, best) == LOW


def test_a_size_that_was_not_compared_takes_that_of_the_best_fit() -> None:
    best = last({(8, HIGH): 0.20, (8, LOW): 0.24, (16, LOW): 0.21})
    assert hyperparameters_at(16, best) == HIGH
    assert hyperparameters_at(32, best) == HIGH
