"""What runs on a node of Ray: a child process that computes shards, and what it says.

The network, its threads, forks and signals are the child's, so that they never meet the engine's
own; the features go to the folder of shards and never into the engine's memory.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from typing import Any

# Letters of what a child that ended badly has said.
LAST_WORDS = 300


def compute(manifest: str, shards: str, processors: int, gpus: float) -> dict[str, Any]:
    """What ``ranktag.features.shard_worker`` says of the shards, and the node's name and number."""
    command = [sys.executable, "-m", "ranktag.features.shard_worker", manifest, shards, "--processors", str(processors)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(processors)}
    if not gpus:
        # The engine hides GPUs only from tasks that ask for some.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryFile("w+") as words:
        child = subprocess.Popen(
            command,
            env=environment,
            # Not the engine's folder, where one called ranktag would be taken for the package.
            cwd=os.sep,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
        )
        assert child.stdout is not None
        line = child.stdout.readline()
        code = child.wait()
        words.seek(0)
        said = words.read()[-LAST_WORDS:].strip()
    return {"host": socket.gethostname(), "node": _node(), **_answer(line, code, said)}


def _answer(line: str, code: int, said: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(line)
        return answer
    except ValueError:
        if "No module named 'ranktag" in said:
            message = f"ranktag is not installed on {socket.gethostname()} for {sys.executable}, or in another version"
            return {"error": "not-installed", "message": message}
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return {"lost": f"the process that computed {how}{f': {said}' if said else ''}"}


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
