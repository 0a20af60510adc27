"""Suggestions for the list of one photo, while somebody types it.

    suggester = Suggester.open("photos.h5", "runs/photos", "beach/1.jpg")
    suggester.add("beach")
    suggester.suggest(5)  # [("sea", 0.81), ...]: what comes next, with P(tag in the rest of the list)
    suggester.undo()

What the image says is computed once and the state after every tag is kept, so a tag takes one step of the LSTM, and
one that is taken back none.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranktag.compute.device import choose_device, choose_dtype
from ranktag.config import DecodingConfig
from ranktag.decoding.given import Encoder, after_set, padded
from ranktag.decoding.inputs import open_models
from ranktag.decoding.mbr import Draw
from ranktag.decoding.person import notes_on_person
from ranktag.decoding.rank import completed, expected, head_on, shown_presence
from ranktag.decoding.stepper import InitialState, Stepper
from ranktag.errors import NotFound, RanktagError, RanktagWarning, Usage
from ranktag.feature_cache.together import Caches
from ranktag.models.baselines._shared import Baseline
from ranktag.models.checkpoint import Checkpoint
from ranktag.models.lstm import Ensemble, RankTagger
from ranktag.models.ranking import ExpectedGains, Limits, mean_gains, mean_over, rank_by_gain, without
from ranktag.tags.predictions import RankedTag

# An answer is due while somebody types: eight drawn lists take half as long as following them, and one list at a time
# is slower in bfloat16.
SUGGESTING = DecodingConfig(samples=8, precision="fp32")


class Suggester:
    """The list of one photo, and what comes next in it."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        feature: npt.NDArray[np.floating],
        config: DecodingConfig = SUGGESTING,
        given: Sequence[str] = (),
    ) -> None:
        """checkpoints: models of one vocabulary that decide together. feature: (D,) the photo's, of their making.

        given: the tags that the list begins with. ``config.person``: whose list it is; one whom a model does not know
        is taken as the mean of people, with a RanktagWarning. Raises RanktagError for a feature of another width or
        one that is not finite, for a decoder that writes whole lists, and for a person where a model knows none.
        """
        if config.decode != "mbr":
            raise Usage(f"--decode {config.decode}: writes one whole list; suggestions need mbr")
        for sentence in notes_on_person(config.person, checkpoints):
            warnings.warn(sentence, RanktagWarning, stacklevel=2)
        first = checkpoints[0]
        if feature.shape != (first.model.config.features,) or not np.isfinite(feature).all():
            raise RanktagError(
                f"a feature of {first.model.config.features} finite numbers is expected, not one of shape "
                f"{feature.shape}; take it from a cache that the model can use"
            )
        device = choose_device(config.device)
        self._config, self._tags = config, first.vocabulary.tags
        self._encoder = Encoder.of(first)
        self._limits = Limits(min(first.longest, len(self._tags)))
        self._draw = Draw.seeded(config.samples, config.seed) if config.samples else None
        self._x = torch.from_numpy(np.array(feature[None])).to(device)
        dtype = choose_dtype(config.precision, device)
        for checkpoint in checkpoints:
            checkpoint.model.to(device)
        self._calibrated = [checkpoint.model for checkpoint in checkpoints]
        self._heads = [head_on(c.model, config.person) for c in checkpoints]
        self._models: list[Stepper | Baseline] = [
            Stepper(c.model, dtype, person=config.person) if isinstance(c.model, (RankTagger, Ensemble)) else c.model
            for c in checkpoints
        ]
        self._list: list[str] = []
        # Of every model the states after 0, 1, 2, ... tags.
        self._states: list[list[InitialState]] = []
        with torch.inference_mode():
            self._states = [[m.initial_state(self._x)] if isinstance(m, Stepper) else [] for m in self._models]
        for tag in given:
            self.add(tag)

    @classmethod
    def open(
        cls,
        cache: Caches,
        run: str | Path | Sequence[str | Path],
        image_id: str,
        config: DecodingConfig = SUGGESTING,
        given: Sequence[str] = (),
    ) -> Suggester:
        """For an image of a cache, by the model of a run folder, or of several.

        Raises RanktagError for files that cannot be read, features of another making and an image without a feature.
        """
        _, checkpoints, store = open_models(cache, run, force=False)
        row = store.row_of().get(image_id)
        if row is None:
            raise NotFound(f"{store.path}: has no feature of '{image_id}'; bring it up to date with extract-features")
        return cls(checkpoints, store.features[row], config, given)

    @property
    def tags(self) -> tuple[str, ...]:
        """The list so far, as the model spells its tags."""
        return tuple(self._list)

    @torch.inference_mode()
    def add(self, tag: str) -> None:
        """Add a tag to the list's end; one that the model does not know takes its place. Raises Usage for a repeat."""
        spelt = self._encoder.spell([tag])
        if not spelt or spelt[0] in self._list:
            raise Usage(f"'{tag}': {'is in the list already' if spelt else 'is no tag'}; add another")
        number = torch.tensor(self._encoder.encode(spelt))[None]
        for model, states in zip(self._models, self._states):
            if isinstance(model, Stepper):
                after = model.after(states[-1], number)
                states.append(after._replace(given=torch.cat([states[-1].given, after.given], dim=1)))
        self._list += spelt

    def undo(self) -> str:
        """Take the last tag away, and return it. Raises Usage if there is none."""
        if not self._list:
            raise Usage("the list is empty; there is no tag to take away")
        for states in self._states:
            del states[-1:]
        return self._list.pop()

    @torch.inference_mode()
    def suggest(self, k: int = 5) -> list[RankedTag]:
        """The ``k`` tags of the greatest expected gain after those of the list, with P(tag in its rest)."""
        given = padded([self._encoder.encode(self._list)]).to(self._x.device)
        left = len(self._tags) - int((given < len(self._tags)).sum())
        parts = [self._expected(model, states, given) for model, states in zip(self._models, self._states)]
        if not self._list:
            # As an image is decoded: of how a begun list goes on heads say nothing.
            parts = [
                head.blended(part, self._x, self._config.gain) if head else part
                for head, part in zip(self._heads, parts)
            ]
        shown = shown_presence(self._calibrated, parts)
        ranked = rank_by_gain(without(mean_gains(parts), given), Limits(min(k, left), exact=True), shown)
        return [(self._tags[tag], float(p)) for tag, p in zip(ranked.tags[0], ranked.scores[0]) if tag >= 0]

    def _expected(self, model: Stepper | Baseline, states: Sequence[InitialState], given: Tensor) -> ExpectedGains:
        if not isinstance(model, Stepper):
            return completed(model, self._x, given, self._config)
        if self._config.given_order == "list" or not self._list:
            return expected(model, states[-1], self._limits, self._draw, self._config.gain)
        orders = after_set(model, states[0], given, self._config.seed)
        gains = expected(model, orders.image, self._limits, self._draw, self._config.gain)
        return mean_over(gains, orders.owner, orders.weight, 1)
