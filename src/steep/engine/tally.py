"""What a piece of torch work does, counted operation by operation: FLOPs, bytes, live memory.

Made for the meta device, where nothing is computed or stored: a model of any size takes no memory
and milliseconds. There torch takes recurrent layers apart into their products, so that an LSTM is
counted as what it is (on a CPU its fused form hides from every counter).

The rules are those of the follow-up to Hestness et al. 2017 (PPoPP 2019, arXiv:1909.01736):
algorithmic FLOPs (a multiplication and an addition are two), bytes as what each operation reads
and writes with nothing fused or cached, memory as the most that is alive at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_LOOK_UP = {"embedding", "index_select", "gather", "index"}
"""They read as many entries of their table as they return."""
_PER_ELEMENT = {
    "native_batch_norm": 8,  # mean 1, variance 3, normalise 2, scale and shift 2
    "native_batch_norm_backward": 11,  # two sums 3, gradient of the input 8
    "_softmax": 4,  # maximum, difference, exponential and sum, quotient
    "_safe_softmax": 4,
    "_log_softmax": 4,
    "_softmax_backward_data": 3,
    "_log_softmax_backward_data": 3,
    "sum": 1,
    "mean": 1,
    "embedding_dense_backward": 1,
}
"""FLOPs per element of the first input; operations that are tagged pointwise take one per element
of their output, whatever the function."""


class Tally(TorchDispatchMode):
    """A ``with`` block whose operations are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        """FLOPs of matrix products and convolutions."""
        self.pointwise = 0
        """FLOPs of everything else."""
        self.bytes = 0
        """Read and written."""
        self.operations = 0
        """How many: each is a kernel to launch."""
        self.live = self.peak = 0
        """Bytes alive now, and at the most."""
        self._known: set[int] = set()

    def hold(self, tensors: Any) -> None:
        """Count storages that were there before as alive."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, torch.Tensor):
                self._alive(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        results = list(_tensors(out))
        read = list(_tensors((args, kwargs)))
        fresh = [r for r in results if all(_storage(r) != _storage(t) for t in read)]
        for tensor in fresh:
            self._alive(tensor)
        if not fresh and not func._schema.is_mutable:
            return out  # a view: nothing is computed or moved
        name = func.overloadpacket.__name__
        if name.startswith(("empty", "new_empty")):
            return out
        self.operations += 1
        written = sum(map(_bytes, results))
        if name in _LOOK_UP:
            self.bytes += 2 * written
        else:
            self.bytes += written + sum(map(_bytes, read))
        if func.overloadpacket in flop_registry:
            self.products += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        elif name in _PER_ELEMENT:
            self.pointwise += _PER_ELEMENT[name] * read[0].numel()
        elif torch.Tag.pointwise in func.tags:
            self.pointwise += sum(r.numel() for r in results if r.is_floating_point())
        return out

    def _alive(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)

        def gone() -> None:
            self._known.discard(key)
            self.live -= size

        weakref.finalize(storage, gone)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))


def _storage(tensor: torch.Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key


def _bytes(tensor: torch.Tensor) -> int:
    """Distinct ones: an expanded tensor has fewer than elements."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
