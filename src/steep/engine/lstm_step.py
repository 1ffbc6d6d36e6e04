"""One step of an LSTM and of its gradient, in place: for recurrences that torch has no kernel for.

c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);    h_t = sigmoid(o) tanh(c_t)
"""

from __future__ import annotations

import torch
from torch import Tensor


def onward(
    gates_Bx4H: Tensor, c_BxH: Tensor, next_c_BxH: Tensor, tanh_c_BxH: Tensor, h_BxH: Tensor
) -> None:
    """``gates``, sums of i, f, g and o, become their values; the last three are written."""
    width = c_BxH.shape[1]
    gates_Bx4H[:, : 2 * width].sigmoid_()
    gates_Bx4H[:, 2 * width : 3 * width].tanh_()
    gates_Bx4H[:, 3 * width :].sigmoid_()
    i, f, g, o = gates_Bx4H.chunk(4, 1)
    torch.mul(f, c_BxH, out=next_c_BxH).addcmul_(i, g)
    torch.tanh(next_c_BxH, out=tanh_c_BxH)
    torch.mul(o, tanh_c_BxH, out=h_BxH)


def back(
    gates_Bx4H: Tensor,
    c_BxH: Tensor,
    tanh_c_BxH: Tensor,
    dh_BxH: Tensor,
    dc_BxH: Tensor,
    d_gates_Bx4H: Tensor,
) -> None:
    """From gradients by h_t and c_t: ``d_gates`` of the sums is written, and ``dc`` becomes the
    gradient by c_{t-1}, which ``c`` is."""
    i, f, g, o = gates_Bx4H.chunk(4, 1)
    d_i, d_f, d_g, d_o = d_gates_Bx4H.chunk(4, 1)
    dc_BxH.addcmul_(dh_BxH * o, 1 - tanh_c_BxH * tanh_c_BxH)
    torch.mul(dc_BxH * g, i - i * i, out=d_i)
    torch.mul(dc_BxH * c_BxH, f - f * f, out=d_f)
    torch.mul(dc_BxH * i, 1 - g * g, out=d_g)
    torch.mul(dh_BxH * tanh_c_BxH, o - o * o, out=d_o)
    dc_BxH *= f
