"""The kernels that are compiled when ranktag is installed, where a C compiler is there (see kernels.c)."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from ranktag.compute import kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]


def compiled(numbers: Tensor) -> bool:
    """Whether there are kernels for such a tensor: on a processor, float32 or bfloat16."""
    return kernels is not None and numbers.device.type == "cpu" and numbers.dtype in (torch.float32, torch.bfloat16)


def address(tensor: Tensor | None) -> int:
    """Where a kernel finds a tensor's numbers; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
