"""``tests/cluster/run.sh``, which is make test-cluster, with stand-ins for all that it calls: what
it says where it cannot run, and that nothing which it has started outlives it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from faults.conftest import until

SCRIPT = Path(__file__).parent / "cluster/run.sh"
SPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="for Linux")


@pytest.fixture
def commands(tmp_path: Path) -> Callable[[str, str], None]:
    """Makes a command, the only ones there are: root's, on a machine with nothing installed."""

    def make(name: str, script: str = "") -> None:
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    (tmp_path / "bin").mkdir()
    for name in ("setpriv", "unshare"):
        make(name)
    make("id", "echo 0")
    make("dirname", 'echo "${1%/*}"')
    return make


def run(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = str(tmp_path / "bin")
    return subprocess.run(
        ["/bin/bash", SCRIPT], env={"PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "script", "sentence"),
    [
        ("id", "echo 1000", "must be root"),
        ("unshare", "exit 1", "no name spaces of its own"),
        ("id", "echo 0", "no apt-get: install slurmctld, slurmd, sbatch and faketime"),
    ],
)
def test_where_it_cannot_run_it_says_why_in_a_line(
    tmp_path: Path, commands: Callable[[str, str], None], name: str, script: str, sentence: str
) -> None:
    commands(name, script)
    done = run(tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("make test-cluster is SKIPPED, nothing was tested: ")
    assert sentence in done.stdout
    assert done.stdout.count("\n") == 1
    assert not done.stderr


def test_an_install_that_fails_is_a_failure(
    tmp_path: Path, commands: Callable[[str, str], None]
) -> None:
    commands("apt-get", '[ "$1" = update ] || exit 100')
    done = run(tmp_path)
    assert done.returncode == 100
    assert "SKIPPED" not in done.stdout


def cannot_separate() -> bool:
    try:
        return subprocess.run([*SPACES, "true"], capture_output=True, check=False).returncode != 0
    except OSError:
        return True


def named(mark: str) -> list[psutil.Process]:
    """The processes with this among their arguments."""
    return [one for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or [])]


@pytest.mark.skipif(cannot_separate(), reason="needs root, and name spaces of its own")
@pytest.mark.parametrize("end", ["failure", signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(
    tmp_path: Path, commands: Callable[[str, str], None], end: str | signal.Signals
) -> None:
    mark = f"86400.{secrets.randbelow(10**9):09d}"  # seconds of sleep
    repository = tmp_path / "repository"
    (repository / "tests/cluster").mkdir(parents=True)
    shutil.copy(SCRIPT, repository / "tests/cluster")
    python = repository / ".venv-ray/bin/python"
    python.parent.mkdir(parents=True)
    daemons = f"for _ in 1 2 3; do setsid sleep {mark} & done; trap '' TERM"
    last = "exit 1" if end == "failure" else f"sleep {mark}"
    python.write_text(f"#!/bin/bash\n{daemons}\n{last}\n")
    python.chmod(0o755)
    for name in ("slurmctld", "slurmd", "sbatch", "faketime", "make"):
        commands(name, "")
    for name in ("setpriv", "unshare", "id", "dirname"):
        (tmp_path / "bin" / name).unlink()
    process = subprocess.Popen(
        ["/bin/bash", repository / "tests/cluster/run.sh"],
        env=os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    try:
        if isinstance(end, signal.Signals):
            until(lambda: len(named(mark)) == 4, "all that it starts")
            process.send_signal(end)
        assert process.wait(60) == (1 if end == "failure" else -end)
        until(lambda: not named(mark), "the end of what it has started")
    finally:
        for one in (process, *named(mark)):
            one.kill()
        process.wait()
