"""The kernels that are compiled when ranktag is installed, where a C compiler is there (see kernels.c)."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from ranktag.compute import kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]

# As many as torch itself shares out among threads.
SHARED_OUT = 32768


def compiled(numbers: Tensor) -> bool:
    """Whether there are kernels for such a tensor: on a processor, float32 or bfloat16."""
    return kernels is not None and numbers.device.type == "cpu" and numbers.dtype in (torch.float32, torch.bfloat16)


def threads(numbers: Tensor) -> int:
    """How many of torch's threads a kernel shares such a tensor out among."""
    return torch.get_num_threads() if numbers.numel() >= SHARED_OUT else 1


def address(tensor: Tensor | None) -> int:
    """Where a kernel finds a tensor's numbers; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
