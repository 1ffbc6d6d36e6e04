"""Default studies of functions whose best errors are known: best fits, held-out shard, forecast.

    python benchmarks/known_truth.py [--repeats 8] [WORLD ...]

A function of (shard, size, seed, hyperparameter) stands in for training: a power law of the data, a
best size that grows with it, 2 % noise between seeds, and a hyperparameter whose best value stays
(``steady``), falls with data (``rate``) or changes at 1,500 items (``optimizer``); in ``sizes`` the
best size grows as data**0.75; in ``widths 0.05`` to ``widths 0.2`` the best learning rate falls as
1/size, and log error grows by so much with the square of its distance. Each is searched as users'
own code is, without a budget, from 125 to 4,000 items, and 8,000 are held out. True is the lowest
error without noise over what a study may try. In a table: log error of the best fits (root mean
square over shards), of the measurement at the held-out size and of the forecast at ten times all
data (median of both), how often the 90 % intervals hold the truth, and trials. Minutes a world.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steep import Study

SIZES = (1, 2, 4, 8, 16, 32)
BEYOND = (*SIZES, 64, 128)
"""With the sizes by which a ladder extends itself."""
HELD_OUT, NOISE = 8000, 0.02


@dataclass(frozen=True)
class World:
    choices: Mapping[str, tuple[Any, ...]]
    power: float = 0.4
    """Of the data, by which the best size grows."""
    falls: float = 0.0
    """Power of the data by which the best learning rate falls,"""
    by_size: float = 0.0
    """and of the model size."""
    curvature: float = 0.1
    """Of log error in the logarithm of the learning rate."""

    def error(
        self, samples: float, size: int, rate: float = 0.03, optimizer: str = "adam"
    ) -> float:
        """Without noise."""
        best = 6.0 * (samples / 1000) ** self.power
        best_rate = 0.03 * (samples / 100) ** -self.falls * (size / 8) ** -self.by_size
        off = 0.08 * math.log(size / best) ** 2
        off += self.curvature * math.log(rate / best_rate) ** 2
        late = 0.08 * math.log(samples / 1500) if optimizer == "adam" else 0.0
        return 3.0 * samples**-0.3 * math.exp(off + late)

    def truth(self, samples: float) -> float:
        """The lowest error over sizes and values, those beyond a ladder and a list included."""
        (name, values), *_ = self.choices.items()
        tried = (*values, 0.0003, 0.001, 0.3) if name == "rate" else values
        return min(self.error(samples, size, **{name: v}) for size in BEYOND for v in tried)


RATES = (0.003, 0.01, 0.03, 0.1)
WORLDS = {
    "steady": World({"rate": RATES}),
    "rate": World({"rate": RATES}, falls=0.5),
    "optimizer": World({"optimizer": ("adam", "sgd")}),
    "sizes": World({"rate": RATES}, power=0.75),
    "widths 0.05": World({"rate": RATES}, by_size=1.0, curvature=0.05),
    "widths 0.1": World({"rate": RATES}, by_size=1.0, curvature=0.1),
    "widths 0.2": World({"rate": RATES}, by_size=1.0, curvature=0.2),
}


def study(name: str, repeat: int, folder: Path) -> dict[str, float]:
    """One study of a world, against the truth."""
    world = WORLDS[name]

    def train(shard: Any, size: int, seed: int, **values: Any) -> dict[str, float]:
        samples = len(shard.train)
        key = f"{name} {repeat} {samples} {size} {seed} {values}".encode()
        normal = np.random.default_rng(zlib.crc32(key)).normal()
        error = world.error(samples, size, **values) * math.exp(NOISE * normal)
        return {"loss": error, "parameters": 100 * size**2}

    spec = {
        "study": name.replace(" ", "-"),
        "domain": {"name": "external", "items": HELD_OUT, "metric": "loss"},
        "family": {"sizes": list(SIZES)},
        "shards": {"smallest": 125, "held_out": 1},
        "search": {"hyperparameters": {n: list(v) for n, v in world.choices.items()}},
        "trainer": {"name": "function", "function": "known_truth:train"},
    }
    made = Study(spec, folder / f"{name}-{repeat}", trainer=train)
    made.run(progress=False)
    found = made.analyse(times=[10.0])
    far = max(found.curves[0].forecast.at, key=lambda point: point.samples)
    met = found.confrontations[0]
    off = [
        math.log(b.best.score / world.truth(b.samples))
        for b in found.best_fits
        if b.samples < HELD_OUT
    ]
    return {
        "best fits": float(np.sqrt(np.mean(np.square(off)))),
        "held out": math.log((met.error or math.nan) / world.truth(HELD_OUT)),
        "forecast holds": met.forecast.lower <= world.truth(HELD_OUT) <= met.forecast.upper,
        "measured inside": bool(met.inside),
        "at 10x": math.log(far.error / world.truth(far.samples)),
        "10x holds": far.lower <= world.truth(far.samples) <= far.upper,
        "trials": len(made.measurements()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help=", ".join(WORLDS))
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    print("world       best fits  held out  forecast holds  inside   at 10x  10x holds  trials")
    for name in options.worlds or WORLDS:
        with tempfile.TemporaryDirectory() as folder:
            rows = [study(name, repeat, Path(folder)) for repeat in range(options.repeats)]
        median = {key: float(np.median([row[key] for row in rows])) for key in rows[0]}
        count = {key: sum(bool(row[key]) for row in rows) for key in rows[0]}
        n = len(rows)
        print(
            f"{name:11} {median['best fits']:9.3f} {median['held out']:+9.3f}"
            f" {count['forecast holds']:9} of {n} {count['measured inside']:2} of {n}"
            f" {median['at 10x']:+8.3f} {count['10x holds']:5} of {n} {median['trials']:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
