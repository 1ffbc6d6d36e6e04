"""The three engines of the recurrent highway network are one function with one gradient."""

from pathlib import Path

import pytest
import torch

from steep.engine import compiled, rhn_function, rhn_kernel
from steep.engine.compiled import NoKernel
from steep.models import rhn


def compiles() -> bool:
    try:
        rhn_kernel.kernel()
    except NoKernel:
        return False
    return True


needs_compiler = pytest.mark.skipif(not compiles(), reason="no C++ compiler here")
FAST = [
    pytest.param(rhn_function.recurrence, id="function"),
    pytest.param(rhn_kernel.recurrence, id="kernel", marks=needs_compiler),
]


def arguments(time: int, batch: int, width: int, depth: int, dtype=torch.float64):
    generator = torch.Generator().manual_seed(width)
    shapes = (
        (time, batch, 2 * width),
        (batch, width),
        (depth, width, 2 * width),
        (depth, 2 * width),
    )
    return [
        (torch.randn(shape, generator=generator, dtype=dtype) * 0.6).requires_grad_()
        for shape in shapes
    ]


@pytest.mark.parametrize("recurrence", FAST)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5, 2), (2, 9, 3, 3)])
def test_gradients_in_float64(recurrence, shape) -> None:
    given = arguments(*shape)
    assert torch.autograd.gradcheck(lambda *a: recurrence(*a)[0], given)
    assert torch.autograd.gradcheck(lambda *a: recurrence(*a)[1], given)


@pytest.mark.parametrize("recurrence", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4, 13, 7, 3), (3, 8, 16, 2), (5, 3, 33, 2), (2, 1, 48, 1)])
def test_equals_autograd(recurrence, dtype, shape) -> None:
    time, batch, width, _ = shape
    toward = torch.randn(time, batch, width, dtype=dtype)
    found = []
    for run in (rhn_function.plain, recurrence):
        given = arguments(*shape, dtype=dtype)
        h_TxBxH, last_BxH = run(*given)
        ((h_TxBxH * toward).sum() + last_BxH.square().sum()).backward()
        with torch.no_grad():
            evaluated = run(*given)[0]
        torch.testing.assert_close(evaluated, h_TxBxH.detach())
        gradients = [torch.zeros_like(g) if g.grad is None else g.grad for g in given]
        found.append([h_TxBxH.detach(), last_BxH.detach(), *gradients])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@needs_compiler
def test_kernel_does_not_depend_on_the_batch() -> None:
    """A row's result is the same to an ulp or two whatever rows stand beside it."""
    x, s, weight, bias = arguments(4, 13, 20, 3, torch.float32)
    with torch.no_grad():
        whole = rhn_kernel.recurrence(x, s, weight, bias)[0]
        for row in range(13):
            alone = rhn_kernel.recurrence(x[:, row : row + 1], s[row : row + 1], weight, bias)[0]
            torch.testing.assert_close(alone[:, 0], whole[:, row], rtol=1e-6, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -1e30])
def test_kernel_at_the_ends(value: float) -> None:
    """NaN is not swallowed, and saturation is exact."""
    x, s, weight, bias = (a.detach() for a in arguments(2, 3, 16, 2, torch.float32))
    x[0, 0, 0] = value
    with torch.no_grad():
        expected = rhn_function.plain(x, s, weight, bias)[0]
        got = rhn_kernel.recurrence(x, s, weight, bias)[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_model_says_which_engine_it_runs() -> None:
    shape = {"vocabulary": 9}
    tokens_BxT = torch.randint(9, (3, 4))
    logits = []
    for engine in ("plain", "function", "kernel") if compiles() else ("plain", "function"):
        torch.manual_seed(0)
        model = rhn.FAMILY.build(5, shape, rhn.Options(depth=2, engine=engine))
        assert model.engine == f"rhn-{engine}"
        logits.append(model(tokens_BxT, None)[0])
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0])


@pytest.fixture
def no_cache():
    for cached in (compiled.library, rhn_kernel.kernel):
        cached.cache_clear()
    yield
    for cached in (compiled.library, rhn_kernel.kernel):
        cached.cache_clear()


@pytest.mark.parametrize("obstacle", ["switched off", "no compiler", "read-only", "broken"])
def test_without_a_kernel_the_plain_way_and_its_name(
    obstacle: str, no_cache, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if obstacle == "switched off":
        monkeypatch.setenv("STEEP_KERNELS", "0")
    elif obstacle == "no compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    elif obstacle == "read-only":
        (tmp_path / "cache").write_text("a file where the folder should be")
    else:
        (tmp_path / "broken").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "broken").chmod(0o755)
        monkeypatch.setenv("CXX", str(tmp_path / "broken"))
    with pytest.raises(NoKernel):
        rhn_kernel.kernel()
    model = rhn.FAMILY.build(4, {"vocabulary": 9}, rhn.Options(depth=2))
    assert model.engine == "rhn-function"
    model(torch.zeros(1, 2, dtype=torch.long), None)
    asked = rhn.FAMILY.build(4, {"vocabulary": 9}, rhn.Options(depth=2, engine="kernel"))
    with pytest.raises(NoKernel):
        asked(torch.zeros(1, 2, dtype=torch.long), None)


@needs_compiler
def test_built_once_and_found_again(no_cache, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rhn_kernel.kernel()
    (built,) = (tmp_path / "steep").iterdir()
    changed = built.stat().st_mtime_ns
    compiled.library.cache_clear()
    compiled.library("rhn")
    assert [built] == list((tmp_path / "steep").iterdir())
    assert built.stat().st_mtime_ns == changed


@needs_compiler
def test_a_wrong_kernel_is_not_used(no_cache, monkeypatch) -> None:
    monkeypatch.setattr(rhn_kernel, "_TOLERANCE", -1.0)
    with pytest.raises(NoKernel, match="off by"):
        rhn_kernel.kernel()
