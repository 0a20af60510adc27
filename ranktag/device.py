"""Where and in what to compute."""

from __future__ import annotations

import torch

from ranktag.errors import RanktagError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str | None) -> torch.device:
    """The device of that name; None: the first GPU if there is one, else the processor. Raises RanktagError if it is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # A number comes back from every device that computes; torch's 'meta' has none.
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        raise RanktagError(f"--device {name}: there is no such device here; try --device cpu") from None
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type to compute in; 'auto' is bfloat16 where the device multiplies it in hardware, else float32."""
    if precision != "auto":
        return DTYPES[precision]
    return torch.bfloat16 if _has_bfloat16(device) else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Torch's own test for the processors whose bfloat16 products oneDNN does not emulate.
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
