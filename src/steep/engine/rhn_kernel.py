"""The recurrent highway network's compiled kernel (rhn.cpp) as an autograd function.

Checked against the plain equations when it is loaded: a kernel that computes something else, for
whatever reason, is not used. CPU, float32 and float64, one thread.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from steep.engine import rhn_function
from steep.engine.compiled import NoKernel, library

_TYPES = {torch.float32: "float32", torch.float64: "float64"}
_TOLERANCE = 2e-5
"""Largest difference from the plain equations in float32, over states and gradients near 1."""


def recurrence(
    x_TxBx2H: Tensor, s_BxH: Tensor, weight_LxHx2H: Tensor, bias_Lx2H: Tensor
) -> tuple[Tensor, Tensor]:
    """``rhn_function.plain``, compiled. Raises NoKernel."""
    kernel()
    if torch.is_grad_enabled():
        h_TxBxH: Tensor = Recurrence.apply(x_TxBx2H, s_BxH, weight_LxHx2H, bias_Lx2H)
    else:
        h_TxBxH = _forward(x_TxBx2H, s_BxH, weight_LxHx2H, bias_Lx2H, keep=False)[0]
        h_TxBxH = h_TxBxH[1:, :, : weight_LxHx2H.shape[1]]
    return h_TxBxH, h_TxBxH[-1]


@cache
def kernel() -> ctypes.CDLL:
    """The library, loaded and checked. Raises NoKernel."""
    loaded = library("rhn")
    loaded.rhn_vector_bytes.restype = ctypes.c_long
    _check(loaded)
    return loaded


def _check(loaded: ctypes.CDLL) -> None:
    """States and all gradients on one odd shape, against autograd."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 5, 42), (5, 21), (2, 21, 42), (2, 42))
    given = [torch.randn(shape, generator=generator) * 0.5 for shape in shapes]
    toward = torch.randn((3, 5, 21), generator=generator)
    found = []
    with torch.inference_mode(False), torch.enable_grad():
        for run in (rhn_function.plain, None):
            leaves = [tensor.clone().requires_grad_() for tensor in given]
            out = run(*leaves)[0] if run else Recurrence.apply(*leaves)
            out.backward(toward)
            gradients = [leaf.grad for leaf in leaves]
            found.append([out.detach(), *gradients])
    for expected, got in zip(*found, strict=True):
        worst = float((expected - got).abs().max())
        if not worst <= _TOLERANCE:
            raise NoKernel(f"the compiled kernel is off by {worst}")


class Recurrence(torch.autograd.Function):
    """Arguments and result as ``rhn_function.Recurrence``."""

    @staticmethod
    def forward(
        ctx: Any, x_TxBx2H: Tensor, s_BxH: Tensor, weight_LxHx2H: Tensor, bias_Lx2H: Tensor
    ) -> Tensor:
        states, tanhs, gates = _forward(x_TxBx2H, s_BxH, weight_LxHx2H, bias_Lx2H, keep=True)
        ctx.save_for_backward(states, tanhs, gates, weight_LxHx2H)
        return states[0, 1:, :, : weight_LxHx2H.shape[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_TxBxH: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states, tanhs, gates, weight_LxHx2H = ctx.saved_tensors
        depth, time, batch, padded = tanhs.shape
        width = weight_LxHx2H.shape[1]
        d_states = _padded(dh_TxBxH, padded)
        ds_BxP = states.new_zeros(batch, padded)
        dz = states.new_empty(depth, time * batch, 2, padded)
        weight = _transposed_panels(weight_LxHx2H, padded)
        _call(
            "backward",
            (time, batch, padded, depth),
            weight,
            states,
            tanhs,
            gates,
            d_states,
            ds_BxP,
            dz,
        )
        d_weight = states.new_zeros(depth, width, 2, padded)
        d_bias = states.new_zeros(depth, 2, padded)
        _call("weights", (time, batch, width, padded, depth), states, dz, d_weight, d_bias)
        return (
            dz[0, ..., :width].reshape(time, batch, 2 * width),
            ds_BxP[:, :width],
            d_weight[..., :width].flatten(2),
            d_bias[..., :width].flatten(1),
        )


def _forward(
    x_TxBx2H: Tensor, s_BxH: Tensor, weight_LxHx2H: Tensor, bias_Lx2H: Tensor, keep: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(states, tanhs, gates), laid out as rhn.cpp says; without ``keep``, states only."""
    time, batch, _ = x_TxBx2H.shape
    depth, width, _ = weight_LxHx2H.shape
    lanes = kernel_lanes(x_TxBx2H.dtype)
    padded = -(-width // lanes) * lanes
    x = _padded(x_TxBx2H.view(time, batch, 2, width), padded)
    bias = _padded(bias_Lx2H.view(depth, 2, width), padded)
    weight = _panels(weight_LxHx2H, padded, lanes)
    states = x.new_empty((depth, time + 1, batch, padded) if keep else (time + 1, batch, padded))
    first = states[0, 0] if keep else states[0]
    first.copy_(_padded(s_BxH, padded))
    sizes = (time, batch, width, padded, depth)
    if not keep:
        scratch = x.new_empty(2, batch, padded)
        _call("forward", sizes, x, weight, bias, states, None, None, scratch)
        return states, None, None
    tanhs, gates = x.new_empty(2, depth, time, batch, padded)
    _call("forward", sizes, x, weight, bias, states, tanhs, gates, None)
    return states, tanhs, gates


def kernel_lanes(dtype: torch.dtype) -> int:
    """Numbers in one vector register."""
    return int(library("rhn").rhn_vector_bytes()) // dtype.itemsize


def _call(name: str, sizes: tuple[int, ...], *tensors: Tensor | None) -> None:
    kind = next(tensor.dtype for tensor in tensors if tensor is not None)
    pointers = []
    for tensor in tensors:
        # The kernel sees addresses only: anything but this exact layout would be read wrongly.
        assert tensor is None or (tensor.is_contiguous() and tensor.dtype == kind)
        pointers.append(ctypes.c_void_p(None if tensor is None else tensor.data_ptr()))
    function = getattr(library("rhn"), f"rhn_{name}_{_TYPES[kind]}")
    function(*map(ctypes.c_long, sizes), *pointers)


def _padded(tensor: Tensor, padded: int) -> Tensor:
    """Zeros after the last dimension, up to ``padded``; contiguous."""
    return F.pad(tensor, (0, padded - tensor.shape[-1])).contiguous()


def _panels(weight_LxHx2H: Tensor, padded: int, lanes: int) -> Tensor:
    """[depth, padded / lanes, width, 2, lanes]: what one vector of columns needs, in a row."""
    depth, width, _ = weight_LxHx2H.shape
    weight = _padded(weight_LxHx2H.view(depth, width, 2, width), padded)
    weight = weight.view(depth, width, 2, padded // lanes, lanes)
    return weight.permute(0, 3, 1, 2, 4).contiguous()


def _transposed_panels(weight_LxHx2H: Tensor, padded: int) -> Tensor:
    """[depth, padded / lanes, 2 * padded, lanes] of the transpose."""
    depth, width, _ = weight_LxHx2H.shape
    lanes = kernel_lanes(weight_LxHx2H.dtype)
    transposed_Lx2xHxH = weight_LxHx2H.view(depth, width, 2, width).permute(0, 2, 3, 1)
    both = F.pad(transposed_Lx2xHxH, (0, padded - width, 0, padded - width))
    both = both.reshape(depth, 2 * padded, padded // lanes, lanes)
    return both.transpose(1, 2).contiguous()
