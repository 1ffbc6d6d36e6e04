"""What an adaptive search knows so far: results by shard, in one order however they came."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steep.planners import configurations
from steep.planners.configurations import ConfigurationSpace
from steep.records import Measurement, Status, Trial
from steep.stats.searched import Tried, scored


def place(trial: Trial) -> tuple[float | int | str, ...]:
    """By what trials are put in order."""
    hyperparameters = str(trial.hyperparameters)
    return trial.permutation, trial.samples, trial.size, hyperparameters, trial.seed


class SoFar:
    """Results as they come (``records/measurements.py``). Those of trials that run, which go on
    from a rung, are left out."""

    def __init__(self, space: ConfigurationSpace) -> None:
        self.measured: dict[Trial, Measurement] = {}
        self.changes = self.changes_searched = 0
        """How often any result has changed, and one of the first draw of the data, which is
        searched."""
        self._space = space
        self._left_out: dict[Trial, Measurement] = {}
        self._shard = {(s.permutation, s.samples): i for i, s in enumerate(space.shards)}
        self._here: list[dict[Trial, Measurement]] = [{} for _ in space.shards]
        self._elsewhere: dict[Trial, Measurement] = {}
        self._tried: dict[int, Tried] = {}

    def add(self, place: int, measurement: Measurement) -> None:
        trial = measurement.trial
        if trial in self._left_out:
            self._left_out[trial] = measurement
        else:
            self._put(trial, measurement)

    def leave_out(self, pending: Sequence[Trial]) -> None:
        """Leave out the earlier results of what runs, and take back those of what does not."""
        for trial in [t for t in self._left_out if t not in pending]:
            self._put(trial, self._left_out.pop(trial))
        for trial in pending:
            if trial in self.measured:
                self._left_out[trial] = self.measured[trial]
                self._put(trial, None)

    def _put(self, trial: Trial, measurement: Measurement | None) -> None:
        shard = self._shard.get((trial.permutation, trial.samples))
        for held in (self.measured, self._elsewhere if shard is None else self._here[shard]):
            if measurement is None:
                held.pop(trial, None)
            else:
                held[trial] = measurement
        self.changes += 1
        if shard is not None:
            self.changes_searched += 1
            self._tried.pop(shard, None)

    def has_ended(self, trial: Trial) -> bool:
        """Whether it has a result, and not one of a rung."""
        found = self.measured.get(trial) or self._left_out.get(trial)
        return found is not None and found.status is not Status.STOPPED

    def searched(self, trial: Trial) -> bool:
        """Whether it belongs to what is searched."""
        return (trial.permutation, trial.samples) in self._shard

    @property
    def tried(self) -> tuple[Tried, ...]:
        """The results of what is searched, by shard."""
        for i, here in enumerate(self._here):
            if i not in self._tried:
                ordered = [here[trial] for trial in sorted(here, key=place)]
                self._tried[i] = configurations.tried_on(self._space.shards[i], ordered)
        return tuple(self._tried[i] for i in range(len(self._here)))

    @property
    def results(self) -> tuple[Measurement, ...]:
        """The same, one after the other."""
        return tuple(m for here in self.tried for ms in here.values() for m in ms)

    @property
    def scored_elsewhere(self) -> set[float]:
        """Sizes of the shards with a score that are not searched: the held-out ones."""
        return {trial.samples for trial, m in self._elsewhere.items() if scored(m)}

    def flops(self) -> float:
        """That all results together report; in whatever order, the same number."""
        return math.fsum(m.flops or 0.0 for m in self.measured.values())
