"""What runs on a node of Ray: a child process that loads the network and computes shards, and what it says.

The network, its threads, forks and signals are the child's, so that they never meet the engine's
own; the features go to the folder of shards and never into the engine's memory. A child is kept
for the next task of the same process of Ray's, whose network it has loaded then; it ends with
that process, however that ends, and after ``IDLE`` seconds without a task.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Any

CHILD = ("-m", "ranktag.features.shard_worker")

# Letters of what a child that ended badly has said.
LAST_WORDS = 300

# Seconds after which the memory of the node, or of its GPU, is somebody else's again.
IDLE = 5.0

# (processors, visible GPUs) -> a child without a task. Whoever uses or ends it takes it out of here, and nobody else.
_idle: dict[tuple[int, str | None], _Child] = {}


class _Child:
    """A process of ``ranktag.features.shard_worker``."""

    def __init__(self, processors: int, environment: dict[str, str]) -> None:
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the child)
        self._process = subprocess.Popen(
            [sys.executable, *CHILD, "--processors", str(processors)],
            env=environment,
            # Not the engine's folder, where one called ranktag would be taken for the package.
            cwd=os.sep,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )
        self._timer: threading.Timer | None = None

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: str) -> dict[str, Any]:
        """What the child answers, or how it ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            return answer
        except (BrokenPipeError, ValueError):
            return self._ended()

    def _ended(self) -> dict[str, Any]:
        code = self._process.wait()
        self._words.seek(0)
        said = self._words.read()[-LAST_WORDS:].strip()
        if "No module named 'ranktag" in said:
            message = f"ranktag is not installed on {socket.gethostname()} for {sys.executable}, or in another version"
            return {"error": "not-installed", "message": message}
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return {"lost": f"the process that computed {how}{f': {said}' if said else ''}"}

    def at_work(self) -> None:
        """It is not idle any more."""
        if self._timer is not None:
            self._timer.cancel()

    def end_after(self, seconds: float, kind: tuple[int, str | None]) -> None:
        """End it if it is still idle by then."""
        self._timer = threading.Timer(seconds, _end, (kind,))
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Have it end, and wait for it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self.at_work()
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._words.close()


def compute(request: str, processors: int, gpus: float) -> dict[str, Any]:
    """What ``ranktag.features.shard_worker`` answers to a request, and the node's name and number."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(processors)}
    if not gpus:
        # The engine hides GPUs only from tasks that ask for some.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    kind = (processors, environment.get("CUDA_VISIBLE_DEVICES"))
    child = _idle.pop(kind, None)
    for other in list(_idle):
        # Of GPUs that are not this task's.
        _end(other)
    if child is None or not child.lives:
        child = _Child(processors, environment)
    child.at_work()
    answer = child.ask(request)
    if "lost" in answer or "error" in answer:
        child.end()
    else:
        _idle[kind] = child
        child.end_after(IDLE, kind)
    return {"host": socket.gethostname(), "node": _node(), **answer}


def _end(kind: tuple[int, str | None]) -> None:
    """End the idle child of a kind, if there is one."""
    if (child := _idle.pop(kind, None)) is not None:
        child.end()


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
