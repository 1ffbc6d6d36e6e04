"""Convolution and batch norm of small networks, compiled (image.cpp), as autograd functions.

Tensors x_CxPxN hold H * W pixels and one that is never read (see image.cpp); N is padded to a
multiple of the vector length with zero images. ``enter`` makes them, ``leave`` goes back. Checked
against torch when loaded. CPU, one thread.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from steep.engine.compiled import NoKernel, library

_TYPES = {torch.float32: "float32", torch.float64: "float64"}
_TOLERANCE = 1e-4
"""Largest difference from torch in float32 over outputs and gradients of order 1."""


Size = tuple[int, int]
"""Height and width."""


def enter(x_BxCxHxW: Tensor) -> Tensor:
    """x_CxPxN: the batch innermost, padded with zero images."""
    lanes = _lanes(x_BxCxHxW.dtype)
    x_CxPxB = x_BxCxHxW.permute(1, 2, 3, 0).flatten(1, 2)
    return F.pad(x_CxPxB, (0, -len(x_BxCxHxW) % lanes, 0, 1)).contiguous()


def leave(x_CxPxN: Tensor, size: Size, images: int) -> Tensor:
    """x_BxCxHxW without the padding."""
    return x_CxPxN[:, :-1, :images].unflatten(1, size).permute(3, 0, 1, 2)


def after(layer: nn.Conv2d, size: Size) -> Size:
    """Height and width of a convolution's output."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    height, width = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in size)
    return height, width


def convolution(x_CxPxN: Tensor, layer: nn.Conv2d, size: Size) -> Tensor:
    """``layer`` without bias, padding half its kernel, and its stride."""
    y: Tensor = Convolution.apply(
        x_CxPxN, layer.weight, layer.stride[0], (*size, *after(layer, size))
    )
    return y


def norm(
    x_CxPxN: Tensor,
    layer: nn.BatchNorm2d,
    images: int,
    relu: bool,
    residual: Tensor | None = None,
) -> Tensor:
    """relu(layer(x) + residual), over the first ``images`` of N."""
    if layer.training and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    running = layer.running_mean, layer.running_var
    y: Tensor = Norm.apply(
        x_CxPxN,
        residual,
        layer.weight,
        layer.bias,
        running,
        (images, relu, layer.training, layer.momentum, layer.eps),
    )
    return y


class Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OxIxKxK: Tensor,
        stride: int,
        sides: tuple[int, int, int, int],
    ) -> Tensor:
        outer, inner, kernel, _ = weight_OxIxKxK.shape
        n, (_, _, ho, wo) = x.shape[2], sides
        ctx.sizes = (inner, outer, *sides, n, kernel, stride)
        ctx.save_for_backward(x, weight_OxIxKxK)
        y = x.new_empty(outer, ho * wo + 1, n)
        panel_IxKxKxO = weight_OxIxKxK.permute(1, 2, 3, 0).contiguous()
        _call("convolve", x.dtype, *ctx.sizes, 0, x, panel_IxKxKxO, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight_OxIxKxK = ctx.saved_tensors
        inner, outer, hi, wi, ho, wo, n, kernel, stride = ctx.sizes
        dy = dy.contiguous()
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            panel_OxKxKxI = weight_OxIxKxK.permute(0, 2, 3, 1).contiguous()
            sizes = (outer, inner, ho, wo, hi, wi, n, kernel, stride)
            _call("convolve", x.dtype, *sizes, 1, dy, panel_OxKxKxI, dx)
        d_weight = torch.empty(weight_OxIxKxK.shape, dtype=x.dtype)
        sums = x.new_zeros(kernel * kernel * outer * inner * _lanes(x.dtype))
        _call("weights", x.dtype, *ctx.sizes, x, dy, sums, d_weight)
        return dx, d_weight, None, None


class Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        gamma_C: Tensor,
        beta_C: Tensor,
        running: tuple[Tensor, Tensor],
        flags: tuple[int, bool, bool, float, float],
    ) -> Tensor:
        images, relu, training, momentum, eps = flags
        channels, pixels, n = x.shape
        ctx.sizes = (channels, pixels - 1, n, images)
        ctx.training, ctx.residual = training, residual is not None
        mean_C, inverse_C = x.new_empty(2, channels)
        y = torch.empty_like(x)
        _call(
            "norm_forward",
            x.dtype,
            *(*ctx.sizes, int(training), int(relu), momentum, eps),
            *(x, residual, gamma_C, beta_C, mean_C, inverse_C, *running, y),
        )
        ctx.save_for_backward(x, y if relu else None, gamma_C, mean_C, inverse_C)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.training:
            raise NotImplementedError("batch norm in evaluation mode has no gradient here")
        x, y, gamma_C, mean_C, inverse_C = ctx.saved_tensors
        dx = torch.empty_like(x)
        d_residual = torch.empty_like(x) if ctx.residual else None
        d_gamma, d_beta = torch.empty_like(gamma_C), torch.empty_like(gamma_C)
        given = (x, y, dy.contiguous(), gamma_C, mean_C, inverse_C)
        _call("norm_backward", x.dtype, *ctx.sizes, *given, dx, d_residual, d_gamma, d_beta)
        return dx, d_residual, d_gamma, d_beta, None, None


# ---------------------------------------------------------------- the library


@cache
def kernel() -> ctypes.CDLL:
    """The library, loaded and checked. Raises NoKernel."""
    loaded = library("image")
    with torch.inference_mode(False), torch.enable_grad():
        _check()
    return loaded


def _check() -> None:
    """A strided convolution, norm, residual and relu on odd sizes, against torch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(19, 3, 7, 6, generator=generator)
    layers = nn.Conv2d(3, 5, 3, 2, padding=1, bias=False), nn.BatchNorm2d(5)
    with torch.no_grad():
        layers[0].weight.copy_(torch.randn(5, 3, 3, 3, generator=generator) * 0.3)
    found = []
    for compiled in (False, True):
        leaf = x.clone().requires_grad_()
        if compiled:
            inner = convolution(enter(leaf), layers[0], (7, 6))
            out = leave(norm(inner, layers[1], 19, True, inner), (4, 3), 19)
        else:
            inner = layers[0](leaf)
            out = F.relu(layers[1](inner) + inner)
        out.square().mean().backward()
        parameters = [*layers[0].parameters(), *layers[1].parameters()]
        gradients = [tensor.grad for tensor in (leaf, *parameters) if tensor.grad is not None]
        found.append([out.detach(), *(gradient.clone() for gradient in gradients)])
        for parameter in parameters:
            parameter.grad = None
    for expected, got in zip(*found, strict=True):
        worst = float((expected - got).abs().max())
        if not worst <= _TOLERANCE:
            raise NoKernel(f"the compiled kernel is off by {worst}")


@cache
def _lanes(dtype: torch.dtype) -> int:
    return int(library("image").image_vector_bytes()) // dtype.itemsize


@cache
def _function(name: str, dtype: torch.dtype, kinds: tuple[type, ...]) -> Any:
    function = getattr(library("image"), f"image_{name}_{_TYPES[dtype]}")
    c_types = {int: ctypes.c_long, float: ctypes.c_double}
    function.argtypes = [c_types.get(kind, ctypes.c_void_p) for kind in kinds]
    function.restype = None
    return function


def _call(name: str, dtype: torch.dtype, *given: Any) -> None:
    """Call with numbers as they are and tensors as addresses, None as null."""
    kinds = tuple(kind if (kind := type(value)) in (int, float) else object for value in given)
    values = []
    for value in given:
        if isinstance(value, Tensor):
            # The kernel sees addresses only: any other layout would be read wrongly.
            assert value.is_contiguous(), f"{name}: {value.shape} is not contiguous"
            assert value.dtype == dtype, f"{name}: {value.dtype} is not {dtype}"
            value = value.data_ptr()
        values.append(value)
    _function(name, dtype, kinds)(*values)
