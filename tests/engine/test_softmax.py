"""Output layer and cross-entropy in chunks against torch's own, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from steep.engine import softmax
from steep.engine.product import linear


@pytest.fixture(params=[(1, ("cpu",)), (40, ("cpu",)), (1 << 21, ("cpu",)), (40, ())])
def chunked(request, monkeypatch) -> None:
    """Chunks of one row, of some, of all; and as where numbers cannot be asked for."""
    chunk, asked = request.param
    monkeypatch.setattr(softmax, "CHUNK", chunk)
    monkeypatch.setattr(softmax, "_ASKED", asked)
    monkeypatch.setattr(softmax, "_FEWEST", 2)


def arguments(dtype: torch.dtype, scale: float = 1.0):
    generator = torch.Generator().manual_seed(0)
    shapes = ((9, 4), (7, 4), (7,))
    tensors = [torch.randn(s, generator=generator, dtype=dtype) * scale for s in shapes]
    return [tensor.requires_grad_() for tensor in tensors], torch.arange(9) % 7


def test_gradient_in_float64(chunked) -> None:
    given, target = arguments(torch.float64)
    assert torch.autograd.gradcheck(lambda *a: softmax.summed_cross_entropy(*a, target), given)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_equals_torch(chunked, scale: float) -> None:
    """Also where a likelihood is below what float32 holds."""
    (h, w, b), target = arguments(torch.float32, scale)
    expected = F.cross_entropy(F.linear(h, w, b), target, reduction="sum")
    (3 * expected).backward()
    wanted = [tensor.grad.clone() for tensor in (h, w, b)]
    for tensor in (h, w, b):
        tensor.grad = None
    total = softmax.summed_cross_entropy(h, w, b, target)
    (3 * total).backward()
    torch.testing.assert_close(total, expected)
    for tensor, gradient in zip((h, w, b), wanted, strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        nats, wrong = softmax.cross_entropy_and_errors(h, w, b, target)
        torch.testing.assert_close(nats.sum(), expected.detach())
        assert wrong.tolist() == (F.linear(h, w, b).argmax(1) != target).tolist()
        torch.testing.assert_close(softmax.summed_cross_entropy(h, w, b, target), nats.sum())


def test_nan_stays_nan() -> None:
    (h, w, b), target = arguments(torch.float32)
    with torch.no_grad():
        h[3, 1] = float("nan")
    assert softmax.summed_cross_entropy(h, w, b, target).isnan()


def test_full_logits_are_never_held(monkeypatch) -> None:
    largest = []
    monkeypatch.setattr(softmax, "CHUNK", 32 * 50)

    def spy(*given):
        out = linear(*given)
        largest.append(out.numel())
        return out

    monkeypatch.setattr(softmax, "linear", spy)
    h, w = torch.randn(640, 4, requires_grad=True), torch.randn(50, 4, requires_grad=True)
    softmax.summed_cross_entropy(h, w, torch.zeros(50), torch.zeros(640, dtype=torch.long))
    assert max(largest) <= 32 * 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("view", [False, True])
def test_linear(dtype: torch.dtype, view: bool) -> None:
    x, w, b = torch.randn(5, 3, dtype=dtype), torch.randn(4, 3, dtype=dtype), torch.randn(4)
    if view:
        x, w = x.t().contiguous().t(), w.t().contiguous().t()
    torch.testing.assert_close(linear(x, w, b.to(dtype)), F.linear(x, w, b.to(dtype)))
    torch.testing.assert_close(linear(x, w), x @ w.t())
