"""Optimizers by name. No weight decay anywhere: size alone shall decide capacity.

``fused`` updates all parameters in one pass: on small models the ordinary loop over tensors costs
as much as the backward pass. It exists on CPU and CUDA and rounds the same from run to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn


def _sgd(parameters: Iterable[nn.Parameter], values: Mapping[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=values["learning_rate"], fused=True)


def _momentum(
    parameters: Iterable[nn.Parameter], values: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Nesterov momentum."""
    return torch.optim.SGD(
        parameters,
        lr=values["learning_rate"],
        momentum=values["momentum"],
        nesterov=True,
        fused=True,
    )


def _adam(parameters: Iterable[nn.Parameter], values: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Adam with its authors' other constants."""
    return torch.optim.Adam(parameters, lr=values["learning_rate"], fused=True)


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adam": _adam,
}
