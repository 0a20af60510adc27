"""What 'auto' computes in."""

from __future__ import annotations

import pytest
import torch

from ranktag.compute import device as module
from ranktag.compute.device import choose_dtype


@pytest.mark.parametrize(
    ("amx", "avx512", "float32_seconds", "bfloat16_seconds", "expected"),
    [
        (True, True, 1.0, 9.0, torch.bfloat16),
        (False, True, 2.0, 1.0, torch.bfloat16),
        (False, True, 1.4, 1.0, torch.float32),
        (False, True, 1.0, 2.0, torch.float32),
        (False, False, 2.0, 1.0, torch.float32),
    ],
)
def test_auto_is_bfloat16_where_the_processor_is_fast_in_it(
    monkeypatch: pytest.MonkeyPatch,
    amx: bool,
    avx512: bool,
    float32_seconds: float,
    bfloat16_seconds: float,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(
        module, "_seconds", lambda a: bfloat16_seconds if a.dtype == torch.bfloat16 else float32_seconds
    )
    module._multiplies_bfloat16_faster.cache_clear()
    try:
        assert choose_dtype("auto", torch.device("cpu")) == expected
    finally:
        module._multiplies_bfloat16_faster.cache_clear()


def test_a_precision_that_is_named_is_taken() -> None:
    assert [choose_dtype(name, torch.device("cpu")) for name in ("fp32", "bf16", "fp16")] == [
        torch.float32,
        torch.bfloat16,
        torch.float16,
    ]
