"""The Ray cluster as the command sees it: which nodes can take tasks, and what comes of them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ranktag.config import ExtractionConfig
from ranktag.errors import DiskFull, NoMemory, NotFound, Outage, Usage
from ranktag.features.executors._lines import Lines
from ranktag.features.progress import ExtractionProgress
from ranktag.wording import count

# Seconds without a word of the connection to Ray, which speaks every other second.
SILENCE, WAIT = 30.0, 0.5

# Seconds in which something must answer at the address: Ray itself tries for half a minute and more.
ANSWER = 5.0

GIGABYTE = 10**9

DRIVER = ("-m", "ranktag.features.executors._ray_driver")

# What the disk, the network or want of memory did to one task; all else would happen to any on that machine.
OUTAGES = (Outage.code, DiskFull.code, NoMemory.code)


class Lost(Exception):
    """There is no cluster any more; the message says how that is known."""


class Cluster:
    """The cluster behind a process of ``_ray_driver``.

    slots: node -> tasks it can do at once. avoided: nodes that get no more work. kind: the word of the kind of error
    that the last task that failed told of.
    """

    def __init__(self, driver: subprocess.Popen[bytes], config: ExtractionConfig) -> None:
        assert driver.stdout is not None
        self.slots: dict[str, int] = {}
        self.avoided: set[str] = set()
        self.kind = Outage.code
        self._known = False
        self._driver, self._config = driver, config
        self._lines = Lines(driver.stdout.fileno())
        self._silence = 0.0
        self._told = False

    @property
    def usable(self) -> dict[str, int]:
        """``slots`` of the nodes that are not avoided."""
        return {node: tasks for node, tasks in self.slots.items() if node not in self.avoided}

    def connect(self, progress: ExtractionProgress) -> None:
        """Have the driver connect to the cluster, and wait until the nodes are known.

        Raises as ``listen``, Outage where nothing answers at the address, Usage for what is none.
        """
        if (name_and_address := _address(self._config)) is not None:
            _expect_answer(*name_and_address)
        self._write(b"")
        while not self._known:
            self.listen(progress)

    def submit(self, number: int, request: Mapping[str, Any], avoid: Collection[str] = ()) -> None:
        """Hand out a request, for any node but those avoided by all and, as long as there are others, ``avoid``."""
        avoided = self.avoided | (set(avoid) if not set(self.usable) <= set(avoid) else set())
        self._write(json.dumps({"id": number, "request": request, "avoid": sorted(avoided)}).encode())

    def _write(self, line: bytes) -> None:
        assert self._driver.stdin is not None
        # Where it has ended, reading from it will tell.
        with suppress(BrokenPipeError):
            self._driver.stdin.write(line + b"\n")
            self._driver.stdin.flush()

    def listen(self, progress: ExtractionProgress) -> list[tuple[int, dict[str, Any]]]:
        """What has come of requests, by number; a moment is waited for it.

        Raises NotFound where there is no cluster, Lost where there is none any more.
        """
        lines = self._lines.read(WAIT)
        # Counted by waiting: while this process was suspended, so was the other.
        self._silence = 0.0 if lines else self._silence + WAIT
        if self._lines.ended or self._silence > SILENCE:
            raise Lost(f"{self._place()}the Ray cluster does not answer{' any more' if self._known else ''}")
        said = [json.loads(line) for line in lines]
        for line in said:
            if "fault" in line:
                raise self._fault(line["fault"][:200])
            if "cluster" in line:
                self._look(line["cluster"], progress)
        return [(line["id"], line["result"]) for line in said if "id" in line]

    def _fault(self, words: str) -> Exception:
        if self._known:
            return Lost(f"the Ray cluster has failed ({words})")
        return NotFound(
            f"{self._place()}there is no Ray cluster ({words}); start "
            "one with 'ray start --head', or give --ray-address HOST:PORT"
        )

    def _place(self) -> str:
        """Where the cluster is, if somebody said so and it has not answered yet."""
        where = _address(self._config)
        return f"{' '.join(where)}: " if where and not self._known else ""

    def _look(self, said: Mapping[str, Any], progress: ExtractionProgress) -> None:
        self._known, self.slots = True, said["slots"]
        if not self.slots and not self._told:
            self._told = True
            progress.note(
                f"No node of the Ray cluster ({count(said['nodes'], 'node')}) has {_demand(self._config)} for a task: "
                "waiting for one to join; ask for less with --cpus-per-task, --gpus-per-task, --memory-per-task"
            )

    def failed(self, result: Mapping[str, Any], progress: ExtractionProgress) -> str:
        """Take note of a task that failed, and avoid its node if any would fail there; returned is what it says."""
        message: str = result.get("message") or result["lost"]
        self.kind = result.get("error", Outage.code)
        outage = self.kind in OUTAGES and not result.get("blind")
        if not outage and result["node"] not in self.avoided:
            self.avoided.add(result["node"])
            progress.note(f"{result.get('host', 'a node')} gets no more work: {message}")
        return message


def _address(config: ExtractionConfig) -> tuple[str, str] | None:
    """The address of the cluster, behind what it was given by; None where Ray is to find one on this machine."""
    if config.ray_address:
        return "--ray-address", config.ray_address
    variable = os.environ.get("RAY_ADDRESS")
    return ("RAY_ADDRESS", variable) if variable else None


def _expect_answer(name: str, address: str) -> None:
    """Raise Outage if nothing answers at HOST:PORT within ``ANSWER`` seconds.

    What is no HOST:PORT is for Ray to understand; Usage where it can be none.
    """
    match = re.fullmatch(r"(?:ray://)?\[?([^/\[\]]+)\]?:([0-9]+)", address)
    if match is None:
        return
    host, port = match[1], int(match[2])
    no_address = Usage(f"{name} {address}: is no address; write HOST:PORT")
    # Beyond, the system would count from 0 again.
    if port > 65535:
        raise no_address
    until = time.monotonic() + ANSWER
    while True:
        try:
            socket.create_connection((host, port), timeout=max(WAIT, until - time.monotonic())).close()
            return
        except UnicodeError:
            raise no_address from None
        except OSError as error:
            reason = error.strerror or str(error)
        # A head that is just being started refuses at first.
        if time.monotonic() + WAIT > until:
            raise Outage(
                f"{name} {address}: nothing answers there ({reason}); start Ray's head with 'ray start "
                "--head', or check the address and the network, then run the same command again"
            )
        time.sleep(WAIT)


def _demand(config: ExtractionConfig) -> str:
    """'2 processors, 1 GPU and 4 GB of memory'."""
    parts = [count(config.cpus_per_task, "processor")]
    if config.gpus_per_task:
        parts.append(f"{config.gpus_per_task:g} {'GPU' if config.gpus_per_task <= 1 else 'GPUs'}")
    if config.memory_per_task:
        parts.append(f"{config.memory_per_task:g} GB of memory")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


@contextmanager
def started(config: ExtractionConfig) -> Iterator[Cluster]:
    """The cluster, to be connected to; the connection ends with the block, and the cluster's tasks with it."""
    settings = {
        "address": config.ray_address,
        "cpus": config.cpus_per_task,
        "gpus": config.gpus_per_task,
        "memory": config.memory_per_task and int(config.memory_per_task * GIGABYTE),
    }
    process = subprocess.Popen(
        [sys.executable, *DRIVER, json.dumps(settings)],
        # Not this folder, where one called ranktag would be taken for the package.
        cwd=os.sep,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Not of our group: Ctrl-C is for us, and we tell it.
        start_new_session=True,
    )
    try:
        yield Cluster(process, config)
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
