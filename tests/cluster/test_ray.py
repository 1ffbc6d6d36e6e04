"""Ray, the real one, of two raylets: the fault bench, and what only Ray can do to workers.

Needs ``ray``, which is not among what the other tests need: make test-cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import far as bench
import rehearsal
from far import SLOWLY, Expected, parent
from faults.conftest import Driven, until

from .conftest import Ray

# Ray's own Python, and what it leaves to the end of the process
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
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
HOLDER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1)
class Holder:
    def there(self):
        pass
held = [Holder.remote() for _ in range(int(sys.argv[2]))]
ray.get([one.there.remote() for one in held])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(ray: Ray, processors: int) -> Iterator[subprocess.Popen[str]]:
    """So many processors of Ray are another's until the process, or this, has ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, ray.address, str(processors)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("fault", BOTH, ids=lambda fault: fault.__name__)
def test_bench_on_ray(
    fault: Callable[[Driven, Expected], None], on_ray: Driven, expected: Expected
) -> None:
    fault(on_ray, expected)


@pytest.mark.parametrize("fault", ALONE, ids=lambda fault: fault.__name__)
def test_bench_of_bad_ends_on_ray(fault: Callable[[Driven], None], on_ray: Driven) -> None:
    fault(on_ray)


def test_f5_weights_have_the_bits_that_they_have_locally(ray: Ray, tmp_path: Path) -> None:
    chosen = ray.executor()
    assert rehearsal.drive(rehearsal.spec(executor=chosen), tmp_path / "far").word == "complete"
    rehearsal.drive(rehearsal.spec(), tmp_path / "near")
    hashes = rehearsal.results(tmp_path / "far")
    assert hashes == rehearsal.results(tmp_path / "near")
    assert all(weights for weights, _ in hashes.values())


def test_a_driver_that_is_killed_finds_what_it_had_queued(
    ray: Ray, on_ray: Driven, expected: Expected
) -> None:
    """All processors are another's until the second driver begins."""
    with held(ray, 4) as holder:

        def release() -> None:
            until(lambda: len(on_ray.processes) == 3, "a run, a look at it and another run")
            holder.kill()

        thread = threading.Thread(target=release)
        thread.start()
        bench.a_killed_driver_finds_what_it_had_queued(on_ray, expected)
        thread.join()


def test_the_end_of_the_walltime_charges_nobody(ray: Ray, on_ray: Driven) -> None:
    on_ray.executor = ray.executor(walltime="25s", grace="10s")
    bench.walltime_in_mid_trial_charges_nobody(on_ray, 0.5)


def test_goes_on_locally(on_ray: Driven, expected: Expected) -> None:
    bench.goes_on_elsewhere(on_ray, "local", expected)


def interrupted_by(far: Driven, expected: Expected, blow: Callable[[], Any]) -> None:
    """The blow falls while trials run; nobody is charged, nothing is lost."""
    far.spec({"seconds_per_step": 0.1}, {"workers": 4})
    process = far.start()
    far.running(1)
    blow()
    ended = far.ended(process)
    assert ended.code == 0, ended.said
    assert far.table() == expected
    assert not bench.charged(far)
    states = Counter(state for _, state, _ in far.attempts())
    assert states["done"] == 12
    assert sum(states.values()) > 12
    bench.nothing_is_left(far)


def _is_below(process: int, begun: list[str]) -> bool:
    """Whether a trial, by its line, was started by that process, or what it has started."""
    with suppress(psutil.NoSuchProcess):
        return any(one.pid == process for one in psutil.Process(int(begun[3])).parents())
    return False


def test_a_raylet_that_is_killed(ray: Ray, on_ray: Driven, expected: Expected) -> None:
    """The trials of its node save themselves, and go on elsewhere."""

    def fall() -> None:
        (raylet,) = (one.process.pid for one in ray.node.all_processes["raylet"])
        until(lambda: any(_is_below(raylet, line) for line in on_ray.running(1)), "its trials")
        ray.end(ray.node)
        ray.node = ray.add(num_cpus=2)

    interrupted_by(on_ray, expected, fall)


def test_an_actor_that_is_killed(on_ray: Driven, expected: Expected) -> None:
    """The worker's own actor, which Ray's memory monitor may choose to end."""

    def kill() -> None:
        worker = parent(int(on_ray.running(1)[-1][3]))
        os.kill(parent(parent(worker)), signal.SIGKILL)

    interrupted_by(on_ray, expected, kill)


def test_a_head_that_is_away_for_a_while(ray: Ray, on_ray: Driven, expected: Expected) -> None:
    on_ray.spec(SLOWLY)
    process = on_ray.start()
    on_ray.running(2)
    (head,) = ray.pids("gcs_server")
    os.kill(head, signal.SIGSTOP)
    time.sleep(6)
    os.kill(head, signal.SIGCONT)
    assert on_ray.ended(process).code == 0
    assert on_ray.table() == expected
    bench.each_ran_once(on_ray)


def test_status_says_what_waits_and_what_runs_where_in_ray(ray: Ray, on_ray: Driven) -> None:
    on_ray.spec({"seconds_per_step": 0.5}, {"workers": 5})  # the nodes have four processors
    process = on_ray.start()
    on_ray.wait("begins", 4)
    until(lambda: "1 queued" in on_ray.steep("status", "st").out, "a trial in the queue")
    said = on_ray.steep("status", "st").out
    assert "4 running, " in said
    assert f", Ray node {ray.address.partition(':')[0]}" in said
    process.kill()


def test_workers_see_the_gpus_that_ray_gave_them(ray: Ray, on_ray: Driven) -> None:
    node = ray.add(num_cpus=2, num_gpus=4)
    try:
        seen = on_ray.place / "seen"
        setup = f'echo "$STEEP_WORKER $CUDA_VISIBLE_DEVICES" >>{seen}'
        setup = setup.replace("$STEEP_WORKER", "$1")
        on_ray.executor = ray.executor(resources={"gpus": 2}, setup=setup)
        on_ray.spec(SLOWLY)
        assert on_ray.steep().code == 0
        given = dict(line.split() for line in seen.read_text().splitlines())
        assert sorted(",".join(given.values()).split(",")) == ["0", "1", "2", "3"]
    finally:
        ray.end(node)


def test_a_thousandth_of_the_scale(ray: Ray, tmp_path: Path) -> None:
    """200 trials of about 50 ms on 8 workers: each is measured once. benchmarks/remote.py does more
    and takes the time."""
    node = ray.add(num_cpus=4)
    try:
        values = rehearsal.spec({"steps": 8, "sigma": 8.0, "seconds_per_step": 0.005})
        driven = Driven(tmp_path, ray.executor(slots=8))
        driven.spec(
            values["trainer"], {"workers": 8},
            search={"planner": "grid", "seeds": 33, "extend": 0},
        )  # fmt: skip
        assert driven.steep().code == 0
        begun = Counter(line[1] for line in driven.lines("begins"))
        assert set(begun.values()) == {1}
        assert len(begun) == len(driven.lines("ends")) == 198
        assert [state for _, state, _ in driven.attempts()] == ["done"] * 198
    finally:
        ray.end(node)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resources": {"cpus": 64}}, "has 64 CPU; what they have: 2 CPU"),
        ({"resources": {"gpus": 1}}, "1 GPU"),
        ({"arguments": {"nonsense": 1}}, "Invalid option keyword nonsense"),
        ({"walltime": "2m", "grace": "2m"}, "must be longer than grace"),
        ({"address": "127.0.0.1:1"}, "the Ray at 127.0.0.1:1: nothing answers there"),
    ],
)
def test_what_ray_would_refuse_is_told_before_any_work(
    ray: Ray, on_ray: Driven, options: dict[str, Any], message: str
) -> None:
    on_ray.executor = ray.executor(**options)
    refused(on_ray, message)


def refused(far: Driven, message: str, **more: Any) -> None:
    far.spec()
    ended = far.steep(**more)
    assert ended.code == 2, ended.said
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1  # and nothing that Ray prints
    assert not far.attempts()


def test_another_version_of_ray_is_told(on_ray: Driven) -> None:
    site = on_ray.place / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'steep.executors.ray_process' in sys.orig_argv:\n"
        "    import ray\n"
        "    ray.__version__ = '1.0.0'\n"
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    refused(on_ray, "Ray: 1.0.0", env=os.environ | {"PYTHONPATH": path})


def test_a_node_that_does_not_see_the_folder_is_told(ray: Ray, on_ray: Driven) -> None:
    start = (
        f"mount -t tmpfs none {on_ray.place} && exec ray start --block --address={ray.address} "
        """--num-cpus=1 --object-store-memory=80000000 --resources='{"apart": 1}'"""
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    node = subprocess.Popen(
        ["unshare", "-m", "bash", "-c", start], env=os.environ | {"PATH": path, "TMPDIR": "/tmp"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
    )  # fmt: skip
    try:
        on_ray.executor = ray.executor(arguments={"resources": {"apart": 1}})
        on_ray.spec()

        def there() -> bool:
            assert node.poll() is None
            return "no node of the Ray" not in on_ray.steep().err

        until(there, "the node that is apart")
        refused(on_ray, "of Ray cannot see")
    finally:
        node.terminate()
        node.wait(60)
