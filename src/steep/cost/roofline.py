"""The time and memory of a training run on devices of a kind: a roofline.

The time of a step is the longer of FLOPs over the achievable FLOP rate and bytes over the
achievable bandwidth (Williams et al. 2009; with these shares Hestness et al. 2019, PPoPP,
arXiv:1909.01736), and no shorter than its operations take to launch. Several devices are
data-parallel: each takes its share of the batch, and the gradients go around a ring,
2 (n - 1) / n times their bytes through every link, after the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steep.laws.law import Array
from steep.records import Machine, StepCost

_TINY = 1e-12
BOUNDS = ("compute", "bandwidth", "link", "launches")
"""What can take the time of a step."""


@dataclass(frozen=True)
class Site:
    """Where a model is trained: how many of what, with which batch, at what price."""

    machine: Machine
    devices: int
    batch: float
    price: float | None = None


@dataclass(frozen=True)
class Run:
    """A training run, per draw."""

    flops: Array
    seconds: Array
    memory: Array
    """Bytes on each device."""
    fits: np.ndarray
    at_once: Array
    """Units of m that one device takes through the model at once."""
    bound: np.ndarray
    """An index of ``BOUNDS``."""


class Steps:
    """What a step costs at any number of parameters: between counted models by straight lines in
    log-log, beyond them by the last line."""

    def __init__(self, steps: Sequence[StepCost]) -> None:
        self._rows = sorted(steps, key=lambda s: s.parameters)
        self._log_p = np.log([s.parameters for s in self._rows])
        self.units = self._rows[0].units

    def at(self, field: str, parameters: Array) -> Array:
        known = np.log([max(float(getattr(s, field)), _TINY) for s in self._rows])
        x = np.log(parameters)
        if len(known) == 1:
            return np.asarray(np.exp(known[0] + x - self._log_p[0]))
        i = np.clip(np.searchsorted(self._log_p, x) - 1, 0, len(known) - 2)
        low, high = self._log_p[i], self._log_p[i + 1]
        share = (x - low) / (high - low)
        return np.asarray(np.exp(known[i] + share * (known[i + 1] - known[i])))

    def run(self, parameters: Array, seen: Array, site: Site) -> Run:
        """A run of models of ``parameters`` (draws,) that sees ``seen`` units of m (draws,).

        Where a device's share of the batch does not fit into its memory, it goes through it in
        several passes, each of which moves the weights again."""
        kind, n = site.machine, site.devices
        share = site.batch / n
        weights = self.at("weights", parameters)
        fixed = self.at("memory", parameters)
        each = self.at("activations", parameters) * kind.number_bytes
        room = np.inf if kind.memory is None else kind.memory
        at_once = np.clip((room - fixed) / each, 0.0, share)
        fits = (weights <= room) & (at_once >= min(self.units, share) * (1 - 1e-9))
        at_once = np.where(fits, at_once, share)  # where nothing fits: as if it did
        passes = np.ceil(share / at_once - 1e-9)
        flops = self.at("flops", parameters)
        compute = flops * share / (kind.flops * kind.flops_share)
        moved = self.at("bytes", parameters) * share + self.at("step_bytes", parameters) * passes
        moving = np.zeros_like(compute)
        if kind.bandwidth is not None:
            moving = moved * kind.number_bytes / (kind.bandwidth * kind.bandwidth_share)
        ring = np.zeros_like(compute)
        if n > 1 and kind.link is not None:
            gradients = 4.0 * kind.number_bytes * parameters
            ring = 2 * (n - 1) / n * gradients / (kind.link * kind.link_share)
        launching = self.at("operations", parameters) * passes * kind.launch
        parts = np.stack([compute, moving, ring, launching])
        step = np.maximum(np.maximum(compute, moving), launching) + ring
        return Run(
            flops=flops * seen,
            seconds=step * seen / site.batch,
            memory=np.maximum(weights, fixed + each * at_once),
            fits=fits,
            at_once=at_once,
            bound=parts.argmax(axis=0),
        )
