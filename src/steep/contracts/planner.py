"""What a planner is: a pure function from the set of results to the trials still to run.

Resume, dry run and "two more seeds" are the same thing: plan again, run what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steep.records import Measurement, Settings, Shard, Trial
from steep.spec.sections import Spec


@dataclass(frozen=True)
class SearchSpace:
    """What is being searched: the frozen spec, the shards to search (held-out ones are not
    among them), the trainer's default hyperparameters, and the smallest model size."""

    spec: Spec
    shards: tuple[Shard, ...]
    recipe: Settings = ()
    smallest: int = 1
    held_out: tuple[Shard, ...] = ()
    """Trained once the search is over, each with all seeds as far as a budget allows: it is for
    them, too."""
    simulated: bool = False
    """Results are made up, to see how many trials a search takes: it may weigh less finely."""
    timed: bool = False
    """Seconds are what is short: trials are priced by them, and so is the budget, not by FLOPs."""


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run, and how far: ``up_to_steps`` None is to the end; a rung of successive
    halving is the same trial requested again with more steps."""

    trial: Trial
    up_to_steps: int | None = None
    why: str = ""
    early: bool = False
    """Begun before others, in the planner's order; else the driver's: longest first."""


Planner = Callable[
    [SearchSpace, Sequence[Measurement], Sequence[Trial], float | None], Sequence[TrialRequest]
]
"""``next(search_space, finished, running, budget)``: every trial requested now and not yet
finished, running ones included, in a stable order; [] when the search is over. One that adapts to
its results may name the next trial alone, and name another when called again with that one
``running``; nothing beyond ``running`` means that it waits for those. Pure in the *sets* of results
and of running trials: order of arrival and repeats of a call cannot matter. ``budget`` is what may
still be spent, in FLOPs (in seconds of training of a ``timed`` search), beside what ``running``
trials take; the held-out shards are paid from it.

The driver's ``finished`` is a list with followers (``records/measurements.py``): a planner that
keeps what it made of earlier results there decides without reading them all again. Called with such
a list it may return the very object that it returned before, which says that nothing else is
requested now; what has ended since is still in it."""
