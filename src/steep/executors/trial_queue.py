"""Which of the trials that wait comes next, without sorting all of them after every result.

What a trial is expected to cost is learnt as others end, so the order may change each time. But
trials of one price now have one price later, too: those of one expected cost, size of shard and
size of model. They wait in a group, in the planner's order, and only the groups are ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from typing import Any

from steep.contracts.executor import Job
from steep.contracts.planner import TrialRequest
from steep.records import Status, Trial
from steep.store.trial_rows import Row


class Queue:
    """Trials that wait, in groups; ``rank`` puts the groups in order, equal ones mixed as the
    planner named them."""

    def __init__(
        self,
        requests: Sequence[TrialRequest] = (),
        group: Callable[[TrialRequest], Hashable] = lambda request: request,
    ) -> None:
        self._groups: dict[Hashable, dict[int, TrialRequest]] = {}
        self._at: dict[Trial, tuple[Hashable, int]] = {}
        for place, request in enumerate(requests):
            key = group(request)
            self._groups.setdefault(key, {})[place] = request
            self._at[request.trial] = key, place
        self._ranked = [[group] for group in self._groups.values()]
        """Groups, those of equal rank together."""

    def __len__(self) -> int:
        return len(self._at)

    def remove(self, trial: Trial) -> None:
        """Take a trial out. Raises KeyError where it does not wait."""
        key, place = self._at.pop(trial)
        del self._groups[key][place]
        if not self._groups[key]:
            del self._groups[key]

    def total(self, price: Callable[[TrialRequest], float]) -> float:
        """The price of all, where those of a group have one."""
        return sum(price(_first(group)) * len(group) for group in self._groups.values())

    def rank(self, by: Callable[[TrialRequest], Any]) -> None:
        """Put the groups in order; ``by`` gives those of a group one rank, lowest first."""
        ranks = sorted(
            ((by(_first(group)), group) for group in self._groups.values()), key=lambda r: r[0]
        )
        self._ranked = [[g for _, g in tied] for _, tied in groupby(ranks, key=lambda r: r[0])]

    def __iter__(self) -> Iterator[TrialRequest]:
        for groups in self._ranked:
            if len(groups) == 1:
                yield from groups[0].values()
            else:
                yield from (request for _, request in merge(*(group.items() for group in groups)))


def _first(group: dict[int, TrialRequest]) -> TrialRequest:
    return next(iter(group.values()))


def pack_of(one: TrialRequest | Job) -> tuple[Any, ...]:
    """The properties that trials of one pack share: all but seed and learning rate."""
    trial = one.trial
    rest = [pair for pair in trial.hyperparameters if pair[0] != "learning_rate"]
    return trial.permutation, trial.items, trial.size, tuple(rest), one.up_to_steps


def must_run(request: TrialRequest, row: Row | None) -> bool:
    """Whether a requested trial must still run: it has not ended, or stopped before the
    requested number of steps."""
    measured = None if row is None else row.measurement
    if measured is None:
        return True
    if measured.status != Status.STOPPED:
        return False
    return request.up_to_steps is None or request.up_to_steps > measured.steps
