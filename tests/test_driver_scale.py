"""What is kept between two looks at a study: the same as reading everything anew, without reading
it. Counted in rows, digests and decisions a trial, not in seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rehearsal
import worlds
from steep.contracts.executor import Event, Kind
from steep.contracts.planner import SearchSpace, TrialRequest
from steep.executors.trial_queue import Queue
from steep.planners import frugal, grid
from steep.planners.history import met, seen
from steep.records import Measurement, Status, Trial
from steep.records.measurements import Measurements, followed
from steep.stats.regression import Linear, Sums
from steep.store import database, trial_rows
from steep.store.store import Store
from steep.train import train


def trials(count: int) -> list[Trial]:
    rate = (("learning_rate", 0.1),)
    return [Trial(0, 250, 250.0, 2 + seed % 3, rate, seed) for seed in range(count)]


def complete(trial: Trial, **more: Any) -> Measurement:
    return Measurement(trial, Status.COMPLETE, validation_error=0.5, **more)


# ---------------------------------------------------------------- the driver


class AtOnce:
    """An executor whose trials end at the next poll."""

    slots = 1

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def start(self, *jobs: Any) -> None:
        self.jobs += jobs

    def poll(self, timeout: float) -> list[Event]:
        jobs, self.jobs = self.jobs, []
        return [Event(Kind.RESULT, job.trial.id, job.attempt, complete(job.trial)) for job in jobs]

    def ask_to_stop(self) -> None: ...
    def kill(self, trial: str, attempt: int) -> None: ...
    def close(self) -> None: ...


def work_of(count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What a run of so many trials has read, checked, decoded, hashed and priced."""
    done: Counter[str] = Counter()

    def counting(what: str, function: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            found = function(*given, **named)
            done[what] += len(found) if what == "rows" else 1
            return found

        return counted

    loaded, store, _ = rehearsal.prepare(rehearsal.spec(executor="inline"), folder)
    every = trials(count)
    requests = tuple(map(TrialRequest, every))
    with store, monkeypatch.context() as patch:
        patch.setattr(database, "digest", counting("digests", database.digest))
        patch.setattr(trial_rows, "decode", counting("decoded", trial_rows.decode))
        patch.setattr(database.Database, "query", counting("rows", database.Database.query))
        outcome = train(
            store,
            lambda finished, running, left: requests if len(finished) < count else (),
            AtOnce(),
            cost=counting("priced", lambda trial: trial.samples * trial.size),
            run=loaded.spec.run,
        )
    assert (outcome.word, outcome.complete) == ("complete", count)
    return done


def test_the_driver_reads_as_much_for_a_trial_of_many_as_for_one_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = work_of(20, tmp_path / "few", monkeypatch)
    many = work_of(120, tmp_path / "many", monkeypatch)
    for what in ("rows", "digests", "decoded", "priced"):
        assert few[what] > 0
        assert many[what] / 120 < 1.2 * few[what] / 20, (what, few, many)
    assert many["digests"] / 120 < 12
    assert many["decoded"] / 120 < 5


def test_a_study_is_checked_once_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.drive(rehearsal.spec(executor="inline"), tmp_path / "study")
    checked: list[str] = []
    digest = database.digest
    monkeypatch.setattr(
        database, "digest", lambda values: checked.append(values["id"]) or digest(values)
    )
    with Store.open(tmp_path / "study", read_only=True) as store:
        for _ in range(3):
            assert len(store.measurements()) == len(store.rows()) == 12
    assert max(Counter(checked).values()) == 1


# ---------------------------------------------------------------- what other drivers do


@pytest.fixture
def shared(tmp_path: Path) -> Any:
    """Two stores of one study with forty trials, twenty of them ended."""
    _, store, _ = rehearsal.prepare(rehearsal.spec(), tmp_path / "study")
    every = trials(40)
    store.add(every)
    for trial in every[:20]:
        attempt = store.claim(trial, store.owner)
        assert attempt
        store.record(Event(Kind.RESULT, trial.id, attempt, complete(trial)))
    with store, Store.open(tmp_path / "study") as other:
        yield store, other, every


def state(store: Store) -> list[tuple[str, Status]]:
    return [(row.trial.id, row.status) for row in store.rows()]


def test_what_another_driver_does_is_seen_without_reading_the_rest(shared: Any) -> None:
    store, other, every = shared
    state(other)
    trial, failing, new = every[30], every[31], trials(41)[40]
    steps: list[Any] = [
        lambda: store.add([new]),
        lambda: store.claim(trial, store.owner),
        lambda: store.record(Event(Kind.RESULT, trial.id, 1, complete(trial))),
        lambda: store.claim(failing, store.owner),
        lambda: store.record(
            Event(Kind.FAILURE, failing.id, 1, {"reason": "no"}),
            Measurement(failing, Status.FAILED, "no"),
        ),
        store.forgive,
        lambda: store.claim(failing, store.owner),
    ]
    for step in steps:
        before = other._trials.read
        step()
        assert state(other) == state(store)
        assert other.measurements() == store.measurements()
        assert 1 <= other._trials.read - before <= 3
    assert [t.id for t in other.running()] == [failing.id]
    assert len(other.measurements()) == 21


def test_what_is_rolled_back_was_never_there(shared: Any) -> None:
    store, _, every = shared
    before = state(store), store.measurements()

    def broken_off() -> None:
        with store.batch():
            attempt = store.claim(every[25], store.owner)
            store.record(Event(Kind.RESULT, every[25].id, attempt, complete(every[25])))
            store.add(trials(42)[40:])
            assert len(store.measurements()) == 21
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert (state(store), store.measurements()) == before


# ---------------------------------------------------------------- lists with followers


class Encoded:
    def __init__(self) -> None:
        self.all: list[tuple[int, float | None]] = []

    def add(self, place: int, measurement: Measurement) -> None:
        self.all.append((place, measurement.validation_error))


def test_a_follower_hears_each_measurement_once_and_the_list_keeps_its_order() -> None:
    a, b, c = trials(3)
    found = Measurements()
    found.add(7, complete(b))
    first = found.follow("x", Encoded)
    found.add(3, complete(a))
    found.add(7, complete(b, seconds=2.0))
    assert [(m.trial, m.seconds) for m in found] == [(a, 0.0), (b, 2.0)]
    assert found.follow("x", Encoded) is first
    assert first.all == [(7, 0.5), (3, 0.5), (7, 0.5)]
    assert found.follow("y", Encoded).all == first.all
    assert [m.trial for m in followed([complete(c), complete(a), complete(c)])] == [c, a]
    assert followed(found) is found


@pytest.mark.parametrize("seed", range(20))
def test_a_queue_has_the_order_of_a_stable_sort(seed: int) -> None:
    random = np.random.default_rng(seed)
    price = {size: float(random.integers(1, 4)) for size in (2, 3, 4)}  # ties across the groups
    requests = [TrialRequest(t, early=bool(random.integers(0, 2))) for t in trials(30)]

    def rank(request: TrialRequest) -> tuple[bool, float]:
        return not request.early, 0.0 if request.early else -price[request.trial.size]

    queue = Queue(requests, lambda request: (request.early, request.trial.size))
    assert queue.total(lambda request: price[request.trial.size]) == sum(
        price[request.trial.size] for request in requests
    )
    while requests:
        queue.rank(rank)
        assert list(queue) == sorted(requests, key=rank)
        gone = requests.pop(int(random.integers(0, len(requests))))
        queue.remove(gone.trial)
        assert len(queue) == len(requests)
        price[2] = float(random.integers(1, 4))
    assert not queue
    with pytest.raises(KeyError):
        queue.remove(gone.trial)


def test_sums_say_what_the_observations_do() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 3)), random.normal(size=40)
    prior = Linear(np.array([1.0, 0.0, -2.0]), np.diag([3.0, 0.2, 1.0]), 0.3)
    sums = Sums(3)
    for row, value in zip(x, y, strict=True):
        sums.add(row, value)
    sums.add(x[0], 5.0)
    sums.add(x[0], 5.0, -1)
    one, other = prior.given(x, y), prior.given_sums(sums)
    assert sums.count == 40
    assert other.mean == pytest.approx(one.mean, abs=1e-10)
    assert other.covariance == pytest.approx(one.covariance, abs=1e-10)


# ---------------------------------------------------------------- searches as they go on


def still(requests: Sequence[TrialRequest], known: dict[Trial, Measurement]) -> list[TrialRequest]:
    return [request for request in requests if not met(request, known.get(request.trial))]


def play(p: SearchSpace, plan: Any, world: worlds.World, seed: int, workers: int) -> int:
    """Play a search whose trials end in any order, asked with a list that has followers; at every
    step it must say what it says of a plain list. Returns how often it was asked."""
    random = np.random.default_rng(seed)
    known: dict[Trial, Measurement] = {}
    found, places = Measurements(), dict[Trial, int]()
    running: dict[Trial, TrialRequest] = {}
    asked = 0
    while True:
        asked += 1
        now = list(running)
        requests = still(plan(p, found, now, None), known)
        plain = plan(p, [*known.values()], now, None)
        assert {w.trial for w in requests} | set(now) == {w.trial for w in plain} | set(now)
        free = [w for w in requests if w.trial not in running]
        assert free == [w for w in plain if w.trial not in running]
        for request in free[: workers - len(running)]:
            running[request.trial] = request
        if not running:
            return asked
        ended = list(running)[int(random.integers(0, len(running)))]
        known[ended] = seen(world.measure(ended), running.pop(ended).up_to_steps)
        found.add(places.setdefault(ended, len(places)), known[ended])


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (1, 3)])
def test_a_grid_decides_the_same_as_results_come(seed: int, workers: int) -> None:
    """With hyperparameters between the ends, ladders that extend, and seeds that confirm."""
    p = worlds.search_space(
        "grid", sizes=(3, 5, 8), samples=(125, 500, 2000), rates=(0.06, 0.2), confirm=4,
        permutations=2,
    )  # fmt: skip
    world = worlds.World(worlds.bowl(sigma=100.0), seed=seed, noise=0.1)
    assert play(p, grid.plan, world, seed, workers) > 50


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (1, 3)])
def test_frugal_decides_the_same_as_results_come(seed: int, workers: int) -> None:
    """With rungs from which trials go on, and other draws of the data."""
    p = worlds.search_space(
        sizes=(2, 5, 12), samples=(125, 500, 2000), rates=(0.06, 0.2), permutations=3, seeds=2
    )
    world = worlds.World(worlds.bowl(sigma=60.0), seed=seed)
    assert play(p, frugal.plan, world, seed, workers) > 20


def test_a_search_decides_once_what_further_draws_do_not_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decided, looked = Counter[int](), Counter[int]()
    decide, ask = frugal._decide, grid._shard_trials
    monkeypatch.setattr(frugal, "_decide", lambda *given: decided.update([0]) or decide(*given))
    monkeypatch.setattr(grid, "_shard_trials", lambda *given: looked.update([0]) or ask(*given))
    world = worlds.World(worlds.bowl(sigma=60.0))
    counts: dict[str, list[int]] = {"frugal": [], "grid": []}
    for draws in (2, 12):
        p = worlds.search_space(
            sizes=(2, 5), samples=(125, 500), rates=(0.06, 0.2), permutations=draws, seeds=2
        )
        for name, plan, calls in (("frugal", frugal.plan, decided), ("grid", grid.plan, looked)):
            calls.clear()
            found, known, places = Measurements(), dict[Trial, Measurement](), dict[Trial, int]()
            while requests := still(plan(p, found, (), None), known):
                request = requests[0]
                known[request.trial] = seen(world.measure(request.trial), request.up_to_steps)
                found.add(places.setdefault(request.trial, len(places)), known[request.trial])
            counts[name].append(calls[0])
    assert counts["frugal"][0] == counts["frugal"][1]
    assert counts["grid"][1] - counts["grid"][0] <= 10 * 2 * 4, "a shard is looked at for its waves"


def test_what_an_end_prefers_while_its_ladder_extends_reaches_the_shards_between() -> None:
    """A size that always diverges at an end takes the end's best rate, which the first trial of the
    extension changes."""
    p = worlds.search_space("grid", sizes=(4, 8, 16), samples=(125, 500, 2000), rates=(0.01, 0.1))

    def measure(trial: Trial) -> Measurement:
        rate = worlds.rate(trial)
        if trial.size == 16 and trial.samples == 125:
            return Measurement(trial, Status.DIVERGED)
        error = {2: 0.40, 4: 0.50, 8: 0.60}.get(trial.size, 0.7)
        error *= 1.1 if (rate == 0.1) == (trial.size == 2) else 1.0
        return Measurement(trial, Status.COMPLETE, validation_error=error + 1e-4 * trial.seed)

    found, known, rates = Measurements(), dict[Trial, Measurement](), set[float]()
    while requests := still(grid.plan(p, found, (), None), known):
        assert requests == grid.plan(p, list(known.values()), (), None)
        rates |= {
            worlds.rate(w.trial) for w in requests if w.trial.samples == 500 and w.trial.size == 16
        }
        ends = [w for w in requests if w.trial.samples != 500]
        trial = max(
            ends or requests, key=lambda w: w.trial.samples
        ).trial  # the largest shard first
        known[trial] = measure(trial)
        found.add(len(known), known[trial])
    assert len(rates) > 1
