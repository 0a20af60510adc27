"""Stage one on a Ray cluster of several nodes: whatever happens to it, the cache is that of one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from added import TINY
from extracting import VARIABLES
from PIL import Image

PROGRAM = Path(__file__).parent / "ray_cluster.py"
SLOW = TINY.replace("from torch import nn\n", "import os, time\n\n    from torch import nn\n").replace(
    "    return nn.Sequential(",
    """    class Slow(nn.Module):
        def forward(self, x):
            time.sleep(float(os.environ.get("SECONDS_PER_BATCH", "0")))
            return x

    return nn.Sequential(Slow(), """,
)
SLOW = SLOW.replace('name="tiny"', 'name="slow"')
ENTER = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]

SCENES = (
    "nothing_happens",
    "a_node_is_removed",
    "a_raylet_is_killed",
    "a_child_is_killed",
    "the_driver_is_killed",
    "a_raylet_is_stopped_and_goes_on",
    "a_node_does_not_see_the_photos",
    "a_task_asks_for_what_no_node_has",
    "the_head_is_killed",
)

pytestmark = pytest.mark.slow


def why_not() -> str:
    """Why there can be no cluster here; '' if there can."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "no unshare or no ip here, to make a network of its own"
    try:
        import ray  # noqa: F401
    except ImportError:
        return "Ray is not installed (extra ray)"
    done = subprocess.run([*ENTER, "true"], capture_output=True, text=True, check=False)
    return f"no network of its own may be made here ({done.stderr.strip()})" if done.returncode else ""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """48 photos of which numbers 5 and 13 cannot be read, a slow network, and the cache one process makes of them.

    Not below pytest's folder: the names of Ray's sockets may have 107 letters.
    """
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="rt") as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        (folder / "networks").mkdir()
        random = np.random.default_rng(0)
        for number in range(48):
            path = folder / "photos" / f"{number:02}.png"
            if number in (5, 13):
                path.write_bytes(b"text")
            else:
                Image.fromarray(random.integers(0, 256, (16, 20, 3), np.uint8)).save(path)
        (folder / "networks/slow.py").write_text(SLOW)
        yield folder


@contextmanager
def cluster(folder: Path) -> Iterator[Callable[[str], str | None]]:
    """A cluster; what is called with the name of one of ``ray_cluster.Scenes`` plays it and returns what went wrong."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    process = subprocess.Popen(
        [*ENTER, sys.executable, str(PROGRAM), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None

    def play(name: str) -> str | None:
        stdin.write(name + "\n")
        stdin.flush()
        answer = stdout.readline()
        assert answer, f"{name}: the cluster could not be started, or has ended"
        failed: str | None = json.loads(answer)
        return failed

    yield play
    stdin.close()
    assert process.wait(60) == 0


# One test, as it is one cluster: tests that are shared out would start one each.
def test_whatever_happens_the_cache_is_that_of_one_process(folder: Path) -> None:
    with cluster(folder) as play:
        failed = {name: play(name) for name in SCENES}
    assert not any(failed.values()), "\n".join(f"{name}: {words}" for name, words in failed.items() if words)
