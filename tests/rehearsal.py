"""A twelve-trial study of the synthetic trainer: what the fault tests break and put together again.

As a script it is a driver: ``python tests/rehearsal.py SPEC FOLDER`` runs the study or goes on
with it. Exit code 0 when all is measured, 3 when some trials failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from steep import shards
from steep.base.registry import DOMAINS
from steep.base.stop_request import StopRequest
from steep.contracts.executor import Event
from steep.contracts.planner import SearchSpace, TrialRequest
from steep.executors.chosen import open_chosen
from steep.plan.budget import Budget
from steep.records import Shard, Trial, settings
from steep.spec import load
from steep.spec.load import Loaded, member
from steep.store.store import Store, StoreError, StudyExists, compose_study_yaml
from steep.train import Outcome, train

CODES = {"complete": 0, "partial": 3, "drained": 130, "budget": 0}


def spec(trainer: Mapping[str, Any] | None = None, **run: Any) -> dict[str, Any]:
    """Trials of 54 steps; ``trainer`` and ``run`` add to the options of those sections."""
    options = {"steps": 40, "seed_noise": 0.02, "item_noise": 0.3, "own_item_noise": 0.1}
    return {
        "study": "rehearsal",
        "domain": {"name": "external", "items": 4000},
        "family": {"name": "none", "sizes": [2, 4]},
        "shards": {"smallest": 250, "largest": 1000},
        "split": {"validation": 100, "test": 100},
        "stop": {"patience": 1, "evaluations": 6},
        "trainer": {"name": "synthetic"} | options | dict(trainer or {}),
        "run": {"executor": "local", "workers": 2, "checkpoint": 0.05} | run,
    }


def prepare(values: Mapping[str, Any] | Path, folder: Path) -> tuple[Loaded, Store, list[Trial]]:
    """The study in ``folder``, made if need be, and its trials: 3 shards, 2 sizes, 2 seeds."""
    loaded = load.load(values) if isinstance(values, Path) else load.from_values(values)
    module = member(DOMAINS, loaded.spec.domain.name)
    options = module.Options.model_validate(loaded.spec.domain.options)
    domain = module.open_domain(options, loaded.base)
    cut = shards.cut(loaded, domain.items(), domain.unit)
    if (folder / "study.yaml").exists():
        store = Store.open(folder)
    else:
        try:
            store = Store.create(folder, compose_study_yaml(loaded, cut.files))
        except StudyExists:
            store = Store.open(folder)  # another driver was first
    if not (folder / shards.FOLDER / "manifest.json").exists():
        for name, data in shards.to_files(cut).items():
            store.write(name, data)
    trials = [
        Trial(0, shard.items, shard.samples, size, settings({"learning_rate": 0.1}), seed)
        for shard in cut.shards
        for size in loaded.spec.family.sizes
        for seed in (0, 1)
    ]
    return loaded, store, trials


def drive(
    values: Mapping[str, Any] | Path,
    folder: Path,
    observe: Callable[[Event], None] | None = None,
    stop: Any = None,
    plan: Callable[[list[Trial], Any, Any], list[TrialRequest]] | None = None,
    trainer: Any = None,
    budget: float | None = None,
    memory: Callable[[Trial], float | None] = lambda trial: None,
) -> Outcome:
    """Run all twelve trials, or what ``plan(trials, finished, running)`` wants of them."""
    loaded, store, trials = prepare(values, folder)
    run = loaded.spec.run

    def requests(finished: Any, running: Any, left: float | None) -> list[TrialRequest]:
        return (plan or everything)(trials, finished, running)

    with store:
        executor = open_chosen(folder, run, trainer=trainer)
        try:
            return train(
                store,
                requests,
                executor,
                cost=lambda trial: trial.samples * trial.size**2,
                run=run,
                memory=memory,
                observe=observe,
                budget=None if budget is None else spending(loaded, trials, store, budget),
                stop=stop,
            )
        finally:
            executor.close()


def spending(loaded: Loaded, trials: list[Trial], store: Store, flops: float) -> Budget:
    """A budget of FLOPs, as the trials of the synthetic trainer report them."""
    shards_ = sorted({Shard(0, t.items, t.samples, "items") for t in trials}, key=lambda s: s.items)
    return Budget(
        SearchSpace(loaded.spec, tuple(shards_)),
        lambda trial: 8_000 * trial.samples * trial.size**2,
        counted=True,
        workers=1,
        held_out=lambda done: (),
        before=store.measurements(),
        flops=flops,
    )


def everything(trials: list[Trial], finished: Any, running: Any) -> list[TrialRequest]:
    done = {m.trial for m in finished}
    return [TrialRequest(trial) for trial in trials if trial not in done]


class Line(NamedTuple):
    """One line of the trials' side log."""

    what: str
    trial: str
    attempt: int
    pid: int
    step: int


def read_side_log(path: Path) -> list[Line]:
    if not path.exists():
        return []
    fields = [line.split() for line in path.read_text().splitlines()]
    return [Line(f[0], f[1], int(f[2]), int(f[3]), int(f[4])) for f in fields]


def results(folder: Path) -> dict[str, tuple[str | None, float | None]]:
    """What a study measured, by trial: hash of the weights, validation error."""
    with Store.open(folder, read_only=True) as store:
        return {m.trial.id: (m.weights_hash, m.validation_error) for m in store.measurements()}


def write_spec(values: Mapping[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(dict(values), sort_keys=False))
    return path


def main(spec_file: str, folder: str) -> int:
    stop = StopRequest()
    with stop.on_signals():
        try:
            outcome = drive(Path(spec_file), Path(folder), stop=stop)
        except StoreError as error:
            print(f"rehearsal: {error}", file=sys.stderr)
            return 1
    print(outcome)
    return CODES[outcome.word]


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
