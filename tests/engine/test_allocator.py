"""The allocator's settings, tried in processes of their own: they cannot be taken back."""

import subprocess
import sys

import pytest

CODE = """
from steep.engine import allocator
import sys, resource
kept = allocator.keep_buffers()
for _ in range(2):
    buffers = [bytearray(40 << 20) for _ in range(3)]
    del buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    buffer = bytearray(40 << 20)
    del buffer
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(switch: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        env={"STEEP_MALLOC": switch},
    )
    kept, faults = map(int, done.stdout.split())
    return kept, faults


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_buffers_are_not_faulted_in_again() -> None:
    kept, faults = run("1")
    off, faults_off = run("0")
    assert off == 0
    if kept:  # glibc
        assert faults < faults_off / 10
