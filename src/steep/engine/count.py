"""Parameters and training FLOPs of a model, counted without running it (on the meta device)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from steep.models.contract import Family
from steep.trainers.contract import Cost

_BATCH = 2
"""Batch norm needs two; FLOPs are linear in it."""


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cost(family: Family, size: int, shape: Mapping[str, int], options: Any) -> Cost:
    """What the model costs: parameters, and training FLOPs per unit (image, symbol).

    ``options`` is hashable, as every frozen ``Options`` is."""
    key = (family.name, size, tuple(sorted(shape.items())), options)
    if key not in _known:
        _known[key] = _count(family, size, shape, options)
    return _known[key]


_known: dict[Hashable, Cost] = {}
"""A study has few sizes and many trials, and unrolling a deep recurrence takes 0.1 s."""


def _count(family: Family, size: int, shape: Mapping[str, int], options: Any) -> Cost:
    with torch.device("meta"):
        model = family.build(size, shape, options)
        total = parameters(model)
        kept: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(0 if isinstance(tensor, nn.Parameter) else tensor.nbytes)
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with FlopCounterMode(display=False) as counter, hooks:
            flops = (family.flops or _OF_KIND[family.kind])(model, shape)
        # Whatever was run to count FLOPs kept this much for each of them.
        activations = flops * sum(kept) / max(counter.get_total_flops(), 1)
        return Cost(total, total - family.embeddings(model), flops, activations)


def _per_symbol(model: nn.Module, shape: Mapping[str, int]) -> float:
    """Forward and backward of the matrix products and convolutions, multiply and add counted.

    Algorithmic: the plain model's operations, whatever engine runs them. Meta tensors, because
    the counter sees nothing of the fused LSTM of a CPU."""
    # What one more step of time adds: the first one differs, as its state has no gradient,
    # and work done once a symbol of the vocabulary belongs to no step.
    return (_stream(model, 4) - _stream(model, 2)) / (2 * _BATCH)


def _per_image(model: nn.Module, shape: Mapping[str, int]) -> float:
    sizes = (shape["channels"], shape["height"], shape["width"])
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(_BATCH, *sizes)).sum().backward()
    return counter.get_total_flops() / _BATCH


def _stream(model: nn.Module, time: int) -> int:
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(_BATCH, time, dtype=torch.long), None)[0].sum().backward()
    return counter.get_total_flops()


_OF_KIND = {"stream": _per_symbol, "classifier": _per_image}
