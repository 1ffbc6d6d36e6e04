"""Builds our C++ kernels with the machine's own compiler, once, and loads them with ctypes.

The library lies in the user's cache, named by a hash of the source, the flags, the compiler and
the processor, so that a shared home folder never brings a library to the wrong machine. A machine
without a compiler, or with a home that cannot be written to, has no kernel: ``library`` then says
why, the caller runs its plain engine, and each trial records which engine it ran on.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FLAGS = (
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
)
"""No -ffast-math: it would make NaN disappear, and flush denormals in the whole process."""
_TIMEOUT = 120.0
"""Seconds that the compiler may take; it needs two."""


class NoKernel(RuntimeError):
    """There is no compiled kernel here; the text says why."""


@cache
def library(name: str) -> ctypes.CDLL:
    """The kernel ``<name>.cpp`` of this folder, built if need be. Raises NoKernel."""
    if os.environ.get("STEEP_KERNELS", "1") == "0":
        raise NoKernel("switched off by STEEP_KERNELS=0")
    source = Path(__file__).with_name(f"{name}.cpp")
    compiler = _compiler()
    texts = [file.read_bytes() for file in (source, source.with_name("vectors.hpp"))]
    key = b"\0".join([*texts, *map(str.encode, (*FLAGS, _version(compiler), _processor()))])
    path = cache_folder() / f"{name}-{hashlib.sha256(key).hexdigest()[:20]}.so"
    if not path.exists():
        _build(compiler, source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoKernel(f"{path} cannot be loaded: {error}") from None


def cache_folder() -> Path:
    """Where built kernels lie: $XDG_CACHE_HOME/steep or ~/.cache/steep."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "steep"


def _compiler() -> str:
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else ["c++", "g++", "clang++"]:
        found = shutil.which(name)
        if found:
            return found
    raise NoKernel(f"no C++ compiler found{f' as CXX={wanted}' if wanted else ''}")


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernel(f"{command[0]} does not run: {error}") from None
    if done.returncode != 0:
        raise NoKernel(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def _version(compiler: str) -> str:
    return _run([compiler, "--version"]).partition("\n")[0]


def _processor() -> str:
    """Model and instruction set: -march=native compiles for exactly this one."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine() + platform.processor()
    first = text.partition("\n\n")[0].splitlines()
    kept = ("model name", "flags", "Features", "CPU part")
    return platform.machine() + "".join(line for line in first if line.startswith(kept))


def _build(compiler: str, source: Path, path: Path) -> None:
    """Compile beside the target and rename: two workers may build at once, neither sees half."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".so", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise NoKernel(f"{path.parent} cannot be written to: {error.strerror}") from None
    try:
        _run([compiler, *FLAGS, "-o", temporary, str(source)])
        os.replace(temporary, path)
    except OSError as error:
        raise NoKernel(f"{path} cannot be written: {error.strerror}") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
