"""Runs the tests whose numbers matter in numeric environments that other machines have.

    python tests/environments.py

Another processor means other kernels of OpenBLAS (``OPENBLAS_CORETYPE``), fewer vector instructions
in numpy (``NPY_DISABLE_CPU_FEATURES``), another number of threads: all of them round sums otherwise
in the last bits. Everything published must come out the same, and fits must have the same outcomes.
What this processor cannot run is skipped, and named.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

ROOT = Path(__file__).parent.parent
KERNELS = {"Prescott": ("Prescott", "Katmai"), "Haswell": ("Haswell",), "SkylakeX": ("SkylakeX",)}
"""With the names that OpenBLAS gives them: its oldest kernels are one."""
NEEDS = {"Haswell": ("AVX2", "X86_V3"), "SkylakeX": ("AVX512_SKX", "X86_V4")}
"""What a processor must have for a kernel, by numpy's names, of which each version knows one:
OpenBLAS takes a kernel that it is told to take, and ends with an illegal instruction."""
TESTS = (
    "tests/stats/test_nist.py",
    "tests/stats/test_profile.py",
    "tests/stats/test_single.py",
    "tests/test_fit.py",
    "tests/test_studies.py",
)
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    """(name, variables) of what this processor can run; prints what it cannot."""
    for kernel, names in KERNELS.items():
        variables = {"OPENBLAS_CORETYPE": kernel}
        if kernel in NEEDS and not any(__cpu_features__.get(name) for name in NEEDS[kernel]):
            print(f"skipped: OpenBLAS kernel {kernel}: this processor lacks what it needs")
        elif (taken := core(variables)) in names:
            yield f"OpenBLAS kernel {kernel}", variables | ONE_THREAD
        else:
            print(f"skipped: OpenBLAS kernel {kernel}: this machine takes {taken or 'no OpenBLAS'}")
    vectors = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    wide = [name for name in vectors if "512" in name or name == "X86_V4"]
    for name, disabled in (("512-bit vectors", wide), ("optional vector instructions", vectors)):
        if disabled:
            variables = {"NPY_DISABLE_CPU_FEATURES": " ".join(disabled)}
            yield f"numpy without {name}", variables | ONE_THREAD
        else:
            print(f"skipped: numpy without {name}: this processor has none")
    yield "two threads", dict.fromkeys(ONE_THREAD, "2")


def core(variables: dict[str, str]) -> str:
    """The kernel that OpenBLAS takes; '' where numpy has another library."""
    verbose = os.environ | variables | {"OPENBLAS_VERBOSE": "2"}
    command = [sys.executable, "-c", "import numpy"]
    ended = subprocess.run(command, env=verbose, capture_output=True, text=True, check=True)
    found = re.search(r"Core: (\w+)", ended.stdout + ended.stderr)
    return found[1] if found else ""


def passes(name: str, variables: dict[str, str]) -> bool:
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    ended = subprocess.run(
        command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, check=False
    )
    passed = ended.returncode == 0
    print(f"{'passed' if passed else 'FAILED'}: {name} ({time.monotonic() - start:.0f} s)")
    if not passed:
        print(ended.stdout, ended.stderr, sep="\n")
    return passed


def main() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(max_workers=cores or 1) as pool:
        passed = list(pool.map(lambda each: passes(*each), list(environments())))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
