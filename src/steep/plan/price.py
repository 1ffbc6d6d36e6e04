"""What trials are expected to cost, before they run: FLOPs and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steep import shards
from steep.records import StepCost, Trial
from steep.spec.load import Loaded

if TYPE_CHECKING:
    from steep.contracts.domain import Domain
    from steep.contracts.trainer import Cost


class Prices:
    """Of one study's trials, as its trainer's module gives them."""

    def __init__(self, trainer: Any, loaded: Loaded, domain: Domain, cut: shards.DataSplit) -> None:
        self._trainer, self._loaded, self._domain, self._cut = trainer, loaded, domain, cut
        self.costs: dict[int, Cost | None] = {}
        """Counted by now, by size."""
        self._flops: dict[Trial, float] = {}

    def cost(self, size: int) -> Cost | None:
        """Of a model of any size, per unit of m; None where nobody can know before running."""
        if size not in self.costs:
            self.costs[size] = self._trainer.cost(self._loaded, self._domain, size)
        return self.costs[size]

    def extent(self, trial: Trial) -> tuple[float, float] | None:
        """Fewest and most units of m that the trial can see."""
        items = shards.trial_items(self._cut, trial).train
        found: tuple[float, float] | None
        found = self._trainer.extent(self._loaded, self._domain, trial, items)
        return found

    def steps(self) -> tuple[StepCost, ...]:
        """What a training step of models of any size takes; () where the trainer cannot count."""
        count = getattr(self._trainer, "steps", None)
        found: tuple[StepCost, ...] = () if count is None else count(self._loaded, self._domain)
        return found

    def schedule(self, trial: Trial) -> tuple[tuple[int, ...], int] | None:
        """(steps at which V is evaluated, steps in an epoch); None where the trainer has none."""
        ask = getattr(self._trainer, "schedule", None)
        if ask is None:
            return None
        items = shards.trial_items(self._cut, trial).train
        found: tuple[tuple[int, ...], int] = ask(self._loaded, self._domain, trial, items)
        return found

    def flops(self, trial: Trial) -> float:
        """What a trial is expected to cost: patience ends most trials a third of the way from
        the fewest evaluations to the most, on the geometric grid."""
        if trial not in self._flops:
            self._flops[trial] = self._expected_flops(trial)
        return self._flops[trial]

    def _expected_flops(self, trial: Trial) -> float:
        cost, extent = self.cost(trial.size), self.extent(trial)
        if cost is None or extent is None:
            return trial.samples * trial.size
        return cost.flops * extent[0] ** (2 / 3) * extent[1] ** (1 / 3)

    def memory(self, trial: Trial) -> float | None:
        """Bytes of a worker that trains it; None where the trainer cannot say."""
        ask = getattr(self._trainer, "memory", None)
        if ask is None:
            return None
        items = shards.trial_items(self._cut, trial).train
        found: float | None = ask(self._loaded, self._domain, trial, items)
        return found
