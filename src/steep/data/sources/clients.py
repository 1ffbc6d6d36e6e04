"""The commands that fetch packages: missed in a sentence, run, and quoted when they fail."""

from __future__ import annotations

import re
import shutil
import subprocess

from steep.contracts.source import SourceError


def client(name: str, why: str) -> str:
    """Path of a command. Raises SourceError saying what it is for and where it comes from."""
    found = shutil.which(name)
    if found is None:
        raise SourceError(f"the command {name} is not on this machine: {why}")
    return found


def answer(command: list[str]) -> tuple[bool, str]:
    """(did it succeed, what it wrote: its output, or its errors where it failed)."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stderr if done.returncode else done.stdout


def complaint(output: str) -> str:
    """A client's own errors without its prefixes; its last lines where it marks none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [re.sub(r"^(E:|npm (error|ERR!))\s*", "", line) for line in lines]
    errors = [m for m, line in zip(marked, lines, strict=True) if m != line]
    return "; ".join((errors or lines or ["no reason given"])[-3:])
