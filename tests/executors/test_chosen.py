"""Which executor a run has, and with how many workers; what ``--executor`` and ``status`` say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import rehearsal
from steep.contracts.executor import Job
from steep.executors import mailbox
from steep.executors.chosen import placed, worker_count
from steep.executors.local import cpus
from steep.executors.mailbox import Mailbox
from steep.present.lines import status_lines
from steep.records import ENDED, Standing, Status, Trial, TrialStanding
from steep.spec.load import SpecError, from_values, with_executor

SLURM = {"name": "slurm", "partition": "gpu", "slots": 32}


def test_a_spec_names_an_executor_or_gives_it_options() -> None:
    alone = from_values(rehearsal.spec(executor="slurm"))
    section = from_values(rehearsal.spec(executor=SLURM))
    assert alone.spec.run.executor.name == section.spec.run.executor.name == "slurm"
    assert section.spec.run.executor.options == {"partition": "gpu", "slots": 32}
    assert alone.spec.run.model_dump(mode="json")["executor"] == "slurm"
    assert section.spec.run.model_dump(mode="json")["executor"] == SLURM


def test_another_executor_has_its_defaults_and_the_same_one_its_options() -> None:
    loaded = from_values(rehearsal.spec(executor=SLURM, workers=None))
    assert with_executor(loaded, "slurm") is loaded
    assert worker_count(loaded.spec.run) == 32
    local = with_executor(loaded, "local")
    assert local.spec.run.executor.options == {}
    assert worker_count(local.spec.run) == cpus()
    assert worker_count(with_executor(local, "slurm").spec.run) == 8
    more = loaded.spec.run.model_copy(update={"workers": 3})
    assert worker_count(more) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [("slrum", "did you mean 'slurm'?"), ("command", "--executor command.submit: missing")],
)
def test_one_that_cannot_be_had_is_told(name: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        with_executor(from_values(rehearsal.spec()), name)
    assert message in str(caught.value)


def trial(seed: int) -> Trial:
    return Trial(0, 10, 10.0, 2, (), seed)


def test_status_counts_what_waits_apart_and_says_where_the_rest_runs(tmp_path: Path) -> None:
    box = Mailbox.create(tmp_path)
    box.write(mailbox.WORKER, {"study": str(tmp_path)})
    for seed in range(3):
        box.post(seed, [Job(tmp_path, trial(seed), 1)])
    box.take("w1-0.1.a")
    box.write("workers/w1-0.1.a", {"where": "node7, Slurm job 4_0"})
    rows = [TrialStanding(trial(seed), Status.RUNNING, 1, None, 5.0) for seed in range(2)]
    # its driver is gone, and the trial waits for a worker all the same
    rows.append(TrialStanding(trial(2), Status.PLANNED, 1, "interrupted: gone", None))
    rows.append(TrialStanding(trial(3), Status.PLANNED, 0, None, None))
    found = placed(rows, tmp_path)
    assert [row.place for row in found] == ["node7, Slurm job 4_0", "queued", "queued", None]
    lines = status_lines(Standing(tuple(found), None, None, False))
    assert lines[0] == "4 trials: 1 planned, 1 running, 2 queued; 5 s of training"
    assert "  running for 5 s on node7, Slurm job 4_0: " in "\n".join(lines)
    assert sum(line.startswith("  queued") for line in lines) == 2
    assert not any("interrupted" in line for line in lines)


def test_a_trial_that_has_ended_is_where_it_was(tmp_path: Path) -> None:
    box = Mailbox.create(tmp_path)
    box.write(mailbox.WORKER, {"study": str(tmp_path)})
    box.post(1, [Job(tmp_path, trial(0), 1)])
    for status in ENDED:
        row = TrialStanding(trial(0), status, 1, None, 5.0)
        assert placed([row], tmp_path) == [row]
        assert placed([replace(row, status=Status.RUNNING)], tmp_path)[0].place == "queued"
