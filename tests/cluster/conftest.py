"""A real Slurm of one node and a real Ray of two, started for these tests and stopped after them:
needs root.

Slurm is without munge, control groups and systemd, so that it runs in any container. Each process
of pytest-xdist has one of its own."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from faults.conftest import Driven, until
from steep.executors import remote

CONFIGURATION = """
ClusterName=steep
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
KillWait=5
JobRequeue=1
SchedulerParameters=batch_sched_delay=0,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("cluster")


@dataclass
class Slurm:
    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        for name in ("slurmctld", "slurmd"):
            if shutil.which(name) is None:
                pytest.fail(f"there is no {name}: apt install slurm-wlm")
        ports = _free_ports(2)
        text = CONFIGURATION.format(
            host=platform.node(), folder=self.folder, controller=ports[0], node=ports[1]
        )
        for part in ("state", "spool"):
            (self.folder / part).mkdir()
        (self.folder / "slurm.conf").write_text(text)
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        self.begin("slurmctld")
        self.begin("slurmd")
        until(lambda: "idle" in self("sinfo", "-h", "-o", "%T"), "an idle node")

    def begin(self, daemon: str) -> None:
        with (self.folder / f"{daemon}.out").open("ab") as out:
            self.daemons[daemon] = subprocess.Popen(
                [daemon, "-D"], stdout=out, stderr=out, start_new_session=True
            )

    def end(self, daemon: str) -> None:
        process = self.daemons.pop(daemon)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __call__(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def jobs(self, *states: str) -> list[str]:
        """The tasks of steep in these states, or all that have not ended."""
        chosen = [f"--states={','.join(states)}"] if states else []
        return self("squeue", "-h", "-r", *chosen, "-o", "%i").split()

    def stop(self) -> None:
        self("scancel", "--user=root")
        until(lambda: not self.jobs(), "the end of all jobs")
        for daemon in list(self.daemons):
            self.end(daemon)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def far(slurm: Slurm, tmp_path: Path) -> Iterator[Driven]:
    """A study on Slurm, with two workers."""
    driven = Driven(tmp_path, {"name": "slurm", "slots": 2})  # type: ignore[arg-type]
    yield driven
    driven.close()
    slurm("scancel", "--user=root")
    end = time.monotonic() + 60
    while slurm.jobs() and time.monotonic() < end:
        time.sleep(0.2)


@dataclass
class Ray:
    """A head with two processors and a node with two, and what is added."""

    cluster: Any
    node: Any = None
    """The second node, which may fall."""

    def __post_init__(self) -> None:
        self.node = self.add(num_cpus=2)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, **resources: Any) -> Any:
        return patiently(lambda: self.cluster.add_node(object_store_memory=80 << 20, **resources))

    def end(self, node: Any) -> None:
        """The node's raylet is killed."""
        self.cluster.remove_node(node, allow_graceful=False)

    def pids(self, process: str) -> list[int]:
        return [one.process.pid for one in self.cluster.head_node.all_processes[process]]

    def executor(self, **options: Any) -> Any:
        return {"name": "ray", "address": self.address, "slots": 2} | options


def patiently(start: Callable[[], Any]) -> Any:
    """What Ray could start: it gives up after 15 or 30 s, which a loaded machine may need, and
    leaves processes that would take more of it."""
    for _ in range(9):
        before = psutil.Process().children()
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            for process in set(psutil.Process().children()) - set(before):
                process.kill()
    return start()


@pytest.fixture(scope="session")
def ray() -> Iterator[Ray]:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    arguments = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 << 20}
    arguments["_system_config"] = {"worker_niceness": 0}  # 15: minutes where other work runs
    made = patiently(lambda: cluster_utils.Cluster(True, head_node_args=arguments))
    yield Ray(made)
    made.shutdown()


@pytest.fixture
def on_ray(ray: Ray, tmp_path: Path) -> Iterator[Driven]:
    """A study on Ray, with two workers."""
    driven = Driven(tmp_path, ray.executor())
    yield driven
    driven.close()
    for session in remote.abandoned(driven.folder):
        session.close()


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """What the twelve trials measure when nothing goes wrong, in one process."""
    driven = Driven(tmp_path_factory.mktemp("expected"), "inline")
    driven.spec({"seconds_per_step": 0.0})
    assert driven.steep().code == 0
    return driven.table()
