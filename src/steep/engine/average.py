"""Averaged weights: what is evaluated in place of the last step's.

Polynomial-decay averaging (Shamir & Zhang 2013, arXiv:1212.1824, section 4):

    average_t = (1 - w_t) * average_(t-1) + w_t * weights_t,    w_t = (eta + 1) / (t + eta)

Its memory is about the last t / (eta + 1) steps at every t, so that nothing in it is tied to the
size of a shard, as a learning-rate schedule would be, and a constant rate yet ends without its
noise. Buffers (batch norm's running statistics) are averaged alike; whole numbers are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """A running average beside a model. ``eta`` 0 is the plain mean of all steps."""

    def __init__(self, model: nn.Module, eta: float) -> None:
        self.eta = eta
        self._live = dict(model.state_dict(keep_vars=False))
        self.weights = {name: value.clone() for name, value in self._live.items()}
        self._names = [name for name, value in self._live.items() if value.is_floating_point()]

    def update(self, step: int) -> None:
        """Take the weights after ``step`` (from 1) into the average."""
        share = (self.eta + 1) / (step + self.eta)
        averaged = [self.weights[name] for name in self._names]
        with torch.no_grad():
            torch._foreach_lerp_(averaged, [self._live[name] for name in self._names], share)

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's average."""
        self._copy(weights, self.weights)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model holds the average inside the ``with`` block, and its own weights after it."""
        own = {name: value.clone() for name, value in self._live.items()}
        for name in set(self._live) - set(self._names):
            self.weights[name].copy_(self._live[name])
        self._copy(self.weights, self._live)
        try:
            yield
        finally:
            self._copy(own, self._live)

    def _copy(self, source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in target.items():
                value.copy_(source[name])
