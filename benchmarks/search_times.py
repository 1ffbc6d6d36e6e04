"""What is foretold of a search beside what it takes, on grids that were measured whole.

    make bench-search-times

The grids of ``planners.py``, the seeds of every cell shuffled anew for each search. Foretold is the
training (FLOPs) of the default search from a pilot of four trials, and from five more of its own;
what a trial takes is that of its cell, so that only *which* trials a search wants is at stake. The
last columns are medians over searches: foretold over taken as ``steep plan`` tells it, and without
``LONGER`` of ``plan/estimate.py``, of which this is the measurement.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from statistics import median, stdev
from unittest import mock

import numpy as np

from planners import GRIDS, SEEDS, Table, place, real, resampled, searched
from steep.contracts.planner import Wanted
from steep.plan import estimate
from steep.plan.lengths import Length
from steep.planners import frugal
from steep.records import Measurement, Trial

OWN = 5
"""Trials of the search that are known beside the pilot."""


class Cells:
    """Lengths of trials as those of the table's nearest cells; a second is a FLOP."""

    family, trials, own = "replayed", 0, 4

    def __init__(self, table: Table) -> None:
        self._places = sorted(table.trials)
        self._logs = np.log(self._places)
        self._table = table

    def draw(self, random: np.random.Generator) -> Callable[[Trial, float], Length]:
        return lambda trial, normal: self._length(trial)

    def _length(self, trial: Trial) -> Length:
        samples, size, rate = np.abs(self._logs - np.log(place(trial))).T
        nearest = self._places[int((4 * samples + 2 * size + rate).argmin())]
        like = self._table.trials[nearest][0]
        larger = (trial.size / nearest[1]) ** 2  # beyond the table: as FLOPs grow
        return Length(
            seconds=(like.flops or 0.0) * larger,
            looking=0.0,
            steps=tuple(point.step for point in like.curve),
            best=like.best_step,
            samples_seen=like.samples_seen,
            flops=(like.flops or 0.0) * larger,
            parameters=round((like.parameters or 1) * larger),
        )


def pilot(table: Table) -> list[Measurement]:
    """As ``plan/clock.py`` chooses the four: first and third shard, smallest and middle size."""
    samples, sizes, rates = (sorted(set(values)) for values in zip(*table.trials, strict=True))
    places = [
        (m, s, rates[len(rates) // 2])
        for m in dict.fromkeys((samples[0], samples[min(2, len(samples) - 1)]))
        for s in dict.fromkeys((sizes[0], sizes[len(sizes) // 2]))
    ]
    return [table.trials[at][0] for at in places if at in table.trials]


def foretold(table: Table, seeds: int, shown: Sequence[Measurement]) -> tuple[int, float]:
    """(trials, FLOPs) of the whole search."""
    problem = table.problem("frugal", seeds)

    def ask(
        done: Sequence[Measurement], running: Sequence[Trial], now: float, spent: float
    ) -> Sequence[Wanted]:
        return frugal.plan(problem, done, running, None)

    found = estimate.predict(problem, Cells(table), ask, workers=1, shown=shown, adaptive=True)
    return found.trials, found.training.value or math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=3)
    searches = range(parser.parse_args().searches)
    print(f"{'grid':20}{'known':>8}{'trials':>12}{'foretold':>10}{'over taken':>12}{'plain':>8}")
    every: dict[bool, list[float]] = {True: [], False: []}
    for name in GRIDS:
        for known in (0, OWN):
            rows = []
            for seed in searches:
                table = resampled(real(name), np.random.default_rng(seed))
                found = searched(table, "frugal", SEEDS[name], 0.0, seed)
                took = sum(m.flops or 0.0 for m in found)
                shown = [*pilot(table), *found[:known]]
                trials, flops = foretold(table, SEEDS[name], shown)
                with mock.patch.multiple(estimate, LONGER=0.0, MORE_TRIALS=0.0):
                    plain = foretold(table, SEEDS[name], shown)[1]
                rows.append((len(found), trials, flops / took, plain / took))
                every[known > 0].append(math.log(flops / took))
            taken, trials, ratio, plain = (median(column) for column in zip(*rows, strict=True))
            print(
                f"{name:20}{4 + known:8}{taken:12.0f}{trials:10.0f}{ratio:12.2f}{plain:8.2f}",
                flush=True,
            )
    for own, logs in every.items():
        near = sum(math.log(0.67) <= x <= math.log(1.5) for x in logs)
        print(
            f"known {4 + OWN * own}: within 0.67 to 1.5 {near} of {len(logs)}; log of foretold "
            f"over taken {np.mean(logs):.2f}, standard deviation {stdev(logs):.2f}"
        )


if __name__ == "__main__":
    main()
