"""What workers on other machines cost the driver, and what the folder between them can carry.

    python benchmarks/remote.py [--trials 1000] [--slots 8] [--executor slurm|ray]

Three parts, a line each:

- a study of synthetic trials of about 50 ms: seconds on the clock, and milliseconds of the
  processor per trial in the driver's thread, searches included. Without --executor the engine is
  one of plain processes here;
- the mailbox: messages a second that one process writes, flushed each, and that a driver reads and
  removes;
- the store: transactions a second, flushed each, of one event of a worker.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

PLAIN = {
    "name": "command",
    "submit": "sh {script} >{output} 2>&1 & echo $!",
    "status": "kill -0 {id}",
    "cancel": "kill {id}",
}
MESSAGES = 500


def study(
    executor: dict[str, Any], trials: int, slots: int, folder: Path
) -> tuple[int, float, float]:
    """Trials that ended, seconds on the clock and of the driver's thread."""
    from steep import Study
    from steep import study as module

    cells = 5 * 4
    values = {
        "study": "remote",
        "domain": {"name": "external", "items": 3_000},
        "family": {"name": "none", "sizes": [1, 2, 4, 8]},
        "shards": {"smallest": 125, "largest": 2_000},
        "split": {"validation": 100, "test": 100},
        "search": {"planner": "grid", "seeds": max(1, trials // cells), "extend": 0},
        "stop": {"patience": 1, "evaluations": 6},
        "trainer": {"name": "synthetic", "steps": 8, "sigma": 8.0, "seconds_per_step": 0.005},
        "run": {"executor": executor, "workers": slots},
    }
    spent = [0.0, 0.0]
    train = module.train

    def timed(*given: Any, **named: Any) -> Any:
        clock, thread = time.monotonic(), time.thread_time()
        try:
            return train(*given, **named)
        finally:
            spent[0] += time.monotonic() - clock
            spent[1] += time.thread_time() - thread

    module.train = timed
    outcome = Study(values, folder).run(progress=False)
    module.train = train
    assert outcome.word == "complete", outcome
    assert outcome.complete == outcome.ran == outcome.trials, outcome
    return outcome.trials, spent[0], spent[1]


def mail(folder: Path) -> tuple[float, float]:
    """Messages a second that are written and read."""
    from steep.contracts.executor import Event, Job, Kind
    from steep.executors.mailbox import Mailbox, pack
    from steep.records import Evaluation, Trial

    trial = Trial(0, 10, 10.0, 2, (), 0)
    box = Mailbox.create(folder)
    data = pack([Event(Kind.PROGRESS, trial.id, 1, Evaluation(1, 1.0, 0.1, None, 0.5, 0.5))])
    began = time.monotonic()
    for number in range(MESSAGES):
        box.put_message(f"n.a{number:06d}", data)
    written = time.monotonic()
    known = {"n": (Job(folder, trial, 1),)}
    assert len(box.receive(known)) == MESSAGES
    assert box.receive(known) == []
    return MESSAGES / (written - began), MESSAGES / (time.monotonic() - written)


def records(folder: Path) -> float:
    """Transactions a second."""
    from steep.contracts.executor import Event, Kind
    from steep.records import Evaluation, Trial
    from steep.store.store import Store

    trial = Trial(0, 10, 10.0, 2, (), 0)
    with Store.open(folder) as store:
        store.add([trial])
        attempt = store.claim(trial, store.owner)
        assert attempt is not None
        began = time.monotonic()
        for step in range(MESSAGES):
            point = Evaluation(step, 1.0, 0.1, None, 0.5, 0.5)
            store.record(Event(Kind.PROGRESS, trial.id, attempt, point))
        return MESSAGES / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--executor", choices=("slurm", "ray"))
    asked = parser.parse_args()
    executor = {"name": asked.executor} if asked.executor else PLAIN
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "study"
        trials, clock, thread = study(executor, asked.trials, asked.slots, folder)
        each = 1000 * thread / trials
        print(
            f"{trials} trials, {asked.slots} workers: {clock:.1f} s, {each:.1f} ms of driver each"
        )
        written, read = mail(Path(place) / "mail")
        print(f"mailbox: {written:.0f} messages written a second, {read:.0f} read")
        print(f"store: {records(folder):.0f} transactions a second")


if __name__ == "__main__":
    main()
