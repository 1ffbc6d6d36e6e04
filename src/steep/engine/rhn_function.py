"""The recurrent highway network with its gradient written by hand, in torch operations.

The default where no compiled kernel runs, and the engine on GPUs. Against autograd it saves the
small operations: four a sublayer forward, three backward, on buffers made once; everything that
does not wait for the recurrence (factors of the gradient, weight gradients) is one operation over
all time steps. Same signature as ``plain``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def plain(
    x_TxBx2H: Tensor, s_BxH: Tensor, weight_LxHx2H: Tensor, bias_Lx2H: Tensor
) -> tuple[Tensor, Tensor]:
    """The equations as they stand, differentiated by autograd: what the others must equal.

    x holds the first sublayer's input product and bias. Returns (h_TxBxH, last state)."""
    weights, biases = weight_LxHx2H.unbind(0), bias_Lx2H.unbind(0)
    outputs = []
    for x_Bx2H in x_TxBx2H.unbind(0):
        for layer, weight_Hx2H in enumerate(weights):
            offset = x_Bx2H if layer == 0 else biases[layer]
            a_BxH, b_BxH = (s_BxH @ weight_Hx2H + offset).chunk(2, dim=1)
            s_BxH = s_BxH + torch.sigmoid(b_BxH) * (torch.tanh(a_BxH) - s_BxH)
        outputs.append(s_BxH)
    return torch.stack(outputs), s_BxH


def recurrence(
    x_TxBx2H: Tensor, s_BxH: Tensor, weight_LxHx2H: Tensor, bias_Lx2H: Tensor
) -> tuple[Tensor, Tensor]:
    """``plain`` with the gradient written by hand."""
    h_TxBxH: Tensor = Recurrence.apply(x_TxBx2H, s_BxH, weight_LxHx2H, bias_Lx2H)
    return h_TxBxH, h_TxBxH[-1]


class Recurrence(torch.autograd.Function):
    """Equations and notation of models/rhn.py; z holds a and b, then tanh(a) and sigmoid(b)."""

    @staticmethod
    def forward(
        ctx: Any, x_TxBx2H: Tensor, s_BxH: Tensor, weight_LxHx2H: Tensor, bias_Lx2H: Tensor
    ) -> Tensor:
        time, batch, _ = x_TxBx2H.shape
        depth, width, _ = weight_LxHx2H.shape
        # states[l, t] goes into sublayer l of step t; states[0, t + 1] comes out of step t.
        states = x_TxBx2H.new_empty(depth, time + 1, batch, width)
        z = x_TxBx2H.new_empty(depth, time, batch, 2 * width)
        states[0, 0] = s_BxH
        z[0] = x_TxBx2H
        z[1:] = bias_Lx2H[1:, None, None]
        weights = weight_LxHx2H.unbind(0)
        z_of = [sub.unbind(0) for sub in z.unbind(0)]
        h_of = [sub.unbind(0) for sub in z[..., :width].unbind(0)]
        g_of = [sub.unbind(0) for sub in z[..., width:].unbind(0)]
        s_of = [sub.unbind(0) for sub in states.unbind(0)]
        for t in range(time):
            for layer in range(depth):
                s = s_of[layer][t]
                z_of[layer][t].addmm_(s, weights[layer])
                h, g = h_of[layer][t].tanh_(), g_of[layer][t].sigmoid_()
                after = s_of[layer + 1][t] if layer + 1 < depth else s_of[0][t + 1]
                torch.lerp(s, h, g, out=after)
        ctx.save_for_backward(states, z, weight_LxHx2H)
        return states[0, 1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_TxBxH: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states, z, weight_LxHx2H = ctx.saved_tensors
        depth, time, batch, double = z.shape
        width = double // 2
        h, g = z[..., :width], z[..., width:]
        keep = 1 - g
        # dz = [ds, ds] * factor, with factor = g (1 - h^2) and (h - s) g (1 - g)
        factor = torch.empty_like(z).view(depth, time, batch, 2, width)
        torch.mul(g, 1 - h * h, out=factor[..., 0, :])
        torch.mul(h - states[:, :-1], g * keep, out=factor[..., 1, :])
        transposed = weight_LxHx2H.transpose(1, 2).contiguous().unbind(0)
        dz_of = [sub.unbind(0) for sub in factor.unbind(0)]  # in place of the factors
        flat_of = [sub.unbind(0) for sub in factor.flatten(3).unbind(0)]
        keep_of = [sub.unbind(0) for sub in keep.unbind(0)]
        ds_BxH = torch.zeros_like(states[0, 0])
        ds_Bx1xH = ds_BxH[:, None]
        for t in range(time - 1, -1, -1):
            ds_BxH += dh_TxBxH[t]
            for layer in range(depth - 1, -1, -1):
                dz_of[layer][t].mul_(ds_Bx1xH)
                ds_BxH.mul_(keep_of[layer][t])
                ds_BxH.addmm_(flat_of[layer][t], transposed[layer])
        dz = factor.view(depth, time * batch, double)
        inputs = states[:, :-1].flatten(1, 2)
        return dz[0].view(time, batch, double), ds_BxH, weight_gradient(inputs, dz), _bias(dz)


def weight_gradient(inputs_LxNxH: Tensor, dz_LxNx2H: Tensor) -> Tensor:
    """One product a sublayer, over all time steps and rows at once."""
    return torch.bmm(inputs_LxNxH.transpose(1, 2), dz_LxNx2H)


def _bias(dz_LxNx2H: Tensor) -> Tensor:
    """The first sublayer's bias is part of x."""
    gradient = dz_LxNx2H.sum(1)
    gradient[0] = 0
    return gradient
