"""Default studies of functions whose best errors are known: best fits, held-out shard, forecast.

    python benchmarks/known_truth.py [--repeats 8] [--budgets 1e8 3e8 1e9 none] [WORLD ...]

A function of (shard, size, seed, hyperparameter) stands in for training: a power law of the data
above a floor, a best size that grows with the data, noise between seeds, and a hyperparameter whose
best value stays (``steady``), falls with data (``rate``) or changes at 1,500 items (``optimizer``);
in ``widths0.05`` to ``widths0.2`` the best learning rate falls as 1/size, and log error grows by so
much with the square of its distance;
in ``rates0`` to ``rates1`` it falls with that power of size from anywhere between two listed rates,
and beta_p is 0.4; ``-fine`` lists twice as many;
in ``sizes`` the best size grows as data**0.75; in ``grows0.2`` to ``grows1.3`` the parameters of
the best model grow with that power of the data; ``mixed`` draws floor, exponents, noise and the
cost of a wrong size anew for each study. Each is searched as users' own code is, from 125 to 4,000
items, and 8,000 are held out; with a budget of FLOPs (6 per parameter and item; without one about
3e9 are spent), or of a time (``30s``, of 1e7 FLOPs per second with noise; the clock is put forward
by it, nobody waits). True is the lowest error without noise over what a study may try.

In the table, by world and budget, over studies (n):
fit      root mean square of the log error of best fits that are points of the curve,
holds    of how many of those points the 90 % interval (1.645 standard errors) holds the true best,
left out shards that are withheld or have no result,
held out, inside: the held-out shard's measurement against the true best, and whether it lay inside
         the registered forecast (of those measured),
10x, below, holds, width: the forecast at ten times all data against the truth (median), how often
         the truth lies below the median forecast, how often the 90 % interval holds the truth, its
         median width in log,
none     studies that give no such forecast,
size     the held-out shard's size over the best one in log of parameters, and beta_p: how often the
         90 % interval of the size law (smallest adequate) holds the truth, of how many,
trials   median number.
With ``--keep DIR`` studies stay there and are analysed again instead of searched again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

_monotonic, _ahead = time.monotonic, 0.0
time.monotonic = lambda: _monotonic() + _ahead  # before steep takes it as a default

from steep import Study  # noqa: E402
from steep.records import Measurement, Status, Trial, settings  # noqa: E402

SIZES = (1, 2, 4, 8, 16, 32)
BEYOND = tuple(2**k for k in range(12))
"""With the sizes by which a ladder extends itself, and those that ten times the data would take."""
HELD_OUT, Z = 8000, 1.645
PER_SECOND = 1e7
"""FLOPs."""


@dataclass(frozen=True)
class World:
    choices: Mapping[str, tuple[Any, ...]]
    power: float = 0.4
    """Of the data, by which the best size grows; its parameters by twice that."""
    falls: float = 0.0
    """Power of the data by which the best learning rate falls,"""
    by_size: float = 0.0
    """and of the model size."""
    curvature: float = 0.1
    """Of log error in the logarithm of the learning rate."""
    floor: float = 0.0
    slope: float = 0.3
    mismatch: float = 0.08
    """Log error that a size e times the best one loses."""
    noise: float = 0.02
    """Between seeds, of log error."""
    best_at_1000: float = 6.0
    best_rate: float = 0.03
    """Of size 8 at 100 items."""

    def error(
        self, samples: float, size: int, rate: float = 0.03, optimizer: str = "adam"
    ) -> float:
        """Without noise."""
        best = self.best_at_1000 * (samples / 1000) ** self.power
        best_rate = self.best_rate * (samples / 100) ** -self.falls * (size / 8) ** -self.by_size
        off = self.mismatch * math.log(size / best) ** 2
        off += self.curvature * math.log(rate / best_rate) ** 2
        late = 0.08 * math.log(samples / 1500) if optimizer == "adam" else 0.0
        return self.floor + 3.0 * samples**-self.slope * math.exp(off + late)

    def truth(self, samples: float) -> float:
        """The lowest error over sizes and values, those beyond a ladder and a list included."""
        (name, values), *_ = self.choices.items()
        tried = (*values, 0.0003, 0.001, 0.3) if name == "rate" else values
        return min(self.error(samples, size, **{name: v}) for size in BEYOND for v in tried)


RATES = (0.003, 0.01, 0.03, 0.1)
FINE = (0.003, 0.0055, 0.01, 0.017, 0.03, 0.055, 0.1)
STEADY = World({"rate": RATES})
WORLDS = {
    "steady": STEADY,
    "rate": replace(STEADY, falls=0.5),
    "optimizer": World({"optimizer": ("adam", "sgd")}),
    "sizes": replace(STEADY, power=0.75),
    **{
        f"grows{beta_p:g}": replace(STEADY, power=beta_p / 2, mismatch=0.15, noise=0.01)
        for beta_p in (0.2, 0.5, 0.7, 1.0, 1.3)
    },
    **{
        f"widths{curvature:g}": replace(STEADY, by_size=1.0, curvature=curvature)
        for curvature in (0.05, 0.1, 0.2)
    },
    **{
        f"rates{by_size:g}{more}": replace(STEADY, choices={"rate": v}, by_size=by_size, power=0.2)
        for by_size in (0.0, 0.5, 1.0)
        for more, v in (("", RATES), ("-fine", FINE))
    },
    "mixed": STEADY,
}


def world_of(name: str, repeat: int) -> World:
    world = WORLDS[name]
    if name.startswith("grows"):  # the size between the ladder's steps differs
        random = np.random.default_rng(repeat)
        return replace(world, best_at_1000=float(6.0 * 2 ** random.uniform(-0.5, 0.5)))
    if name.startswith("rates"):
        random = np.random.default_rng(repeat)
        size, rate = np.exp(random.uniform(-0.5, 0.5, 2) * np.log([2.0, 10 / 3]))
        return replace(world, best_at_1000=6.0 * float(size), best_rate=0.03 * float(rate))
    if name != "mixed":
        return world
    random = np.random.default_rng(1000 + repeat)
    floor = float(random.choice([0.0, 0.05, 0.15]))
    return World(
        {"rate": RATES} if repeat % 2 else {"optimizer": ("adam",)},
        power=float(random.uniform(0.15, 0.6)),
        falls=float(random.choice([0.0, 0.2])),
        floor=floor,
        slope=float(random.uniform(0.15, 0.5)),
        mismatch=float(random.uniform(0.03, 0.25)),
        noise=float(np.exp(random.uniform(np.log(0.003), np.log(0.04)))),
        best_at_1000=float(np.exp(random.uniform(np.log(3), np.log(16)))),
    )


def study(name: str, budget: str, repeat: int, folder: Path) -> dict[str, Any]:
    """One study of a world, against the truth."""
    world, timed = world_of(name, repeat), budget.endswith("s")

    def train(shard: Any, size: int, seed: int, **values: Any) -> Measurement:
        global _ahead
        samples = len(shard.train)
        key = f"{name} {repeat} {samples} {size} {seed} {values}".encode()
        random = np.random.default_rng(zlib.crc32(key))
        error = world.error(samples, size, **values)
        error *= math.exp(world.noise * random.normal())
        flops = 6.0 * 100 * size**2 * samples
        seconds = flops / PER_SECOND * math.exp(0.2 * random.normal()) if timed else 0.001
        _ahead += seconds if timed else 0.0
        return Measurement(
            Trial(0, samples, float(samples), size, settings(values), seed),
            Status.COMPLETE,
            validation_error=error,
            parameters=100 * size**2,
            flops=None if timed else flops,
            seconds=seconds,
        )

    spec = {
        "study": name.replace(" ", "-"),
        "domain": {"name": "external", "items": HELD_OUT, "metric": "loss"},
        "family": {"sizes": list(SIZES)},
        "shards": {"smallest": 125, "held_out": 1},
        "search": {"hyperparameters": {n: list(v) for n, v in world.choices.items()}},
        "trainer": {"name": "function", "function": "known_truth:train"},
        "run": {"executor": "inline"},
    }
    made = Study(spec, folder / f"{name}-{budget}-{repeat}", trainer=train)
    if not made.begun:
        limit = None if budget == "none" else float(budget.removesuffix("s"))
        made.run(progress=False, seconds=limit if timed else None, budget=None if timed else limit)
    return against_truth(made, world)


def against_truth(made: Study, world: World) -> dict[str, Any]:
    found = made.analyse(at=[10.0 * HELD_OUT])
    fit = found.curves[0].fit
    points = [p for p in fit.points if p.used]
    searched = [p for p in points if not p.held_out]
    row: dict[str, Any] = {
        "off": [p.log_best - math.log(world.truth(p.samples)) for p in searched],
        "se": [p.se_log for p in searched],
        "left out": 6 - len(searched),
        "trials": len(made.measurements()),
        "flops": sum(m.flops or 0.0 for m in made.measurements()),
    }
    held_out = [p for p in points if p.held_out]
    if held_out:
        row["held out"] = held_out[0].log_best - math.log(world.truth(HELD_OUT))
        row["held out se"] = held_out[0].se_log
    far = [p for p in found.curves[0].forecast.at if p.samples == 10.0 * HELD_OUT]
    if far:
        (p,) = far
        truth = world.truth(p.samples)
        row |= {"far": math.log(p.error / truth), "holds": p.lower <= truth <= p.upper}
        row |= {"width": math.log(p.upper / p.lower) if p.lower > 0 else 9.0}
        row |= {"times": p.samples / max(q.samples for q in points)}
    for c in found.confrontations[:1]:
        best = math.log(world.best_at_1000 * (HELD_OUT / 1000) ** world.power)
        row["size"] = 2 * (math.log(c.size) - best)
        if c.inside is not None:
            row["inside"] = bool(c.inside)
        row["predicted"] = c.forecast.lower <= world.truth(HELD_OUT) <= c.forecast.upper
    law = dict(found.size_laws)["smallest adequate"]
    if law.beta_p is not None:
        low, high = law.beta_p.lower, law.beta_p.upper
        truth = 2 * world.power
        row["beta_p"] = (low is None or low <= truth) and (high is None or truth <= high)
        row["beta_p at"] = law.beta_p.value, low, high
    return row


def line(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row of the table."""

    def each(key: str) -> list[Any]:
        return [row[key] for row in rows if row.get(key) is not None]

    def middle(key: str) -> float:
        return float(np.median(each(key))) if each(key) else math.nan

    def share(values: Sequence[bool]) -> str:
        return f"{100 * np.mean(values):3.0f}%" if len(values) else "   -"

    off = np.array([o for row in rows for o in row["off"]])
    se = np.array([s or math.nan for row in rows for s in row["se"]])
    inside = np.abs(off) <= Z * se
    rms = math.sqrt(float(np.mean(off**2))) if len(off) else math.nan
    held = [abs(r["held out"]) <= Z * (r["held out se"] or 0) for r in rows if "held out" in r]
    return (
        f"{len(rows):4} {rms:6.3f} {share(inside[np.isfinite(se)])} {middle('left out'):4.0f}  "
        f"{middle('held out'):+7.3f} {share(held)} {share(each('inside'))}  "
        f"{middle('far'):+6.3f} {share([f > 0 for f in each('far')])} {share(each('holds'))} "
        f"{middle('width'):5.2f} {len(rows) - len(each('far')):4}  {middle('size'):+5.2f} "
        f"{share(each('beta_p'))} of {len(each('beta_p')):3} {middle('trials'):5.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help=", ".join(WORLDS))
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--begin", type=int, default=0, help="the first repeat")
    parser.add_argument("--budgets", nargs="+", default=["none"], help="FLOPs, 30s, none")
    parser.add_argument("--keep", type=Path, help="a folder for the studies")
    options = parser.parse_args()
    print(
        "world     budget    n    fit holds out  held out holds inside   10x below holds width "
        "none   size beta_p     trials"
    )
    everything = []
    for name in options.worlds or WORLDS:
        for budget in options.budgets:
            rows = []
            with tempfile.TemporaryDirectory() as folder:
                for repeat in range(options.begin, options.begin + options.repeats):
                    try:
                        row = study(name, budget, repeat, options.keep or Path(folder))
                    except Exception as error:  # one study is not the benchmark
                        print(f"{name} {budget} {repeat}: {error!r}", file=sys.stderr)
                        continue
                    rows.append(row | {"world": name, "budget": budget, "repeat": repeat})
            everything += rows
            print(f"{name:9} {budget:6} {line(rows)}", flush=True)
    print(f"{'all':9} {'':6} {line(everything)}")
    if options.keep is not None:
        with (options.keep / "rows.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in everything)


if __name__ == "__main__":
    main()
