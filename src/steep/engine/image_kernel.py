"""Small convolutional networks, compiled (image.cpp): a whole network is one autograd function.

A ``Network`` is written down once, layer by layer, and then run on batches of images. One call of
C each way: at these sizes autograd's and Python's work on single layers took as long as theirs.
Checked against torch when loaded. CPU, one thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from steep.engine.compiled import NoKernel, library

_TYPES = {torch.float32: "float32", torch.float64: "float64"}
_TOLERANCE = 1e-4
"""Largest difference from torch in float32 over outputs and gradients of order 1."""
_CONVOLVE, _NORM, _POOL = range(3)
_NONE = -1


@dataclass(frozen=True)
class Buffer:
    """What an operation leaves: where in the block, in units of the padded batch."""

    place: int
    channels: int
    size: tuple[int, int]
    """Height and width; (0, 0) for one number a channel."""

    @property
    def pixels(self) -> int:
        """With the one that is never read (see image.cpp)."""
        return prod(self.size) + 1

    @property
    def end(self) -> int:
        return self.place + self.channels * self.pixels


class Network:
    """Layers in the order they run. Each method appends one and returns what it leaves.

    Its result is what the last one leaves."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        self.images = self.result = Buffer(0, channels, size)
        self.layers: list[nn.Module] = []
        self._ops: list[dict[str, int]] = []
        self._tensors = self._statistics = 0
        self._packed: dict[bool, Tensor] = {}
        self.d_images = self.images
        self.gradients = 0
        """Length of the gradients' block, in units of the padded batch."""

    def convolution(self, x: Buffer, layer: nn.Conv2d) -> Buffer:
        """``layer`` without bias, padding half its kernel, and its stride."""
        kernel, stride = layer.kernel_size[0], layer.stride[0]
        height, width = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in x.size)
        y = Buffer(self.result.end, layer.out_channels, (height, width))
        self._append(_CONVOLVE, x, y, layer, kernel=kernel, stride=stride)
        self._tensors += 1
        return y

    def norm(
        self, x: Buffer, layer: nn.BatchNorm2d, relu: bool, residual: Buffer | None = None
    ) -> Buffer:
        """[relu](layer(x) [+ residual]). Momentum and eps are torch's defaults in every layer."""
        assert (layer.momentum, layer.eps) == (_MOMENTUM, _EPS)
        y = Buffer(self.result.end, x.channels, x.size)
        place = _NONE if residual is None else residual.place
        self._append(
            _NORM, x, y, layer, relu=int(relu), residual=place, statistics=self._statistics
        )
        self._tensors += 4
        self._statistics += 2 * x.channels
        return y

    def pool(self, x: Buffer) -> Buffer:
        """The mean over the pixels."""
        y = Buffer(self.result.end, x.channels, (0, 0))
        self._append(_POOL, x, y, None)
        return y

    def __call__(self, x_BxCxHxW: Tensor, training: bool) -> Tensor:
        """y_BxC after a pool, else y_BxCxHxW."""
        if training:
            norms = [layer for layer in self.layers if isinstance(layer, nn.BatchNorm2d)]
            counts = [n.num_batches_tracked for n in norms if n.num_batches_tracked is not None]
            if counts:
                torch._foreach_add_(counts, 1)
        parameters = [parameter for layer in self.layers for parameter in layer.parameters()]
        y: Tensor = _Run.apply(self, training, x_BxCxHxW, *parameters)
        return y

    def _append(self, kind: int, x: Buffer, y: Buffer, layer: Any, **more: int) -> None:
        sides = {"hi": x.size[0], "wi": x.size[1], "ho": y.size[0], "wo": y.size[1]}
        ends = {"input": x.place, "output": y.place, "inner": x.channels, "outer": y.channels}
        self._ops.append({"kind": kind, "parameter": self._tensors, **ends, **sides, **more})
        if layer is not None:
            self.layers.append(layer)
        self.result = y

    def table(self) -> list[Tensor]:
        """The tensors that operations name by number."""
        found: list[Any] = []
        for layer in self.layers:
            found += layer.parameters()
            if isinstance(layer, nn.BatchNorm2d):
                found += [layer.running_mean, layer.running_var]
        return found

    def ops(self, wanted: bool) -> Tensor:
        """Rows of image.cpp's Op; ``wanted``: with the gradient of the images."""
        if wanted not in self._packed:
            self._place_gradients(wanted)
            defaults = {"residual": _NONE, "d_residual": _NONE}
            rows = [[op.get(name, defaults.get(name, 0)) for name in _OP] for op in self._ops]
            self._packed[wanted] = torch.tensor(rows, dtype=torch.int64)
        return self._packed[wanted]

    def _place_gradients(self, wanted: bool) -> None:
        """In the order of the backward pass; places alike, given back once an operation has read
        them: three serve a residual network, and stay in the cache."""
        ends = [*(op["output"] for op in self._ops), self.result.end]
        largest = max(end - start for start, end in pairwise([0, *ends]))
        held, free, places = {self.result.place: 0}, list[int](), 1

        def take(buffer: int) -> tuple[int, int]:
            """(place of its gradient, whether something is in it already)."""
            nonlocal places
            found = buffer in held
            if not found:
                held[buffer] = free.pop() if free else largest * places
                places = max(places, held[buffer] // largest + 1)
            return held[buffer], int(found)

        for op in reversed(self._ops):
            place = op["d_output"] = held.pop(op["output"])
            op["wanted"] = int(wanted or op["input"] != self.images.place)
            if op.get("residual", _NONE) != _NONE:
                op["d_residual"], op["add_residual"] = take(op["residual"])
            if op["kind"] == _NORM and op["input"] not in held:
                # In place: each number is read before its own is written.
                held[op["input"]], op["d_input"], op["add_input"] = place, place, 0
            else:
                op["d_input"], op["add_input"] = take(op["input"])
                free.append(place)
            assert op["kind"] != _POOL or not op["add_input"], "pools do not add"
        self.gradients = places * largest
        self.d_images = replace(self.images, place=held[self.images.place])

    @property
    def statistics(self) -> int:
        """Numbers that norms keep from their forward pass."""
        return self._statistics


_MOMENTUM, _EPS = 0.1, 1e-5
_OP = (
    *("kind", "input", "output", "residual", "parameter", "inner", "outer", "hi", "wi", "ho", "wo"),
    *("kernel", "stride", "relu", "statistics"),
    *("wanted", "d_input", "d_output", "d_residual", "add_input", "add_residual"),
)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, network: Network, training: bool, x_BxCxHxW: Tensor, *parameters: Tensor
    ) -> Tensor:
        images = len(x_BxCxHxW)
        n = images + -images % _lanes(x_BxCxHxW.dtype)
        buffers = x_BxCxHxW.new_empty(network.result.end * n)
        _put(buffers, network.images, n, x_BxCxHxW)
        statistics = x_BxCxHxW.new_empty(network.statistics)
        ctx.network, ctx.training, ctx.sizes = network, training, (n, images)
        ops = network.ops(ctx.needs_input_grad[2])
        table = _addresses(network.table(), x_BxCxHxW.dtype)
        sizes = (len(ops), n, images, int(training), _MOMENTUM, _EPS)
        _call("forward", buffers.dtype, ops, *sizes, table, statistics, buffers)
        ctx.save_for_backward(*parameters)
        ctx.kept = statistics, buffers
        return _take(buffers, network.result, n, images).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        if not ctx.training:
            raise NotImplementedError("batch norm in evaluation mode has no gradient here")
        network, (n, images) = ctx.network, ctx.sizes
        statistics, buffers = ctx.kept
        ops = network.ops(ctx.needs_input_grad[2])
        gradients = buffers.new_empty(network.gradients * n)
        _put(gradients, replace(network.result, place=0), n, dy)
        parameters = ctx.saved_tensors
        flat = dy.new_zeros(sum(parameter.numel() for parameter in parameters))
        parts = flat.split([parameter.numel() for parameter in parameters])
        table, results = network.table(), iter(parts)
        found = [next(results) if isinstance(t, nn.Parameter) else None for t in table]
        pointers = (_addresses(table, flat.dtype), _addresses(found, flat.dtype))
        _call(
            *("backward", flat.dtype, ops, len(ops), n, images),
            *(*pointers, statistics, buffers, gradients),
        )
        dx = _take(gradients, network.d_images, n, images) if ctx.needs_input_grad[2] else None
        shaped = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
        return None, None, dx, *shaped


def _put(block: Tensor, place: Buffer, n: int, x: Tensor) -> None:
    """Write x_BxC or x_BxCxHxW with the batch innermost, padded with zero images."""
    view = block[place.place * n : place.end * n].view(place.channels, place.pixels, n)
    pixels = max(1, place.pixels - 1)
    view[:, :pixels, : len(x)] = x.flatten(2).permute(1, 2, 0) if x.ndim > 2 else x.t()[:, None]
    view[:, :, len(x) :] = 0


def _take(block: Tensor, place: Buffer, n: int, images: int) -> Tensor:
    """``_put``'s argument back, as a view."""
    view = block[place.place * n : place.end * n].view(place.channels, place.pixels, n)
    if place.size == (0, 0):
        return view[:, 0, :images].t()
    return view[:, :-1, :images].unflatten(1, place.size).permute(3, 0, 1, 2)


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
    network = Network(3, (7, 6))
    first = network.convolution(network.images, layers[0])
    network.norm(first, layers[1], relu=True, residual=first)
    found = []
    for compiled in (False, True):
        leaf = x.clone().requires_grad_()
        if compiled:
            out = network(leaf, training=True)
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
    """Call with numbers as they are and tensors as addresses."""
    kinds = tuple(kind if (kind := type(value)) in (int, float) else object for value in given)
    values = [value.data_ptr() if isinstance(value, Tensor) else value for value in given]
    _function(name, dtype, kinds)(*values)


def _addresses(tensors: Sequence[Tensor | None], dtype: torch.dtype) -> Any:
    """A table of pointers, null for None. The kernel sees addresses only: another layout or type
    would be read wrongly."""
    for tensor in tensors:
        assert tensor is None or (tensor.is_contiguous() and tensor.dtype == dtype)
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    return (ctypes.c_void_p * len(addresses))(*addresses)
