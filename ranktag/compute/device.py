"""Where and in what to compute."""

from __future__ import annotations

import functools
import time

import torch
from torch import Tensor

from ranktag.errors import Usage

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# How many times as fast bfloat16 must be on a processor: below, float32 with its Winograd convolutions is as fast.
FASTER = 1.5


def choose_device(name: str | None) -> torch.device:
    """The device of that name; None: the first GPU if there is one, else the processor.

    Raises RanktagError if it is not there; torch's AcceleratorError if it is and does not answer.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # A number comes back from every device that computes; torch's 'meta' has none.
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        if isinstance(error, (torch.AcceleratorError, torch.OutOfMemoryError)) and "ordinal" not in str(error):
            raise
        raise Usage(f"--device {name}: there is no such device here; try --device cpu") from None
    return device


def sent(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on a device; to a GPU by way of pinned memory, or the copy would wait for all that was launched before."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type to compute in; 'auto' is bfloat16 where the device is fast in it, else float32."""
    if precision != "auto":
        return DTYPES[precision]
    return torch.bfloat16 if _is_fast_in_bfloat16(device) else torch.float32


def _is_fast_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Torch's own tests for the processors whose bfloat16 products oneDNN does not emulate.
    return device.type == "cpu" and (
        torch.cpu._is_amx_tile_supported() or (torch.cpu._is_avx512_bf16_supported() and _multiplies_bfloat16_faster())
    )


@functools.cache
def _multiplies_bfloat16_faster() -> bool:
    """Whether this processor's AVX512-BF16 is worth its rounding.

    Measured, because it depends on the processor: an AMD EPYC computed VGG twice as fast in
    bfloat16 as in float32, an Intel Xeon without AMX half as fast (165 against 310 GFLOP/s).
    """
    a = torch.ones(512, 512)
    return FASTER * _seconds(a.bfloat16()) < _seconds(a)


def _seconds(a: Tensor) -> float:
    """Of ``a @ a``, at best."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - began)
    return min(taken)
