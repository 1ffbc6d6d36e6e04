"""Ray's engine with a stand-in for the few functions of Ray that it calls: its actors live in the
process that speaks to Ray, and end with it. The real one is in tests/cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rehearsal
from steep.contracts.executor import Kind
from steep.executors import mailbox, ray
from steep.executors.chosen import worker_count
from steep.executors.engine import GONE, State
from steep.executors.mailbox import Mailbox
from steep.executors.ray_process import LAUNCHER
from steep.spec.load import from_values
from steep.store.folder import StoreError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")
STAND_IN = """
import os, sys
from types import SimpleNamespace as Some

class RayError(Exception): ...
class ActorUnavailableError(RayError): ...
exceptions = Some(RayError=RayError, ActorUnavailableError=ActorUnavailableError)
print("noise of Ray")
print("noise of Ray", file=sys.stderr)
actors = {}

def init(address, **options):
    if address == "old":
        raise RuntimeError("Version mismatch: The cluster was started with:\\n  Ray: 1.0\\n")

def nodes():
    return [{"Alive": True, "NodeID": "a", "NodeManagerHostname": "node7",
             "Resources": {"CPU": 4.0, "memory": 2.0**33}}]

class Ref:
    def __init__(self, value, awaits=None): self.value, self.awaits = value, awaits
    @property
    def answered(self): return self.awaits not in actors.values()

class Actor:
    def __init__(self, made): self.made = made
    def __getattr__(self, name):
        def remote(*given):
            if self.made is None:
                return Ref(None, self)
            return Ref(getattr(self.made, name)(*given))
        return Some(remote=remote)

class Remote:
    def __init__(self, what, given=None): self.what, self.given = what, given or {}
    def options(self, **given):
        if "nonsense" in given:
            raise ValueError("Invalid option keyword nonsense")
        return Remote(self.what, given)
    def remote(self, *given):
        if not isinstance(self.what, type):
            return Ref(self.what(*given) and not os.environ.get("BLIND"))
        key = self.given["namespace"], self.given["name"]
        waits = self.given["num_cpus"] > 4
        if self.given.get("max_concurrency") == 7:
            raise RuntimeError("no room for " + key[1])
        actors[key] = Actor(None if waits else self.what(*given))
        return actors[key]

def remote(*what, **options):
    return Remote(what[0]) if what else Remote

def get_actor(name, namespace):
    if (namespace, name) not in actors:
        raise ValueError("no such actor")
    return actors[namespace, name]

def get(ref):
    if ref.awaits:
        raise RayError("The actor died: it was killed")
    return ref.value

def wait(refs, num_returns, timeout): return [r for r in refs if r.answered], []

def kill(actor):
    for key in [key for key, one in actors.items() if one is actor]:
        del actors[key]

def get_runtime_context():
    keeper = sys._getframe(1).f_locals["self"]
    def end():
        for key in [key for key, one in actors.items() if one.made is keeper]:
            del actors[key]
    return Some(current_actor=Some(__ray_terminate__=Some(remote=end)))
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "site" / "ray"
    (package / "util").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN + "\nfrom ray import util\n")
    (package / "util/__init__.py").write_text("def get_node_ip_address(): return '10.0.0.7'\n")
    (package / "util/scheduling_strategies.py").write_text(
        "def NodeAffinitySchedulingStrategy(node, soft): return node\n"
    )
    path = [str(package.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.syspath_prepend(str(package.parent))
    ray.line.cache_clear()
    yield
    for address in ("here", "old"):
        ray.line(address).close()
    ray.line.cache_clear()


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    made = Mailbox.create(tmp_path / "study")
    made.write(mailbox.WORKER, {"study": str(made.site)})
    return made


def engine(**options: Any) -> ray.Ray:
    return ray.open_engine(ray.Options.model_validate({"address": "here"} | options))


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


# ---------------------------------------------------------------- whole studies


def test_a_study_on_ray_has_the_bits_that_it_has_inline(stand_in: None, tmp_path: Path) -> None:
    kinds: set[Kind] = set()
    chosen = {"name": "ray", "address": "here", "slots": 2}
    outcome = rehearsal.drive(
        rehearsal.spec(executor=chosen), tmp_path / "far", lambda event: kinds.add(event.kind)
    )
    assert (outcome.word, outcome.complete, outcome.retried) == ("complete", 12, 0)
    rehearsal.drive(rehearsal.spec(executor="inline"), tmp_path / "near")
    assert rehearsal.results(tmp_path / "far") == rehearsal.results(tmp_path / "near")
    assert {Kind.QUEUED, Kind.STARTED, Kind.RESULT} <= kinds
    assert not (tmp_path / "far/mail").exists()


def test_a_plan_needs_no_ray() -> None:
    loaded = from_values(rehearsal.spec(executor={"name": "ray", "slots": 32}, workers=None))
    assert worker_count(loaded.spec.run) == 32
    assert "ray" not in sys.modules


# ---------------------------------------------------------------- workers


def test_a_worker_waits_runs_and_ends(stand_in: None, box: Mailbox) -> None:
    made = engine(setup='echo "$STEEP_WHERE"; exec sleep 600')
    started = made.submit(box, "w1", 2)
    assert started == ["w1-0", "w1-1"]
    batches = {"w1": {"count": 2, "id": started}}
    running = {"w1-0": State("running"), "w1-1": State("running")}
    until(lambda: made.states(box, batches) == running)
    printed = box.folder / "output/w1-0.txt"
    until(lambda: printed.exists() and printed.read_text() == "Ray node 10.0.0.7\n")
    made.cancel(box, batches, "w1-0")
    ended = until(
        lambda: (states := made.states(box, batches)) and states["w1-0"].word == "ended" and states
    )
    assert ended["w1-0"] == State("ended", "failed, exit code 143")
    assert ended["w1-1"] == State("running")
    made.cancel(box, batches)


def test_a_worker_whose_node_is_not_there_yet_is_queued_and_can_be_cancelled(
    stand_in: None, box: Mailbox
) -> None:
    made = engine(resources={"cpus": 8})
    batches = {"w1": {"count": 1, "id": made.submit(box, "w1", 1)}}
    assert until(lambda: made.states(box, batches)) == {"w1-0": State("queued")}
    made.cancel(box, batches)
    why = "died (The actor died: it was killed)"
    assert until(lambda: made.states(box, batches)) == {"w1-0": State("ended", why)}


def test_a_worker_that_is_gone_with_its_node_is_not_to_blame(stand_in: None, box: Mailbox) -> None:
    box.write("workers/w1-0.1.a", {"problem": None})
    batches = {"w1": {"count": 2, "id": ["w1-0", None]}}
    assert until(lambda: engine().states(box, batches)) == {"w1-0": GONE}


def test_a_worker_that_ray_does_not_take_is_told(stand_in: None, box: Mailbox) -> None:
    with pytest.raises(StoreError, match=r"the Ray at here: no room for w1-0"):
        engine(arguments={"max_concurrency": 7}).submit(box, "w1", 2)


def test_what_speaks_to_ray_may_die(stand_in: None, box: Mailbox) -> None:
    made = engine()
    batches = {"w1": {"count": 1, "id": ["w1-0"]}}
    assert until(lambda: made.states(box, batches)) is not None
    process = ray.line("here")._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(StoreError, match=r"the Ray at here cannot be reached any more"):
        ray.line("here").answer(99, 1.0)
    assert until(lambda: made.states(box, batches)) is not None  # another one
    assert ray.line("here")._process is not process


def test_a_worker_saves_when_what_started_it_is_killed(tmp_path: Path) -> None:
    """Ray kills what an actor has started the moment that the actor ends."""
    script = 'trap "echo saved >saved; exit 0" TERM; echo began >began; while :; do sleep 0.1; done'
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", LAUNCHER, str(os.getpid()), "bash", "-c", script],
        cwd=tmp_path,
    )
    until((tmp_path / "began").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until((tmp_path / "saved").exists)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resources": {"cpus": 8, "gpus": 1, "memory": "4G"}},
         "no node of the Ray at here has 8 CPU, 1 GPU, 4 GiB of memory; what they have: "
         "4 CPU, 0 GPU, 8 GiB of memory. Ask for less"),
        ({"arguments": {"nonsense": 1}}, "the Ray at here: Invalid option keyword nonsense"),
        ({"walltime": "2m", "grace": "2m"}, "must be longer than grace"),
        ({"address": "127.0.0.1:1"}, "the Ray at 127.0.0.1:1: nothing answers there"),
        ({"address": "old"}, "Version mismatch: The cluster was started with: Ray: 1.0"),
    ],
)  # fmt: skip
def test_what_cannot_run_on_ray_is_told_before_any_work(
    stand_in: None, box: Mailbox, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError) as caught:
        engine(**options).check(box)
    assert message in str(caught.value)


def test_a_cluster_that_grows_may_be_waited_for(stand_in: None, box: Mailbox) -> None:
    engine(resources={"gpus": 1}, autoscale=True).check(box)


def test_a_node_that_does_not_see_the_folder_is_named(
    stand_in: None, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLIND", "1")
    with pytest.raises(StoreError, match=r"^node7 of Ray cannot see .*run\.executor\.shared"):
        engine().check(box)


def test_a_machine_without_ray_is_told(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StoreError, match=r"^Ray is not installed here: pip install 'steep\[ray\]'"):
        engine().check(box)
