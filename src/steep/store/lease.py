"""The owner of a trial: an identity of a process that stays unique when its pid is reused.

A process is identified by machine, boot, pid namespace (containers have their own), pid and start
time. All of them are needed to distinguish a dead owner from a live one, and to kill a worker
without hitting an unrelated process. Leases use the monotonic clock of the boot, so that setting
the wall clock has no effect and a laptop that sleeps does not age a lease.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ncpfs", "webdav", "afpfs"),
    *("lustre", "gpfs", "beegfs", "ceph", "glusterfs", "orangefs", "pvfs2", "panfs"),
    *("fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph"),
    *("fuse.juicefs", "fuse.blobfuse2", "fuse.mount-s3", "fuse.cvmfs2", "fuse.afp"),
}


@dataclass(frozen=True)
class Owner:
    """One process, on one boot of one machine."""

    host: str
    boot: str
    space: str
    """The pid namespace; pids of another one mean nothing here."""
    pid: int
    start: str
    """When the process started, in a unit of the system; '' if unknown."""
    session: str = ""
    """Which of the process's open stores: one that was closed owns nothing any more."""

    def same_machine(self, other: Owner) -> bool:
        """Whether both run on one machine: its containers share the boot, and it keeps its name
        when it is rebooted."""
        return self.boot == other.boot or self.host == other.host

    def alive(self, seen_from: Owner) -> bool | None:
        """Whether it still runs; None if that cannot be determined by ``seen_from``."""
        if not self.same_machine(seen_from):
            return None
        if self.boot != seen_from.boot:
            return False
        if self.space != seen_from.space:
            return None
        if (self.pid, self.start) == (seen_from.pid, seen_from.start):
            return self.session in SESSIONS
        return is_running(self.pid, self.start)


SESSIONS: set[str] = set()
"""The stores that this process has open for writing."""


@dataclass(frozen=True)
class Reclaimed:
    """An attempt taken from an owner that is gone."""

    trial: str
    attempt: int
    reason: str


def forfeited(owner: Owner, worker: int | None, expires: float, me: Owner) -> str | None:
    """The reason why ``owner`` has lost an attempt that ``worker`` runs; None if it has not."""
    alive = owner.alive(me)
    if alive is False:
        return f"its driver (process {owner.pid}) is gone"
    if not owner.same_machine(me) or expires > now():
        return None
    if worker == owner.pid and owner.space == me.space:
        return None  # it runs inside a live driver: killing it would kill the driver
    return f"its driver (process {owner.pid}) has given no sign of life"


def this_process(session: str = "") -> Owner:
    """The calling process as an owner."""
    pid = os.getpid()
    return Owner(platform.node(), boot_id(), _space(), pid, start_time(pid), session)


def now() -> float:
    """Seconds on this boot's monotonic clock, the same for every process of the machine."""
    return time.monotonic()


@cache
def boot_id() -> str:
    """A name for this boot of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "kern.bootsessionuuid")
    return platform.node()


def _space() -> str:
    """The pid namespace of this process; '' if the system has none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_time(pid: int) -> str:
    """When process ``pid`` started; '' if there is none or only a zombie."""
    if sys.platform == "darwin":
        return _output("ps", "-o", "lstart=", "-p", str(pid))
    if sys.platform == "win32":
        return _windows_start_time(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    # the process name comes before the last ")" and may itself contain anything
    fields = stat[stat.rindex(b")") + 2 :].split()
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _windows_start_time(pid: int) -> str:
    system: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 (unknown to other systems)
    process = system.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not process:
        return ""
    times = [ctypes.c_ulonglong() for _ in range(4)]
    code = ctypes.c_ulong()
    system.GetProcessTimes(process, *(ctypes.byref(value) for value in times))
    system.GetExitCodeProcess(process, ctypes.byref(code))
    system.CloseHandle(process)
    return str(times[0].value) if code.value == 259 else ""  # STILL_ACTIVE


def is_running(pid: int, start: str) -> bool:
    """Whether process ``pid`` runs and is the one that started at ``start``. A zombie does not."""
    started = start_time(pid) if pid > 0 else ""
    return bool(started) and started == (start or started)


def kill(pid: int, start: str, wait: float = 3.0) -> bool:
    """Kill a process, with its group if it leads one, and wait for its end; True once it is gone.

    Does nothing to another process with the same pid (``start`` differs)."""
    if not start or not is_running(pid, start) or pid == os.getpid():
        return not is_running(pid, start)
    try:
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)
        elif os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    until = now() + wait
    while is_running(pid, start):
        if now() > until:
            return False
        time.sleep(0.01)
    return True


def network_file_system(folder: Path, mounts: str = "/proc/mounts") -> str | None:
    """The type of the network file system that holds ``folder``, or None for a local one."""
    path = folder.resolve()
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    best, kind = -1, ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].encode().decode("unicode_escape"))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _output(*command: str) -> str:
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return finished.stdout.strip()
