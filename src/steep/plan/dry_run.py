"""The dry run: what a study would train, and between which bounds it would cost.

The planner itself is run against two synthetic scenarios: one in which every optimum lies inside
the ladder, and one in which bigger is always better. The trials that it requests in them are the
fewest and the most that a grid can request. For an adaptive search the first scenario shows what it
may request; how much it is expected to take is simulated in other scenarios (``plan/estimate.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from steep.contracts.planner import Planner, SearchSpace
from steep.contracts.trainer import Cost
from steep.records import Bounds, Measurement, Plan, Status, Trial

_REPORT = 300_000
"""Bytes of a report: 0.12 MB of a small study, 0.65 MB of the largest published one."""
Extent = Callable[[Trial], tuple[float, float] | None]
"""Fewest and most units a trial can see."""


def plan(
    search_space: SearchSpace,
    planner: Planner,
    *,
    cost: Callable[[int], Cost | None],
    extent: Extent,
    validation_items: int,
    held_out: Sequence[Trial] = (),
    workers: int = 1,
    seconds_per_flop: Callable[[int], float] | None = None,
    adaptive: bool = False,
) -> Plan:
    """Bounds on trials, FLOPs, time and disk. ``held_out`` are the trials that would confront
    the forecast, at the largest size; ``seconds_per_flop`` maps a size to its measured speed."""
    fewest = simulate(search_space, planner, expected_error(search_space))
    most = fewest if adaptive else simulate(search_space, planner, lambda trial: 1 + 1 / trial.size)
    sizes = sorted({t.size for t in (*fewest, *most, *held_out)})
    known = {size: c for size in sizes if (c := cost(size))}
    flops = _flops(fewest, most, held_out, known, extent)
    seconds = None
    if flops is not None and seconds_per_flop is not None:
        seconds = _flops(fewest, most, held_out, known, extent, seconds_per_flop)
    trials = len(most) + len(held_out)
    heaviest = max((c.parameters for c in known.values()), default=0)
    return Plan(
        tuple(fewest),
        len(most),
        len(held_out),
        tuple((size, c.parameters) for size, c in known.items()),
        flops,
        seconds,
        disk=_REPORT + trials * (14_000 + 8 * validation_items) + 2 * (workers + 2) * 12 * heaviest,
        adaptive=adaptive,
    )


def expected_error(search_space: SearchSpace) -> Callable[[Trial], float]:
    """The error of each trial in the expected case: a power law, best sizes that grow inside the
    ladder, and the middle choice of every hyperparameter the best."""
    sizes = np.log(search_space.spec.family.sizes)
    samples = np.log([shard.samples for shard in search_space.shards])
    low, width = samples.min(), max(float(np.ptp(samples)), 1e-9)
    step = float(np.ptp(sizes)) / max(len(sizes) - 1, 1) or 1.0
    choices = search_space.spec.search.hyperparameters

    def error(trial: Trial) -> float:
        share = 0.35 + 0.3 * (np.log(trial.samples) - low) / width
        off = (np.log(trial.size) - sizes[0] - share * np.ptp(sizes)) / step
        given = dict(trial.hyperparameters)
        turns = [
            list(values).index(given[name]) - len(values) // 2
            for name, values in choices.items()
            if given.get(name) in values
        ]
        return float(trial.samples**-0.3 * np.exp(0.05 * off**2 + 0.1 * np.square(turns).sum()))

    return error


def simulate(
    search_space: SearchSpace, planner: Planner, error: Callable[[Trial], float]
) -> list[Trial]:
    """Every trial that the planner requests in a scenario where ``error`` is the truth."""
    finished: list[Measurement] = []
    search_space = replace(search_space, simulated=True)
    while requests := planner(search_space, finished, (), None):
        finished += [
            Measurement(
                request.trial,
                Status.COMPLETE,
                validation_error=error(request.trial) * (1 + 1e-6 * request.trial.seed),
                parameters=request.trial.size,
                parameters_without_embeddings=request.trial.size,
            )
            for request in requests
        ]
    return [m.trial for m in finished]


def _flops(
    fewest: Sequence[Trial],
    most: Sequence[Trial],
    held_out: Sequence[Trial],
    known: dict[int, Cost],
    extent: Extent,
    scale: Callable[[int], float] = lambda size: 1.0,
) -> Bounds | None:
    """Sum over trials of FLOPs per unit times units seen, at least and at most."""

    def total(trials: Sequence[Trial], which: int) -> float | None:
        amount = 0.0
        for trial in trials:
            seen = extent(trial)
            if seen is None or trial.size not in known:
                return None
            amount += seen[which] * known[trial.size].flops * scale(trial.size)
        return amount

    low, high = total([*fewest, *held_out], 0), total([*most, *held_out], 1)
    return None if low is None or high is None else Bounds(low, high)
