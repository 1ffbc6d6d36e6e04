"""Where a trial ran: device, versions, memory. Recorded, since results depend on them."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from steep.records import Settings, settings


def choose_device(wanted: str) -> str:
    """'auto' is the first CUDA device where there is one. Raises ValueError for one that is not."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda", "mps", "xpu"):
        raise ValueError(f"there is no device {wanted!r}: cpu, cuda, mps, xpu or auto")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {wanted!r} was requested, but torch finds no CUDA device")
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device {wanted!r} was requested, but torch cannot use it: {reason}"
        ) from None
    return wanted


def make_deterministic() -> None:
    """Same seed, engine and thread count: same weights, bit for bit.

    One thread: two in one process are slower than one on models of this size, and sums in
    another order are other bits."""
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # use_deterministic_algorithms also configures the compiler, which it imports for that.
    torch.set_deterministic_debug_mode("error")
    # Filling every new tensor with NaN is a debugging aid that costs a pass over memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def choose_precision(precision: str) -> None:
    """Of float32 products on a GPU: torch's own default is TF32 for convolutions alone."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def versions() -> Settings:
    try:
        own = version("steep")
    except PackageNotFoundError:
        own = "unknown"
    return settings(
        {
            "steep": own,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        }
    )


def peak_memory(device: str) -> int | None:
    """Bytes: the device's peak, or this process's largest resident set."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
