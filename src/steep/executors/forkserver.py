"""The process that local workers are forked from: it has imported everything once.

Not multiprocessing's own, for three reasons: that one imports the user's ``__main__`` again in
every worker, so that a script without ``if __name__ == "__main__"`` starts itself for ever; it
cannot say how a worker ended; and it lets workers live on when the driver is killed.

The driver holds one end of a socket and writes requests of 16 bytes; the answers are lines:

    b"fork" + number, with two descriptors (the worker's line, its output) -> forked <number> <pid>
                                              or, where it cannot -> failed <number> <errno>
    b"kill" + number                                                       -> exited <number> <n>

``exited`` comes for every worker once, however it ended, with its exit code or minus the signal.
When the driver's end closes, every worker is killed and the server ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from steep.executors import worker

REQUEST = 16
NO_START = 75
"""Exit code of a worker that could not begin (EX_TEMPFAIL)."""
_FIRST = 500
"""Thousandths of all memory that a worker seems larger than it is, when the kernel chooses."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a run to stop."""


def request(verb: str, number: int) -> bytes:
    return f"{verb}{number:012d}".encode()


def serve(control: int, folder: str, preload: Sequence[str]) -> None:
    """The server's whole life. ``control`` is its end of the socket."""
    line = socket.socket(fileno=control)
    # The driver decides what a stop request means: systemd, Slurm and the like send theirs to
    # every process. They were blocked while Python started; see local.py.
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    # The domain's data is read here once, and shared by every worker until it writes to it. What
    # goes wrong goes wrong again in the worker, which can report it to the driver.
    with contextlib.suppress(Exception):
        for name in preload:
            importlib.import_module(name)
    with contextlib.suppress(Exception):
        worker.opened(Path(folder)).warm()
    gc.collect()
    gc.freeze()
    wake, alarm = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(alarm, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    children: dict[int, int] = {}
    try:
        while _step(line, wake, children):
            pass
    finally:
        for pid in children:
            _kill(pid)


def _step(line: socket.socket, wake: int, children: dict[int, int]) -> bool:
    """Wait for a request or the end of a child, and see to it. False when the driver is gone."""
    control = line.fileno()
    ready, _, _ = select.select([control, wake], [], [])
    if wake in ready:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        _reap(line, children)
    if control not in ready:
        return True
    data, descriptors = _receive(line)
    if len(data) < REQUEST:
        return False
    verb, number = data[:4], int(data[4:])
    if verb == b"fork":
        try:
            pid = _fork(line, descriptors)
        except OSError as error:  # no process, or no memory for one, to be had just now
            for descriptor in descriptors:
                os.close(descriptor)
            _answer(line, f"failed {number} {error.errno}")
            return True
        children[pid] = number
        _answer(line, f"forked {number} {pid}")
    else:
        for pid in [pid for pid, known in children.items() if known == number]:
            _kill(pid)
    return True


def _receive(line: socket.socket) -> tuple[bytes, list[int]]:
    data, descriptors = b"", []
    while len(data) < REQUEST:
        try:
            part, sent, _, _ = socket.recv_fds(line, REQUEST - len(data), 2)
        except ConnectionError:
            return b"", []
        if not part:
            return b"", []
        data += part
        descriptors += sent
    return data, descriptors


def _reap(line: socket.socket, children: dict[int, int]) -> None:
    for pid in list(children):
        with contextlib.suppress(ChildProcessError):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                number = children.pop(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # what it started ends with it
                _answer(line, f"exited {number} {os.waitstatus_to_exitcode(status)}")


def _answer(line: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):  # a driver that is gone shows at the next read
        line.sendall(f"{text}\n".encode())


def _kill(pid: int) -> None:
    """Kill a worker and whatever it started: it leads a group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


# ---------------------------------------------------------------- in the child


def _fork(line: socket.socket, descriptors: Sequence[int]) -> int:
    pid = os.fork()
    if pid:
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    code = 1
    try:
        line.close()
        _child(*descriptors)
        code = 0
    except RuntimeError as error:  # no thread to be had just now
        code = NO_START if "can't start new thread" in str(error) else 1
    except (BrokenPipeError, ConnectionError, EOFError):
        code = 0  # the driver is gone, or gave this attempt up before it began
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _child(conversation: int, output: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    die_with_parent()
    die_first()
    os.dup2(output, 1)
    os.dup2(output, 2)
    connection = Connection(conversation)
    jobs, environment = connection.recv()
    os.environ.update(environment)
    stop_requested = threading.Event()
    # A stop request to this worker alone: its trial is saved, and goes on in another one.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: stop_requested.set())
    threading.Thread(target=_listen, args=(connection, stop_requested), daemon=True).start()
    sending = threading.Lock()

    def send(event: worker.Event) -> None:
        with sending:
            connection.send(event)

    worker.work(jobs, send, stop_requested)


def _listen(connection: Connection, stop_requested: threading.Event) -> None:
    """Hear the driver: a message is the wish to stop, the end of the line its death."""
    while True:
        try:
            connection.recv()
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)
        stop_requested.set()


def die_with_parent() -> None:
    """On Linux the kernel ends a worker whose server has died, even one deep in native code."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def die_first() -> None:
    """Where memory runs out, the kernel ends a trial and not the driver or the server: they lose
    everything that runs, a trial is reported as one that was too large."""
    with contextlib.suppress(OSError, ValueError):  # Linux alone
        setting = os.open("/proc/self/oom_score_adj", os.O_RDWR)
        try:
            os.pwrite(setting, str(max(int(os.pread(setting, 16, 0)), _FIRST)).encode(), 0)
        finally:
            os.close(setting)
