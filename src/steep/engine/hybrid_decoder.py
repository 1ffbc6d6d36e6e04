"""An LSTM with hybrid attention, by content and by location, with its gradient written by hand.

One step of the recurrence (Chorowski et al. 2015, arXiv:1506.07503):

    i, f, g, o = parts of  x_t + [context_{t-1}, h_{t-1}] R     x_t: embedding's product and bias
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);    h_t = sigmoid(o) tanh(c_t)
    found_t = filters * a_{t-1}                                 a convolution over the memory
    u_t = tanh(keys + found_t U + (h_t Q + q))
    a_t = softmax over the memory of  u_t . v;        context_t = sum over the memory of a_t values

In the backward loop, every gradient that is a sum over steps is one matrix product after the loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steep.engine import lstm_step


class Weights(NamedTuple):
    recurrent_DxG: Tensor
    """D = E + H: context first, then h; G = 4 H gates."""
    query_HxA: Tensor
    query_A: Tensor
    """Bias of the query."""
    filters_KxR: Tensor
    location_KxA: Tensor
    energy_A: Tensor


def decode(
    x_LxBxG: Tensor,
    keys_BxSxA: Tensor,
    values_BxSxE: Tensor,
    outside_BxS: Tensor,
    weights: Weights,
) -> Tensor:
    """[context, h] after each step, LxBxD, from zeros. ``outside`` is true beyond a clip's end.

    A filter's R weights see (R - 1) // 2 places before its own and R // 2 after it."""
    found: Tensor = HybridDecoder.apply(x_LxBxG, keys_BxSxA, values_BxSxE, outside_BxS, *weights)
    return found


class HybridDecoder(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_LxBxG: Tensor,
        keys_BxSxA: Tensor,
        values_BxSxE: Tensor,
        outside_BxS: Tensor,
        *given: Tensor,
    ) -> Tensor:
        w = Weights(*given)
        (steps, batch, gates_wide), (_, places, units) = x_LxBxG.shape, keys_BxSxA.shape
        width, wide = gates_wide // 4, values_BxSxE.shape[2]
        filters, reach = w.filters_KxR.shape
        left = (reach - 1) // 2
        # Row t of z: what step t reads, context and h of the step before; of c: likewise; of
        # around: the weights of the step before between zeros, which the filters slide over.
        z = x_LxBxG.new_zeros(steps + 1, batch, wide + width)
        c = x_LxBxG.new_zeros(steps + 1, batch, width)
        around = x_LxBxG.new_zeros(steps + 1, batch, places + reach - 1)
        gates, tanh_c = torch.empty_like(x_LxBxG), x_LxBxG.new_empty(steps, batch, width)
        found = x_LxBxG.new_empty(steps, batch * places, filters)
        u = x_LxBxG.new_empty(steps, batch, places, units)
        minus_BxS = torch.zeros_like(outside_BxS, dtype=z.dtype).masked_fill_(
            outside_BxS, float("-inf")
        )
        minus_N, keys_NxA = minus_BxS.view(-1), keys_BxSxA.reshape(-1, units)
        slide_RxK = w.filters_KxR.t().contiguous()
        for t in range(steps):
            torch.addmm(x_LxBxG[t], z[t], w.recurrent_DxG, out=gates[t])
            h = z[t + 1, :, wide:]
            lstm_step.onward(gates[t], c[t], c[t + 1], tanh_c[t], h)
            torch.mm(around[t].unfold(1, reach, 1).reshape(-1, reach), slide_RxK, out=found[t])
            torch.addmm(keys_NxA, found[t], w.location_KxA, out=u[t].view(-1, units))
            u[t] += torch.addmm(w.query_A, h, w.query_HxA)[:, None]
            u[t].tanh_()
            energy_N = torch.addmv(minus_N, u[t].view(-1, units), w.energy_A)
            a_BxS = energy_N.view(batch, places).softmax(1)
            around[t + 1, :, left : left + places] = a_BxS
            z[t + 1, :, :wide] = torch.bmm(a_BxS[:, None], values_BxSxE)[:, 0]
        ctx.save_for_backward(z, c, around, gates, tanh_c, found, u, values_BxSxE, *given)
        return z[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz_LxBxD: Tensor) -> tuple[Tensor | None, ...]:
        z, c, around, gates, tanh_c, found, u, values, *given = ctx.saved_tensors
        w = Weights(*given)
        (steps, batch, places, units), reach = u.shape, w.filters_KxR.shape[1]
        wide, width, left = values.shape[2], tanh_c.shape[2], (reach - 1) // 2
        line = places + reach - 1
        d_gates = torch.empty_like(gates)
        d_u = torch.empty_like(u)  # of the sum, before its tanh
        d_found = torch.empty_like(found)
        d_energy, d_query = z.new_empty(steps, batch, places), z.new_empty(steps, batch, units)
        d_context = z.new_empty(steps, batch, wide)
        dz, dc = z.new_zeros(batch, wide + width), z.new_zeros(batch, width)
        da_BxS = z.new_zeros(batch, places)
        # Where row s of the second form is written, one shorter rows show it s places further on:
        # summing those is the convolution's gradient. Nothing else is ever written.
        skewed = z.new_zeros(batch, places * (line + 1))
        write = skewed.view(batch, places, line + 1)[:, :, :reach]
        shifted = skewed[:, : places * line].view(batch, places, line)
        back = w.recurrent_DxG.t().contiguous()
        back_query, back_location = w.query_HxA.t().contiguous(), w.location_KxA.t().contiguous()
        values_BxExS = values.transpose(1, 2)
        for t in reversed(range(steps)):
            dz += dz_LxBxD[t]
            d_context[t] = dz[:, :wide]
            a_BxS = around[t + 1, :, left : left + places]
            da_BxS += torch.bmm(d_context[t, :, None], values_BxExS)[:, 0]
            weighted = a_BxS * da_BxS
            torch.addcmul(weighted, a_BxS, weighted.sum(1, keepdim=True), value=-1, out=d_energy[t])
            torch.addcmul(w.energy_A, w.energy_A * u[t], u[t], value=-1, out=d_u[t])
            d_u[t] *= d_energy[t, :, :, None]
            torch.sum(d_u[t], 1, out=d_query[t])
            torch.mm(d_u[t].view(-1, units), back_location, out=d_found[t])
            write.copy_((d_found[t] @ w.filters_KxR).view(batch, places, reach))
            da_BxS = shifted.sum(1)[:, left : left + places]
            dh = torch.addmm(dz[:, wide:], d_query[t], back_query)
            lstm_step.back(gates[t], c[t], tanh_c[t], dh, dc, d_gates[t])
            dz = d_gates[t] @ back
        a_LxBxS = around[1:, :, left : left + places]
        windows_NxR = around[:-1].unfold(2, reach, 1).reshape(-1, reach)
        flat_u, flat_d_u = u.view(-1, units), d_u.view(-1, units)
        return (
            d_gates,
            d_u.sum(0),
            torch.bmm(a_LxBxS.permute(1, 2, 0), d_context.transpose(0, 1)),
            None,
            z[:-1].flatten(0, 1).t() @ d_gates.flatten(0, 1),
            z[1:, :, wide:].flatten(0, 1).t() @ d_query.flatten(0, 1),
            d_query.sum((0, 1)),
            d_found.flatten(0, 1).t() @ windows_NxR,
            found.flatten(0, 1).t() @ flat_d_u,
            d_energy.view(-1) @ flat_u,
        )
