"""The control groups that this process is in (Linux, both versions): what a container, a batch
system or systemd grants it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def groups(controller: str, root: Path = ROOT, membership: Path = MEMBERSHIP) -> Iterator[Path]:
    """The folders of this process's own group and of those around it, innermost first; none where
    the system has no such groups. Not each of them need exist: a container sees its own as root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        tree = root if not names else root / controller
        home = tree / path.strip("/")
        yield home
        while home != tree:
            home = home.parent
            yield home


def out_of_memory_kills(
    root: Path = ROOT, membership: Path = MEMBERSHIP, machine: Path = Path("/proc/vmstat")
) -> int:
    """How often the kernel has ended a process of this group for want of memory, or of the whole
    machine where the group does not say; 0: unknown."""
    own = next(groups("memory", root, membership), None)
    files = [] if own is None else [own / "memory.events", own / "memory.oom_control"]
    for file in [*files, machine]:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        counts = [line.split()[1] for line in lines if line.startswith("oom_kill ")]
        if counts:
            return int(counts[0])
    return 0
