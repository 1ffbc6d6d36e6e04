"""Slurm, the real one: the fault bench, and what only an engine can do to workers."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import far as bench
import rehearsal
from far import SLOWLY, Expected
from faults.conftest import Driven, until
from faults.test_clocks import PLACES

from .conftest import Slurm

BOTH = [
    bench.results_are_the_same,
    bench.f1_a_killed_trial_costs_itself_an_attempt,
    bench.f2_workers_outlive_their_driver,
    bench.f3_killed_again_and_again,
    bench.f4_a_stop_request_saves,
    bench.f6_two_drivers_share_a_study,
    bench.f7_a_worker_that_wakes_after_its_successor,
    bench.f8_a_full_disk_is_told_and_nothing_is_lost,
    bench.f9_a_damaged_checkpoint_is_passed_over,
    bench.a_killed_worker_is_replaced,
]
ALONE = [
    bench.f4_twice_stops_at_once,
    bench.f11_nan_ends_a_trial_as_diverged,
    bench.f12_f13_f14_bad_trials_end_alone,
]


@pytest.mark.parametrize("fault", BOTH, ids=lambda fault: fault.__name__)
def test_bench(fault: Callable[[Driven, Expected], None], far: Driven, expected: Expected) -> None:
    fault(far, expected)


@pytest.mark.parametrize("fault", ALONE, ids=lambda fault: fault.__name__)
def test_bench_of_bad_ends(fault: Callable[[Driven], None], far: Driven) -> None:
    fault(far)


def test_f5_weights_have_the_bits_that_they_have_locally(slurm: Slurm, tmp_path: Path) -> None:
    chosen = {"name": "slurm", "slots": 2}
    assert rehearsal.drive(rehearsal.spec(executor=chosen), tmp_path / "far").word == "complete"
    rehearsal.drive(rehearsal.spec(), tmp_path / "near")
    hashes = rehearsal.results(tmp_path / "far")
    assert hashes == rehearsal.results(tmp_path / "near")
    assert all(weights for weights, _ in hashes.values())


def test_a_driver_that_is_killed_finds_what_it_had_queued(far: Driven, expected: Expected) -> None:
    far.executor = {"name": "slurm", "slots": 2, "arguments": ["--begin=now+20"]}  # type: ignore[assignment]
    bench.a_killed_driver_finds_what_it_had_queued(far, expected)


def test_the_end_of_the_walltime_charges_nobody(far: Driven) -> None:
    """Slurm's signal may come up to a minute early, but not before the worker has begun."""
    far.executor = {"name": "slurm", "walltime": "3m", "grace": "75s"}  # type: ignore[assignment]
    bench.walltime_in_mid_trial_charges_nobody(far, 2.2)


def test_goes_on_locally_and_back(far: Driven, expected: Expected) -> None:
    bench.goes_on_elsewhere(far, "local", expected)


def interrupted_by(far: Driven, slurm: Slurm, expected: Expected, blow: Callable[[], Any]) -> None:
    """The blow falls while trials run; nobody is charged, nothing is lost."""
    far.spec({"seconds_per_step": 0.1})  # workers may begin seconds apart
    process = far.start()
    far.running(2)
    blow()
    ended = far.ended(process)
    assert ended.code == 0, ended.said
    assert far.table() == expected
    assert not bench.charged(far)
    states = Counter(state for _, state, _ in far.attempts())
    assert states["done"] == 12
    assert sum(states.values()) > 12
    bench.nothing_is_left(far)


def test_a_requeue_behind_our_back(far: Driven, slurm: Slurm, expected: Expected) -> None:
    interrupted_by(far, slurm, expected, lambda: slurm("scontrol", "requeue", *slurm.jobs("R")[:1]))


def test_a_cancel_behind_our_back(far: Driven, slurm: Slurm, expected: Expected) -> None:
    interrupted_by(far, slurm, expected, lambda: slurm("scancel", *slurm.jobs("R")[:1]))


def test_preemption(far: Driven, slurm: Slurm, expected: Expected) -> None:
    def preempt() -> None:
        slurm("sbatch", "--partition=urgent", "--exclusive", "--wrap=sleep 3", "--output=/dev/null")

    interrupted_by(far, slurm, expected, preempt)


def test_a_node_that_fails(far: Driven, slurm: Slurm, expected: Expected) -> None:
    def fail() -> None:
        (node,) = set(slurm("sinfo", "-h", "-N", "-o", "%N").split())
        slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        time.sleep(4)
        slurm("scontrol", "update", f"nodename={node}", "state=resume")

    interrupted_by(far, slurm, expected, fail)


def test_a_controller_that_is_away_for_a_while(
    far: Driven, slurm: Slurm, expected: Expected
) -> None:
    far.spec(SLOWLY)
    process = far.start()
    far.running(2)
    slurm.end("slurmctld")
    time.sleep(5)
    slurm.begin("slurmctld")
    assert far.ended(process).code == 0
    assert far.table() == expected
    bench.each_ran_once(far)


def test_a_node_whose_clock_is_an_hour_off(far: Driven, tmp_path: Path, expected: Expected) -> None:
    found = [path for place in PLACES for path in Path("/").glob(f"{place}/libfaketimeMT.so.1")]
    assert found, "needs libfaketime: apt install libfaketime"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(  # as in faults/test_clocks.py
        "import select, time\n"
        "time.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
        f"open({str(tmp_path / 'clock')!r}, 'w').write(str(time.time()))\n"
    )
    setup = (
        f"export LD_PRELOAD={found[0]} FAKETIME=+1h FAKETIME_DONT_FAKE_MONOTONIC=1 "
        f"PYTHONPATH={site}:$PYTHONPATH"
    )
    far.executor = {"name": "slurm", "slots": 2, "setup": setup}  # type: ignore[assignment]
    bench.results_are_the_same(far, expected)
    ahead = float((tmp_path / "clock").read_text()) - time.time()
    assert 3000 < ahead < 3700


def test_status_says_what_waits_and_what_runs_where(far: Driven, slurm: Slurm) -> None:
    far.spec({"seconds_per_step": 0.5}, {"workers": 5})  # the node has four cores
    process = far.start()
    far.wait("begins", 4)
    until(lambda: "1 queued" in far.steep("status", "st").out, "a trial in the queue")
    said = far.steep("status", "st").out
    assert "4 running, " in said
    assert ", Slurm job " in said
    process.kill()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": "nowhere"}, "invalid partition"),
        ({"walltime": "2m", "grace": "2m"}, "must be longer than grace"),
        ({"resources": {"cpus": 64}}, "sbatch of Slurm says"),
        ({"resources": {"gpus": 1}}, "sbatch of Slurm says"),
    ],
)
def test_what_slurm_would_refuse_is_told_before_any_work(
    far: Driven, options: dict[str, Any], message: str
) -> None:
    far.executor = {"name": "slurm"} | options  # type: ignore[assignment]
    far.spec()
    ended = far.steep()
    assert ended.code == 2
    assert message in ended.err.lower() or message in ended.err
    assert not far.attempts()


def test_a_machine_without_slurm_is_told(far: Driven) -> None:
    far.spec()
    ended = far.steep(env=os.environ | {"PATH": "/nowhere"})
    assert ended.code == 2
    assert "Slurm is not installed here" in ended.err


def test_a_controller_that_does_not_run_is_told(far: Driven, tmp_path: Path) -> None:
    text = Path(os.environ["SLURM_CONF"]).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("SlurmctldPort")]
    (tmp_path / "slurm.conf").write_text("\n".join([*lines, "SlurmctldPort=1", ""]))
    far.spec()
    ended = far.steep(env=os.environ | {"SLURM_CONF": str(tmp_path / "slurm.conf")})
    assert ended.code == 2
    assert "sbatch of Slurm says" in ended.err or "does not answer" in ended.err
