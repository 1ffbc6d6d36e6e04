"""A small study made from a known truth, with all that a report can show. No training, no torch."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.fit import fit, fit_size_law, points_of
from steep.forecast import forecast
from steep.plan import clock, timings
from steep.plan.clock import PILOT, SEARCH
from steep.plan.estimate import predict
from steep.records import (
    Analysis,
    Curve,
    Evaluation,
    Finding,
    HeldOutForecast,
    Measurement,
    Shard,
    Status,
    Trial,
    settings,
)
from steep.select import select


@pytest.fixture(scope="session", autouse=True)
def one_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Studies that run estimate their time by one play of the search and a second of first trials:
    hundreds of tests run one, and how good estimates are is tested where ``every_world`` is."""

    def one(*given: Any, count: int = 1, **named: Any) -> Any:
        return predict(*given, count=1, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timings, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "cache")
        patch.setattr(clock, "predict", one)
        patch.setattr(clock, "PILOT", 1.0)
        patch.setattr(clock, "SEARCH", 1.0)
        yield


@pytest.fixture
def every_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates as users get them."""
    monkeypatch.setattr(clock, "predict", predict)
    monkeypatch.setattr(clock, "PILOT", PILOT)
    monkeypatch.setattr(clock, "SEARCH", SEARCH)


SIZES = {2: 1_200, 4: 4_600, 8: 18_000, 16: 71_000, 32: 282_000}
SHARDS = (125, 250, 500, 1000, 2000, 4000)
HELD_OUT = 8000


@dataclass(frozen=True)
class MadeStudy:
    analysis: Analysis
    measurements: tuple[Measurement, ...]


def true_error(samples: float, parameters: float) -> float:
    """Composite 1.9 * m**-0.31; a model far from the best size pays for it on both sides."""
    best = 40.0 * samples**0.75
    return 1.9 * samples**-0.31 * (1 + 0.03 * math.log(parameters / best) ** 2)


def measurement(samples: int, size: int, seed: int, rng: np.random.Generator) -> Measurement:
    """One trial whose error and training curve follow the truth."""
    error = true_error(samples, SIZES[size]) * math.exp(rng.normal(0, 0.012))
    steps = np.unique(np.geomspace(20, 40 * math.sqrt(samples), 12).astype(int))
    falling = error * (1 + 0.9 * (steps[0] / steps) ** 0.7)
    falling[-2:] *= 1.02
    falling[-3] = error
    curve = tuple(
        Evaluation(int(s), 32.0 * s, 0.01 * s, None, 2.2 * float(e), float(e))
        for s, e in zip(steps, falling, strict=True)
    )
    diverged = samples == 500 and size == 32 and seed == 1
    return Measurement(
        Trial(0, samples, float(samples), size, settings({"learning_rate": 0.1}), seed),
        Status.DIVERGED if diverged else Status.COMPLETE,
        reason="the loss is not finite at step 43" if diverged else None,
        validation_error=None if diverged else error,
        validation_error_se=None if diverged else math.sqrt(error * (1 - error) / 1000),
        test_error=None if diverged else error * 1.03 * math.exp(rng.normal(0, 0.01)),
        metrics=() if diverged else settings({"error": error, "cross_entropy": 2.4 * error}),
        parameters=SIZES[size],
        parameters_without_embeddings=SIZES[size],
        steps=int(steps[-1]),
        flops=6.0 * SIZES[size] * 32 * int(steps[-1]),
        seconds=0.002 * int(steps[-1]) * math.sqrt(size),
        curve=curve,
    )


def make_study(name: str = "clothes-14", unit: str = "images") -> MadeStudy:
    rng = np.random.default_rng(7)
    shards = [Shard(0, m, float(m), unit) for m in SHARDS]
    held = Shard(0, HELD_OUT, float(HELD_OUT), unit, held_out=True)
    found = [measurement(m, s, seed, rng) for m in SHARDS for s in SIZES for seed in (0, 1)]
    late = [measurement(HELD_OUT, 16, seed, rng) for seed in (0, 1)]
    best_fits = select([*found, *late], [*shards, held], seeds=2)
    fitted = [b for b in best_fits if not b.held_out]
    law = fit_size_law(
        [b.samples for b in fitted],
        [b.adequate.parameters for b in fitted],
        [b.adequate_edge for b in fitted],
    )
    laws = (("smallest adequate", law), ("lowest score", law))
    points = points_of(best_fits)  # the held-out shard is measured
    places = [factor * float(HELD_OUT) for factor in (2.0, 4.0, 10.0)]

    def curve(metric: str, part: str, factor: float, goals: tuple[float, ...] = ()) -> Curve:
        scaled = [replace(p, error=p.error * factor) for p in points]
        made = fit(points=scaled, unit=unit, metric=metric, best_guess=0.9 * max(factor, 1.0))
        return Curve(metric, part, made, forecast(made, places, goals, size_law=law))

    curves = (
        curve("error", "validation", 1.0, (0.05,)),
        curve("error", "test", 1.03),
        curve("cross_entropy", "validation", 2.4),
    )
    truth = best_fits[-1]
    before = fit(points=points_of(fitted), unit=unit, metric="error", best_guess=0.9)
    at = forecast(before, [float(HELD_OUT)]).at[0]
    met = HeldOutForecast(
        samples=float(HELD_OUT),
        forecast=at,
        level=0.9,
        size=16,
        size_reason="the size nearest to the size law",
        hyperparameters=settings({"learning_rate": 0.1}),
        registered="2026-01-05T10:00:00+00:00",
        error=truth.best.score,
        parameters=truth.best.parameters,
        test_error=truth.test_error,
        inside=at.lower <= truth.best.score <= at.upper,
    )
    findings = (
        Finding(
            "diverged",
            "warning",
            "500 images, size 32, seed 1",
            "the loss is not finite at step 43; the other seed is fine",
            "lower the learning rate for size 32",
        ),
        Finding(
            "edge",
            "note",
            "125 images",
            "the best fit has the smallest size tried",
            "add a smaller size to the ladder",
        ),
    )
    analysis = Analysis(
        name, "images", "resnet", "engine", unit, "error",
        settings({"error": 0.9, "cross_entropy": 2.303}),
        (*shards, held), best_fits, curves, laws, (met,), findings,
        settings({"machine": "Linux x86_64", "python": "3.12.1", "trials": 62, "seconds": 214.2,
                  "flops": 3.1e13, "version of torch": "2.9.0",
                  "sha256 of train-images-idx3-ubyte.gz": "9f3c" * 16}),
    )  # fmt: skip
    return MadeStudy(analysis, (*found, *late))


@pytest.fixture(scope="session")
def made_study() -> MadeStudy:
    return make_study()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte. Needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
