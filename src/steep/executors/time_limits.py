"""How long an attempt at a trial may take before it counts as hanging."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from steep.records import Measurement, Trial

GENEROUS = 20.0
"""A trial hangs once it has taken this many times its predicted time,"""
_SHORTEST = 300.0
"""and at least this many seconds."""
_LONGEST = 86_400.0
"""Seconds that are allowed while no trial has ended to predict from."""
_TIME_EXPONENT = 1.5
"""A trial's time may grow as this power of its cost."""


class TimeLimits:
    """The spec's ``timeout`` (seconds), or a multiple of what ended trials predict."""

    def __init__(
        self,
        timeout: float | None,
        cost: Callable[[Trial], float],
        ended: Iterable[Measurement],
    ) -> None:
        self._timeout, self._cost = timeout, cost
        self._slowest: dict[int, tuple[float, float]] = {}
        """By model size, the longest that an ended trial took: (seconds, cost)."""
        for measured in ended:
            self.learn(measured)

    def learn(self, measured: Measurement) -> None:
        """Remember the slowest trial of each size."""
        seconds, _ = self._slowest.get(measured.trial.size, (0.0, 0.0))
        if measured.seconds > seconds:
            cost = self._cost(measured.trial)
            self._slowest[measured.trial.size] = (measured.seconds, cost)

    def allowed(self, trial: Trial) -> float:
        """Seconds after which an attempt at the trial counts as hanging."""
        if self._timeout is not None:
            return self._timeout
        cost = self._cost(trial)
        predicted = [
            seconds * max(1.0, cost / max(slowest_cost, 1e-300)) ** _TIME_EXPONENT
            for seconds, slowest_cost in self._slowest.values()
        ]
        return max(_SHORTEST, GENEROUS * max(predicted)) if predicted else _LONGEST

    def exceeded(self, trial: Trial) -> str:
        """The reason of an attempt that is ended for taking longer."""
        hint = ""
        if self._timeout is None:
            hint = f", {GENEROUS:g} times what was predicted; run.timeout sets another"
        return f"timeout: not done after {round(self.allowed(trial), 1):g} seconds{hint}"
