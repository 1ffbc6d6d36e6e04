"""What the driver costs: processor time per trial beyond its training, and what it takes to look.

    python benchmarks/driver.py [--trials 100 1000 10000] [--planner grid frugal]

Studies of the synthetic trainer on the executor ``inline``, each in a process of its own so that
its memory is its own. Printed of each, a line a study:

- driver: milliseconds of the processor per trial in ``train`` and in its worker, less what the
  trainer and the search take;
- search: the same for what the planner takes to decide;
- estimate: the same for the threads that estimate how much longer the run takes;
- status, report: seconds of the processor that ``Study.standing`` and ``Study.report_text`` take;
- MB: the report's size, and the most memory that the driver had.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLANNERS = ("grid", "frugal")
TRIALS = (100, 1_000, 10_000)
RATES = [0.05, 0.07, 0.1, 0.14]


def spec(planner: str, trials: int) -> dict[str, Any]:
    """A study of about so many trials. The grid's are cells and seeds of them; a search has few
    cells that it needs, so most of its trials are the choices repeated on other draws."""
    small = trials <= 100
    sizes = [1, 2, 4, 8] if small else [1, 2, 3, 4, 6, 8, 12, 16]
    smallest, largest = (125, 2_000) if small else (20, 10_240)  # 5 shards or 10
    search: dict[str, Any] = {"planner": planner, "hyperparameters": {"learning_rate": RATES}}
    permutations = 1
    if planner == "grid":
        cells = len(sizes) * len(RATES) * (5 if small else 10)
        search |= {"seeds": round(trials / cells), "compare_at": "all", "extend": 0}
    else:
        search |= {"seeds": 2 if small else 10}
        permutations = max(1, round(trials / (10 if small else 100)) - (3 if small else 1))
    return {
        "study": "driver",
        "domain": {"name": "external", "items": largest + 1_000},
        "family": {"name": "none", "sizes": sizes},
        "shards": {"smallest": smallest, "largest": largest, "permutations": permutations},
        "split": {"validation": 100, "test": 100},
        "search": search,
        "stop": {"patience": 1, "evaluations": 6},
        "trainer": {"name": "synthetic", "steps": 8, "sigma": 8.0, "seed_noise": 0.01},
        "run": {"executor": "inline"},
    }


class Meter:
    """Processor seconds inside the functions that it wraps, of the thread that calls them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*given: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                self.seconds += time.thread_time() - began
                self.calls += 1

        return measured


def measure(planner: str, trials: int, folder: Path) -> dict[str, float]:
    """One study in this process."""
    from steep import Study
    from steep import study as module
    from steep.analysis import from_store
    from steep.executors import inline
    from steep.plan import watch
    from steep.trainers import synthetic

    training, working, searching, estimating, driving = (Meter() for _ in range(5))
    synthetic._train = training.around(synthetic._train)
    inline.work = working.around(inline.work)
    module.train = driving.around(module.train)
    watch.Watch._predict = estimating.around(watch.Watch._predict)  # type: ignore[method-assign]
    study = Study(spec(planner, trials), folder)
    search, timed_search = study.search, searching.around(study.search)
    driver = threading.get_ident()

    def asked(*given: Any, **named: Any) -> Any:
        """Estimates ask, too, in their own thread."""
        return (timed_search if threading.get_ident() == driver else search)(*given, **named)

    study.search = asked  # type: ignore[method-assign]
    write_results = from_store.write_results
    from_store.write_results = lambda *_: None
    outcome = study.run(progress=False)
    from_store.write_results = write_results
    assert outcome.word == "complete", outcome
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    study.standing()
    looked = time.process_time()
    text = study.report_text()
    reported = time.process_time()
    each = 1000 / outcome.trials
    return {
        "trials": outcome.trials,
        "driver": each * (driving.seconds - searching.seconds + working.seconds - training.seconds),
        "search": searching.seconds * each,
        "estimate": estimating.seconds * each,
        "asked": searching.calls,
        "memory": memory,
        "status": looked - began,
        "report": reported - looked,
        "size": len(text.encode()) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=TRIALS)
    parser.add_argument("--planner", nargs="+", choices=PLANNERS, default=PLANNERS)
    parser.add_argument("--one", nargs=2, metavar=("PLANNER", "TRIALS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as place:
            found = measure(asked.one[0], int(asked.one[1]), Path(place) / "study")
        print(json.dumps(found))
        return
    print("planner  trials   driver   search  estimate   status   report    report   memory")
    print("                    ms/trial  ms/trial  ms/trial       s        s        MB       MB")
    for planner in asked.planner:
        for trials in asked.trials:
            command = [sys.executable, __file__, "--one", planner, str(trials)]
            text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(text)
            print(
                f"{planner:8} {found['trials']:6.0f} {found['driver']:8.2f} {found['search']:8.2f}"
                f" {found['estimate']:8.2f} {found['status']:8.2f} {found['report']:8.2f}"
                f" {found['size']:8.2f} {found['memory']:8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
