"""Shards of a manifest, computed by a process that an engine starts and that never outlives it.

    python -m ranktag.features.shard_worker [--processors N]

Standard input takes a request a line, in JSON; each is answered by a line of JSON on standard output:

- ``load``, settings as ``ranktag.features.manifest.for_workers`` gives them, and ``wanted``, a
  provenance with the versions that all must have: the network is loaded. Answered by
  ``weights_sha256``, ``compute_dtype`` and ``batch_size``, what the settings left to the machine.
- ``manifest``, and ``shards`` as ``ranktag.features.from_manifest.parse_shards`` reads them: they are
  computed, with the network that is loaded if it is the right one. Answered by ``images`` computed,
  of how many ``kept`` there were, ``failures`` ([row, reason] of both), ``seconds``.

Either may be answered by ``error``, the word of a kind of ``ranktag.errors``, ``message``, and ``blind``,
whether this machine does not see the photos. The process stops when its standard input closes:
whoever started it has ended, however that was.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ranktag.config import ExtractionConfig
from ranktag.errors import Mismatch, Outage, RanktagError, kind_of, one_line
from ranktag.features.executors._lines import Lines

if TYPE_CHECKING:
    from ranktag.features.backbone import Backbone
    from ranktag.features.job import Job
    from ranktag.features.network import Network

# Seconds that the batch at hand may still take once standard input has closed.
GRACE = 5.0
FOREVER = 1e6


class ShardWorker:
    """Answers requests, and keeps the network from one to the next. processors: of the task; None: all."""

    def __init__(self, processors: int | None) -> None:
        self._processors = processors
        self._network: Network | None = None
        self._loaded: tuple[object, ...] = ()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the line of JSON says."""
        try:
            if "load" in request:
                return self._load(request["load"], request["wanted"])
            return self._compute(request["manifest"], request["shards"])
        except RanktagError as error:
            from ranktag.features.canary import Blind

            return {"error": error.code, "message": str(error), "blind": isinstance(error, Blind)}
        except OSError as error:
            where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "the machine"
            return {"error": kind_of(error).code, "message": one_line(f"{where}: {error.strerror or error}")}
        except MemoryError:
            return {"error": "no-memory", "message": "not enough memory; take smaller batches (--batch-size)"}
        except RuntimeError as error:
            # Of torch and its devices.
            return {"error": Outage.code, "message": one_line(str(error).strip().split("\n")[0][:200])}

    def _load(self, settings: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, Any]:
        from ranktag.feature_cache.provenance import Provenance
        from ranktag.features.backbone import find_backbone
        from ranktag.features.from_manifest import refuse_other_versions
        from ranktag.features.machine import choose_batch_size

        refuse_other_versions(Provenance(**{f.name: wanted.get(f.name, "") for f in fields(Provenance)}), "Ray")
        config = ExtractionConfig(**settings)
        backbone = find_backbone(config.backbone).with_crops(config.crops)
        network = self._network_of(config, backbone, backbone.choose_layer(config.layer))
        if wanted["weights_sha256"] not in ("", network.weights_sha256):
            raise Mismatch(f"--weights {config.weights}: is another file here; give one that all machines see")
        return {
            "weights_sha256": network.weights_sha256,
            "compute_dtype": str(network.dtype).removeprefix("torch."),
            "batch_size": choose_batch_size(config, network.device),
        }

    def _compute(self, manifest: str, shards: str) -> dict[str, Any]:
        from ranktag.features.from_manifest import compute_missing, parse_shards
        from ranktag.features.machine import device_of, workers_of
        from ranktag.features.manifest import open_manifest
        from ranktag.features.progress import ExtractionProgress

        opened = open_manifest(manifest)
        config = ExtractionConfig(device=opened.config.device)
        if self._processors is not None:
            config = config.replace(workers=workers_of(config, device_of(config), self._processors))
        job = opened.job(parse_shards(shards, opened.shards), config, (0, 1))

        def network_of(job: Job) -> Network:
            return self._network_of(job.config, job.backbone, job.wanted.layer)

        kept, done = compute_missing(opened, job, ExtractionProgress(), network_of)
        failures = sorted({**kept.failures, **done.failures}.items())
        return {"images": done.images, "kept": kept.images, "failures": failures, "seconds": done.seconds}

    def _network_of(self, config: ExtractionConfig, backbone: Backbone, layer: str) -> Network:
        """The network, as it was loaded if it is the same."""
        from ranktag.compute.device import choose_dtype
        from ranktag.features.machine import device_of
        from ranktag.features.network import load_network

        device = device_of(config)
        wanted = (backbone.name, backbone.preprocessing, layer, config.weights, device)
        network, dtype = self._network, choose_dtype(config.precision, device)
        if network is None or (self._loaded, network.dtype) != (wanted, dtype):
            # Not two at a time.
            self._network = network = None
            network = load_network(backbone, layer, config.weights, device=device, precision=config.precision)
            self._network, self._loaded = network, wanted
        return network


def _read(requests: queue.SimpleQueue[bytes]) -> None:
    """The lines of standard input; once it has closed this process stops, at the latest after ``GRACE`` seconds."""
    # Not sys.stdin, whose lock a process that is forked from here would find locked for ever.
    lines = Lines(0)
    while not lines.ended:
        for line in lines.read(FOREVER):
            requests.put(line)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Until standard input closes."""
    parser = argparse.ArgumentParser("python -m ranktag.features.shard_worker")
    parser.add_argument("--processors", type=int)
    # What libraries print must not get between the lines.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    worker = ShardWorker(parser.parse_args(arguments).processors)
    while True:
        answers.write(json.dumps(worker.answer(json.loads(requests.get()))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
