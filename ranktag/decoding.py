"""From images to ranked tag lists: greedy, beam and minimum-Bayes-risk decoding, whole batches at a time.

The rules, the same for every decoder: a tag already in a list is masked before the
softmax (unless repeats are allowed), so p_t is a distribution over what may follow; a
list ends with STOP or, without it, at the length limit; equal scores go to the tag of
the lower number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranktag.checkpoint import load_checkpoint
from ranktag.config import DecodingConfig
from ranktag.device import choose_device, choose_dtype
from ranktag.errors import RanktagError
from ranktag.expected_gain import ExpectedGains, Limits, RankedTags, rank_by_gain
from ranktag.feature_store import open_features
from ranktag.files import refuse_existing
from ranktag.model import ImageState, RankTagger
from ranktag.predictions import write_predictions

NEVER = float("-inf")


@dataclass(frozen=True)
class DecodingReport:
    """What ``decode`` wrote: the file, its images and tags, and images left out because they have no feature."""

    output: Path
    images: int
    tags: int
    without_feature: int


class FeatureRows:
    """Chosen rows of a memory-mapped cache, read when they are sliced."""

    def __init__(self, features: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> None:
        self._features, self._rows = features, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> Tensor:
        return torch.from_numpy(self._features[self._rows[part]])


class Stepper:
    """A trained model made ready for decoding: weights in the type that is computed in, tags' gate terms in a table."""

    def __init__(self, model: RankTagger, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.vocabulary = model.config.vocabulary
        self.device = model.embedding.device
        self.recurrent = model.recurrent.detach().to(dtype).t()
        self.output = model.output.weight.detach().to(dtype).t()
        self.output_bias = model.output.bias.detach().to(dtype)
        self.table = F.linear(model.embedding.detach().to(dtype), model.embedding_gates.detach().to(dtype))

    def images(self, features: Tensor) -> ImageState:
        """(B, D) raw features -> what the LSTM knows of the images."""
        return self.model.image_state(features.to(self.device), self.dtype)

    def step(self, image: Tensor, tag: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the LSTM: image gates (B, 4H), previous tag (B,), h, c (B, H) -> the next h and c."""
        hidden = h.shape[1]
        a = torch.addmm(self.table[tag].add_(image), h, self.recurrent)
        a[:, : 2 * hidden].sigmoid_()
        a[:, 2 * hidden : 3 * hidden].tanh_()
        a[:, 3 * hidden :].sigmoid_()
        i, f, g, o = a.chunk(4, dim=1)
        c = torch.addcmul(f * c, i, g)
        return o * torch.tanh(c).to(self.dtype), c

    def log_probabilities(self, h: Tensor, used: Tensor, limits: Limits) -> Tensor:
        """log p_t (B, V + 1) float32 after masking: ``used`` (B, V) are the tags already in the list."""
        z = torch.addmm(self.output_bias, h, self.output).float()
        if limits.exact:
            z[:, -1] = NEVER
        if not limits.repeats:
            z[:, :-1].masked_fill_(used, NEVER)
        return torch.log_softmax(z, dim=1)


def greedy(stepper: Stepper, image: ImageState, limits: Limits) -> RankedTags:
    """The most likely next tag at every step; score = p_t of the tag given the image and the tags before it."""
    n, v = len(image.h), stepper.vocabulary
    tags = torch.full((n, limits.longest), -1, device=stepper.device)
    scores = torch.zeros((n, limits.longest), device=stepper.device)
    used = torch.zeros((n, v), dtype=torch.bool, device=stepper.device)
    rows = torch.arange(n, device=stepper.device)
    previous = torch.full((n,), v, device=stepper.device)
    gates, h, c = image
    for t in range(limits.longest):
        h, c = stepper.step(gates, previous, h, c)
        best, choice = stepper.log_probabilities(h, used, limits).max(dim=1)
        going = choice < v
        if not bool(going.all()):
            # Finished images leave the batch.
            rows, gates, h, c, used, choice, best = (x[going] for x in (rows, gates, h, c, used, choice, best))
            if not len(rows):
                break
        tags[rows, t] = choice
        scores[rows, t] = best.exp()
        used[torch.arange(len(rows), device=stepper.device), choice] = True
        previous = choice
    return RankedTags(tags.cpu().numpy(), scores.cpu().numpy())


def beam(stepper: Stepper, image: ImageState, limits: Limits, width: int) -> RankedTags:
    """The most likely of the lists that a beam of ``width`` lists finds; scores as in ``greedy``.

    A finished list keeps its place in the beam, and a list that reaches the length
    limit without STOP is an answer like any other.
    """
    n, v, longest, device = len(image.h), stepper.vocabulary, limits.longest, stepper.device
    total = torch.full((n, width), NEVER, device=device)
    total[:, 0] = 0.0
    done = torch.zeros((n, width), dtype=torch.bool, device=device)
    tags = torch.full((n, width, longest), -1, device=device)
    scores = torch.zeros((n, width, longest), device=device)
    used = torch.zeros((n, width, v), dtype=torch.bool, device=device)
    rows = torch.arange(n, device=device)
    final_tags, final_scores = tags[:, 0].clone(), scores[:, 0].clone()
    gates = image.gates
    h = image.h[:, None].expand(-1, width, -1)
    c = image.c[:, None].expand(-1, width, -1)
    previous = torch.full((n, width), v, device=device)
    for t in range(longest):
        live = (~done & (total > NEVER)).flatten().nonzero().squeeze(1)
        owner = live // width
        new_h, new_c = stepper.step(gates[owner], previous.flatten()[live], h.flatten(0, 1)[live], c.flatten(0, 1)[live])
        # Of each list's ways on only the best ``width`` can be among the best of all. A finished list has one, at no cost.
        best, way = _top(stepper.log_probabilities(new_h, used.flatten(0, 1)[live], limits), width)
        ways = best.shape[1]
        gain = torch.full((len(rows) * width, ways), NEVER, device=device)
        gain[:, 0] = torch.where(done, 0.0, NEVER).flatten()
        gain[live] = best
        onward = torch.full((len(rows) * width, ways), v, device=device)
        onward[live] = way
        total, flat = _top((total[:, :, None] + gain.view(len(rows), width, ways)).flatten(1), width)
        parent = flat // ways
        choice, step = onward.view(len(rows), -1).gather(1, flat), gain.view(len(rows), -1).gather(1, flat)
        h_all, c_all = h.flatten(0, 1).clone(), c.flatten(0, 1).clone()
        h_all[live], c_all[live] = new_h, new_c
        at = (torch.arange(len(rows), device=device)[:, None] * width + parent).flatten()
        h, c, tags, scores, used = (
            x.view(len(rows), width, -1)
            for x in (h_all[at], c_all[at], tags.flatten(0, 1)[at], scores.flatten(0, 1)[at], used.flatten(0, 1)[at])
        )
        r, k = ((choice < v) & (total > NEVER)).nonzero(as_tuple=True)
        tags[r, k, t] = choice[r, k]
        scores[r, k, t] = step[r, k].exp()
        used[r, k, choice[r, k]] = True
        done = (choice == v) | (total == NEVER)
        previous = torch.where(done, v, choice)
        finished = done.all(dim=1) | done[:, 0]
        # Scores only fall, so once the best list is finished no other can overtake it.
        if bool(finished.any()) or t == longest - 1:
            if t == longest - 1:
                finished = torch.ones_like(finished)
            final_tags[rows[finished]], final_scores[rows[finished]] = tags[finished, 0], scores[finished, 0]
            keep = ~finished
            rows, gates, h, c, total, done, tags, scores, used, previous = (
                x[keep] for x in (rows, gates, h, c, total, done, tags, scores, used, previous)
            )
            if not len(rows):
                break
    return RankedTags(final_tags.cpu().numpy(), final_scores.cpu().numpy())


def _top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest numbers of each row, or all if there are fewer, and their places; of equal ones the first."""
    if values.shape[1] > k:
        best, places = values.topk(k + 1, dim=1)
        if not bool(((best[:, k - 1] == best[:, k]) & (best[:, k] > NEVER)).any()):
            # topk promises no order among equals: put back in order of place, they are sorted stably.
            places = places[:, :k].sort(dim=1).values
            best, order = values.gather(1, places).sort(dim=1, descending=True, stable=True)
            return best, places.gather(1, order)
    best, places = values.sort(dim=1, descending=True, stable=True)
    return best[:, :k], places[:, :k]



# The offsets of nodes side by side are spread as evenly as any sequence can be.
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Draw:
    """Lists drawn by systematic resampling.

    lists: how many an image. offset: a number in [0, 1) that decides the draw; each
    node's own follows from it and the tags before, so that what is drawn for an image
    does not hang on the batch it is in.
    """

    lists: int
    offset: float

    @classmethod
    def seeded(cls, lists: int, seed: int) -> Draw:
        """The draw of that seed."""
        return cls(lists, float(np.random.default_rng(seed).random()))

    def onward(self, weight: Tensor, p: Tensor, offset: Tensor) -> Tensor:
        """Whole numbers of lists (M, V + 1) that go on to each tag or to STOP: weight x p on average over offsets, never 1 off.

        weight: (M,) lists at each node. p: (M, V + 1). offset: (M,) float64.
        """
        # In float64, and ending at the weight exactly: the running sum must neither lose nor gain a list to rounding.
        bounds, all_lists = torch.cumsum(p.double(), dim=1), weight.double()[:, None]
        bounds = torch.floor(bounds / bounds[:, -1:] * all_lists + offset[:, None]).clamp(max=all_lists)
        return torch.diff(bounds, dim=1, prepend=torch.zeros_like(bounds[:, :1])).float()


def rank_gain(kind: str, rank: int) -> float:
    """Gain of a tag at ``rank`` (from 1) that does not depend on the list's length: 'log' 1/log2(1+r), 'binary' 1."""
    return 1.0 / math.log2(1 + rank) if kind == "log" else 1.0


def expected_gains(stepper: Stepper, image: ImageState, limits: Limits, draw: Draw, kind: str) -> ExpectedGains:
    """Expected gain of every tag, from the tree of the lists that ``draw`` draws.

    Lists that begin alike share their state, so the tree has one node a distinct
    prefix and image, with the number of lists that pass through it. At each node every
    tag gains p_t(tag) x gain(t) from the exact softmax; only where the lists go on is drawn.

    kind: 'log', 'linear' or 'binary'.
    """
    device, v, n = stepper.device, stepper.vocabulary, len(image.h)
    gain = torch.zeros((n, v), device=device)
    presence = torch.zeros((n, v), device=device)
    owner = torch.arange(n, device=device)
    weight = torch.full((n,), float(draw.lists), device=device)
    offset = torch.full((n,), draw.offset, dtype=torch.float64, device=device)
    used = torch.zeros((n, v), dtype=torch.bool, device=device)
    tag = torch.full((n,), v, device=device)
    h, c = image.h, image.c
    levels: list[_Level] = []
    for t in range(1, limits.longest + 1):
        h, c = stepper.step(image.gates[owner], tag, h, c)
        p = stepper.log_probabilities(h, used, limits).exp()
        expected = weight[:, None] / draw.lists * p[:, :v]
        presence.index_add_(0, owner, expected)
        if kind != "linear":
            gain.index_add_(0, owner, expected, alpha=rank_gain(kind, t))
        if kind == "linear" or t < limits.longest:
            onward = draw.onward(weight, p, offset)
            # Not nonzero(): where a damaged feature makes p not a number, no list goes on.
            parent, choice = (onward[:, :v] > 0).nonzero(as_tuple=True)
            levels.append(_Level(owner, weight * p[:, v], parent, choice, onward[parent, choice]))
            if not len(parent):
                break
            owner, tag, weight, h, c = owner[parent], choice, onward[parent, choice], h[parent], c[parent]
            offset = (offset[parent] + (choice + 1) * GOLDEN).frac()
            used = used[parent]
            used[torch.arange(len(parent), device=device), choice] = True
    if kind == "linear":
        _add_linear_gain(gain, levels, draw.lists)
    return ExpectedGains(gain, presence, presence.sum(dim=1))


@dataclass(frozen=True)
class _Level:
    """The nodes after t tags, (M,): their image and the weight that stops there; and the M' ways on: parent, tag and weight."""

    owner: Tensor
    stopped: Tensor
    parent: Tensor
    tag: Tensor
    onward: Tensor


def _add_linear_gain(gain: Tensor, levels: list[_Level], lists: float) -> None:
    """Add the linear gain (n - r + 1) / n, which hangs on the length n: weights by final length flow from the leaves up."""
    lengths = torch.arange(len(levels) + 1, device=gain.device)
    ending = torch.zeros((0, len(lengths)), device=gain.device)
    for t in range(len(levels) - 1, -1, -1):
        level = levels[t]
        if t == len(levels) - 1:
            # What goes on from the last level ends at the length limit.
            ending = torch.zeros((len(level.parent), len(lengths)), device=gain.device)
            ending[:, t + 1] = level.onward
        share = ((lengths - t) / lengths.clamp(min=1)).clamp(min=0)
        gain.index_put_((level.owner[level.parent], level.tag), ending @ share / lists, accumulate=True)
        above = torch.zeros((len(level.owner), len(lengths)), device=gain.device)
        above.index_add_(0, level.parent, ending)
        above[:, t] += level.stopped
        ending = above


def rank_tags(model: nn.Module, features: Tensor | FeatureRows, longest: int, config: DecodingConfig, device: torch.device) -> RankedTags:
    """Ranked tags of N images by any model, in batches that fit ``config.max_memory``.

    features: (N, D) as cached, read a batch at a time. longest: tags in the longest
    training list. Raises RanktagError if more different tags are asked for than there are.
    """
    v = model.config.vocabulary  # type: ignore[union-attr]
    sequential = isinstance(model, RankTagger)
    repeats = config.allow_repeats and sequential and config.decode != "mbr"
    wanted = config.num_tags or config.max_tags or longest
    if config.num_tags and config.num_tags > v and not repeats:
        raise RanktagError(f"--num-tags {config.num_tags}: the model knows {v} tags; ask for at most {v}")
    limits = Limits(wanted if repeats else min(wanted, v), exact=config.num_tags is not None, repeats=repeats)
    model = model.to(device)
    stepper = Stepper(model, choose_dtype(config.precision, device)) if isinstance(model, RankTagger) else None

    def ranked(block: Tensor) -> RankedTags:
        if stepper is None:
            return rank_by_gain(model.predict(block), limits)  # type: ignore[operator]
        image = stepper.images(block)
        if config.decode == "greedy":
            return greedy(stepper, image, limits)
        if config.decode == "beam":
            return beam(stepper, image, limits, config.beam_size)
        draw = Draw.seeded(config.samples, config.seed)
        return rank_by_gain(expected_gains(stepper, image, Limits(min(longest, v)), draw, config.gain), limits)

    with torch.inference_mode():
        size = _batch_size(model, config, limits.longest)
        parts = [ranked(features[start : start + size].to(device)) for start in range(0, len(features), size)]
    if not parts:
        return RankedTags(np.empty((0, limits.longest), np.int64), np.empty((0, limits.longest), np.float32))
    return RankedTags(np.concatenate([p.tags for p in parts]), np.concatenate([p.scores for p in parts]))


def _batch_size(model: nn.Module, config: DecodingConfig, longest: int) -> int:
    """Images at once: at most 1,000, fewer if their lists might not fit ``config.max_memory`` GiB."""
    sizes = model.config
    # A list in the making holds a few rows of V numbers (logits, probabilities, sums in float64) and of 4H (gates, states).
    a_list = 48 * sizes.vocabulary + 16 * longest + (40 * sizes.hidden if isinstance(model, RankTagger) else 0)  # type: ignore[union-attr, operator]
    lists = {"mbr": config.samples, "beam": config.beam_size}.get(config.decode, 1) if isinstance(model, RankTagger) else 1
    return max(1, min(1000, int(config.max_memory * 2**30 / (lists * a_list + 8 * sizes.features))))  # type: ignore[union-attr, operator]


def decode(
    cache: Path,
    run: Path,
    output: Path,
    config: DecodingConfig = DecodingConfig(),
    *,
    split: str | None = None,
    format: str = "long",
    overwrite: bool = False,
    force: bool = False,
) -> DecodingReport:
    """Write the ranked tags of a cache's images as CSV, in the cache's order.

    split: only images that were in 'train', 'val' or 'test' when the model was trained.
    format: 'long' or 'wide' (see ``ranktag.predictions``). force: take features that
    were made otherwise than those trained on.

    Raises RanktagError for files that cannot be read, features of another making, a
    split without images, or an output that exists.
    """
    refuse_existing(output, overwrite)
    checkpoint = load_checkpoint(run)
    store = open_features(cache)
    if not force:
        checkpoint.refuse_other_features(store, run)
    rows = np.flatnonzero(store.valid)
    if split is not None:
        chosen = set(checkpoint.split.get(split, ()))
        rows = np.array([row for row in rows if store.image_id[row] in chosen], dtype=np.int64)
        if not len(rows):
            raise RanktagError(f"{cache}: no image of split '{split}' of {run} is in it; leave out --split to decode every image")
    device = choose_device(config.device)
    ranked = rank_tags(checkpoint.model, FeatureRows(store.features, rows), checkpoint.longest, config, device)
    tags = checkpoint.vocabulary.tags
    predictions = {
        store.image_id[row]: [(tags[tag], float(score)) for tag, score in zip(numbers, scores) if tag >= 0]
        for row, numbers, scores in zip(rows, ranked.tags, ranked.scores)
    }
    write_predictions(output, predictions, format)
    return DecodingReport(output, len(rows), int((ranked.tags >= 0).sum()), int((~store.valid).sum()) if split is None else 0)
