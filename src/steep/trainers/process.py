"""A shell command that is watched: its lines as they come, its end, and an end for it.

It leads a process group of its own, so that a whole pipeline can be stopped. A watchdog ends the
group when this process dies, however it dies: nothing that was started outlives its worker.
"""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

_HEAD, _TAIL = 20_000, 200_000
"""Bytes of a command's output that are kept: its beginning and its end."""
_LONGEST_LINE = 1_000_000
"""Of a longer line only the beginning is read."""
PLAIN = re.compile(r"[\w./:=,@%+\- '\"]*")
"""A command without signs of the shell, which need none."""
_LINGER = 1.0
"""Seconds for what a command that has ended left running and printing."""


class Output:
    """The beginning and the end of what a command printed, both streams as they came."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._kept = 0
        self._total = 0
        self._lock = threading.Lock()

    def add(self, data: bytes) -> None:
        with self._lock:
            self._total += len(data)
            room = _HEAD - len(self._head)
            self._head += data[:room]
            if rest := data[max(room, 0) :]:
                self._tail.append(rest)
                self._kept += len(rest)
            while self._tail and self._kept - len(self._tail[0]) >= _TAIL:
                self._kept -= len(self._tail.popleft())

    def text(self) -> str:
        """All of it, or both ends with a note on what is left out."""
        with self._lock:
            left_out = self._total - len(self._head) - self._kept
            gap = b"\n[... %d bytes ...]\n" % left_out if left_out else b""
            whole = bytes(self._head) + gap + b"".join(self._tail)
        return whole.decode(errors="replace").strip()

    def last_lines(self, count: int) -> list[str]:
        """The last lines that say something; marks under a line of code do not."""
        lines = re.split(r"[\r\n]+", self.text()[-20_000:])
        return [line.strip() for line in lines if line.strip(" \t^~")][-count:]

    def lines(self) -> list[str]:
        """All that is kept of it."""
        return re.split(r"[\r\n]+", self.text())


class Process:
    """A running command. ``lines`` are those of its standard output that ``wanted`` says are."""

    def __init__(
        self,
        command: str,
        cwd: Path,
        environment: Mapping[str, str],
        wanted: Callable[[bytes], bool],
        memory: float | None = None,
    ) -> None:
        """``memory``: bytes that each of its processes may have. Raises OSError."""
        self.output = Output()
        self.errors = Output()
        """Standard error alone, which is read by another thread."""
        self.lines: queue.Queue[str] = queue.Queue()
        self._child = subprocess.Popen(
            _arguments(command, memory),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self._watchdog = _watchdog(self._child.pid)
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._closed = False
        self._readers = [
            (threading.Thread(target=self._read, args=(stream, what), daemon=True), stream)
            for stream, what in ((self._child.stdout, wanted), (self._child.stderr, None))
        ]
        for reader, _ in self._readers:
            reader.start()

    def _read(self, stream: IO[bytes], wanted: Callable[[bytes], bool] | None) -> None:
        rest = b""
        while data := os.read(stream.fileno(), 1 << 16):
            self.output.add(data)
            if wanted is None:
                self.errors.add(data)
                continue
            first, *lines = re.split(rb"[\r\n]+", data)
            if len(rest) < _LONGEST_LINE:
                rest += first
            if lines:
                *whole, rest = [rest, *lines]
                for line in whole:
                    if wanted(line):
                        self.lines.put(line.decode(errors="replace"))
        if rest and wanted is not None and wanted(rest):
            self.lines.put(rest.decode(errors="replace"))

    def next_line(self, timeout: float) -> str | None:
        """The next wanted line; None where there was none for ``timeout`` seconds."""
        with suppress(queue.Empty):
            return self.lines.get(timeout=timeout)
        return None

    @property
    def over(self) -> bool:
        """Whether it has ended: its first process, and whoever else holds its output."""
        if self._child.poll() is None:
            return False
        end = time.monotonic() + _LINGER
        for reader, _ in self._readers:
            reader.join(max(0.0, end - time.monotonic()))
        return True

    def stop(self, grace: float) -> bool:
        """Ask it to save and end (SIGTERM), and end it ``grace`` seconds later. Whether it ended
        by itself."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end:
            alive = self._child.poll() is None or any(r.is_alive() for r, _ in self._readers)
            if not alive:
                return True
            time.sleep(0.02)
        return False

    def close(self) -> int:
        """End whatever still runs of it; its exit code, or minus the signal."""
        if not self._closed:
            self._closed = True
            self._signal(signal.SIGKILL)
            self._child.wait()
            self._watchdog.kill()
            self._watchdog.wait()
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            for reader, stream in self._readers:
                reader.join(_LINGER)
                if not reader.is_alive():  # else somebody who left the group holds the other end
                    stream.close()
        return self._child.returncode

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)


def _arguments(command: str, memory: float | None) -> list[str]:
    """Without a shell where none is needed: a signal then reaches the program itself."""
    limit = "" if memory is None else f"ulimit -d {int(memory / 1024)}; "
    if PLAIN.fullmatch(command) and not re.match(r"\s*\w+=", command):
        if not limit:
            return shlex.split(command)
        return ["/bin/sh", "-c", f"{limit}exec {command}"]
    return ["/bin/sh", "-c", limit + command]


def _watchdog(group: int) -> subprocess.Popen[bytes]:
    """A process that ends ``group`` when its standard input closes: when this process dies."""
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -KILL "-$1"', "sh", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
