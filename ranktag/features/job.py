"""One worker's part of an extraction: what is asked for, what is there already, and what an engine did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.config import ExtractionConfig
from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.joining import Joining
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.shards import Shard
from ranktag.features.backbone import Backbone
from ranktag.features.changes import Changes
from ranktag.features.progress import Plan
from ranktag.files.mirror import Mirror
from ranktag.images.listing import ImageList

if TYPE_CHECKING:
    from ranktag.features.network import Network


@dataclass(frozen=True)
class Done:
    """What was computed, now or by an earlier run.

    images: how many. failures: row in the image list -> reason. weights_sha256: of the
    network, '' if nothing was computed. seconds: of computing.
    """

    images: int = 0
    failures: Mapping[int, str] = field(default_factory=dict)
    weights_sha256: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """One worker's part of an extraction.

    listed: the images to compute, the other workers' too: all of a first run, and where a cache is brought up to
    date those that are new or have changed. files: theirs, as they were before any was read. changes: what was found
    beside what was there already; None in a first run. worker: (index, count). shards: this
    worker's. wanted: the provenance that is asked for; '' where it is not known yet. kept:
    what earlier runs have done of it. network: ``backbone`` loaded, if it is already. mirror:
    puts the output's files where they belong once they are whole; None where they stay. joining: is told of every shard
    that is written; None where that is left to the end.
    """

    listed: ImageList
    output: Path
    config: ExtractionConfig
    backbone: Backbone
    worker: tuple[int, int]
    shards: Sequence[Shard]
    wanted: Provenance
    files: FileStates
    kept: Done = Done()
    changes: Changes | None = None
    network: Network | None = None
    mirror: Mirror | None = None
    joining: Joining | None = None

    @property
    def images(self) -> int:
        """How many images this worker has to do, done or not."""
        return sum(map(len, self.shards))

    @property
    def width(self) -> int:
        """D, the numbers of a feature."""
        return self.backbone.layers[self.wanted.layer]

    def resolved(
        self, compute_dtype: str, *, config: ExtractionConfig | None = None, weights_sha256: str | None = None
    ) -> Job:
        """The same, now that what is computed in is known, and perhaps the settings and weights of all machines."""
        sha256 = self.wanted.weights_sha256 if weights_sha256 is None else weights_sha256
        wanted = replace(self.wanted, compute_dtype=compute_dtype, weights_sha256=sha256)
        return replace(self, config=config or self.config, wanted=wanted)

    def plan(self, shards: int, device: str, batch_size: int, workers: int = 0, nodes: int = 0) -> Plan:
        """What is about to be done of it: so many shards."""
        return Plan(
            output=self.output,
            total=len(self.listed),
            images=self.images,
            done=self.kept.images,
            failed=len(self.kept.failures),
            shards=shards,
            device=device,
            compute_dtype=self.wanted.compute_dtype,
            batch_size=batch_size,
            workers=workers,
            worker=self.worker,
            nodes=nodes,
        )
