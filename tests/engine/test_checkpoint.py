"""Checkpoints: bytes and back, bit for bit; damaged ones are refused."""

import pytest
import torch
from torch import nn

from steep.engine import checkpoint
from steep.engine.optimizers import OPTIMIZERS


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


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_optimizers_go_on_where_they_were(name: str, layout: torch.memory_format) -> None:
    """Also where the parameters' memory format is not the checkpoint's."""
    values = {"learning_rate": 0.1, "momentum": 0.9}

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            model(torch.ones(1, 8, 5, 5)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = nn.Conv2d(8, 4, 3).to(memory_format=layout)
    optimizer = OPTIMIZERS[name](model.parameters(), values)
    steps(model, optimizer, 3)
    saved = checkpoint.pack(checkpoint.optimizer_tensors(optimizer), {})
    second = nn.Conv2d(8, 4, 3).to(memory_format=layout)
    second.load_state_dict(model.state_dict())
    other = OPTIMIZERS[name](second.parameters(), values)
    checkpoint.restore_optimizer(other, checkpoint.unpack(saved)[0])
    steps(model, optimizer, 3)
    steps(second, other, 3)
    assert checkpoint.weights_hash(model) == checkpoint.weights_hash(second)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_optimizers_equal_plain_ones(name: str, layout: torch.memory_format) -> None:
    values = {"learning_rate": 0.1, "momentum": 0.9}
    plain = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    }
    models = []
    for make in (lambda p: OPTIMIZERS[name](p, values), plain[name]):
        torch.manual_seed(0)
        model = nn.Conv2d(8, 4, 3).to(memory_format=layout)
        optimizer = make(model.parameters())
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(1, 8, 5, 5)).square().sum().backward()
            optimizer.step()
        models.append(model)
    torch.testing.assert_close(models[0].weight, models[1].weight)
