"""One training step of any family, counted on the meta device: FLOPs, bytes and memory.

It is the plain model's step, operation by operation as its equations stand: forward, cross-entropy
over all logits, backward, update. Engines that fuse operations or go through the softmax in chunks
move and hold less. Lengths that a model unrolls are counted at two short ones and continued: what
a step of time adds does not depend on which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steep.contracts.family import PAIR_LENGTH, Family
from steep.engine.count import parameters
from steep.engine.meta import meta
from steep.engine.tally import Tally
from steep.records import StepCost

Lengths = tuple[int, ...]
Forward = Callable[[nn.Module, Mapping[str, int], int, Lengths], Tensor]
"""(model, the domain's shape, samples in the batch, lengths) -> logits."""

_UPDATE = {"sgd": (12, 0), "momentum": (20, 4), "adam": (28, 8)}
"""By optimizer, per parameter: bytes that the update reads and writes, and bytes of its states.
SGD reads weight and gradient and writes the weight; each state is read and written."""
_CLIP, _AVERAGE, _AVERAGED = 12, 12, 4
"""Bytes per parameter: the norm reads and scaling rewrites gradients; an average of the weights."""
_SHORT = {"stream": ((4,), (8,)), "speech": ((8, 1), (12, 2))}
"""Two short settings of each kind's lengths: (symbols), (frames, characters)."""
_MANY = 64
"""Batches at once: with so many, activations decide the peak of memory even at short lengths, as
they do at the real one. It is all the same to FLOPs and bytes, which are affine in the batch."""
LARGEST = 1e11
"""Parameters up to which models larger than the ladder are counted."""
STRIDE = 8
"""Between two sizes that are counted beyond the ladder: what a parameter costs changes slowly."""


def step_cost(
    family: Family,
    size: int,
    shape: Mapping[str, int],
    options: Any,
    values: Mapping[str, Any],
) -> StepCost:
    """``values`` are hyperparameters: batch_size, optimizer, sequence_length, clip, averaging."""
    key = (family.name, size, tuple(sorted(shape.items())), options, tuple(sorted(values.items())))
    if key not in _known:
        _known[key] = _counted(family, size, shape, options, values)
    return _known[key]


_known: dict[Hashable, StepCost] = {}


def beyond(
    family: Family, sizes: tuple[int, ...], shape: Mapping[str, int], options: Any
) -> list[int]:
    """The ends and the middle of a ladder, and sizes above it, up to ``LARGEST`` parameters."""
    found = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
    with meta():
        while parameters(family.build(found[-1], shape, options)) < LARGEST:
            found.append(found[-1] * STRIDE)
    return found


def _counted(
    family: Family, size: int, shape: Mapping[str, int], options: Any, values: Mapping[str, Any]
) -> StepCost:
    batch = int(values.get("batch_size", 1))
    lengths = _lengths(family.kind, shape, values)
    with meta():
        model = family.build(size, shape, options)
        once, twice = (
            _at_length(model, family.kind, shape, samples, lengths)
            for samples in (_MANY * batch, 2 * _MANY * batch)
        )
        weights, small = parameters(model), family.embeddings(model)
    per_sample = (twice - once) / (_MANY * batch)
    fixed = 2 * once - twice
    units = _units(family.kind, shape, lengths)
    moved, states = _UPDATE[str(values.get("optimizer", "sgd"))]
    if float(values.get("clip", 0.0)) > 0:
        moved += _CLIP
    if float(values.get("averaging", -1)) >= 0:
        moved, states = moved + _AVERAGE, states + _AVERAGED
    flops, pointwise, moved_unit, live, _ = (per_sample / units).tolist()
    return StepCost(
        size=size,
        parameters=weights,
        parameters_without_embeddings=weights - small,
        units=units,
        batch=batch * units,
        flops=flops,
        pointwise=pointwise,
        bytes=moved_unit,
        step_bytes=float(fixed[2]) + moved * weights,
        activations=live,
        memory=float(fixed[3]) + states * weights,
        weights=float((8 + states) * weights),
        operations=float(once[4]),
    )


# ---------------------------------------------------------------- one step


def tally(
    model: nn.Module, kind: str, shape: Mapping[str, int], samples: int, lengths: Lengths
) -> np.ndarray:
    """[FLOPs of products, other FLOPs, bytes moved, bytes alive at the most, operations] of a step
    without its update, with ``model`` on the meta device."""
    with meta(), Tally() as counted:
        counted.hold([*model.parameters(), *model.buffers()])
        for parameter in model.parameters():
            parameter.grad = None
        total = _loss(_FORWARD[kind](model, shape, samples, lengths))
        total.backward()
    for parameter in model.parameters():
        parameter.grad = None
    found = (counted.products, counted.pointwise, counted.bytes, counted.peak, counted.operations)
    return np.array(found, float)


def _loss(logits: Tensor) -> Tensor:
    rows = logits.flatten(0, -2)
    return F.cross_entropy(rows, torch.zeros(len(rows), dtype=torch.long), reduction="sum")


def _at_length(
    model: nn.Module, kind: str, shape: Mapping[str, int], samples: int, lengths: Lengths
) -> np.ndarray:
    """``tally``, continued from short lengths where a model takes them one step at a time.

    Linear in each length and in their product: an attention looks at every frame for every
    character."""
    short = None if hasattr(model, "context") else _SHORT.get(kind)  # a transformer has no steps
    if short is None or any(n <= high for n, high in zip(lengths, short[1], strict=True)):
        return tally(model, kind, shape, samples, lengths)
    found = np.zeros(5)
    for corner in product((0, 1), repeat=len(lengths)):
        place = tuple(short[end][axis] for axis, end in enumerate(corner))
        share = 1.0
        for axis, end in enumerate(corner):
            low, high = short[0][axis], short[1][axis]
            up = (lengths[axis] - low) / (high - low)
            share *= up if end else 1 - up
        found += share * tally(model, kind, shape, samples, place)
    return found


def _lengths(kind: str, shape: Mapping[str, int], values: Mapping[str, Any]) -> Lengths:
    if kind == "stream":
        return (int(values["sequence_length"]),)
    if kind == "pairs":
        return (PAIR_LENGTH,)
    return (shape["frames"], shape["characters"]) if kind == "speech" else ()


def _units(kind: str, shape: Mapping[str, int], lengths: Lengths) -> float:
    """Units of m in one sample."""
    if kind == "speech":
        return lengths[0] / (3600.0 * shape["frames_per_second"])
    return float(lengths[0]) if lengths else 1.0


def _stream(model: nn.Module, shape: Mapping[str, int], samples: int, lengths: Lengths) -> Tensor:
    logits: Tensor = model(torch.zeros(samples, *lengths, dtype=torch.long), None)[0]
    return logits


def _images(model: nn.Module, shape: Mapping[str, int], samples: int, lengths: Lengths) -> Tensor:
    logits: Tensor = model(torch.zeros(samples, shape["channels"], shape["height"], shape["width"]))
    return logits


def _pairs(model: nn.Module, shape: Mapping[str, int], samples: int, lengths: Lengths) -> Tensor:
    symbols_BxT = torch.zeros(samples, *lengths, dtype=torch.long)
    logits: Tensor = model(symbols_BxT, None, symbols_BxT)
    return logits


def _speech(model: nn.Module, shape: Mapping[str, int], samples: int, lengths: Lengths) -> Tensor:
    frames, characters = lengths
    x_BxTxF = torch.zeros(samples, frames, shape["bands"])
    text_BxL = torch.ones(samples, characters, dtype=torch.long)
    logits: Tensor = model(x_BxTxF, np.full(samples, frames), text_BxL)
    return logits


_FORWARD: Mapping[str, Forward] = {
    "stream": _stream,
    "classifier": _images,
    "pairs": _pairs,
    "speech": _speech,
}
