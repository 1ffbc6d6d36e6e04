"""Plain torch operations in place of kernels and hand-written gradients, where those cannot go.

``torch.func`` batches over models (packed.py) what torch itself computes; our own kernels and
autograd functions it cannot see into.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_only = False


def only_plain() -> bool:
    """Whether models are to keep to torch's own operations now."""
    return _only


@contextmanager
def plainly() -> Iterator[None]:
    """Inside the ``with`` block they are."""
    global _only
    before, _only = _only, True
    try:
        yield
    finally:
        _only = before
