"""Parameters and training FLOPs of a model, counted without running it (on the meta device)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from steep.contracts.family import Family
from steep.contracts.trainer import Cost
from steep.engine.meta import meta
from steep.engine.tally import Tally

_BATCH = 2
"""Batch norm needs two; FLOPs are linear in it."""


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cost(family: Family, size: int, shape: Mapping[str, int], options: Any) -> Cost:
    """What the model costs: parameters, and training FLOPs per unit (image, symbol, hour).

    ``options`` is hashable, as every frozen ``Options`` is."""
    key = (family.name, size, tuple(sorted(shape.items())), options)
    if key not in _known:
        _known[key] = _count(family, size, shape, options)
    return _known[key]


_known: dict[Hashable, Cost] = {}
"""A study has few sizes and many trials, and unrolling a deep recurrence takes 0.1 s."""


def _count(family: Family, size: int, shape: Mapping[str, int], options: Any) -> Cost:
    with meta():
        model = family.build(size, shape, options)
        total = parameters(model)
        flops = (family.flops or _OF_KIND[family.kind])(model, shape)
        return Cost(total, total - family.embeddings(model), flops)


def _per_symbol(model: nn.Module, shape: Mapping[str, int]) -> float:
    """Forward and backward of the matrix products and convolutions, multiply and add counted.

    Algorithmic: the plain model's operations, whatever engine runs them. Meta tensors, because
    the counter sees nothing of the fused LSTM of a CPU."""
    # What one more step of time adds: the first one differs, as its state has no gradient,
    # and work done once a symbol of the vocabulary belongs to no step.
    return (_stream(model, 4) - _stream(model, 2)) / (2 * _BATCH)


def _per_image(model: nn.Module, shape: Mapping[str, int]) -> float:
    sizes = (shape["channels"], shape["height"], shape["width"])
    with Tally() as counter:
        model(torch.zeros(_BATCH, *sizes)).sum().backward()
    return counter.products / _BATCH


def _stream(model: nn.Module, time: int) -> int:
    with Tally() as counter:
        model(torch.zeros(_BATCH, time, dtype=torch.long), None)[0].sum().backward()
    return counter.products


def _per_hour(model: nn.Module, shape: Mapping[str, int]) -> float:
    """Of an hour of clips of the mean length, which ``shape`` names.

    What a clip takes is bilinear in its frames and its characters (an attention looks at every
    frame for every character), so four short clips determine it for a long one exactly."""
    (a, b), (c, d) = [[_clip(model, shape, t, n) for n in _CHARACTERS] for t in _FRAMES]
    t = (shape["frames"] - _FRAMES[0]) / (_FRAMES[1] - _FRAMES[0])
    n = (shape["characters"] - _CHARACTERS[0]) / (_CHARACTERS[1] - _CHARACTERS[0])
    clip = (1 - t) * ((1 - n) * a + n * b) + t * ((1 - n) * c + n * d)
    clips = 3600 * shape["frames_per_second"] / shape["frames"]
    return clip / _BATCH * clips


_FRAMES, _CHARACTERS = (8, 12), (1, 2)
"""Frames divide by what models make of them, and leave two steps: the first has no gradient."""


def _clip(model: nn.Module, shape: Mapping[str, int], frames: int, characters: int) -> int:
    x_BxTxF = torch.zeros(_BATCH, frames, shape["bands"])
    text_BxL = torch.ones(_BATCH, characters, dtype=torch.long)
    with Tally() as counter:
        model(x_BxTxF, np.full(_BATCH, frames), text_BxL).sum().backward()
    return counter.products


_OF_KIND = {"stream": _per_symbol, "classifier": _per_image, "speech": _per_hour}
