"""K trials of one family and size in one batched step: seeds and learning rates along dimension K.

For GPUs, where a small model's step is all launch overhead, and for recurrent models without a
compiler. Every K-th slice takes exactly the step that it would take alone, to rounding; a trial
that diverges stays NaN in its own slice. Executors do not use it yet: a trial is one job.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

Loss = Callable[[Callable[..., Any], Any], tuple[Tensor, Tensor | float]]
"""(model, batch) -> (sum of the loss over units, units)."""


class Packed:
    """The models' weights stacked, with their optimizers; ``models`` themselves stay as they are.

    Families must run in plain torch operations: ``rhn`` with engine 'plain', ``resnet`` 'torch'."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        rates: Sequence[float],
        optimizer: str,
        momentum: float = 0.9,
        clip: float = 0.0,
    ) -> None:
        self.parameters, self.buffers = stack_module_state(list(models))
        first = next(iter(self.parameters.values()))
        self.rates_K = torch.tensor(rates, device=first.device)
        self.step_number, self.momentum, self.clip = 0, momentum, clip
        self._update = {"sgd": self._sgd, "momentum": self._nesterov, "adam": self._adam}[optimizer]
        self._skeleton = copy.deepcopy(models[0]).to("meta")
        self._memory: dict[str, tuple[Tensor, ...]] = {}

    def step(self, loss: Loss, batches: Any) -> Tensor:
        """One update of every model; ``batches`` are stacked along K. Returns mean losses_K."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Any) -> Tensor:
            def model(*given: Any) -> Any:
                return functional_call(self._skeleton, (parameters, buffers), given)

            total, count = loss(model, batch)
            return total / count

        gradients, losses_K = vmap(grad_and_value(one))(self.parameters, self.buffers, batches)
        if self.clip > 0:
            gradients = self._clipped(gradients)
        self.step_number += 1
        with torch.no_grad():
            for name, gradient in gradients.items():
                value = self.parameters[name]
                rate = self.rates_K.view(-1, *[1] * (value.ndim - 1))
                value -= rate * self._update(name, gradient)
        return losses_K.detach()

    def unpacked(self, index: int) -> dict[str, Tensor]:
        """The ``index``-th model's state dict."""
        return {name: value[index].detach() for name, value in self._all().items()}

    def _all(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def _clipped(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each model's gradient scaled down to norm ``clip``, as ``clip_grad_norm_`` does."""
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
        norm_K = torch.stack(squares).sum(0).sqrt()
        scale_K = (self.clip / (norm_K + 1e-6)).clamp(max=1.0)
        return {
            name: gradient * scale_K.view(-1, *[1] * (gradient.ndim - 1))
            for name, gradient in gradients.items()
        }

    def _sgd(self, name: str, gradient: Tensor) -> Tensor:
        return gradient

    def _nesterov(self, name: str, gradient: Tensor) -> Tensor:
        if name in self._memory:
            (velocity,) = self._memory[name]
            velocity = self.momentum * velocity + gradient
        else:
            velocity = gradient
        self._memory[name] = (velocity,)
        return gradient + self.momentum * velocity

    def _adam(self, name: str, gradient: Tensor) -> Tensor:
        """torch's constants: betas 0.9 and 0.999, eps 1e-8."""
        zero = torch.zeros_like(gradient)
        mean, square = self._memory.get(name, (zero, zero))
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient.square()
        self._memory[name] = mean, square
        corrected = (square / (1 - 0.999**self.step_number)).sqrt() + 1e-8
        return mean / (1 - 0.9**self.step_number) / corrected
