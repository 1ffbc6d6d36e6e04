"""The compiled convolution and batch norm are torch's, values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from steep.engine import image_kernel
from steep.engine.compiled import NoKernel
from steep.models import resnet

try:
    image_kernel.kernel()
except NoKernel as error:
    pytest.skip(f"no kernel: {error}", allow_module_level=True)

SHAPE = {"channels": 2, "height": 9, "width": 6, "classes": 4}


@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize("outer", [1, 5, 13])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 2), (1, 1)])
@pytest.mark.parametrize("images", [1, 8, 21])
def test_convolution(inner: int, outer: int, kernel: int, stride: int, images: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(inner, outer, kernel, stride, padding=kernel // 2, bias=False).double()
    network = image_kernel.Network(inner, (5, 4))
    network.convolution(network.images, layer)
    found = []
    for compiled in (False, True):
        x = torch.randn(images, inner, 5, 4, dtype=torch.float64, generator=seeded())
        x.requires_grad_()
        y = network(x, training=True) if compiled else layer(x)
        layer.zero_grad()
        y.pow(3).sum().backward()
        found.append((y.detach(), x.grad, layer.weight.grad.clone()))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("images", [2, 16, 19])
def test_norm(relu: bool, residual: bool, images: int) -> None:
    """Of the images themselves, which are the residual too: their gradients add up."""
    found = []
    for compiled in (False, True):
        layer = nn.BatchNorm2d(3).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([0.5, -1.0, 0.0]))
            layer.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
        x = torch.randn(images, 3, 4, 5, dtype=torch.float64, generator=seeded()) * 2 + 1
        x.requires_grad_()
        network = image_kernel.Network(3, (4, 5))
        network.norm(network.images, layer, relu, network.images if residual else None)

        def forward(x=x, layer=layer, network=network, compiled=compiled) -> torch.Tensor:
            if compiled:
                return network(x, layer.training)
            y = layer(x) + x if residual else layer(x)
            return F.relu(y) if relu else y

        y = forward()
        y.pow(3).sum().backward()
        layer.eval()
        with torch.no_grad():
            evaluated = forward()
        gradients = [x.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()]
        found.append([y.detach(), evaluated, *gradients])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("images", [1, 9])
def test_pool(images: int) -> None:
    x = torch.randn(images, 3, 4, 5, dtype=torch.float64, generator=seeded(), requires_grad=True)
    network = image_kernel.Network(3, (4, 5))
    network.pool(network.images)
    y = network(x, training=True)
    torch.testing.assert_close(y, x.mean((2, 3)))
    y.pow(2).sum().backward()
    torch.testing.assert_close(x.grad, (2 * y / 20)[:, :, None, None].expand(x.shape).detach())


def test_padding_is_never_read() -> None:
    """NaN in what the batch is padded with, and in the pixel nobody reads, stays there."""
    model = resnet.FAMILY.build(3, SHAPE, resnet.Options(engine="kernel"))
    network = model._network(2, 9, 6)
    x = torch.randn(5, 2, 9, 6, generator=seeded())
    expected = network(x, training=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    try:
        torch.testing.assert_close(network(x, training=True), expected)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("images", [5, 16])
def test_whole_network(dtype: torch.dtype, images: int) -> None:
    found = []
    for engine in ("torch", "kernel"):
        torch.manual_seed(0)
        options = resnet.Options(engine=engine, blocks=2)
        model = resnet.FAMILY.build(3, SHAPE, options).to(dtype)
        for parameter in model.parameters():  # the zeros of the last norms hide their blocks
            if parameter.ndim == 1:
                nn.init.normal_(parameter, generator=seeded())
        x = torch.randn(images, 2, 9, 6, dtype=dtype, generator=seeded())
        logits = model(x)
        F.cross_entropy(logits, torch.arange(images) % 4).backward()
        model.eval()
        with torch.inference_mode():
            evaluated = model(x)
        gradients = [parameter.grad for parameter in model.parameters()]
        found.append([logits.detach(), evaluated, *gradients, *model.buffers()])
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else {}
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, **tolerance)


def test_nan_is_not_swallowed() -> None:
    model = resnet.FAMILY.build(4, SHAPE, resnet.Options())
    assert model.engine == "resnet-kernel"
    x = torch.randn(5, 2, 9, 6)
    x[2, 0, 0, 0] = float("nan")
    assert model(x).isnan().any()


def test_engines_by_width() -> None:
    def engine(width: int, wanted: str) -> str:
        return resnet.FAMILY.build(width, SHAPE, resnet.Options(engine=wanted)).engine

    assert engine(32, "auto") == "resnet-kernel"
    assert engine(33, "auto") == engine(8, "torch") == "torch-channels-last"
    assert engine(4, "torch") == "torch"
    assert engine(64, "kernel") == "resnet-kernel"
