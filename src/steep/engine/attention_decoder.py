"""An LSTM decoder with Luong attention and input feeding, with its gradient written by hand.

One step of the recurrence (Luong, Pham & Manning 2015, arXiv:1508.04025, 'general' score):

    i, f, g, o = parts of  x_t + [feed_{t-1}, h_{t-1}] R        x_t: embedding's product and bias
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);    h_t = sigmoid(o) tanh(c_t)
    a_t = softmax over the source of  keys . h_t
    feed_t = tanh(h_t U + sum over the source of a_t values)

``values`` come multiplied by their part of the attention layer, once a sentence and not once a
step. Input feeding leaves nothing else to hoist out of the forward loop; in the backward one, every
gradient that is a sum over steps is one matrix product after the loop.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steep.engine import lstm_step


def decode(
    x_TxBx4H: Tensor,
    h_BxH: Tensor,
    c_BxH: Tensor,
    keys_BxSxH: Tensor,
    values_BxSxH: Tensor,
    outside_BxS: Tensor,
    recurrent_2Hx4H: Tensor,
    output_HxH: Tensor,
) -> Tensor:
    """feed_TxBxH. ``outside`` is true at padding of the source; (h, c) is the first state."""
    found: Tensor = AttentionDecoder.apply(
        x_TxBx4H,
        h_BxH,
        c_BxH,
        keys_BxSxH,
        values_BxSxH,
        outside_BxS,
        recurrent_2Hx4H,
        output_HxH,
    )
    return found


class AttentionDecoder(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TxBx4H: Tensor,
        h_BxH: Tensor,
        c_BxH: Tensor,
        keys_BxSxH: Tensor,
        values_BxSxH: Tensor,
        outside_BxS: Tensor,
        recurrent_2Hx4H: Tensor,
        output_HxH: Tensor,
    ) -> Tensor:
        steps, batch, width = len(x_TxBx4H), *h_BxH.shape
        # Row t of z: what step t reads, feed and h of the step before. Row t of c: likewise.
        z = x_TxBx4H.new_empty(steps + 1, batch, 2 * width)
        c = x_TxBx4H.new_empty(steps + 1, batch, width)
        z[0, :, :width], z[0, :, width:], c[0] = 0.0, h_BxH, c_BxH
        gates = torch.empty_like(x_TxBx4H)
        tanh_c = x_TxBx4H.new_empty(steps, batch, width)
        attention = x_TxBx4H.new_empty(steps, batch, 1, keys_BxSxH.shape[1])
        minus_BxSx1 = torch.zeros_like(outside_BxS, dtype=z.dtype).masked_fill_(
            outside_BxS, float("-inf")
        )[:, :, None]
        for t in range(steps):
            torch.addmm(x_TxBx4H[t], z[t], recurrent_2Hx4H, out=gates[t])
            feed, h = z[t + 1].chunk(2, 1)
            lstm_step.onward(gates[t], c[t], c[t + 1], tanh_c[t], h)
            score_BxSx1 = torch.baddbmm(minus_BxSx1, keys_BxSxH, h[:, :, None])
            torch.softmax(score_BxSx1.transpose(1, 2), 2, out=attention[t])
            context_BxH = torch.bmm(attention[t], values_BxSxH)[:, 0]
            torch.tanh(torch.addmm(context_BxH, h, output_HxH), out=feed)
        ctx.save_for_backward(
            z, c, gates, tanh_c, attention, keys_BxSxH, values_BxSxH, recurrent_2Hx4H, output_HxH
        )
        return z[1:, :, :width]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_TxBxH: Tensor) -> tuple[Tensor | None, ...]:
        z, c, gates, tanh_c, attention, keys, values, recurrent, output = ctx.saved_tensors
        steps, batch, width = tanh_c.shape
        d_gates = torch.empty_like(gates)
        d_pre = torch.empty_like(tanh_c)  # of the attention layer's sum, before its tanh
        d_score = torch.empty_like(attention)
        dz = z.new_zeros(batch, 2 * width)
        dc = z.new_zeros(batch, width)
        back, back_output = recurrent.t().contiguous(), output.t().contiguous()
        values_BxHxS = values.transpose(1, 2)
        for t in reversed(range(steps)):
            feed = z[t + 1, :, :width]
            torch.mul(1 - feed * feed, d_TxBxH[t] + dz[:, :width], out=d_pre[t])
            d_attention = torch.bmm(d_pre[t, :, None], values_BxHxS)
            weighted = attention[t] * d_attention
            torch.addcmul(
                weighted, attention[t], weighted.sum(2, keepdim=True), value=-1, out=d_score[t]
            )
            dh = torch.addmm(dz[:, width:], d_pre[t], back_output)
            dh += torch.bmm(d_score[t], keys)[:, 0]
            lstm_step.back(gates[t], c[t], tanh_c[t], dh, dc, d_gates[t])
            dz = d_gates[t] @ back
        h_TxBxH = z[1:, :, width:]
        d_recurrent = z[:-1].flatten(0, 1).t() @ d_gates.flatten(0, 1)
        d_output = h_TxBxH.flatten(0, 1).t() @ d_pre.flatten(0, 1)
        d_keys = torch.bmm(d_score[:, :, 0].permute(1, 2, 0), h_TxBxH.transpose(0, 1))
        d_values = torch.bmm(attention[:, :, 0].permute(1, 2, 0), d_pre.transpose(0, 1))
        return d_gates, dz[:, width:], dc, d_keys, d_values, None, d_recurrent, d_output
