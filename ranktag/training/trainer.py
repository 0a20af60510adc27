"""Training epoch by epoch: the members of a model learn, and what they know together is validated."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ranktag.config import TrainingConfig
from ranktag.evaluation.matches import Floats
from ranktag.models.lstm import Tagger, join_members
from ranktag.training.divergence import divergence
from ranktag.training.history import Epoch
from ranktag.training.member import BatchLoss, rate
from ranktag.training.members import Members
from ranktag.training.validation import Validation
from ranktag.training_data.load import TrainingData


class Trainer:
    """A model in training.

    average: what is validated and kept, the moving averages of the members' weights after the last epoch that was run.
    epoch: how many are done. values: NDCG@5 of each validation image, (N,), as it was validated last.
    """

    def __init__(self, data: TrainingData, config: TrainingConfig, device: torch.device) -> None:
        self.data, self.config, self.device = data, config, device
        self.members = Members(data, config, device)
        # The members' own, and what is looked at.
        self._average = self.average = join_members([member.average for member in self.members])
        self.average.people = data.people
        self._validation = Validation(data, config, device)
        self.epoch = 0
        self.values: Floats = np.empty(0)
        self._began = 0.0

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return self.members[0].dtype

    def run_epoch(self, ahead_until: float = 0.0) -> Epoch:
        """Train for one epoch and validate. Raises RanktagError if a loss is not finite, naming the batch's images.

        ahead_until: until when, by ``time.monotonic``, members may begin the next epoch while this one is validated
        (see ``ahead``). Only those do that have processes of their own.
        """
        begin = time.monotonic()
        if not self.ahead:
            self._began = begin
        loss, lr = self.train_epoch()
        trained = time.monotonic()
        images_per_second = len(self.data.training.image) / (trained - self._began)
        self.epoch += 1
        self.average = self._average
        if self.members.apart and self.epoch < self.config.epochs and trained < ahead_until:
            self._go_ahead()
        validation_loss, ndcg5 = self.validate()
        return Epoch(self.epoch, loss, validation_loss, ndcg5, lr, images_per_second, time.monotonic() - begin)

    @property
    def ahead(self) -> bool:
        """Whether members are in the next epoch already; there is no ``state_dict`` then."""
        return self.members.ahead

    def _go_ahead(self) -> None:
        self._copy.load_state_dict(self._average.state_dict())
        self.average, self._began = self._copy, time.monotonic()
        self.members.begin(self.epoch)

    @cached_property
    def _copy(self) -> Tagger:
        """For what is validated while the members' own go on changing."""
        return copy.deepcopy(self._average)

    def train_epoch(self) -> tuple[float, float]:
        """The training half of ``run_epoch``: mean loss a tag and the last learning rate."""
        losses = self.members.train_epoch(self.epoch)
        batches = len(losses[0])
        last = (self.epoch + 1) * batches - 1
        return statistics.fmean(map(self._mean, losses)), rate(self.config, last, batches)

    def _mean(self, losses: Sequence[BatchLoss]) -> float:
        """A member's mean loss a tag of an epoch."""
        # Looked at once an epoch, of all batches: on a GPU every look waits for the device.
        values = torch.stack([batch.loss for batch in losses]).cpu()
        self._refuse_not_finite(values, losses)
        tags = torch.tensor([float(self.data.training.steps[batch.lists].sum()) for batch in losses])
        return float((values * tags).sum() / tags.sum())

    def _refuse_not_finite(self, values: Tensor, losses: Sequence[BatchLoss]) -> None:
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            training, batch = self.data.training, int(bad[0])
            rows = training.row.cpu()[training.image[losses[batch].lists]]
            what = f"the loss of epoch {self.epoch + 1}, batch {batch + 1}"
            raise divergence(what, self.data, rows, self.config.batch_size)

    def validate(self) -> tuple[float, float]:
        """Teacher-forced loss a tag and free-running NDCG@5 of the validation images."""
        loss, self.values = self._validation.run(self.average, self.epoch, busy=self.ahead)
        return loss, float(np.mean(self.values))

    def close(self) -> None:
        """End the processes that train."""
        self.members.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs to go on exactly."""
        assert not self.ahead, "the members are between two epochs"
        return {"epoch": self.epoch, "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of the same settings and data."""
        self.epoch = state["epoch"]
        for member, theirs in zip(self.members, state["members"], strict=True):
            member.load_state_dict(theirs)
