"""Matrix products on the CPU through oneDNN, for code that writes its own gradients.

``torch.mm`` in float32 goes to MKL, which keeps to its AVX2 code on processors not made by Intel:
on an AVX-512 AMD core oneDNN was measured at 2 to 2.5 times its speed at our shapes, elsewhere
they are equal. The choice depends on the build of torch alone, never on a timing: the same
installation always rounds the same way.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x_MxK: Tensor, weight_NxK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, outside autograd. Transposed views are fine, and need no copy."""
    if _ONEDNN and x_MxK.is_cpu and x_MxK.dtype == torch.float32:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x_MxK, weight_NxK, bias_N, "none", [], ""
        )
        return product
    return F.linear(x_MxK, weight_NxK, bias_N)
