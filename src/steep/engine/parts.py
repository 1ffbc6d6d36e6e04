"""A batch with its state as a list of tensors and what is around them, there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

Rest = tuple[Any, ...]


def parts(nested: Any) -> tuple[list[Tensor], Rest, TreeSpec]:
    """The tensors in nested tuples; all else, with None in their places; and the nesting."""
    leaves, structure = tree_flatten(nested)
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    return tensors, tuple(None if isinstance(x, Tensor) else (x,) for x in leaves), structure


def whole(tensors: Sequence[Tensor], rest: Rest, structure: TreeSpec) -> Any:
    """``parts`` put together again."""
    following = iter(tensors)
    return tree_unflatten([next(following) if x is None else x[0] for x in rest], structure)
