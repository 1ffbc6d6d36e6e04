"""Optimizers by name. No weight decay anywhere: size alone shall decide capacity.

Each is one call of torch's fused kernel, which updates all parameters in one pass: on small models
a loop over tensors costs as much as the backward pass. torch.optim's classes around the same
kernels take the same steps to the last bit, but import torch's compiler when they are made, two
seconds that every process pays, and 30 to 100 us a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Lists = dict[str, list[Tensor]]
Update = Callable[[list[Tensor], list[Tensor], Lists], None]
"""(parameters, their gradients, their state): all three updated or read in place."""


@dataclass
class Optimizer:
    """Parameters with what is remembered of each; ``update`` takes one step of some of them."""

    parameters: list[nn.Parameter]
    update: Update
    state: Lists
    """By name, one tensor a parameter, in its memory format: the kernels walk both in order."""

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        used = [k for k, parameter in enumerate(self.parameters) if parameter.grad is not None]
        gradients = [g for k in used if (g := self.parameters[k].grad) is not None]
        if used:
            state = {name: [of[k] for k in used] for name, of in self.state.items()}
            self.update([self.parameters[k] for k in used], gradients, state)

    def tensors(self) -> dict[str, Tensor]:
        """The state by '<parameter number>.<name>', for a checkpoint."""
        return {f"{k}.{name}": t for name, of in self.state.items() for k, t in enumerate(of)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put ``tensors`` back."""
        for key, own in self.tensors().items():
            own.copy_(tensors[key])


def _sgd(parameters: Iterable[nn.Parameter], values: Mapping[str, Any]) -> Optimizer:
    return _descent(parameters, values["learning_rate"], 0.0)


def _momentum(parameters: Iterable[nn.Parameter], values: Mapping[str, Any]) -> Optimizer:
    """Nesterov momentum."""
    return _descent(parameters, values["learning_rate"], values.get("momentum", 0.9))


def _descent(parameters: Iterable[nn.Parameter], rate: float, momentum: float) -> Optimizer:
    def update(own: list[Tensor], gradients: list[Tensor], state: Lists) -> None:
        torch._fused_sgd_(
            own,
            gradients,
            state.get("momentum_buffer", []),
            weight_decay=0.0,
            momentum=momentum,
            lr=rate,
            dampening=0.0,
            nesterov=momentum > 0,
            maximize=False,
            is_first_step=False,
        )

    own = list(parameters)
    return Optimizer(own, update, {"momentum_buffer": _zeros(own)} if momentum else {})


def _adam(parameters: Iterable[nn.Parameter], values: Mapping[str, Any]) -> Optimizer:
    """Adam with its authors' other constants."""
    rate = values["learning_rate"]

    def update(own: list[Tensor], gradients: list[Tensor], state: Lists) -> None:
        torch._foreach_add_(state["step"], 1.0)
        torch._fused_adam_(
            own,
            gradients,
            state["exp_avg"],
            state["exp_avg_sq"],
            [],
            state["step"],
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    own = list(parameters)
    steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in own]
    return Optimizer(
        own, update, {"exp_avg": _zeros(own), "exp_avg_sq": _zeros(own), "step": steps}
    )


def _zeros(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [torch.zeros_like(parameter).detach() for parameter in parameters]


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adam": _adam,
}
