"""Ranked tags of images by any model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ranktag.compute.allocator import kept_memory
from ranktag.compute.device import choose_dtype
from ranktag.compute.threads import side_by_side
from ranktag.config import DecodingConfig
from ranktag.decoding.beam import beam
from ranktag.decoding.follow import MOST_NODES, followed_gains
from ranktag.decoding.given import MOST_ORDERS, after_set, most_likely_order
from ranktag.decoding.greedy import greedy
from ranktag.decoding.mbr import Draw, expected_gains
from ranktag.decoding.stepper import InitialState, Stepper
from ranktag.errors import Usage
from ranktag.models.baselines._shared import Baseline
from ranktag.models.calibration import calibrated
from ranktag.models.lstm import Ensemble, RankTagger, Tagger
from ranktag.models.ranking import (
    ExpectedGains,
    Head,
    Limits,
    Predictor,
    RankedTags,
    mean_gains,
    mean_over,
    rank_by_gain,
    without,
)
from ranktag.progress import Progress

MOST_IMAGES_AT_ONCE = 1000
# Where beginnings are followed: products of so many rows, so that an image's tags do not depend on its batch.
ROWS = 256
# Fewer in a batch are not worth a thread of its own.
FEWEST_IMAGES = 64

Model = Tagger | Predictor


class Features(Protocol):
    """Rows of features (N, D), of which slices are taken: a tensor, or what reads them from a file."""

    def __len__(self) -> int:
        """How many rows there are."""

    def __getitem__(self, part: slice, /) -> Tensor:
        """The rows of a slice."""


class Batch(NamedTuple):
    """(B, D) features, and the (B, P) tags that lists begin with, if any do."""

    features: Tensor
    given: Tensor | None


# (B, D) features and (B, P) given tags -> ranked tags of the B images.
Rank = Callable[[Tensor, Tensor | None], RankedTags]
WriteLists = Callable[[Stepper, InitialState, Limits, DecodingConfig], RankedTags]


class Decoder(NamedTuple):
    """A decoder of an LSTM.

    lists: how many lists of an image are in the making at once. write: writes one list
    an image; None where tags are ranked by expected gain.
    """

    lists: Callable[[DecodingConfig], int]
    write: WriteLists | None = None


DECODERS = {
    "greedy": Decoder(lambda config: 1, lambda stepper, image, limits, config: greedy(stepper, image, limits)),
    "beam": Decoder(
        lambda config: config.beam_size,
        lambda stepper, image, limits, config: beam(stepper, image, limits, config.beam_size),
    ),
    "mbr": Decoder(lambda config: config.samples or MOST_NODES),
}


def rank_tags(
    models: nn.Module | Sequence[nn.Module],
    features: Features,
    longest: int,
    config: DecodingConfig,
    device: torch.device,
    progress: Progress | None = None,
    given: Tensor | None = None,
) -> RankedTags:
    """Ranked tags of N images by any model, in batches that fit ``config.max_memory``.

    models: one, or several of one vocabulary whose expected gains are averaged. features:
    (N, D) as cached, read a batch at a time. longest: tags in the longest training list.
    progress: is told how many images are done. given: (N, P) int64, the tags that each list begins with, V for one
    that is not in the vocabulary, padded by -1: ranked are those that come next.

    Raises RanktagError if more different tags are asked for than there are, and for
    several models with greedy or beam, which follow one model's list.
    """
    with kept_memory():
        parts = list(ranked_batches(models, features, longest, config, device, progress, given))
    return RankedTags(np.concatenate([p.tags for p in parts]), np.concatenate([p.scores for p in parts]))


def ranked_batches(
    models: nn.Module | Sequence[nn.Module],
    features: Features,
    longest: int,
    config: DecodingConfig,
    device: torch.device,
    progress: Progress | None = None,
    given: Tensor | None = None,
) -> Iterator[RankedTags]:
    """``rank_tags``, batch by batch, each computed when it is asked for; one without images where there are none.

    Much quicker within ``kept_memory``.
    """
    several = [_on(model, device) for model in ([models] if isinstance(models, nn.Module) else models)]
    first, write = several[0], DECODERS[config.decode].write
    v, dtype = first.config.vocabulary, choose_dtype(config.precision, device)
    if isinstance(first, Tagger) and write is not None:
        if len(several) > 1:
            raise Usage(
                f"--decode {config.decode}: follows one model, {len(several)} are given; "
                "use --decode mbr or name one --model"
            )
        limits = _limits(config, longest, v, given, repeats=config.allow_repeats)
        rank = _by_list(first, write, limits, config, dtype)
    else:
        limits = _limits(config, longest, v, given, repeats=False)
        rank = _by_gain(several, longest, limits, config, dtype)
    if not len(features):
        return iter([RankedTags(np.empty((0, limits.longest), np.int64), np.empty((0, limits.longest), np.float32))])
    size, threads = _fitting(first, config, limits.longest, given), 0
    if follows(first, config) and device.type == "cpu":
        threads = max(1, min(torch.get_num_threads(), size // FEWEST_IMAGES))
        size = max(1, min(ROWS, size // threads, -(-len(features) // threads)))
    parts = _parts(features, given, min(size, MOST_IMAGES_AT_ONCE))

    def ranked(batch: Batch) -> RankedTags:
        with torch.inference_mode():
            return rank(batch.features.to(device), None if batch.given is None else batch.given.to(device))

    # Otherwise a batch is large enough for all threads together, and a GPU has threads of its own.
    return _counted(side_by_side(ranked, parts, threads) if threads else map(ranked, parts), len(features), progress)


def _parts(features: Features, given: Tensor | None, size: int) -> Iterator[Batch]:
    """So many images at a time."""
    for start in range(0, len(features), size):
        part = slice(start, start + size)
        yield Batch(features[part], None if given is None else given[part])


def _counted(parts: Iterable[RankedTags], images: int, progress: Progress | None) -> Iterator[RankedTags]:
    """The parts, while ``progress`` is told of them."""
    progress = progress or Progress()
    with progress.working("Decoding", images, "images"):
        for ranked in parts:
            progress.advance(len(ranked.tags))
            yield ranked


def follows(model: Model, config: DecodingConfig) -> bool:
    """Whether an LSTM's likely lists are followed."""
    return isinstance(model, Tagger) and config.decode == "mbr" and config.samples is None


def _on(model: nn.Module, device: torch.device) -> Model:
    model = model.to(device)
    if not isinstance(model, (RankTagger, Ensemble, Predictor)):
        raise TypeError(f"{type(model).__name__} is neither an LSTM nor a model that predicts expected gains")
    return model


def _limits(config: DecodingConfig, longest: int, vocabulary: int, given: Tensor | None, repeats: bool) -> Limits:
    wanted = config.num_tags or config.max_tags or longest
    begun = 0 if given is None else int(((given >= 0) & (given < vocabulary)).sum(dim=1).max())
    if config.num_tags and config.num_tags > vocabulary - begun and not repeats:
        beside = f", of which {begun} are given" if begun else ""
        raise Usage(
            f"--num-tags {config.num_tags}: the model knows {vocabulary} tags{beside}; "
            f"ask for at most {vocabulary - begun}"
        )
    return Limits(wanted if repeats else min(wanted, vocabulary), exact=config.num_tags is not None, repeats=repeats)


def _by_list(model: Tagger, write: WriteLists, limits: Limits, config: DecodingConfig, dtype: torch.dtype) -> Rank:
    """One list an image, as one model writes it."""
    stepper = Stepper(model, dtype, person=config.person)

    def rank(block: Tensor, given: Tensor | None) -> RankedTags:
        image = stepper.initial_state(block)
        if given is not None and config.given_order == "list":
            image = stepper.after(image, given)
        elif given is not None:
            image = most_likely_order(after_set(stepper, image, given, config.seed), len(block))
        return write(stepper, image, limits, config)

    return rank


def _by_gain(models: Sequence[Model], longest: int, limits: Limits, config: DecodingConfig, dtype: torch.dtype) -> Rank:
    """Tags ranked by what they are expected to gain, on average over the models."""
    rows = ROWS if config.samples is None else None
    scorers = [Stepper(model, dtype, rows, config.person) if isinstance(model, Tagger) else model for model in models]
    heads = [head_on(model, config.person) for model in models]
    draw = Draw.seeded(config.samples, config.seed) if config.samples else None

    def of_lists(scorer: Stepper | Predictor, block: Tensor, given: Tensor | None) -> ExpectedGains:
        if isinstance(scorer, Predictor):
            return scorer.predict(block) if given is None else completed(scorer, block, given, config)
        drawn, image = Limits(min(longest, scorer.vocabulary)), scorer.initial_state(block)
        if given is None:
            return expected(scorer, image, drawn, draw, config.gain)
        if config.given_order == "list":
            return expected(scorer, scorer.after(image, given), drawn, draw, config.gain)
        orders = after_set(scorer, image, given, config.seed)
        each = expected(scorer, orders.image, drawn, draw, config.gain)
        return mean_over(each, orders.owner, orders.weight, len(block))

    def gains(scorer: Stepper | Predictor, head: Head | None, block: Tensor, given: Tensor | None) -> ExpectedGains:
        known = of_lists(scorer, block, given)
        if head is None:
            return known
        blended = head.blended(known, block, config.gain, rows)
        if given is None:
            return blended
        # A head says nothing of how a list goes on.
        begun = (given >= 0).any(dim=1, keepdim=True)
        return replace(known, gain=torch.where(begun, known.gain, blended.gain))

    def rank(block: Tensor, given: Tensor | None) -> RankedTags:
        parts = [gains(scorer, head, block, given) for scorer, head in zip(scorers, heads)]
        mean = mean_gains(parts)
        return rank_by_gain(mean if given is None else without(mean, given), limits, shown_presence(models, parts))

    return rank


def shown_presence(models: Sequence[Model], parts: Sequence[ExpectedGains]) -> Tensor:
    """P(tag in the list) (N, V) as it is shown: the mean of what each model expects, as it is calibrated."""
    temperatures = [m.temperature if isinstance(m, (RankTagger, Ensemble, Baseline)) else None for m in models]
    return torch.stack([calibrated(part.presence, t) for part, t in zip(parts, temperatures)]).mean(0)


def head_on(model: Model, person: str | None) -> Head | None:
    """What has a say beside a model, where its weights are to be computed with; of a person that it knows it has none.

    A head says nothing of what one person does otherwise than others.
    """
    if isinstance(model, Predictor) or model.head is None or person in model.people:
        return None
    if isinstance(model.head.model, nn.Module):
        model.head.model.to(next(model.parameters()).device)
    return model.head


def expected(stepper: Stepper, image: InitialState, limits: Limits, draw: Draw | None, kind: str) -> ExpectedGains:
    """Expected gain of every tag, from lists that are drawn, or without chance."""
    if draw is None:
        return followed_gains(stepper, image, limits, kind)
    return expected_gains(stepper, image, limits, draw, kind)


def completed(scorer: Predictor, block: Tensor, given: Tensor, config: DecodingConfig) -> ExpectedGains:
    """What a model without an LSTM expects beside the tags that are given."""
    if isinstance(scorer, Baseline) and config.cooccurrence:
        return scorer.complete(block, given)
    return scorer.predict(block)


def _fitting(model: Model, config: DecodingConfig, longest: int, given: Tensor | None) -> int:
    """How many images' lists fit ``config.max_memory`` GiB, at least 1."""
    sizes = model.config
    # A list in the making holds a few rows of V numbers (logits, p, sums in float64) and of 4H (gates, h, c).
    a_list, lists = 48 * sizes.vocabulary + 16 * longest, 1
    if isinstance(model, Tagger):
        a_list += 60 * model.config.hidden * model.config.members
        lists = DECODERS[config.decode].lists(config)
        if given is not None and config.given_order == "none":
            lists *= MOST_ORDERS
    an_image = lists * a_list + 8 * sizes.features
    return max(1, int(config.max_memory * 2**30 / an_image))
