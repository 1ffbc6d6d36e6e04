"""Predicted and actual cost of a search, on grids that were measured whole and in
studies that the default search made.

    make bench-search-times

Grids: those of ``planners.py``, the seeds of every configuration shuffled anew for each search;
what it takes is counted in FLOPs. Studies: the published ones with ``planner: frugal``, in measured
seconds, within their budgets; their held-out trials are known. ``plan`` is told a pilot of four
trials of the table (and five of the search's own); what a trial takes is that of its configuration,
or of a law through all trials, so that only *which* trials a search wants is at stake. With
``--kinds`` is told why trials are wanted: of each kind the trials and the share of what the search
took, in reality and in each scenario. The last lines hold by how much searches of one table
differ, seeds shuffled: nobody can predict a search better than that.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import stdev

import numpy as np

from planners import GRIDS, SEEDS, Table, place, real, resampled
from steep.analysis.published import Published
from steep.contracts.planner import SearchSpace, TrialRequest
from steep.plan import estimate
from steep.plan.budget import OVERRUN
from steep.plan.lengths import Length, Lengths
from steep.plan.scenarios import Scenario, scenarios
from steep.planners import frugal
from steep.records import Measurement, Prediction, Status, Trial
from steep.spec.sections import parse_duration
from steep.stats.searched import scored

RESULTS = Path(__file__).parent.parent / "studies" / "results"
STUDIES = {"words-sgd": 1, "images-sgd": 2, "characters-sgd": 2}
"""Seeds of the search: the second of words-sgd was added later."""
OWN = 5
"""Trials of the search that are known beside the pilot."""
TimeSpent = tuple[TrialRequest, Measurement, float]
"""(want, what it brought, what it took)."""


@dataclass(frozen=True)
class Case:
    """A search that was made, and what is to be known before it."""

    name: str
    search_space: SearchSpace
    lengths: Lengths
    pilot: tuple[Measurement, ...]
    trials: int
    took: float
    made: tuple[TimeSpent, ...] = ()
    """Decision by decision, where they are known."""
    held_out: tuple[Trial, ...] = ()
    budget: float | None = None
    per_second: float = 1.0
    """FLOPs."""


# ---------------------------------------------------------------- lengths


LEARNT = 0.5
"""Log error over the lowest of its shard up to which a trial says how long others take: one that
diverges or learns nothing ends early, and may be one that learns in a scenario."""


def learnt(measured: Sequence[Measurement]) -> list[Measurement]:
    known = [m for m in measured if scored(m)]
    lowest: dict[float, float] = {}
    for m in known:
        at, error = m.trial.samples, m.validation_error or math.inf
        lowest[at] = min(error, lowest.get(at, math.inf))
    most = math.exp(LEARNT)
    return [m for m in known if (m.validation_error or 0.0) < most * lowest[m.trial.samples]]


class TableLengths:
    """Lengths of trials as those of the table's nearest configurations; a second is a FLOP."""

    family, trials, own, by_steps = "replayed", 0, 4, True

    def __init__(self, table: Table) -> None:
        first = learnt([ms[0] for ms in table.trials.values()])
        self._cells = {place(m.trial): m for m in first}
        self._places = sorted(self._cells)
        self._logs = np.log(self._places)

    def expected(self, trial: Trial) -> float:
        return self._length(trial).seconds

    def draw(self, random: np.random.Generator) -> Callable[[Trial, float], Length]:
        return lambda trial, normal: self._length(trial)

    def _length(self, trial: Trial) -> Length:
        samples, size, rate = np.abs(self._logs - np.log(place(trial))).T
        nearest = self._places[int((4 * samples + 2 * size + rate).argmin())]
        like = self._cells[nearest]
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


class Law:
    """Lengths of trials by a law in data, size and rate through all of a study, with the steps of
    the nearest one; in seconds."""

    family, trials, own, by_steps = "replayed", 0, 4, True

    def __init__(self, measured: Sequence[Measurement]) -> None:
        self._known = learnt(measured)
        self._logs = np.log([place(m.trial) for m in self._known])
        design = np.column_stack([np.ones(len(self._logs)), self._logs])
        told = np.log([(m.seconds, m.flops or 1.0) for m in self._known])
        self._law = np.linalg.lstsq(design, told, rcond=None)[0]

    def draw(self, random: np.random.Generator) -> Callable[[Trial, float], Length]:
        return lambda trial, normal: self._length(trial)

    def _length(self, trial: Trial) -> Length:
        at = np.log(place(trial))
        samples, size, rate = np.abs(self._logs - at).T
        like = self._known[int((4 * samples + 2 * size + rate).argmin())]
        seconds, flops = np.exp(np.array([1.0, *at]) @ self._law)
        return Length(
            seconds=float(seconds),
            looking=0.0,
            steps=tuple(point.step for point in like.curve),
            best=like.best_step,
            samples_seen=like.samples_seen * trial.samples / like.trial.samples,
            flops=float(flops),
            parameters=round((like.parameters or 1) * (trial.size / like.trial.size) ** 2),
        )


# ---------------------------------------------------------------- searches


def pilot(measured: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """As ``plan/clock.py`` chooses the four: first and third shard, smallest and middle size,
    middle rate; the nearest that were measured."""
    known = [place(m.trial) for m in measured]
    samples, sizes, rates = (sorted(set(values)) for values in zip(*known, strict=True))
    middle = math.log(rates[len(rates) // 2])
    found = []
    for at in dict.fromkeys((samples[0], samples[min(2, len(samples) - 1)])):
        for size in dict.fromkeys((sizes[0], sizes[len(sizes) // 2])):
            here = [m for m in measured if m.trial.samples == at]

            def apart(m: Measurement, size: float = size) -> tuple[float, int]:
                _, s, r = place(m.trial)
                return 2 * abs(math.log(s / size)) + abs(math.log(r) - middle), m.trial.seed

            found.append(min(here, key=apart))
    return tuple(dict.fromkeys(found))


def played(
    search_space: SearchSpace, measure: Callable[[TrialRequest], Measurement]
) -> list[TimeSpent]:
    """A search, decision by decision."""
    known: dict[Trial, Measurement] = {}
    made = []
    while requests := frugal.plan(search_space, list(known.values()), (), None):
        for request in requests:
            before = known.get(request.trial)
            m = known[request.trial] = measure(request)
            spent = (m.flops or 0.0) - ((before.flops or 0.0) if before else 0.0)
            made.append((request, m, spent))
    return made


def on_grid(name: str, seed: int) -> Case:
    table = resampled(real(name), np.random.default_rng(seed))
    search_space = table.search_space("frugal", SEEDS[name])
    made = played(search_space, table.measure)
    first = [ms[0] for ms in table.trials.values()]
    count = len({request.trial for request, _, _ in made})
    took = sum(cost for *_, cost in made)
    shown = tuple(m for m in pilot(first) if scored(m))
    return Case(name, search_space, TableLengths(table), shown, count, took, tuple(made))


def of_study(name: str) -> Case:
    study = Published.open(RESULTS / name)
    seeds = STUDIES[name]
    search = study.spec.search.model_copy(update={"seeds": seeds, "confirm": seeds})
    spec = study.spec.model_copy(update={"search": search})
    measured = [m for m in study.measurements() if m.trial.seed < seeds]
    held_out = tuple(s for s in study.shards if s.held_out)
    last = {s.samples for s in held_out}
    search_space = SearchSpace(
        spec, tuple(s for s in study.shards if not s.held_out), held_out=held_out
    )
    searched = [m for m in measured if m.trial.samples not in last]
    took = sum(m.seconds for m in measured)
    return Case(
        name,
        search_space,
        Law(measured),
        pilot([m for m in searched if scored(m)]),
        len(measured),
        took,
        held_out=tuple(m.trial for m in measured if m.trial.samples in last),
        budget=parse_duration(spec.run.budget) if spec.run.budget else None,
        per_second=sum(m.flops or 0.0 for m in measured) / took,
    )


def cases(searches: int, names: Sequence[str]) -> Iterator[Case]:
    for name in names:
        if name in GRIDS:
            yield from (on_grid(name, seed) for seed in range(searches))
        else:
            yield of_study(name)


# ---------------------------------------------------------------- predictions


def predicted(case: Case, known: int) -> Prediction:
    """The whole search, as ``plan`` tells it; ``known`` of its own trials beside the pilot."""
    search_space = replace(case.search_space, simulated=True)

    def ask(
        done: Sequence[Measurement], running: Sequence[Trial], clock: float, spent: float
    ) -> Sequence[TrialRequest]:
        left = None if case.budget is None else max(case.budget - clock, 0.0) * case.per_second
        return frugal.plan(search_space, done, running, left)

    return estimate.predict(
        case.search_space,
        case.lengths,
        ask,
        workers=1,
        held_out=lambda done: case.held_out,
        shown=(*case.pilot, *[m for _, m, _ in case.made[:known]]),
        most_seconds=None if case.budget is None else (1 + OVERRUN) * case.budget,
        adaptive=True,
    )


def kinds(made: Sequence[TimeSpent], took: float) -> str:
    count: Counter[str] = Counter()
    share: Counter[str] = Counter()
    for request, _, cost in made:
        kind = request.why.split(",")[0]
        count[kind] += 1
        share[kind] += cost / took
    last = {request.trial: m for request, m, _ in made}
    stopped = sum(m.status is Status.STOPPED for m in last.values())
    told = "; ".join(f"{kind} {count[kind]}, {share[kind]:.2f}" for kind in sorted(count))
    return f"{len(last):4} trials, {stopped:3} stopped, {sum(share.values()):5.2f} of it: {told}"


def tell_kinds(case: Case, many: int) -> None:
    """Why trials are requested, in the real search and in each scenario."""
    print(f"{case.name}: {kinds(case.made, case.took)}", flush=True)
    length = case.lengths.draw(np.random.default_rng(0))
    for k, scenario in enumerate(scenarios(case.search_space, case.pilot, many)):
        measure = partial(_simulated_trial, scenario, k, length)
        print(f"  scenario {k}: {kinds(played(case.search_space, measure), case.took)}", flush=True)


def _simulated_trial(
    scenario: Scenario, key: int, length: Callable[[Trial, float], Length], request: TrialRequest
) -> Measurement:
    totals = {"training": 0.0, "looking": 0.0, "flops": 0.0}
    return estimate._begin(scenario, key, length, request, {}, {}, totals, [])[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=4, help="of each grid")
    parser.add_argument("--pilot", action="store_true", help="with nothing known beside the pilot")
    parser.add_argument("--kinds", action="store_true", help="why trials are wanted")
    parser.add_argument("names", nargs="*", default=[*GRIDS, *STUDIES])
    asked = parser.parse_args()
    print(f"{'':20}{'known':>6}{'trials':>8}{'predicted':>18}{'ratio':>7}{'training':>10}  90 %")
    rows: dict[int, list[tuple[str, float, float, bool]]] = {}
    took: dict[str, list[float]] = {}
    for case in cases(asked.searches, asked.names):
        if asked.kinds and case.made:
            tell_kinds(case, estimate.SCENARIOS)
            continue
        took.setdefault(case.name, []).append(math.log(case.took))
        for known in (0, OWN) if case.made and not asked.pilot else (0,):
            p = predicted(case, known)
            t = p.training
            low, middle, high = ((v or math.nan) / case.took for v in (t.lower, t.value, t.upper))
            count, inside = p.trials / case.trials, low <= 1 <= high
            rows.setdefault(known, []).append((case.name, count, middle, inside))
            of = f"{p.trials} [{p.fewest_trials}, {p.most_trials}]"
            line = f"{case.name:20}{4 + known:6}{case.trials:8}{of:>18}{count:7.2f}{middle:10.2f}"
            print(f"{line}  [{low:.2f}, {high:.2f}]{'' if inside else ' out'}", flush=True)
    for known, found in rows.items():
        summed_up(known, found)
    for name, logs in took.items():
        if len(logs) > 1:
            print(f"{name}: searches of one table differ by {stdev(logs):.2f} in the logarithm")


def summed_up(known: int, rows: Sequence[tuple[str, float, float, bool]]) -> None:
    for what, k in (("trials", 1), ("training", 2)):
        logs = np.log([row[k] for row in rows])
        near = int(np.sum((logs >= math.log(0.67)) & (logs <= math.log(1.5))))
        print(
            f"known {4 + known}, {what}: within 0.67 to 1.5 {near} of {len(rows)}; log of "
            f"predicted over taken {logs.mean():.2f}, "
            f"root mean square {np.sqrt((logs**2).mean()):.2f}"
        )
    print(f"known {4 + known}: intervals hold {sum(row[3] for row in rows)} of {len(rows)}")


if __name__ == "__main__":
    main()
