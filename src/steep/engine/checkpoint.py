"""A trial's state as bytes and back: safetensors with JSON metadata, never pickle.

So a checkpoint from anywhere can be read without running anything that it brings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, nn

_KEY = "steep"


class CheckpointError(ValueError):
    """Bytes that are not a checkpoint of this trial and engine."""


def pack(tensors: Mapping[str, Tensor], metadata: Any) -> bytes:
    """Tensors by name and plain JSON metadata (finite numbers only) as bytes."""
    # A copy each: safetensors refuses tensors that share memory.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(plain, {_KEY: json.dumps(metadata, allow_nan=False)})


def unpack(data: bytes) -> tuple[dict[str, Tensor], Any]:
    """``pack``'s arguments back, bit for bit. Raises CheckpointError."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        return load(data), json.loads(header["__metadata__"][_KEY])
    except Exception as error:  # safetensors raises its own kinds from Rust
        raise CheckpointError(f"not a checkpoint: {error}") from None


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of parameters and buffers: equal weights, equal hash."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def flatten(prefix: str, nest: Any, into: dict[str, Tensor]) -> Any:
    """Put a nest of tuples and tensors ``into`` a dict by dotted names; return its shape."""
    if nest is None:
        return None
    if isinstance(nest, tuple):
        return [flatten(f"{prefix}.{index}", inner, into) for index, inner in enumerate(nest)]
    into[prefix] = nest
    return prefix


def unflatten(shape: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild the nested structure that ``flatten`` took apart, from its shape and tensors."""
    if isinstance(shape, list):
        return tuple(unflatten(inner, tensors) for inner in shape)
    return None if shape is None else tensors[shape]
