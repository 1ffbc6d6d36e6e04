"""A trial's state as bytes and back: safetensors with JSON metadata, never pickle.

So a checkpoint from anywhere can be read without running anything that it brings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
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
    """The nest back from its shape and the tensors."""
    if isinstance(shape, list):
        return tuple(unflatten(inner, tensors) for inner in shape)
    return None if shape is None else tensors[shape]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by '<parameter number>.<name>'; what is not a tensor is constant."""
    return {
        f"{number}.{name}": value
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put ``optimizer_tensors`` back into a freshly made optimizer."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # In the parameter's memory format: fused kernels walk both in memory order.
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
