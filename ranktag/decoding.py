"""From images to ranked tag lists: greedy, beam and minimum-Bayes-risk decoding, whole batches at a time.

The rules, the same for every decoder: a tag already in a list is masked before the
softmax (unless repeats are allowed), so p_t is a distribution over what may follow; a
list ends with STOP or, without it, at the length limit; equal scores go to the tag of
the lower number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranktag.checkpoint import load_checkpoint
from ranktag.config import DecodingConfig
from ranktag.device import choose_device, choose_dtype
from ranktag.errors import RanktagError
from ranktag.expected_gain import ExpectedGains, Limits, RankedTags, mean_gains, rank_by_gain
from ranktag.feature_store import FeatureStore, open_features
from ranktag.files import refuse_existing
from ranktag.memory import kept_memory
from ranktag.model import RankTagger, Tagger, activate
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


class Begun(NamedTuple):
    """B images' lists, begun: image gates (B, K, 4H), added at every step, and the h and c (B, K, H) of the K members after START."""

    gates: Tensor
    h: Tensor
    c: Tensor


class _Member:
    """An LSTM made ready for decoding: weights in the type that is computed in, tags' gate terms in a table."""

    def __init__(self, model: RankTagger, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.recurrent = model.recurrent.detach().to(dtype).t()
        # In float32 always: bfloat16 would round different tags to equal scores.
        self.output = model.output.weight.detach().float().t()
        self.output_bias = model.output.bias.detach().float()
        self.table = F.linear(model.embedding.detach().to(dtype), model.embedding_gates.detach().to(dtype))

    def begin(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, D) raw features -> image gates (B, 4H), h and c (B, H) after START."""
        gates, start = self.model.image_state(features, self.dtype)
        begun = self.table[-1:] + gates
        if start is not None:
            return gates, *self._cell(begun.addmm_(start[0], self.recurrent), start[1])
        return gates, *self._cell(begun, gates.new_zeros(1, 1, dtype=torch.float32))

    def step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor | None, tag: Tensor) -> tuple[Tensor, Tensor]:
        """``Stepper.step`` of this LSTM: gates (P, 4H), h, c (P, H)."""
        if parent is None:
            sums = torch.addmm(gates, h, self.recurrent)
        else:
            sums, c = gates.addmm_(h, self.recurrent).index_select(0, parent), c.index_select(0, parent)
        return self._cell(sums.add_(F.embedding(tag, self.table)), c)

    def _cell(self, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = activate(gates)
        c = torch.addcmul(f * c, i, g)
        return o * torch.tanh(c).to(self.dtype), c


class Stepper:
    """A trained model, or the members of an ensemble, made ready for decoding."""

    def __init__(self, model: Tagger, dtype: torch.dtype) -> None:
        self.members = [_Member(member, dtype) for member in model.members]  # type: ignore[arg-type]
        self.vocabulary = model.config.vocabulary
        self.device = self.members[0].table.device

    def images(self, features: Tensor) -> Begun:
        """(B, D) raw features -> lists of B images that have only begun."""
        features = features.to(self.device)
        return Begun(*map(_side_by_side, zip(*(member.begin(features) for member in self.members))))

    def step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor | None, tag: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every LSTM from P lists to M that are each one of them and a tag more.

        gates (P, K, 4H): image gates, overwritten if there are parents; h, c (P, K, H). Of the
        M lists: parent (M,), which of the P they go on from (None: the list of the same number),
        and tag (M,). Returns their h and c. What depends on the parent alone is computed once
        for all that go on from it.
        """
        h, c = map(_side_by_side, zip(*(member.step(gates[:, k], h[:, k], c[:, k], parent, tag) for k, member in enumerate(self.members))))
        return h, c

    def grow(self, image: Begun, owner: Tensor, h: Tensor, c: Tensor, parent: Tensor, tag: Tensor) -> tuple[Tensor, Tensor]:
        """``step`` for a tree: of N lists, owner (N,) are their images and h, c (N, K, H), those with children go on."""
        parents, which = parent.unique(return_inverse=True)
        return self.step(image.gates.index_select(0, owner[parents]), h.index_select(0, parents), c.index_select(0, parents), which, tag)

    def log_probabilities(self, h: Tensor, said: Tensor, limits: Limits) -> Tensor:
        """log p_t (B, V + 1) float32 after masking: ``said`` (B, t) are the tags already in the list."""
        z = [torch.addmm(member.output_bias, h[:, k].float(), member.output) for k, member in enumerate(self.members)]
        for one in z:
            if limits.exact:
                one[:, -1] = NEVER
            if not limits.repeats:
                one.scatter_(1, said, NEVER)
        if len(z) == 1:
            return torch.log_softmax(z[0], dim=1)
        return sum(torch.softmax(one, dim=1) for one in z).div_(len(z)).log_()  # type: ignore[union-attr]


def _side_by_side(members: Sequence[Tensor]) -> Tensor:
    """K tensors (B, n) as one (B, K, n)."""
    return members[0][:, None] if len(members) == 1 else torch.stack(list(members), dim=1)


def greedy(stepper: Stepper, image: Begun, limits: Limits) -> RankedTags:
    """The most likely next tag at every step; score = p_t of the tag given the image and the tags before it."""
    n = len(image.h)
    tags = torch.full((n, limits.longest), -1, device=stepper.device)
    scores = torch.zeros((n, limits.longest), device=stepper.device)
    rows = torch.arange(n, device=stepper.device)
    gates, h, c = image
    for t in range(limits.longest):
        best, choice = stepper.log_probabilities(h, tags[rows, :t], limits).max(dim=1)
        going = choice < stepper.vocabulary
        if not bool(going.all()):
            # Finished images leave the batch.
            rows, gates, h, c, choice, best = (x[going] for x in (rows, gates, h, c, choice, best))
            if not len(rows):
                break
        tags[rows, t] = choice
        scores[rows, t] = best.exp()
        if t + 1 < limits.longest:
            h, c = stepper.step(gates, h, c, None, choice)
    return RankedTags(tags.cpu().numpy(), scores.cpu().numpy())


def beam(stepper: Stepper, image: Begun, limits: Limits, width: int) -> RankedTags:
    """The most likely of the lists that a beam of ``width`` lists finds; scores as in ``greedy``.

    A finished list keeps its place in the beam, and a list that reaches the length
    limit without STOP is an answer like any other.
    """
    n, v, longest, device = len(image.h), stepper.vocabulary, limits.longest, stepper.device
    rows = torch.arange(n, device=device)
    # Of each image's lists, (images, width), the first alone has begun.
    total = torch.full((n, width), NEVER, device=device)
    total[:, 0] = 0.0
    over = total == NEVER
    # What is kept of each list, (images x width, ...), and the state of those that go on, ``live``.
    tags = torch.full((n * width, longest), -1, device=device)
    scores = torch.zeros((n * width, longest), device=device)
    final_tags, final_scores = tags[::width].clone(), scores[::width].clone()
    live = rows * width
    owner, h, c = rows, image.h, image.c
    for t in range(longest):
        # Of each list's ways on only the best ``width`` can be among the best of all. One that is over has one, at no cost.
        best, way = _top(stepper.log_probabilities(h, tags[live, :t], limits), width)
        ways = best.shape[1]
        step = torch.full((len(rows) * width, ways), NEVER, device=device)
        step[:, 0] = torch.where(over, 0.0, NEVER).flatten()
        step[live] = best
        onward = torch.full((len(rows) * width, ways), v, device=device)
        onward[live] = way
        total, chosen = _top((total.flatten()[:, None] + step).view(len(rows), -1), width)
        tag, score = (x.view(len(rows), -1).gather(1, chosen) for x in (onward, step))
        parent = (torch.arange(len(rows), device=device)[:, None] * width + chosen // ways).flatten()
        # Scores only fall: what stands below a finished list cannot overtake it any more, and is over too.
        over = ((tag == v) | (total == NEVER)).cumsum(dim=1) > 0
        tags, scores = tags[parent], scores[parent]
        said = (~over).flatten().nonzero().squeeze(1)
        tags[said, t] = tag.flatten()[said]
        scores[said, t] = score.flatten()[said].exp()
        finished = over[:, 0] if t + 1 < longest else torch.ones_like(over[:, 0])
        final_tags[rows[finished]], final_scores[rows[finished]] = tags[::width][finished], scores[::width][finished]
        if bool(finished.all()):
            break
        # Where the state of each list's parent stands among the live ones.
        place = torch.empty(len(rows) * width, dtype=torch.int64, device=device)
        place[live] = torch.arange(len(live), device=device)
        kept = (~finished).repeat_interleave(width)
        rows, total, over, tag = rows[~finished], total[~finished], over[~finished], tag[~finished]
        tags, scores, parent = tags[kept], scores[kept], parent[kept]
        live = (~over).flatten().nonzero().squeeze(1)
        h, c = stepper.grow(image, owner, h, c, place[parent[live]], tag.flatten()[live])
        owner = rows.repeat_interleave(width)[live]
    return RankedTags(final_tags.cpu().numpy(), final_scores.cpu().numpy())


def _top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest numbers of each row, or all if there are fewer, and their places; of equal ones the first."""
    if values.shape[1] > k:
        best, places = values.topk(k + 1, dim=1)
        equal = best[:, 1:] == best[:, :-1]
        if not bool(equal.any()):
            return best[:, :k], places[:, :k]
        if not bool((equal[:, -1] & (best[:, -1] > NEVER)).any()):
            # topk promises no order among equals: put back in order of place, they are sorted stably.
            places = places[:, :k].sort(dim=1).values
            best, order = values.gather(1, places).sort(dim=1, descending=True, stable=True)
            return best, places.gather(1, order)
    best, places = values.sort(dim=1, descending=True, stable=True)
    return best[:, :k], places[:, :k]


class Points(NamedTuple):
    """Lists being drawn: node (K,), the prefix each has come to, in order, and u (K,) float64 in [0, 1): what is left of its code."""

    node: Tensor
    u: Tensor


class Ways(NamedTuple):
    """The ways on that are drawn, in order of parent and tag: parent, tag, weight (M,) each, and the points on them."""

    parent: Tensor
    tag: Tensor
    weight: Tensor
    points: Points


@dataclass(frozen=True)
class Draw:
    """Lists drawn by arithmetic sampling (Vilnis et al., 2023).

    A list's code is a number in [0, 1), in which every list has an interval as long as
    its probability. The codes (j + offset) / lists are evenly spread, so a prefix of
    probability P is drawn by lists x P of them, give or take one, and by exactly as
    many on average over offsets. What is drawn for an image does not hang on the batch
    it is in, unless a code lies on a bound to within rounding.
    """

    lists: int
    offset: float

    @classmethod
    def seeded(cls, lists: int, seed: int) -> Draw:
        """The draw of that seed."""
        return cls(lists, float(np.random.default_rng(seed).random()))

    def begin(self, images: int, device: torch.device) -> Points:
        """The codes of every image."""
        u = (torch.arange(self.lists, dtype=torch.float64, device=device) + self.offset) / self.lists
        return Points(torch.arange(images, device=device).repeat_interleave(self.lists), u.repeat(images))

    def onward(self, points: Points, weight: Tensor, p: Tensor) -> Ways:
        """Where the lists go on from M nodes: weight (M,) lists at each, p (M, V + 1). Lists that stop are left out."""
        size = p.shape[1]
        # One search for all nodes: node i's distribution stands at i to i + 1.
        bounds = torch.cumsum(p, dim=1, dtype=torch.float64)
        bounds = bounds.div_(bounds[:, -1:].clone()).add_(torch.arange(len(p), device=p.device)[:, None]).flatten()
        code = points.node + points.u
        # Rounding, or a p that is not a number, must not lead to another node.
        at = torch.searchsorted(bounds, code, right=True).clamp(points.node * size, points.node * size + size - 1)
        going = (at % size < size - 1).nonzero().squeeze(1)
        at, code = at[going], code[going]
        low = torch.where(at % size > 0, bounds[at - 1], points.node[going].double())
        u = ((code - low) / (bounds[at] - low)).clamp(0.0, 1.0 - 1e-12)
        way, node, count = at.unique_consecutive(return_inverse=True, return_counts=True)
        return Ways(way // size, way % size, count.float(), Points(node, u))


def rank_gain(kind: str, rank: int) -> float:
    """Gain of a tag at ``rank`` (from 1) that does not depend on the list's length: 'log' 1/log2(1+r), 'binary' 1."""
    return 1.0 / math.log2(1 + rank) if kind == "log" else 1.0


def expected_gains(stepper: Stepper, image: Begun, limits: Limits, draw: Draw, kind: str) -> ExpectedGains:
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
    said = torch.zeros((n, 0), dtype=torch.int64, device=device)
    points = draw.begin(n, device)
    h, c = image.h, image.c
    levels: list[_Level] = []
    for t in range(1, limits.longest + 1):
        p = stepper.log_probabilities(h, said, limits).exp_()
        at_rank = torch.zeros((n, v), device=device).index_add_(0, owner, (weight / draw.lists)[:, None] * p[:, :v])
        presence += at_rank
        if kind != "linear":
            gain.add_(at_rank, alpha=rank_gain(kind, t))
        if kind == "linear" or t < limits.longest:
            parent, tag, onward, points = draw.onward(points, weight, p)
            levels.append(_Level(owner, weight * p[:, v], parent, tag, onward))
            if not len(parent) or t == limits.longest:
                break
            h, c = stepper.grow(image, owner, h, c, parent, tag)
            owner, weight = owner[parent], onward
            said = torch.cat([said[parent], tag[:, None]], dim=1)
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


def rank_tags(
    models: nn.Module | Sequence[nn.Module], features: Tensor | FeatureRows, longest: int, config: DecodingConfig, device: torch.device
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
        raise RanktagError(f"--decode {config.decode}: follows one model, {len(models)} are given; use --decode mbr or name one --model")
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
            return greedy(first, image, limits) if config.decode == "greedy" else beam(first, image, limits, config.beam_size)
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


def decode(
    cache: Path,
    run: Path | Sequence[Path],
    output: Path,
    config: DecodingConfig = DecodingConfig(),
    *,
    split: str | None = None,
    format: str = "long",
    overwrite: bool = False,
    force: bool = False,
) -> DecodingReport:
    """Write the ranked tags of a cache's images as CSV, in the cache's order.

    run: a run folder, or several of one vocabulary (seeds, say) that decide together.
    split: only images that were in 'train', 'val' or 'test' when the model was trained.
    format: 'long' or 'wide' (see ``ranktag.predictions``). force: take features that
    were made otherwise than those trained on.

    Raises RanktagError for files that cannot be read, features of another making, runs
    of different vocabularies, a split without images, or an output that exists.
    """
    refuse_existing(output, overwrite)
    runs = [Path(run)] if isinstance(run, (str, Path)) else [Path(one) for one in run]
    checkpoints = [load_checkpoint(one) for one in runs]
    checkpoint = checkpoints[0]
    store = open_features(cache)
    for one, other in zip(runs, checkpoints):
        if other.vocabulary != checkpoint.vocabulary:
            raise RanktagError(f"{one}: has other tags than {runs[0]}; runs that decide together need one vocabulary")
        if not force:
            other.refuse_other_features(store, one)
    rows = np.flatnonzero(store.valid)
    if split is not None:
        chosen = set(checkpoint.split.get(split, ()))
        rows = np.array([row for row in rows if store.image_id[row] in chosen], dtype=np.int64)
        if not len(rows):
            raise RanktagError(f"{cache}: no image of split '{split}' of {runs[0]} is in it; leave out --split to decode every image")
    device = choose_device(config.device)
    ranked = rank_tags([one.model for one in checkpoints], FeatureRows(store, rows), checkpoint.longest, config, device)
    tags = checkpoint.vocabulary.tags
    predictions = {
        store.image_id[row]: [(tags[tag], float(score)) for tag, score in zip(numbers, scores) if tag >= 0]
        for row, numbers, scores in zip(rows, ranked.tags, ranked.scores)
    }
    write_predictions(output, predictions, format)
    return DecodingReport(output, len(rows), int((ranked.tags >= 0).sum()), int((~store.valid).sum()) if split is None else 0)
