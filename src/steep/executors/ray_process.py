"""The process that speaks to Ray for a driver: ``ray.py`` starts it.

Ray takes a process over: its signals and its output, and it ends one that has lost its cluster.
Here that harms no driver. Requests and answers are lines of JSON. ``Keeper`` is pickled from here
by value, as a class of ``__main__``: Ray's own Python on a node needs no steep.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CONNECT = 5.0
"""Seconds that a port may take to answer."""
_PROBE = 60.0
"""Seconds that all nodes together may take to look for a file."""
_STATES, _STOP = 0.3, 1.0
"""Seconds that actors may take to answer: whether they run, and that they stop."""
_KILL = 20.0
"""Seconds that a worker has to save and end."""

LAUNCHER = """
import ctypes, os, signal, sys
def die_with(parent, number):
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
die_with(int(sys.argv[1]), signal.SIGKILL)
own, child = os.getpid(), os.fork()
if child == 0:
    die_with(own, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execvp(sys.argv[2], sys.argv[2:])
signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(code if code >= 0 else 128 - code)
"""
"""Runs a command and ends as it does. Ray kills what an actor has started the moment that the actor
ends; that is this process, and the command then gets the signal to save."""


class Keeper:
    """A worker's place in Ray, an actor: it starts the worker's script and lasts as long as that
    does. Of the worker NAME it leaves NAME.txt, what it printed, and NAME.ended, its exit code."""

    def __init__(self, script: str, worker: str) -> None:
        import ray

        place = Path(script).parent
        node = ray.util.get_node_ip_address()
        command = ["bash", script, worker, sys.executable]
        with (place / f"{worker}.txt").open("ab") as output:
            # from the actor's main thread: the signal of a parent's death is of its thread
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", LAUNCHER, str(os.getpid()), *command],
                env={**os.environ, "STEEP_WHERE": f"Ray node {node}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._ended = place / f"{worker}.ended"
        threading.Thread(target=self._see_it_end, daemon=True).start()

    def is_there(self) -> None:
        """Answers once the actor runs."""

    def stop(self) -> None:
        """Ask the worker to save and end, and end it if it does not."""
        self._process.terminate()
        timer = threading.Timer(_KILL, self._kill)
        timer.daemon = True
        timer.start()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _see_it_end(self) -> None:
        import ray

        code = self._process.wait()
        with contextlib.suppress(OSError):  # the session is over
            self._ended.write_text(str(code if code >= 0 else 128 - code))
        ray.get_runtime_context().current_actor.__ray_terminate__.remote()


def _exists(path: str) -> bool:
    return Path(path).exists()


class Speaker:
    """What a driver may ask of Ray: the names of requests are those of its methods."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], Any] = {}
        """Of each actor, a call that it has not answered."""
        self._seen: set[tuple[str, str]] = set()
        """Those that have ever answered one."""

    def look(self, options: dict[str, Any], file: str) -> dict[str, Any]:
        """How many nodes have what a worker with these options needs, and which of them do not see
        the ``file``; what all of them have."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        ray.remote(Keeper).options(**options)  # raises for an option that Ray does not know
        needs = _needs(options)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        fit = [node for node in nodes if _has(node["Resources"], needs)]
        probe = ray.remote(num_cpus=0, max_retries=0)(_exists)
        sees = {
            probe.options(scheduling_strategy=On(node["NodeID"], soft=False)).remote(file): node
            for node in fit
        }
        blind = []
        for ref in _wait(list(sees), _PROBE):
            with contextlib.suppress(ray.exceptions.RayError):  # it ended at this moment
                blind += [] if ray.get(ref) else [sees[ref]["NodeManagerHostname"]]
        have = [node["Resources"] for node in nodes]
        return {"fit": len(fit), "blind": sorted(blind), "needs": needs, "nodes": have}

    def start(
        self, space: str, workers: Sequence[str], script: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        """A detached actor for each worker, by its name: those that could be had."""
        import ray

        started: list[str | None] = []
        keeper = ray.remote(Keeper)
        for worker in workers:
            named = {"name": worker, "namespace": space, "lifetime": "detached", "max_restarts": 0}
            try:
                keeper.options(**options | named).remote(script, worker)
            except Exception as error:
                if not any(started):
                    raise
                started += [None] * (len(workers) - len(started))
                return {"started": started, "error": _line(error)}
            started.append(worker)
        return {"started": started}

    def states(self, space: str, workers: Sequence[str]) -> dict[str, Any]:
        """Of each worker 'queued', 'running' or 'gone', and perhaps why."""
        import ray

        found: dict[str, list[str]] = {}
        for worker in workers:
            if (space, worker) not in self._asked:
                try:
                    actor = ray.get_actor(worker, namespace=space)
                except ValueError:
                    found[worker] = ["gone", ""]
                    continue
                self._asked[space, worker] = actor.is_there.remote()
        refs = {self._asked[space, worker]: worker for worker in workers if worker not in found}
        answered = _wait(list(refs), _STATES)
        for ref, worker in refs.items():
            key = (space, worker)
            if ref in answered:
                del self._asked[key]
                try:
                    ray.get(ref)
                    self._seen.add(key)
                except ray.exceptions.ActorUnavailableError:
                    pass  # for a while
                except ray.exceptions.RayError as error:
                    found[worker] = ["gone", _line(error)]
                    continue
            found[worker] = ["running" if key in self._seen else "queued", ""]
        return {"states": found}

    def cancel(self, space: str, workers: Sequence[str]) -> dict[str, Any]:
        """End workers: those that run by a signal to save."""
        import ray

        actors = {}
        for worker in workers:
            with contextlib.suppress(ValueError):  # it has ended
                actors[worker] = ray.get_actor(worker, namespace=space)
        refs = {actor.stop.remote(): worker for worker, actor in actors.items()}
        answered = _wait(list(refs), _STOP)
        for ref, worker in refs.items():
            if ref not in answered and (space, worker) not in self._seen:
                ray.kill(actors[worker])  # it waits for its node
        return {}


def _wait(refs: list[Any], seconds: float) -> set[Any]:
    """Those calls that have been answered by then, or never will be."""
    import ray

    if not refs:
        return set()
    return set(ray.wait(refs, num_returns=len(refs), timeout=seconds)[0])


def _needs(options: dict[str, Any]) -> dict[str, float]:
    """What a node must have for an actor with these options."""
    names = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    needs = {name: options[option] for name, option in names.items() if options.get(option)}
    if kind := options.get("accelerator_type"):
        needs[f"accelerator_type:{kind}"] = 0.001
    return needs | (options.get("resources") or {})


def _has(resources: dict[str, float], needs: dict[str, float]) -> bool:
    return all(resources.get(name, 0.0) >= amount for name, amount in needs.items())


def _line(error: BaseException) -> str:
    """The last line of what went wrong, which is what a traceback ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:500]


def connect(address: str) -> str | None:
    """Why Ray cannot be reached at ``address``; None once it is."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdecimal():  # Ray itself would try for minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
        except OSError as error:
            return f"nothing answers there: {error.strerror or error}"
    import ray

    try:
        ray.init(
            address=address,
            namespace="steep",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except Exception as error:
        return " ".join(str(error).split())[:500] or type(error).__name__
    return None


def main() -> None:
    """Answer the requests that come on stdin, until it is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    problem = connect(sys.argv[1])
    speaker = Speaker()
    for line in sys.stdin:
        request = json.loads(line)
        number, name = request.pop("number"), request.pop("do")
        try:
            answer = {"error": problem} if problem else getattr(speaker, name)(**request)
        except Exception as error:
            answer = {"error": _line(error)}
        print(json.dumps({"number": number, **answer}), file=answers, flush=True)


if __name__ == "__main__":
    main()
