"""Freed memory that stays with the process: the kernel is asked once, and again when it is over."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
import textwrap
import threading

import pytest

from ranktag.compute import allocator as memory
from ranktag.compute.allocator import kept_memory

MIB = 2**20
PAGES = 64 * MIB // resource.getpagesize()

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")

# In a process of its own: where a block stands depends on all that was allocated before.
SCRIPT = """
    import ctypes, json, resource
    from ranktag.compute.allocator import give_back_memory, kept_memory

    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

    def use(size):
        block = libc.malloc(size)
        libc.memset(block, 1, size)
        libc.free(block)

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            use(64 * 2**20)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    found = {"outside": faults()}
    with kept_memory():
        faults()
        found["within"] = faults()
        with kept_memory():
            pass
        found["after_an_inner_end"] = faults()
        before = resident()
        use(256 * 2**20)
        found["kept"] = resident() - before
        give_back_memory()
        found["given_back"] = resident() - before
        use(256 * 2**20)
    found["left"] = resident() - before
    found["afterwards"] = faults()
    print(json.dumps(found))
"""


def test_a_freed_block_is_used_again_and_given_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if found["outside"] < 9 * PAGES:
        pytest.skip("the kernel gives huge pages here")
    assert found["within"] < PAGES and found["after_an_inner_end"] < PAGES, found
    assert found["kept"] > 100 * MIB and found["given_back"] < 32 * MIB and found["left"] < 32 * MIB, found
    assert found["afterwards"] >= 9 * PAGES, found


def test_several_threads_enter_and_leave_in_any_order() -> None:
    before = memory._within
    inside, leave = threading.Barrier(9), threading.Barrier(9)
    seen: list[int] = []

    def work() -> None:
        for _ in range(200):
            with kept_memory():
                pass
        with kept_memory():
            inside.wait()
            seen.append(memory._within)
            leave.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    inside.wait()
    leave.wait()
    for thread in threads:
        thread.join()
    assert seen == [before + 8] * 8 and memory._within == before


def test_an_error_within_ends_it() -> None:
    before = memory._within
    with pytest.raises(ZeroDivisionError), kept_memory():
        assert memory._within == before + 1
        raise ZeroDivisionError
    assert memory._within == before
