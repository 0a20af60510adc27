"""Shards of a manifest, computed by a process that an engine starts and that never outlives it.

    python -m ranktag.features.shard_worker MANIFEST SHARDS [--processors N]

SHARDS are as ``ranktag.features.from_manifest.parse_shards`` reads them. One line of JSON goes
to stdout: ``images`` computed, of how many ``kept`` there were, ``failures`` ([row, reason] of
both), ``seconds``; or ``error``, the word of a kind of ``ranktag.errors``, ``message``, and
``blind``, whether this machine does not see the photos. The
process stops when its standard input closes: whoever started it has ended, however that was.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from typing import Any

from ranktag.config import ExtractionConfig
from ranktag.errors import Outage, RanktagError, kind_of, one_line

# Seconds that the batch at hand may still take once standard input has closed.
GRACE = 5.0


def main(arguments: list[str]) -> dict[str, Any]:
    """What the line of JSON says."""
    parser = argparse.ArgumentParser("python -m ranktag.features.shard_worker")
    parser.add_argument("manifest")
    parser.add_argument("shards")
    parser.add_argument("--processors", type=int)
    called = parser.parse_args(arguments)
    try:
        return _compute(called.manifest, called.shards, called.processors)
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


def _compute(manifest: str, shards: str, processors: int | None) -> dict[str, Any]:
    from ranktag.features.from_manifest import compute_missing, parse_shards
    from ranktag.features.machine import device_of, workers_of
    from ranktag.features.manifest import open_manifest
    from ranktag.features.progress import ExtractionProgress

    opened = open_manifest(manifest)
    config = ExtractionConfig(device=opened.config.device)
    if processors is not None:
        config = config.replace(workers=workers_of(config, device_of(config), processors))
    job = opened.job(parse_shards(shards, opened.shards), config, (0, 1))
    kept, done = compute_missing(opened, job, ExtractionProgress())
    failures = sorted({**kept.failures, **done.failures}.items())
    return {"images": done.images, "kept": kept.images, "failures": failures, "seconds": done.seconds}


def _stop_with_standard_input() -> None:
    """Wait for the end of standard input, then stop this process, at the latest after ``GRACE`` seconds."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    # What libraries print must not get into the line.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=_stop_with_standard_input, daemon=True).start()
    answer.write(json.dumps(main(sys.argv[1:])) + "\n")
    answer.close()
