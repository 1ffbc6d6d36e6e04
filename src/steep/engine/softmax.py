"""Output layer and cross-entropy in one, chunk by chunk: the full logits never exist.

With 10,000 symbols the logits of one batch, their log-softmax and both gradients are hundreds of
megabytes that go through memory several times. Here a chunk of rows goes through everything while
it is in the cache: the gradients are made in the forward pass (the loss is a sum, so they only
wait for one factor), and only sums leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from steep.engine.plain import only_plain
from steep.engine.product import linear

CHUNK = 1 << 21
"""Logits in a chunk: 8 MiB in float32. Fewer, and adding up the weight gradient costs more than
the cache saves; more, and two workers' chunks leave the shared cache."""
_TINY = 1e-30
"""Likelihoods below this are near float32's smallest number."""
_ASKED = ("cpu",)
"""Devices whose numbers can be read without waiting, unlike a GPU's."""
_FEWEST = 16
"""Rows in a chunk at least: fewer leave a matrix product with nothing to reuse."""


def summed_cross_entropy(
    h_NxH: Tensor, weight_VxH: Tensor, bias_V: Tensor, target_N: Tensor
) -> Tensor:
    """Sum over N of the cross-entropy (nats) of ``linear(h, weight, bias)`` against targets."""
    if only_plain():
        logits_NxV = F.linear(h_NxH, weight_VxH, bias_V)
        return F.cross_entropy(logits_NxV, target_N, reduction="sum")
    total: Tensor = LinearCrossEntropy.apply(h_NxH, weight_VxH, bias_V, target_N)
    return total


def cross_entropy_and_errors(
    h_NxH: Tensor, weight_VxH: Tensor, bias_V: Tensor, target_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Without gradient, for evaluations: (nats_N, whether the likeliest symbol is wrong_N)."""
    nats, wrong = [], []
    for rows in _chunks(len(h_NxH), len(weight_VxH)):
        logits_CxV, target_C = linear(h_NxH[rows], weight_VxH, bias_V).float(), target_N[rows]
        nats.append(F.cross_entropy(logits_CxV, target_C, reduction="none"))
        wrong.append(logits_CxV.argmax(1) != target_C)
    return torch.cat(nats), torch.cat(wrong)


def _chunks(rows: int, symbols: int) -> Iterator[slice]:
    step = max(_FEWEST, CHUNK // symbols)
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))


class LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h_NxH: Tensor, weight_VxH: Tensor, bias_V: Tensor, target_N: Tensor
    ) -> Tensor:
        if not any(ctx.needs_input_grad):
            return cross_entropy_and_errors(h_NxH, weight_VxH, bias_V, target_N)[0].sum()
        dh_NxH = torch.empty_like(h_NxH)
        dw_HxV, db_V = torch.zeros_like(weight_VxH.t()), torch.zeros_like(bias_V)
        total, asks = h_NxH.new_zeros(()), h_NxH.device.type in _ASKED
        for rows in _chunks(len(h_NxH), len(weight_VxH)):
            h_CxH, target_Cx1 = h_NxH[rows], target_N[rows, None]
            logits_CxV = linear(h_CxH, weight_VxH, bias_V)
            if not asks:
                total += F.cross_entropy(logits_CxV, target_N[rows], reduction="sum")
            d_CxV = torch.softmax(logits_CxV, 1, out=logits_CxV)
            if asks:  # one pass of exponentials instead of two
                likelihood_Cx1 = d_CxV.gather(1, target_Cx1)
                if bool((likelihood_Cx1 < _TINY).any()):  # its logarithm would be lost
                    again_CxV = linear(h_CxH, weight_VxH, bias_V)
                    total += F.cross_entropy(again_CxV, target_N[rows], reduction="sum")
                else:
                    total -= likelihood_Cx1.log().sum()
            d_CxV.scatter_add_(1, target_Cx1, d_CxV.new_full((1, 1), -1.0).expand_as(target_Cx1))
            dh_NxH[rows] = linear(d_CxV, weight_VxH.t())
            dw_HxV += linear(h_CxH.t(), d_CxV.t())
            db_V += d_CxV.sum(0)
        ctx.save_for_backward(dh_NxH, dw_HxV.t(), db_V)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        dh_NxH, dw_VxH, db_V = ctx.saved_tensors
        return dh_NxH * factor, dw_VxH * factor, db_V * factor, None
