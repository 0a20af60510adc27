"""Ranked tags of images by any model, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ranktag.compute.allocator import kept_memory
from ranktag.compute.device import choose_dtype
from ranktag.config import DecodingConfig
from ranktag.decoding.beam import beam
from ranktag.decoding.greedy import greedy
from ranktag.decoding.mbr import Draw, expected_gains
from ranktag.decoding.stepper import Stepper
from ranktag.errors import RanktagError
from ranktag.feature_cache.store import FeatureStore
from ranktag.models.lstm import Tagger
from ranktag.models.ranking import ExpectedGains, Limits, RankedTags, mean_gains, rank_by_gain


class FeatureRows:
    """Chosen rows of a memory-mapped cache, read when they are sliced.

    Raises RanktagError at a row that is not finite: no decoder could tell it from any other.
    """

    def __init__(self, store: FeatureStore, rows: npt.NDArray[np.int64]) -> None:
        self._store, self._rows = store, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> Tensor:
        block = torch.from_numpy(self._store.features[self._rows[part]])
        bad = (~block.sum(dim=1, dtype=torch.float32).isfinite()).nonzero().flatten()
        if len(bad):
            raise self._store.not_finite(int(self._rows[part][int(bad[0])]))
        return block


def rank_tags(
    models: nn.Module | Sequence[nn.Module],
    features: Tensor | FeatureRows,
    longest: int,
    config: DecodingConfig,
    device: torch.device,
) -> RankedTags:
    """Ranked tags of N images by any model, in batches that fit ``config.max_memory``.

    models: one, or several of one vocabulary whose expected gains are averaged. features:
    (N, D) as cached, read a batch at a time. longest: tags in the longest training list.
    Raises RanktagError if more different tags are asked for than there are, and for
    several models with greedy or beam, which follow one model's list.
    """
    models = [models] if isinstance(models, nn.Module) else models
    model = models[0].to(device)
    v = model.config.vocabulary  # type: ignore[union-attr]
    single = isinstance(model, Tagger) and config.decode != "mbr"
    if single and len(models) > 1:
        raise RanktagError(
            f"--decode {config.decode}: follows one model, {len(models)} are given; use --decode mbr or name one --model"
        )
    repeats = config.allow_repeats and single
    wanted = config.num_tags or config.max_tags or longest
    if config.num_tags and config.num_tags > v and not repeats:
        raise RanktagError(f"--num-tags {config.num_tags}: the model knows {v} tags; ask for at most {v}")
    limits = Limits(wanted if repeats else min(wanted, v), exact=config.num_tags is not None, repeats=repeats)
    dtype = choose_dtype(config.precision, device)
    scorers = [Stepper(m.to(device), dtype) if isinstance(m, Tagger) else m.to(device) for m in models]
    draw = Draw.seeded(config.samples, config.seed)

    def gains(scorer: Stepper | nn.Module, block: Tensor) -> ExpectedGains:
        if isinstance(scorer, Stepper):
            return expected_gains(scorer, scorer.images(block), Limits(min(longest, v)), draw, config.gain)
        predicted: ExpectedGains = scorer.predict(block)  # type: ignore[operator]
        return predicted

    def ranked(block: Tensor) -> RankedTags:
        first = scorers[0]
        if single and isinstance(first, Stepper):
            image = first.images(block)
            return (
                greedy(first, image, limits)
                if config.decode == "greedy"
                else beam(first, image, limits, config.beam_size)
            )
        return rank_by_gain(mean_gains([gains(scorer, block) for scorer in scorers]), limits)

    with torch.inference_mode(), kept_memory():
        size = _batch_size(model, config, limits.longest)
        parts = [ranked(features[start : start + size].to(device)) for start in range(0, len(features), size)]
    if not parts:
        return RankedTags(np.empty((0, limits.longest), np.int64), np.empty((0, limits.longest), np.float32))
    return RankedTags(np.concatenate([p.tags for p in parts]), np.concatenate([p.scores for p in parts]))


def _batch_size(model: nn.Module, config: DecodingConfig, longest: int) -> int:
    """Images at once: at most 1,000, fewer if their lists might not fit ``config.max_memory`` GiB."""
    sizes = model.config
    # A list in the making holds a few rows of V numbers (logits, probabilities, sums in float64) and of 4H (gates, states).
    a_list, lists = 48 * sizes.vocabulary + 16 * longest, 1  # type: ignore[union-attr, operator]
    if isinstance(model, Tagger):
        a_list += 40 * model.config.hidden * model.config.members
        lists = {"mbr": config.samples, "beam": config.beam_size}.get(config.decode, 1)
    return max(1, min(1000, int(config.max_memory * 2**30 / (lists * a_list + 8 * sizes.features))))  # type: ignore[union-attr, operator]
