"""Studies simulated from a known truth, with every part of the noise, and faults on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from steep.records import (
    BestFit,
    Evaluation,
    Measurement,
    Shard,
    Status,
    Trial,
    settings,
)
from steep.select import select
from steep.trainers.synthetic import Options, Truth, parameters_of

SAMPLES = tuple(250 * 2**k for k in range(7))
RATES = (0.03, 0.1, 0.3)
SEEDS = 2

Change = Callable[[Measurement], Measurement]


def measure(
    seed: int,
    options: Options | None = None,
    *,
    samples: Sequence[int] = SAMPLES,
    widths: Sequence[int] = (2, 3, 4, 6, 8, 12, 16, 24),
    rates: Sequence[float] = RATES,
    shard_error: Callable[[int], float] = lambda m: 1.0,
    change: Change = lambda m: m,
    seed_noise: float = 0.015,
    draw_noise: float = 0.01,
) -> tuple[tuple[BestFit, ...], tuple[Measurement, ...]]:
    """Best fits and measurements of one study; rates are compared at both end shards.

    ``shard_error`` multiplies the error of a whole shard, ``change`` edits each measurement.
    """
    random = np.random.default_rng(seed)
    truth = Truth(options or Options())
    validation = 0.02 * random.normal()
    walk = np.cumsum(random.normal(size=len(samples))) * draw_noise
    found = []
    for i, m in enumerate(samples):
        tried = rates if m in (samples[0], samples[-1]) else [0.1]
        common = validation + walk[i] / (i + 1)
        for width in widths:
            for rate in tried:
                for k in range(SEEDS):
                    error = truth.error(m, parameters_of(width), rate) * shard_error(m)
                    error *= np.exp(common + seed_noise * random.normal())
                    values = settings({"learning_rate": rate})
                    trial = Trial(0, m, float(m), width, values, k)
                    found.append(change(_measured(trial, float(error))))
    shards = [Shard(0, m, float(m), "images") for m in samples]
    return select(found, shards, seeds=SEEDS), tuple(found)


def _measured(trial: Trial, error: float) -> Measurement:
    steps = (10, 20, 40, 80, 160)
    shape = (2.0, 1.5, 1.1, 1.0, 1.02)
    curve = tuple(
        Evaluation(step, 10.0 * step, 0.1 * step, error, error * s, error * s)
        for step, s in zip(steps, shape, strict=True)
    )
    return Measurement(
        trial,
        Status.COMPLETE,
        validation_error=error,
        validation_error_se=0.03 * error,
        train_error=0.3 * error,
        parameters=parameters_of(trial.size),
        parameters_without_embeddings=parameters_of(trial.size),
        best_step=80,
        steps=160,
        engine="engine 1",
        versions=settings({"torch": "2.6"}),
        curve=curve,
    )


def at_large(change: Change, samples: int = SAMPLES[-2]) -> Change:
    """``change`` on shards of at least ``samples`` only."""
    return lambda m: change(m) if m.trial.samples >= samples else m


def with_(**fields: object) -> Change:
    return lambda m: replace(m, **fields)  # type: ignore[arg-type]
