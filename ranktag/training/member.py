"""One LSTM in training: steps of AdamW on batches of lists, and a moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ranktag.compute.adamw import AdamW
from ranktag.compute.average import follow
from ranktag.compute.cross_entropy import learn_from
from ranktag.compute.device import choose_dtype
from ranktag.compute.dropout import Dropout, how_many_kept
from ranktag.compute.forks import share, shared_zeros_like
from ranktag.compute.row_adamw import RowAdamW
from ranktag.config import TrainingConfig
from ranktag.models.lstm import ModelConfig, RankTagger
from ranktag.training.recorded_steps import RecordedSteps
from ranktag.training.schedule import learning_rate
from ranktag.training_data.examples import PackedLists
from ranktag.training_data.load import TrainingData

# Of which number those that reach a step are made a multiple. oneDNN, which multiplies bfloat16 on processors, compiles
# a kernel for every new shape, and 5 ms for that stand against 0.5 ms for the product: measured, an epoch takes 30%
# less at H = 512. In float32 nothing is compiled.
LISTS_TOGETHER = 16

# So many batches' lists are sorted by length and dealt into batches again: a step of a few lists takes almost as long
# as one of all. Measured by turns, an epoch takes 14% less in bfloat16 and 7% less in float32 (d = H = 512, lists of 1
# to 8 tags), and a fifth less of PASCAL VOC's 1.4 tags.
SORTED_TOGETHER = 16


class BatchLoss(NamedTuple):
    """What a step gives: the batch's list numbers (B,) and its mean loss a tag, (), on the device."""

    lists: Tensor
    loss: Tensor


class Member:
    """One LSTM in training: its weights, their moving average and its optimiser.

    Everything random in a step follows from the member's seed and the step's number, so no state of a random
    generator needs to be saved, nor shared.
    """

    def __init__(
        self, data: TrainingData, config: TrainingConfig, device: torch.device, number: int, shared: bool = False
    ) -> None:
        self.data, self.config, self.device = data, config, device
        self.dtype = choose_dtype(config.precision, device)
        self.multiple = LISTS_TOGETHER if device.type == "cpu" and self.dtype == torch.bfloat16 else 1
        # Mixed, so that no member of one run is a member of another; torch looks at 32 bits of a seed.
        self.seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
        sizes = ModelConfig(
            config.model,
            data.mean.shape[0],
            config.projection,
            config.hidden,
            config.embedding,
            len(data.vocabulary),
            people=len(data.people),
        )
        self.model = RankTagger(sizes, torch.Generator().manual_seed(self.seed))
        self.model.mean, self.model.scale = data.mean.cpu(), data.scale.cpu()
        self.model.to(device)
        # What is validated and kept: the moving average, or the model itself where that is off.
        self.average = copy.deepcopy(self.model).requires_grad_(False) if config.average else self.model
        if shared:
            share([*self.model.parameters(), *(self.average.parameters() if self.average is not self.model else ())])
        self.optimiser = self._make_optimiser(shared_zeros_like if shared else torch.zeros_like)
        self.optimiser.keep_rounded(self.model.multiplied(), self.dtype)
        self.dropout = Dropout(
            config.dropout_features,
            config.dropout_embedding,
            config.dropout_output,
            torch.Generator(device),
            config.dropout_person,
        )
        steps = data.training.steps
        self.tags_a_batch = min(config.batch_size, len(steps)) * float(steps.double().mean())
        self.recorded = self._recorded_steps() if device.type == "cuda" else None
        self._epoch, self._batches = -1, list[Tensor]()

    def train_epoch(self, epoch: int) -> Iterator[BatchLoss]:
        """Train for one epoch, the ``epoch``-th from 0, a step whenever the next batch's loss is asked for."""
        if self.recorded is not None:
            self.recorded.begin()
        for b, chosen in enumerate(self.batches_of(epoch)):
            with nullcontext() if self.recorded is None else self.recorded.on_stream():
                loss = self.step(epoch, b)
            yield BatchLoss(chosen, loss)

    def batches_of(self, epoch: int) -> list[Tensor]:
        """The batches of the ``epoch``-th epoch from 0, each of list numbers (B,)."""
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self.batches(torch.Generator().manual_seed(self._seed_of(epoch)))
        return self._batches

    def step(self, epoch: int, b: int) -> Tensor:
        """Learn from the ``b``-th batch of the ``epoch``-th epoch, both from 0: its mean loss a tag, ().

        Whichever of the processes does it that share the weights.
        """
        batches = self.batches_of(epoch)
        chosen, step = batches[b], epoch * len(batches) + b
        lr = rate(self.config, step, len(batches))
        self.dropout.generator.manual_seed(self._seed_of(epoch, b + 1))
        if self.recorded is not None:
            loss = self.recorded(chosen, lr)
        else:
            loss = self._learn(*self.data.training.pack(chosen, self.device, self.multiple), lr)
        if self.average is not self.model:
            follow(self.average, self.model, self.config.average, step)
        return loss

    def _seed_of(self, epoch: int, step: int = 0) -> int:
        """Of what is random in an epoch, or in a step of it, from 1."""
        return ((self.seed * 1_000_003 + epoch) * 1_000_003 + step) & (2**63 - 1)

    def batches(self, generator: torch.Generator) -> list[Tensor]:
        """The numbers of all lists, each batch of lists of much the same length, so that few steps are of a few long
        ones."""
        steps, size = self.data.training.steps, self.config.batch_size
        batches: list[Tensor] = []
        for together in torch.randperm(len(steps), generator=generator).split(size * SORTED_TOGETHER):
            batches += together[torch.argsort(steps[together], stable=True)].split(size)
        return [batches[b] for b in torch.randperm(len(batches), generator=generator).tolist()]

    def _learn(self, features: Tensor, lists: PackedLists, lr: float | Tensor) -> Tensor:
        """The batch's mean loss a tag, (), before its step."""
        image = self.model.image_state(features, self.dtype, self.dropout, lists.person, self.optimiser)
        logits = self.model.logits(image, lists, self.dropout, self.optimiser)
        # By a batch's usual number of tags, not by this one's: a tag counts the same in a short list and in a long one.
        loss = learn_from(logits, lists.target, self.config.label_smoothing, self.tags_a_batch)
        self.optimiser.step(lr, self.config.clip)
        return loss

    def _make_optimiser(self, zeros: Callable[[Tensor], Tensor]) -> AdamW:
        config, projection = self.config, self.model.project.weight
        if not config.dropout_features:
            return AdamW(self.model.parameters(), config.weight_decay, zeros=zeros)
        used = how_many_kept(projection.shape[1], config.dropout_features)
        rest = [p for p in self.model.parameters() if p is not projection]
        rows = RowAdamW(projection.t(), used, config.weight_decay, zeros)
        return AdamW(rest, config.weight_decay, rows, zeros)

    def _recorded_steps(self) -> RecordedSteps:
        state = [*self.model.parameters(), *self.optimiser.tensors()]
        return RecordedSteps(self._learn, state, self.dropout.generator, self.data.training, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs to go on exactly."""
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        return state | ({} if self.average is self.model else {"average": self.average.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of the same settings and data."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not self.model:
            self.average.load_state_dict(state["average"])


def rate(config: TrainingConfig, step: int, steps_an_epoch: int) -> float:
    """The learning rate of a step, from 0."""
    total, warmup = config.epochs * steps_an_epoch, round(config.warmup * steps_an_epoch)
    return learning_rate(step, total, warmup, config.lr, config.cosine)
