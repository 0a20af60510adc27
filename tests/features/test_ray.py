"""Stage one on a Ray cluster of several nodes: whatever happens to it, the cache is that of one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def why_not() -> str:
    """Why there can be no cluster here; '' if there can."""
    if sys.version_info >= (3, 14) or shutil.which("unshare") is None:
        return "no unshare here"
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


@pytest.fixture(scope="module")
def scene(folder: Path) -> Iterator[Callable[[str], None]]:
    """Plays a scene of ``ray_cluster.Scenes`` on a cluster that all of them share."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    process = subprocess.Popen(
        [*ENTER, sys.executable, str(PROGRAM), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if False else None,
        env=environment,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None

    def play(name: str) -> None:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(name + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "the cluster could not be started, or has ended"
        failed = json.loads(answer)
        assert failed is None, failed

    yield play
    process.stdin.close()
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    "name",
    [
        "nothing_happens",
        "a_node_is_removed",
        "a_raylet_is_killed",
        "a_child_is_killed",
        "the_driver_is_killed",
        "a_raylet_is_stopped_and_goes_on",
        "a_node_does_not_see_the_photos",
        "the_head_is_killed",
    ],
)
def test_the_cache_is_that_of_one_process(scene: Callable[[str], None], name: str) -> None:
    scene(name)
