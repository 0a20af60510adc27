"""Freed memory that stays with the process: the kernel is asked once, and again when it is over."""

from __future__ import annotations

import ctypes
import resource

import pytest
import torch

from ranktag.memory import kept_memory

PAGES = 64 * 2**20 // resource.getpagesize()

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")


def faults(times: int) -> int:
    """Pages that the kernel had to find while a tensor of 64 MiB was written and freed so many times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(64 * 2**20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_freed_block_is_used_again() -> None:
    # Huge pages, where the kernel grants them, are found at once.
    if faults(1) < PAGES // 2:
        pytest.skip("the kernel gives huge pages here")
    with kept_memory():
        # Until the C library has found its places for blocks of this size.
        faults(20)
        assert faults(10) < PAGES
        with kept_memory():
            pass
        assert faults(10) < PAGES, "the inner end ended the outer one"
    assert faults(10) >= 9 * PAGES


def test_what_is_not_in_use_is_given_back() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    with kept_memory():
        before = resident()
        torch.ones(256 * 2**20, dtype=torch.uint8)
        assert resident() - before > 200 * 2**20
    assert resident() - before < 32 * 2**20
