"""The validation of a model in training: NDCG@5 of its free-running decodes, and its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.compute.device import choose_dtype
from ranktag.compute.threads import one_thread, side_by_side
from ranktag.config import TrainingConfig
from ranktag.decoding.mbr import Draw, expected_gains
from ranktag.decoding.stepper import Stepper
from ranktag.evaluation.matches import Floats
from ranktag.models.lstm import Tagger
from ranktag.models.ranking import Limits, best_five
from ranktag.training.divergence import divergence
from ranktag.training.score import ndcg5_of_asked
from ranktag.training_data.load import TrainingData

# Early stopping draws fewer lists of an image than an export: the first tag's gain is exact with any number, and the
# noise between epochs comes from the images, not from the lists.
DRAW = Draw(lists=4, offset=0.5)
BLOCK = 1024
# Of fewer images, what a part costs beside its products is more than a thread gains: measured, 250 took 37 ms in two
# parts by two threads, and 32 ms in one.
LEAST = 256
# Of so many lists is the loss: it is shown, not decided by, and must stay cheap beside an epoch.
LOSS_LISTS = 256

T = TypeVar("T")
R = TypeVar("R")


class Validation:
    """Validates a model on a device, again and again while it learns."""

    def __init__(self, data: TrainingData, config: TrainingConfig, device: torch.device) -> None:
        self._data, self._config, self._device = data, config, device
        self._dtype = choose_dtype(config.precision, device)

    def run(self, model: Tagger, epoch: int, busy: bool = False) -> tuple[float, Floats]:
        """The teacher-forced loss a tag, in nats, and NDCG@5 of each validation image, (N,), free-running.

        epoch: the one that is done. busy: whether other processes of the training compute meanwhile; then this is done
        by one thread, with the same result. Raises RanktagError if what the model says is not finite, naming the
        images.
        """
        # On a processor a part of the images a thread: threads that share one wait for each other, and on a busy
        # machine for those of other programs.
        with one_thread() as before:
            parts = before if self._device.type == "cpu" else 1
            parts = min(parts, max(1, len(self._data.validation.row) // LEAST))
            threads = 1 if busy else parts
            values = ndcg5_of_asked(self._data.validation, self._ranked(model, epoch, parts, threads))
            return self._loss(model, threads), values

    def _ranked(self, model: Tagger, epoch: int, parts: int, threads: int) -> list[list[int]]:
        """The five tags of the highest gain, for all that the model is asked, in so many parts or more."""
        validation = self._data.validation
        stepper = Stepper(model, self._dtype)
        limits = Limits(min(self._data.longest, stepper.vocabulary))
        size = min(BLOCK, -(-len(validation.row) // parts))
        ranked: list[list[int]] = []

        @torch.inference_mode()
        def gains(asked: tuple[Tensor, Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
            image, block, person = asked
            state = stepper.initial_state(block, person)
            return image, expected_gains(stepper, state, limits, DRAW, "log").gain

        for image, gain in _side_by_side(gains, validation.asked(size), threads):
            bad = (~gain.isfinite()).any(dim=1).nonzero().flatten()
            if len(bad):
                # The last batch's update is in no loss yet.
                what = f"what the model says after epoch {epoch} of validation images"
                rows = validation.row.cpu()[image[bad.cpu()]]
                raise divergence(what, self._data, rows, self._config.batch_size)
            ranked += best_five(gain)
        return ranked

    def _loss(self, model: Tagger, threads: int) -> float:
        """Of the first lists; nan where there are none."""
        validation = self._data.validation
        chosen = torch.arange(min(len(validation.image), LOSS_LISTS))
        if not len(chosen):
            return float("nan")
        features, lists = validation.pack(chosen, self._device)

        @torch.inference_mode()
        def probabilities(member: torch.nn.Module) -> Tensor:
            return torch.softmax(member(features, lists, self._dtype), dim=1)

        p = torch.stack(list(_side_by_side(probabilities, model.members, threads))).mean(0)
        return float(F.nll_loss(p.log(), lists.target))


def _side_by_side(do: Callable[[T], R], work: Iterable[T], threads: int) -> Iterator[R]:
    """``do`` of every piece of work, in order, by so many threads."""
    return side_by_side(do, work, threads) if threads > 1 else map(do, work)
