"""Searches judged on grids that were measured whole, and on tables drawn from them.

    python benchmarks/planners.py [--resamples 100] [--tables 510] [--seeds N] [--write]

Real: the grids of studies/images-grid.yaml and characters-grid.yaml, and of characters-rhn10-adam,
which ends at its best models; every trial with its training curve
(``steep.trainers.replay.table``). In each resample the seeds of every configuration are shuffled
anew; the search sees some of them and is judged by the others. Counted are

- cost: FLOPs of everything it trained, stopped trials and repeats too, over those of the grid with
  as many seeds. ``best configurations alone`` is what only they cost, with all their seeds: no
  search that confirms its choice is cheaper;
- excess: error of the chosen configurations over those that the whole grid chooses from the same
  seeds, both judged by the other seeds; infinite where a search left a shard without a model, or
  with one that diverges with other seeds: means are without those, which are counted beside them;
- excess over the best: the same over the shard's best configuration by the mean of all its seeds,
  by that mean. It was chosen knowing them, so this overstates everyone's; the grid's row shows by
  how much;
- beta_g, beta_p: relative deviation from those of the best configurations by the mean of all seeds.

``confirmed``: with all seeds of every shard's choice, which ``grid``, ``paper`` and ``frugal``
have, and from which a study's points are made; the other peers train one seed.

Synthetic: tables whose truth is known. The surface of a real grid, smoothed, is put on an exact
power law; exponent, height of the surface and noise are drawn anew for each table (see ``Truth``).
Counted is how often the 90 % interval of beta_g holds the truth, and the true excess.
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import peers

from steep.analysis.analyse import size_laws
from steep.base.registry import PLANNERS
from steep.contracts.planner import SearchSpace, TrialRequest
from steep.fit import fit, points_of
from steep.planners.history import seen
from steep.records import BestFit, Measurement, Shard, Status, Trial
from steep.select import select
from steep.spec.load import load
from steep.spec.sections import Spec
from steep.stats.searched import with_size_curves
from steep.testing import MemoryHandle
from steep.trainers import replay

HERE = Path(__file__).parent
DATA = HERE / "data"
GRIDS = {
    "images": "images-grid",
    "characters": "characters-grid",
    "characters by Adam": "characters-rhn10-adam",
}
SEEDS = {"images": 2, "characters": 2, "characters by Adam": 1}
"""Seeds that a search sees on the real grids; those left judge it. ``--seeds`` is for all."""
NAMES = ("grid", "paper", "frugal", "optuna")
PEERS = (
    "random", "successive halving", "random, confirmed", "successive halving, confirmed",
    "Optuna TPE", "Optuna TPE + SuccessiveHalvingPruner",
)  # fmt: skip
Place = tuple[float, int, float]
"""(samples, size, learning rate)."""


# ---------------------------------------------------------------- tables


@dataclass(frozen=True)
class Table:
    """A whole grid: every trial to its end."""

    spec: Spec
    shards: tuple[Shard, ...]
    trials: Mapping[Place, tuple[Measurement, ...]]
    """One a seed."""

    def search_space(self, planner: str, seeds: int) -> SearchSpace:
        changed = {"planner": planner, "seeds": seeds, "confirm": 0}  # the table has no more seeds
        search = self.spec.search.model_copy(update=changed)
        return SearchSpace(self.spec.model_copy(update={"search": search}), self.shards)

    def measure(self, request: TrialRequest) -> Measurement:
        whole = self.trials[place(request.trial)][request.trial.seed]
        return seen(replace(whole, trial=request.trial), request.up_to_steps)

    def cost(self, seeds: int) -> float:
        return sum(m.flops or 0.0 for ms in self.trials.values() for m in ms[:seeds])


def place(trial: Trial) -> Place:
    return trial.samples, trial.size, float(dict(trial.hyperparameters)["learning_rate"])


@cache
def real(name: str) -> Table:
    path = DATA / f"{GRIDS[name]}.csv.gz"
    spec = load(HERE.parent / "studies" / f"{GRIDS[name]}.yaml").spec
    grid = replay.read(path, path.stat().st_mtime)
    trials: dict[Place, list[Measurement]] = {}
    for cell in grid.configs.values():
        for measured in cell:
            whole = replay.replayed(measured, measured.trial, MemoryHandle())
            trials.setdefault(place(measured.trial), []).append(whole)
    found = {at: tuple(sorted(ms, key=lambda m: m.trial.seed)) for at, ms in trials.items()}
    samples = sorted({at[0] for at in found})
    shards = tuple(Shard(0, round(m), m, "units") for m in samples)
    return Table(spec, shards, found)


def resampled(table: Table, random: np.random.Generator) -> Table:
    """The seeds of every configuration in another order."""
    trials = {
        at: tuple(ms[k] for k in random.permutation(len(ms))) for at, ms in table.trials.items()
    }
    return replace(table, trials=trials)


# ---------------------------------------------------------------- searches


def searched(table: Table, name: str, seeds: int, budget: float, seed: int) -> list[Measurement]:
    """All that a search trained; ``budget`` is for those that spend what they are given."""
    if name in NAMES:
        search_space = table.search_space(name, seeds)
        plan = importlib.import_module(PLANNERS[name]).plan
        found: dict[Trial, Measurement] = {}
        while requests := plan(search_space, list(found.values()), (), None):
            found |= {request.trial: table.measure(request) for request in requests}
        return list(found.values())
    search_space = table.search_space("grid", 1)
    method, _, more = name.partition(", ")
    finish = peers.confirmed(table.measure, seeds) if more else peers.as_found
    if method == "random":
        return peers.random_search(search_space, table.measure, budget, seed, finish)
    if method == "successive halving":
        return peers.successive_halving(search_space, table.measure, budget, seed, finish)
    return peers.optuna_search(search_space, table.measure, budget, seed, pruner="+" in name)


def best_fits(table: Table, found: Sequence[Measurement]) -> tuple[BestFit, ...]:
    """As a study selects, with as many seeds as the search gave its candidates at most."""
    seeds = 1 + max(m.trial.seed for m in found)
    return with_size_curves(select(found, table.shards, seeds=seeds), found)


def chosen(best: BestFit) -> Place:
    return best.samples, best.best.size, float(dict(best.best.hyperparameters)["learning_rate"])


def beta_p(found: Sequence[BestFit]) -> float | None:
    law = dict(size_laws(found))["smallest adequate"]
    return None if law.beta_p is None else law.beta_p.value


# ---------------------------------------------------------------- real grids


@dataclass(frozen=True)
class Result:
    cost: float
    excess: tuple[float, ...]
    over_best: tuple[float, ...]
    beta_g: float
    """Relative deviation, or the deviation in absolute value where ``inside`` is known."""
    beta_p: float | None
    inside: bool | None = None
    width: float = math.nan
    false_stops: tuple[int, int] = (0, 0)
    """Stopped trials that would have ended below the chosen candidate's score; all stopped."""


def mean_error(ms: Sequence[Measurement]) -> float:
    return float(
        np.mean([math.inf if m.validation_error is None else m.validation_error for m in ms])
    )


@cache
def reference(name: str) -> tuple[dict[float, Place], float, float | None]:
    """By the mean of all seeds: each shard's best configuration, beta_g, beta_p."""
    table = real(name)
    every = len(next(iter(table.trials.values())))
    found = select(
        [replace(m, validation_error=mean_error(ms)) for ms in table.trials.values() for m in ms],
        table.shards,
        seeds=every,
    )
    law = fit(
        samples=[b.samples for b in found], error=[b.best.score for b in found], intervals=False
    )
    return {b.samples: chosen(b) for b in found}, float(law.beta_g.value or math.nan), beta_p(found)


def on_real(name: str, planner: str, seed: int, budget: float) -> Result:
    seeds = SEEDS[name]
    table = resampled(real(name), np.random.default_rng(seed))
    found = searched(table, planner, seeds, budget, seed)
    best, true_g, true_p = reference(name)
    fitted = best_fits(table, found)
    whole = {b.samples: chosen(b) for b in best_fits(table, every_trial(table, seeds))}
    judged_by = {at: mean_error(ms[seeds:]) for at, ms in table.trials.items()}
    own = {b.samples: judged_by[chosen(b)] for b in fitted}
    excess = tuple(own.get(m, math.inf) / judged_by[at] - 1 for m, at in whole.items())
    over_best = tuple(
        own.get(m, math.inf) / mean_error(table.trials[at]) - 1 for m, at in best.items()
    )
    law = fit(points=points_of(fitted), intervals=False)
    slope = math.nan if law.beta_g is None else float(law.beta_g.value or math.nan)
    size = beta_p(fitted)
    deviation = None if size is None or true_p is None else abs(size / true_p - 1)
    return Result(
        peers.cost(found) / table.cost(seeds),
        excess,
        over_best,
        abs(slope / true_g - 1),
        deviation,
        false_stops=stopped(table, found, fitted),
    )


def every_trial(table: Table, seeds: int) -> list[Measurement]:
    return [
        replace(m, trial=replace(m.trial, seed=k))
        for ms in table.trials.values()
        for k, m in enumerate(ms[:seeds])
    ]


def stopped(
    table: Table, found: Sequence[Measurement], fitted: Sequence[BestFit]
) -> tuple[int, int]:
    scores = {b.samples: b.best.score for b in fitted}
    ended = [m for m in found if m.status is Status.STOPPED]
    whole = [table.measure(TrialRequest(m.trial)) for m in ended]
    late = [(m.validation_error or math.inf) < scores.get(m.trial.samples, 0.0) for m in whole]
    return sum(late), len(ended)


# ---------------------------------------------------------------- synthetic tables


@dataclass(frozen=True)
class Truth:
    """An exact power law under a surface of excess, from a real grid.

    Of each table the exponent is uniform in 0.6 to 1.4 of the grid's, the surface's height and the
    noise of seeds each log-uniform in 0.6 to 1.6 of theirs; training curves are those of the real
    configurations, scaled."""

    table: Table
    excess: Mapping[Place, float]
    beta_g: float


def truth_of(name: str, random: np.random.Generator, seeds: int) -> Truth:
    base = real(name)
    surface, noise, slope = smoothed(name)
    slope *= random.uniform(0.6, 1.4)
    height, louder = np.exp(random.uniform(np.log(0.6), np.log(1.6), size=2))
    excess = {at: height * value for at, value in surface.items()}
    first = base.shards[0].samples
    level = math.log(min(mean_error(ms) for at, ms in base.trials.items() if at[0] == first))
    trials = {}
    for at, ms in base.trials.items():
        error = level + slope * math.log(at[0] / first) + excess[at]
        drawn = np.exp(error + louder * noise * random.normal(size=seeds))
        trials[at] = tuple(_scaled(ms[k % len(ms)], float(e), k) for k, e in enumerate(drawn))
    return Truth(replace(base, trials=trials), excess, slope)


def _scaled(m: Measurement, error: float, seed: int) -> Measurement:
    if m.validation_error is None:
        return m
    factor = error / m.validation_error
    curve = tuple(
        replace(
            point,
            validation_error=point.validation_error * factor,
            validation_loss=point.validation_loss * factor,
        )
        for point in m.curve
    )
    return replace(m, trial=replace(m.trial, seed=seed), validation_error=error, curve=curve)


@cache
def smoothed(name: str) -> tuple[dict[Place, float], float, float]:
    """Log error above the best of its shard, smoothed over neighbouring configurations; the noise
    of a seed; beta_g. A quadratic in size, rate and data, fitted to each configuration's
    neighbourhood (a local regression, Cleveland 1979) of configurations not far from the best."""
    table = real(name)
    places = sorted(table.trials)
    at = np.array([[math.log(v) for v in p] for p in places])
    y = np.array([math.log(mean_error(table.trials[p])) for p in places])
    y = np.where(np.isfinite(y), y, np.nanmax(y[np.isfinite(y)]))
    scale = np.array([np.diff(np.unique(c)).mean() for c in at.T])
    fitted = np.array([_local(at, y, scale, k) for k in range(len(places))])
    lowest = {m: fitted[at[:, 0] == math.log(m)].min() for m in {p[0] for p in places}}
    surface = {p: float(f - lowest[p[0]]) for p, f in zip(places, fitted, strict=True)}
    near = [ms for p, ms in table.trials.items() if surface[p] < 0.25 and len(ms) > 1]
    squares = [np.var([math.log(m.validation_error or 1.0) for m in ms], ddof=1) for ms in near]
    return surface, float(np.sqrt(np.mean(squares))), reference(name)[1]


def _local(at: np.ndarray, y: np.ndarray, scale: np.ndarray, k: int) -> float:
    d = (at - at[k]) / scale
    weight = np.clip(1 - np.sqrt((d**2).sum(axis=1)) / 2.5, 0, None) ** 1.5
    near = weight > 0
    d, weight = d[near], weight[near]
    design = np.column_stack([np.ones(len(d)), d, d[:, 1:] ** 2, d[:, 1] * d[:, 2]])
    root = np.sqrt(weight)[:, None]
    ridge = np.diag([0.0, *[0.05] * (design.shape[1] - 1)])
    left = np.vstack([design * root, ridge])
    right = np.concatenate([y[near] * root[:, 0], np.zeros(len(ridge))])
    return float(np.linalg.lstsq(left, right, rcond=None)[0][0])


def on_synthetic(name: str, planner: str, seed: int, budget: float) -> Result:
    truth = truth_of(name, np.random.default_rng([seed, 1]), 2)
    found = searched(truth.table, planner, 2, budget, seed)
    fitted = best_fits(truth.table, found)
    law = fit(points=points_of(fitted), intervals=False)
    g = law.beta_g
    own = {b.samples: math.expm1(truth.excess[chosen(b)]) for b in fitted}
    excess = tuple(own.get(s.samples, math.inf) for s in truth.table.shards)
    cost = peers.cost(found) / truth.table.cost(2)
    if g is None or g.lower is None or g.upper is None:
        return Result(cost, excess, excess, math.nan, None, inside=None)
    inside = g.lower <= truth.beta_g <= g.upper
    relative = abs(float(g.value or math.nan) / truth.beta_g - 1)
    return Result(cost, excess, excess, relative, None, inside, g.upper - g.lower)


# ---------------------------------------------------------------- the table


Job = tuple[str, str, str, int]
"""(kind, grid, planner, seed)."""


def run(job: tuple[Job, float]) -> Result:
    (kind, name, planner, seed), budget = job
    one = on_real if kind == "real" else on_synthetic
    return one(name, planner, seed, budget)


def judged(
    kind: str, name: str, planners: Sequence[str], seeds: Sequence[int], pool: ProcessPoolExecutor
) -> dict[str, list[Result]]:
    """Frugal first: what it spends is what its peers may."""
    found = {"frugal": list(pool.map(run, [((kind, name, "frugal", s), 0.0) for s in seeds]))}
    whole = [_whole_cost(kind, name, s) for s in seeds]
    budget = [r.cost * w for r, w in zip(found["frugal"], whole, strict=True)]
    for planner in planners:
        if planner != "frugal":
            jobs = [((kind, name, planner, s), b) for s, b in zip(seeds, budget, strict=True)]
            found[planner] = list(pool.map(run, jobs))
    return found


def _whole_cost(kind: str, name: str, seed: int) -> float:
    if kind == "real":
        return resampled(real(name), np.random.default_rng(seed)).cost(SEEDS[name])
    return truth_of(name, np.random.default_rng([seed, 1]), 2).table.cost(2)


COLUMNS = (
    "search", "cost %", "excess %: median", "mean", "90 %", "over the best %: median",
    "beta_g off %: median", "90 %", "beta_p off %", "beta_g held %", "width", "false stops",
)  # fmt: skip


def row(name: str, results: Sequence[Result]) -> list[str]:
    excess = [100 * e for r in results for e in r.excess]
    over_best = [100 * e for r in results for e in r.over_best]
    g = [100 * r.beta_g for r in results if math.isfinite(r.beta_g)]
    p = [100 * r.beta_p for r in results if r.beta_p is not None]
    known = [r for r in results if r.inside is not None]
    held = 100 * sum(bool(r.inside) for r in known) / max(len(known), 1)
    stops = [sum(r.false_stops[k] for r in results) for k in (0, 1)]
    return [
        name,
        f"{100 * median(r.cost for r in results):.1f}",
        f"{median(excess):.2f}",
        f"{float(np.mean([e for e in excess if e < math.inf])):.2f}{_none(excess)}",
        f"{float(np.quantile(excess, 0.9)):.2f}",
        f"{median(over_best):.2f}",
        f"{median(g):.1f}" if g else "–",
        f"{float(np.quantile(g, 0.9)):.1f}" if g else "–",
        f"{median(p):.0f} ({len(p)}/{len(results)})" if p else "–",
        f"{held:.1f} ({len(known)})" if known else "–",
        f"{median(r.width for r in known):.3f}" if known else "–",
        f"{stops[0]}/{stops[1]}" if stops[1] else "–",
    ]


def _none(excess: Sequence[float]) -> str:
    """How many shards were left without a model."""
    missing = sum(e == math.inf for e in excess)
    return f" ({missing} of {len(excess)} without a model)" if missing else ""


def best_alone(name: str) -> str:
    """What the best configurations cost by themselves, with all seeds, in percent of the grid."""
    table = real(name)
    cost = sum(m.flops or 0.0 for at in reference(name)[0].values() for m in table.trials[at])
    return f"{100 * cost / table.cost(len(next(iter(table.trials.values())))):.1f}"


def tables(asked: argparse.Namespace, tell: Callable[[str], None]) -> None:
    with ProcessPoolExecutor(asked.processes) as pool:
        measured = [name for name in asked.grids if (DATA / f"{GRIDS[name]}.csv.gz").exists()]
        for name in sorted({*asked.grids} - {*measured}):
            tell(f"\n{name}: not measured to its end yet\n")
        for name in measured:
            seeds = range(asked.seed, asked.seed + asked.resamples)
            configs = len(real(name).trials)
            trials = sum(map(len, real(name).trials.values()))
            tell(f"\n## {name}: {configs} cells, {trials} trials, {asked.resamples} resamples\n")
            tell(markdown(COLUMNS))
            tell(markdown(["---"] * len(COLUMNS)))
            tell(markdown(["best cells alone", best_alone(name), *["–"] * (len(COLUMNS) - 2)]))
            for planner, results in judged("real", name, [*NAMES, *PEERS], seeds, pool).items():
                tell(markdown(row(planner, results)))
        each = asked.tables // max(len(measured), 1)
        for name in measured if each else ():
            seeds = range(asked.seed, asked.seed + each)
            tell(f"\n## {name}: {each} tables drawn from its surface and noise\n")
            tell(markdown(COLUMNS))
            tell(markdown(["---"] * len(COLUMNS)))
            names = ["grid", "frugal", *PEERS]
            for planner, results in judged("synthetic", name, names, seeds, pool).items():
                tell(markdown(row(planner, results)))


def markdown(configs: Sequence[str]) -> str:
    return f"| {' | '.join(configs)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--tables", type=int, default=510)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, help="a search may see of a real cell")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--grids", nargs="+", default=list(GRIDS))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--write", action="store_true", help="also results/planners.md")
    asked = parser.parse_args()
    globals()["DATA"] = asked.data
    if asked.seeds:
        SEEDS.update(dict.fromkeys(SEEDS, asked.seeds))
    began, lines = time.perf_counter(), []

    def tell(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    tell("# Searches on measured grids, and on tables drawn from them\n")
    tell(" ".join(__doc__.split("\n\n", 2)[2].split("Synthetic:")[0].split()))
    tables(asked, tell)
    tell(
        f"\n{time.perf_counter() - began:.0f} s on {asked.processes} processes, seed {asked.seed}."
    )
    if asked.write:
        (HERE / "results" / "planners.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
