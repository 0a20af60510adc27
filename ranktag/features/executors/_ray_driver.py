"""The connection to Ray, in a process of its own: where the cluster's end is the end of its clients, no more ends.

    python -m ranktag.features.executors._ray_driver SETTINGS

SETTINGS is JSON: address, cpus, gpus, memory (bytes or null). The first line of standard input, an
empty one, has it connect; then it takes a task a line: ``id``, ``request`` (see
``ranktag.features.shard_worker``), ``avoid`` (nodes by number). Standard output gives a line
of JSON a time: ``cluster`` ({nodes, slots: node -> tasks it can do at once}) at first and every
other second, of tasks ``id`` and ``result``, and ``fault`` where there is no cluster. It ends
when standard input closes, and its tasks with it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import sys
import threading
import time
from typing import Any, TextIO

# Seconds between two looks at the cluster, and between two looks at what has ended.
LOOK, TICK = 2.0, 0.2


class Driver:
    """Submits what it reads and tells what comes of it."""

    def __init__(self, settings: dict[str, Any], answers: TextIO) -> None:
        import ray

        from ranktag.features.executors import _ray_task

        # Ray declares no types for some of its functions.
        self._ray: Any = ray
        self._settings, self._answers = settings, answers
        ray.init(address=settings["address"] or "auto", log_to_driver=False, logging_level=logging.ERROR)
        self._options = {"num_cpus": settings["cpus"], "num_gpus": settings["gpus"], "max_retries": 0}
        if settings["memory"]:
            self._options["memory"] = settings["memory"]
        # The function travels as it is: a node without ranktag can say so.
        self._ray.cloudpickle.register_pickle_by_value(_ray_task)
        self._task = ray.remote(_ray_task.compute)
        self._running: dict[Any, int] = {}

    def say(self, **line: Any) -> None:
        """Write a line."""
        self._answers.write(json.dumps(line) + "\n")
        self._answers.flush()

    def submit(self, call: dict[str, Any]) -> None:
        """Hand a task to the cluster, for any node but those to be avoided."""
        avoid = {"label_selector": {"ray.io/node-id": f"!in({','.join(call['avoid'])})"}} if call["avoid"] else {}
        shards = call["request"].get("shards")
        name = "ranktag loads the network" if shards is None else f"ranktag shards {shards[:80]}"
        task = self._task.options(**self._options, **avoid, name=name)
        cpus = max(1, math.floor(self._settings["cpus"]))
        self._running[task.remote(json.dumps(call["request"]), cpus, self._settings["gpus"])] = call["id"]

    def look(self) -> None:
        """Tell which nodes there are, and how many tasks each can do at once."""
        nodes = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
        slots = {node: self._slots(resources) for node, resources in nodes.items()}
        self.say(cluster={"nodes": len(nodes), "slots": {node: count for node, count in slots.items() if count}})

    def _slots(self, resources: dict[str, float]) -> int:
        needed = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}
        return min(
            int(resources.get(name, 0.0) / self._settings[key]) for name, key in needed.items() if self._settings[key]
        )

    def answer(self) -> None:
        """Tell of a task that has ended; wait a moment for one."""
        if not self._running:
            time.sleep(TICK)
            return
        ended, _ = self._ray.wait(list(self._running), timeout=TICK)
        for reference in ended:
            number = self._running.pop(reference)
            try:
                result = self._ray.get(reference)
            except (self._ray.exceptions.RayError, ImportError) as error:
                words = [line.strip() for line in str(error).splitlines() if line.strip()]
                result = {"lost": f"{type(error).__name__}: {words[-1] if words else ''}"[:300]}
            self.say(id=number, result=result)


def _read(calls: queue.SimpleQueue[str]) -> None:
    """Lines of standard input; when it closes, this process ends at once, and the cluster ends its tasks."""
    for line in sys.stdin:
        calls.put(line)
    os._exit(0)


def main(settings: dict[str, Any], answers: TextIO) -> None:
    """Until standard input closes."""
    calls: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(calls,), daemon=True).start()
    # Imported while the images are still being listed.
    import ray  # noqa: F401

    calls.get()
    try:
        driver = Driver(settings, answers)
    except (ConnectionError, RuntimeError, ValueError) as error:
        answers.write(json.dumps({"fault": str(error).strip().split("\n")[0]}) + "\n")
        answers.flush()
        return
    try:
        _serve(driver, calls)
    except Exception as error:  # noqa: BLE001 (Ray raises anything when a cluster goes; whatever it is, it is told)
        driver.say(fault=f"{type(error).__name__}: {error}".strip().split("\n")[0][:300])


def _serve(driver: Driver, calls: queue.SimpleQueue[str]) -> None:
    looked = -math.inf
    while True:
        if time.monotonic() - looked >= LOOK:
            driver.look()
            looked = time.monotonic()
        while not calls.empty():
            driver.submit(json.loads(calls.get()))
        driver.answer()


if __name__ == "__main__":
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    # What Ray prints must not get between the lines.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(json.loads(sys.argv[1]), answers)
