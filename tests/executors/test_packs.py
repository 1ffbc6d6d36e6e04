"""Several trials in one worker: the same study, whatever ends in between."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.contracts.executor import Event, Job, Kind
from steep.executors import local
from steep.records import Measurement
from steep.spec.load import SpecError
from steep.spec.sections import Run
from steep.study import Study

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")


def spec(folder: Path, pack: int, **run: Any) -> Path:
    """Two shards, two sizes, two rates, two seeds: packs of four are alike."""
    labels = np.arange(80) % 3
    noise = np.random.default_rng(0).integers(0, 128, (80, 6, 6))
    pixels = (noise + 60 * labels[:, None, None]).astype(np.uint8)
    np.savez(folder / "data.npz", images=pixels, labels=labels)
    more = "".join(f", {name}: {value}" for name, value in run.items())
    (folder / "study.yaml").write_text(f"""
study: packs
domain: {{name: images, train: data.npz}}
family: {{name: resnet, sizes: [2, 4], stages: 2, engine: torch}}
shards: {{smallest: 16, largest: 32}}
split: {{validation: 20, test: 20}}
training: {{batch_size: 8}}
search: {{planner: grid, seeds: 2, hyperparameters: {{learning_rate: [0.02, 0.05]}}, extend: 0}}
stop: {{evaluations: 3, first: 4, patience: 1}}
run: {{workers: 1, pack: {pack}{more}}}
""")
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("alone")
    study = Study(spec(folder, 1), folder / "study")
    assert study.run().word == "complete"
    return study


def same(study: Study, alone: Study) -> None:
    """But for rounding, which the engine's name says."""
    mine, theirs = ({m.trial.id: m for m in s.measurements()} for s in (study, alone))
    assert set(mine) == set(theirs)
    for name, measured in mine.items():
        other: Measurement = theirs[name]
        assert (measured.engine, other.engine) == ("packed", "torch")
        assert (measured.steps, measured.best_step) == (other.steps, other.best_step)
        assert measured.validation_error == pytest.approx(other.validation_error, rel=0.01)


def watched(study: Study, then: Any = lambda event: None) -> dict[int, list[str]]:
    """Run it; trials by the worker's process. ``then`` sees every event."""
    workers: dict[int, list[str]] = defaultdict(list)

    def observe(event: Event) -> None:
        if event.kind == Kind.STARTED:
            workers[event.payload["pid"]].append(event.trial)
        then(event)

    outcome = study.run(observe=observe)
    assert outcome.word == "complete"
    return workers


def test_packs_are_alike_and_the_study_is_the_same(tmp_path: Path, alone: Study) -> None:
    study = Study(spec(tmp_path, 4), tmp_path / "study")
    workers = watched(study)
    same(study, alone)
    trials = {m.trial.id: m.trial for m in study.measurements()}
    assert sorted(map(len, workers.values())) == [4] * (len(trials) // 4)
    for members in workers.values():
        assert len({(trials[name].items, trials[name].size) for name in members}) == 1


def test_a_killed_pack_is_tried_again_one_by_one(tmp_path: Path, alone: Study) -> None:
    study = Study(spec(tmp_path, 3, checkpoint=0), tmp_path / "study")
    pids: list[int] = []

    def kill(event: Event) -> None:
        if event.kind == Kind.STARTED:
            pids.append(event.payload["pid"])
        if event.kind == Kind.CHECKPOINT and event.payload["step"] >= 5 and len(set(pids)) == 1:
            with suppress(ProcessLookupError):  # several checkpoints may have come before it died
                os.kill(pids[0], signal.SIGKILL)

    workers = watched(study, kill)
    same(study, alone)
    killed = workers.pop(pids[0])
    assert len(killed) == 3
    for name in killed:
        assert [name] in workers.values()


def test_drained_packs_go_on_where_they_were(tmp_path: Path, alone: Study) -> None:
    first = Study(spec(tmp_path, 4), tmp_path / "study")
    asked: list[int] = []

    def interrupt(event: Event) -> None:
        if event.kind == Kind.PROGRESS and not asked:
            asked.append(1)
            os.kill(os.getpid(), signal.SIGTERM)

    assert first.run(observe=interrupt).word == "drained"
    study = Study(spec(tmp_path, 2), tmp_path / "study")  # packs may change, as workers may
    assert study.run().word == "complete"
    same(study, alone)


def test_ending_one_gives_the_others_back(tmp_path: Path, alone: Study) -> None:
    """Their attempts are not counted as failures: nothing was wrong with them."""
    trials = [m.trial for m in alone.measurements()][:3]
    executor = local.open_executor(alone.folder, Run(workers=1))
    try:
        executor.start(*(Job(alone.folder, trial, 9, packed=True) for trial in trials))
        seen: list[Event] = []
        end = time.monotonic() + 60
        while not seen and time.monotonic() < end:
            seen += executor.poll(0.2)
        executor.kill(trials[0].id, 9)
        while sum(e.kind == Kind.LOST for e in seen) < 2 and time.monotonic() < end:
            seen += executor.poll(0.2)
    finally:
        executor.close()
    lost = {event.trial: event.payload for event in seen if event.kind == Kind.LOST}
    assert set(lost) == {trial.id for trial in trials[1:]}
    assert all(payload["killed"] for payload in lost.values())


def test_what_cannot_be_packed_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(f"line {n} of many" for n in range(200)))
    path = spec(tmp_path, 4)
    lines = [line for line in path.read_text().splitlines() if "domain" not in line]
    lines = [line for line in lines if "family" not in line]
    lines += ["domain: {name: characters, train: a.txt}", "family: {name: lstm, sizes: [8]}"]
    path.write_text("\n".join(lines))
    with pytest.raises(SpecError, match=r"lstm cannot be packed; these can: resnet, rhn"):
        Study(path, tmp_path / "study").check()
    path.write_text("\n".join([*lines, "trainer: {name: engine, precision: bfloat16}"]))
    with pytest.raises(SpecError) as caught:
        Study(path, tmp_path / "study").check()
    narrow, pack = sorted(map(str, caught.value.problems), reverse=True)
    assert "trainer.precision" in narrow
    assert "lstm cannot compute in bfloat16; these can: resnet" in narrow
    assert "packs trials, in neither bfloat16 nor CUDA graphs" in pack
