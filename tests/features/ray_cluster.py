"""A Ray cluster of several nodes on this machine, and what may happen to one; a program for ``test_ray.py``.

    unshare -n sh -c 'ip link set lo up && exec python ray_cluster.py FOLDER'

In a network of its own, because Ray elsewhere replaces 127.0.0.1 by the machine's address.
Standard input takes the names of functions of ``Scenes``, a line each; standard output gives
a line of JSON each: the traceback of what failed, or null.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Before Ray is imported: what its processes and their children take over.
FOLDER = Path(sys.argv[1])
HERE = Path(__file__).parent
os.environ |= {
    "PYTHONPATH": str(HERE.parent / "networks_added"),
    "NETWORKS_ADDED": str(FOLDER / "networks"),
    "SECONDS_PER_BATCH": "0.3",
    "OMP_NUM_THREADS": "1",
    "RAY_TMPDIR": str(FOLDER / "r"),
    "RAY_USAGE_STATS_ENABLED": "0",
    # Or a token would be written into the home folder.
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    # Seconds until a client takes the head for dead; 60 without this.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}
os.environ.pop("RAY_ADDRESS", None)

from ray.cluster_utils import Cluster  # noqa: E402

IMAGES, FAILED, SHARDS = 48, {5, 13}, 12
NODE = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20, "include_dashboard": False}
# A node that says nothing is given up after three seconds.
HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
# The command as it is installed.
RANKTAG = [sys.executable, "-c", "import sys; from ranktag.pipelines.cli import main; sys.exit(main())"]
# fmt: off
OPTIONS = [
    "--backbone", "slow", "--weights", "random:1", "--precision", "fp32", "--batch-size", "4", "--shard-size", "4",
    "--device", "cpu",
]
# fmt: on


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def children() -> list[int]:
    """Processes that compute shards on this cluster, the oldest first."""
    found = []
    for number in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with suppress(OSError):
            place = Path(f"/proc/{number}")
            line, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
            if b"ranktag.features.shard_worker" in line and os.fsencode(f"RAY_TMPDIR={FOLDER}/") in environment:
                found.append(number)
    return found


class Run:
    """The real command on the cluster, in a process of its own."""

    def __init__(self, output: Path, address: str, *options: str) -> None:
        self.output = output
        call = ["extract-features", str(FOLDER / "photos"), "-o", str(output), *OPTIONS, "--json"]
        command = [*RANKTAG, *call, "--executor", "ray", "--ray-address", address]
        self.process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=FOLDER,
            # Tests that run in a shell's background would have it ignore Ctrl-C, as they do.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def says(self) -> str:
        """The next line."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def shards(self) -> int:
        return len(list(self.output.with_name(self.output.name + ".shards").glob("[0-9]*.h5")))

    def begun(self, shards: int = 1) -> Run:
        wait_for(lambda: self.shards() >= shards or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()
        return self

    def finished(self) -> tuple[int, dict[str, Any], str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, json.loads(out), err

    def assert_whole(self, computed: int = IMAGES) -> str:
        """The cache is, to the bit, that of one process; nobody is left at work. Returned is what was said."""
        code, said, err = self.finished()
        assert code == 1 and said["finished"] and said["computed"] == computed, (code, said, err)
        assert {int(failed["image_id"][:2]) for failed in said["failures"]} == FAILED, said
        assert_same(self.output, FOLDER / "alone.h5")
        wait_for(lambda: not children(), 10)
        return err


def assert_same(one: Path, other: Path) -> None:
    sys.path.insert(0, str(HERE.parent))
    from extracting import assert_same as same

    same(one, other)


class Scenes:
    """What happens to a run; each leaves a cluster of two nodes of one processor behind."""

    def __init__(self) -> None:
        self.cluster: Cluster = None
        self._number = 0
        alone = [*RANKTAG, "extract-features", FOLDER / "photos", *OPTIONS]
        made = subprocess.run([*alone, "-o", FOLDER / "alone.h5"], env={**os.environ, "SECONDS_PER_BATCH": "0"})
        assert made.returncode == 1, "two photos cannot be read"
        self.start()

    def start(self) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "_system_config": HEALTH})
        self.nodes = [self.cluster.add_node(num_cpus=1, wait=False, **NODE) for _ in range(2)]
        self.cluster.wait_for_nodes()

    def run(self, *options: str) -> Run:
        self._number += 1
        return Run(FOLDER / f"{self._number}.h5", self.cluster.address, *options)

    @contextmanager
    def one_lost(self) -> Iterator[Any]:
        """A node that is lost within, and replaced behind."""
        node = self.nodes.pop()
        try:
            yield node
        finally:
            self.cluster.remove_node(node, allow_graceful=False)
            self.nodes.append(self.cluster.add_node(num_cpus=1, **NODE))

    def nothing_happens(self) -> None:
        said = self.run().assert_whole()
        assert f"{IMAGES} images, 0 done already. Computing on 2 nodes of Ray in float32" in said, said
        assert said.count("\n") == 1, said

    def a_node_is_removed(self) -> None:
        run = self.run().begun()
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)
        run.assert_whole()
        self.nodes.append(self.cluster.add_node(num_cpus=1, **NODE))

    def a_raylet_is_killed(self) -> None:
        run = self.run().begun()
        with self.one_lost() as node:
            os.kill(raylet_of(node), signal.SIGKILL)
            run.assert_whole()

    def a_child_is_killed(self) -> None:
        run = self.run().begun()
        os.kill(children()[0], signal.SIGKILL)
        run.assert_whole()

    def a_raylet_is_stopped_and_goes_on(self) -> None:
        run = self.run().begun()
        with self.one_lost() as node:
            raylet = raylet_of(node)
            os.kill(raylet, signal.SIGSTOP)
            time.sleep(5)
            os.kill(raylet, signal.SIGCONT)
            run.assert_whole()

    def the_driver_is_killed(self) -> None:
        run = self.run().begun()
        run.process.kill()
        run.process.communicate()
        wait_for(lambda: not children(), 15)
        there = run.shards()
        time.sleep(2)
        assert run.shards() == there < SHARDS
        again = Run(run.output, self.cluster.address)
        again.assert_whole(computed=IMAGES - 4 * there)

    def a_node_does_not_see_the_photos(self) -> None:
        start = f"{sys.executable} -m ray.scripts.scripts start --block --num-cpus=2 --address={self.cluster.address}"
        blind = f"mount -t tmpfs none {FOLDER}/photos && exec {start}"
        command = [
            "unshare",
            "-m",
            "sh",
            "-c",
            f"{blind} --node-ip-address=127.0.0.1 --object-store-memory={80 * 2**20}",
        ]
        node = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: sum(n["Alive"] for n in self.cluster.global_state.node_table()) == 4)
            # A node that has only just joined may be given nothing.
            for _ in range(5):
                said = self.run().assert_whole()
                if "gets no more work" in said:
                    break
            assert "gets no more work" in said and "does not see the photos" in said, said
        finally:
            node.terminate()
            node.wait(30)

    def a_task_asks_for_what_no_node_has(self) -> None:
        run = self.run("--gpus-per-task", "1", "--memory-per-task", "100000")
        assert "has 1 processor, 1 GPU and 100000 GB of memory for a task: waiting" in run.says()
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(20) == 130
        run = self.run("--gpus-per-task", "1", "--memory-per-task", "0.5")
        # Those that are there have half a gigabyte, and no GPU.
        assert "No node of the Ray cluster (3 nodes) has 1 processor, 1 GPU and 0.5 GB of memory" in run.says()
        node = self.cluster.add_node(num_cpus=1, num_gpus=1, memory=2**30, **NODE)
        assert "Computing on 1 node of Ray" in run.assert_whole()
        self.cluster.remove_node(node, allow_graceful=False)

    def the_head_is_killed(self) -> None:
        run = self.run().begun()
        for process in self.cluster.head_node.all_processes.values():
            for info in process:
                info.process.kill()
        code, said, err = run.finished()
        assert code == 4 and said["error"] == "outage", (code, said, err)
        assert "the Ray cluster" in said["message"] and "run the same command again" in said["message"], said
        assert len([line for line in err.splitlines() if line.startswith("Error")]) == 1 and "Traceback" not in err, err
        there = run.shards()
        self.cluster.shutdown()
        wait_for(lambda: not children(), 15)
        there = run.shards()
        self.start()
        Run(run.output, self.cluster.address).assert_whole(computed=IMAGES - 4 * there)


def raylet_of(node: Any) -> int:
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    scenes = Scenes()
    for line in sys.stdin:
        failed = None
        try:
            getattr(scenes, line.strip())()
        except BaseException:  # noqa: BLE001 (told to the test)
            failed = traceback.format_exc()
        answers.write(json.dumps(failed) + "\n")
        answers.flush()
    scenes.cluster.shutdown()
