"""Checkpoints: bytes and back, bit for bit; damaged ones are refused."""

import pytest
import torch

from steep.engine import checkpoint


def test_bits_and_metadata_survive() -> None:
    tensors = {
        "a": torch.randn(3, 4).t(),
        "b": torch.tensor([float("nan"), -0.0, 1e-45]),
        "c": torch.randn(2, 8, 3, 3).to(memory_format=torch.channels_last),
        "n": torch.tensor(7),
        "bytes": torch.arange(9, dtype=torch.uint8),
    }
    back, metadata = checkpoint.unpack(checkpoint.pack(tensors, {"x": [0.1, None, 1e-320]}))
    assert metadata == {"x": [0.1, None, 1e-320]}
    for name, tensor in tensors.items():
        assert tensor.contiguous().numpy().tobytes() == back[name].numpy().tobytes()
        assert tensor.shape == back[name].shape


@pytest.mark.parametrize("cut", [0, 4, 20, 200, -1])
def test_damaged_bytes_are_refused(cut: int) -> None:
    data = checkpoint.pack({"a": torch.randn(50)}, {})
    with pytest.raises(checkpoint.CheckpointError, match="not a checkpoint"):
        checkpoint.unpack(data[:cut])


def test_nests_of_state() -> None:
    nest = (torch.ones(2), (None, torch.zeros(1)), ())
    tensors: dict[str, torch.Tensor] = {}
    shape = checkpoint.flatten("state", nest, tensors)
    assert set(tensors) == {"state.0", "state.1.1"}
    back = checkpoint.unflatten(shape, tensors)
    assert back[0] is nest[0]
    assert back[1][0] is None
    assert back[2] == ()
