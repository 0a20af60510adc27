"""The LSTM's training loop: epochs of AdamW, a moving average of the weights, validation by free-running decodes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.compute.forks import Forks, can_fork
from ranktag.compute.threads import in_turns, one_thread, side_by_side
from ranktag.config import TrainingConfig
from ranktag.decoding.mbr import Draw, expected_gains
from ranktag.decoding.stepper import Stepper
from ranktag.errors import RanktagError
from ranktag.evaluation.matches import Floats
from ranktag.models.lstm import join_members
from ranktag.models.ranking import Limits, best_five
from ranktag.training.member import BatchLoss, Member, rate
from ranktag.training.score import ndcg5_of_asked
from ranktag.training_data.load import TrainingData

# Early stopping draws fewer lists of an image than an export: the first tag's gain is exact with any number, and the
# noise between epochs comes from the images, not from the lists.
VALIDATION_DRAW = Draw(lists=4, offset=0.5)
VALIDATION_BLOCK = 1024


T = TypeVar("T")
R = TypeVar("R")


class Epoch(NamedTuple):
    """A row of the history.

    loss, validation_loss: mean cross-entropy a tag, in nats. ndcg5: of the validation images' free-running decodes.
    lr: at the end. images_per_second: of training, with what is done beside it. seconds: of training and validation.
    """

    epoch: int
    loss: float
    validation_loss: float
    ndcg5: float
    lr: float
    images_per_second: float
    seconds: float


class Trainer:
    """A model in training: its members epoch by epoch, on a processor side by side, validated together."""

    def __init__(self, data: TrainingData, config: TrainingConfig, device: torch.device) -> None:
        self.data, self.config, self.device = data, config, device

        threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._at_once = min(config.members, threads)
        # Many more members than threads would be processes that wait for a processor, each with memory of its own.
        apart = self._at_once > 1 and threads < 2 * config.members <= 4 * threads and can_fork()

        def member(number: int) -> Member:
            return Member(data, config, device, number, shared=apart)

        # The random weights of several are drawn at once.
        self.members = list(_side_by_side(member, range(config.members), threads))
        self._apart = apart
        self._forks: Forks[int, tuple[Any, float]] | None = None
        self.average = join_members([member.average for member in self.members])
        self.average.people = data.people
        self.epoch = 0
        # Steps of something else, which members on a processor take turns with.
        self.beside: Iterator[None] | None = None
        # NDCG@5 of each validation image, (N,), as it was validated last.
        self.values: Floats = np.empty(0)

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return self.members[0].dtype

    def run_epoch(self) -> Epoch:
        """Train for one epoch and validate. Raises RanktagError if a loss is not finite, naming the batch's images."""
        begin = time.monotonic()
        loss, lr = self.train_epoch()
        trained = time.monotonic()
        self.epoch += 1
        validation_loss, ndcg5 = self.validate()
        images = len(self.data.training.image)
        return Epoch(self.epoch, loss, validation_loss, ndcg5, lr, images / (trained - begin), time.monotonic() - begin)

    def train_epoch(self) -> tuple[float, float]:
        """The training half of ``run_epoch``: mean loss a tag and the last learning rate."""
        means = []
        for steps in self._train_members():
            # Looked at once an epoch, of all members: on a GPU every look waits for the device.
            values = torch.stack([step.loss for step in steps]).cpu()
            self._refuse_not_finite(values, steps)
            tags = torch.tensor([float(self.data.training.steps[step.lists].sum()) for step in steps])
            means.append(float((values * tags).sum() / tags.sum()))
        last = (self.epoch + 1) * len(steps) - 1
        return statistics.fmean(means), rate(self.config, last, len(steps))

    def _train_members(self) -> list[list[BatchLoss]]:
        """Train every member for an epoch: on a processor side by side, with a share of torch's threads each.

        Threads that share one member's small products wait for each other: measured on VOC, two together took 0.24 s
        for an epoch of each member, and side by side 0.39 s for one of two members. Where a member's share is one
        thread, it has a process of its own. In threads of one process they take turns step by step, so that three keep
        two threads busy to the end.
        """
        if self._apart and self._forks is None:
            self._forks = Forks.start([member.losses for member in self.members])
            self._apart = self._forks is not None
        if self._forks is not None:
            return self._train_apart(self._forks)
        epochs = [member.train_epoch(self.epoch) for member in self.members]
        if self._at_once == 1:
            steps = [list(epoch) for epoch in epochs]
            for member in self.members:
                if member.recorded is not None:
                    member.recorded.wait()
            return steps
        series: list[Iterator[Any]] = [*epochs, *self._turns_beside()]
        return in_turns(series, self._at_once, torch.get_num_threads() // self._at_once)[: len(epochs)]

    def _train_apart(self, forks: Forks[int, tuple[Any, float]]) -> list[list[BatchLoss]]:
        forks.begin(self.epoch)
        with one_thread():
            for turns in self._turns_beside():
                for _ in turns:
                    pass
        return [
            [BatchLoss(torch.from_numpy(lists), torch.tensor(loss)) for lists, loss in steps]
            for steps in forks.results()
        ]

    def close(self) -> None:
        """End the processes that train."""
        if self._forks is not None:
            self._forks.close()
            self._forks = None

    def _turns_beside(self) -> list[Iterator[Any]]:
        """As many turns as a member has in an epoch, each of two steps."""
        if self.beside is None:
            return []
        beside, turns = self.beside, -(-len(self.data.training.image) // self.config.batch_size)
        return [((next(beside, None), next(beside, None)) for _ in range(turns))]

    def _refuse_not_finite(self, losses: Tensor, steps: Sequence[BatchLoss]) -> None:
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            training, batch = self.data.training, int(bad[0])
            rows = training.row.cpu()[training.image[steps[batch].lists]]
            raise self._not_finite(f"the loss of epoch {self.epoch + 1}, batch {batch + 1}", rows)

    def _not_finite(self, what: str, rows: Tensor) -> RanktagError:
        ids = [self.data.joined.store.image_id[row] for row in rows.unique().tolist()[: self.config.batch_size]]
        return RanktagError(f"{what} is not finite; lower --lr or look at these images: {', '.join(ids)}")

    def validate(self) -> tuple[float, float]:
        """Teacher-forced loss a tag and free-running NDCG@5 of the validation images."""
        # On a processor a part of the images a thread: threads that share one wait for each other, and on a busy
        # machine for those of other programs.
        with one_thread() as threads:
            return self._validate(threads if self.device.type == "cpu" else 1)

    def _validate(self, threads: int) -> tuple[float, float]:
        validation = self.data.validation
        stepper = Stepper(self.average, self.dtype)
        limits = Limits(min(self.data.longest, stepper.vocabulary))
        ranked: list[list[int]] = []
        size = min(VALIDATION_BLOCK, -(-len(validation.row) // threads))

        @torch.inference_mode()
        def gains(asked: tuple[Tensor, Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
            image, block, person = asked
            state = stepper.initial_state(block, person)
            return image, expected_gains(stepper, state, limits, VALIDATION_DRAW, "log").gain

        for image, gain in _side_by_side(gains, validation.asked(size), threads):
            bad = (~gain.isfinite()).any(dim=1).nonzero().flatten()
            if len(bad):
                # The last batch's update is in no loss yet.
                raise self._not_finite(
                    f"what the model says after epoch {self.epoch} of validation images",
                    validation.row.cpu()[image[bad.cpu()]],
                )
            ranked += best_five(gain)
        self.values = ndcg5_of_asked(validation, ranked)
        return self._validation_loss(threads), float(np.mean(self.values))

    def _validation_loss(self, threads: int) -> float:
        # Of some images only: it is shown, not decided by, and must stay cheap beside an epoch.
        validation = self.data.validation
        chosen = torch.arange(min(len(validation.image), 256))
        if not len(chosen):
            return float("nan")
        features, lists = validation.pack(chosen, self.device)

        @torch.inference_mode()
        def probabilities(member: torch.nn.Module) -> Tensor:
            return torch.softmax(member(features, lists, self.dtype), dim=1)

        p = torch.stack(list(_side_by_side(probabilities, self.average.members, threads))).mean(0)
        return float(F.nll_loss(p.log(), lists.target))

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs to go on exactly."""
        return {"epoch": self.epoch, "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of the same settings and data."""
        self.epoch = state["epoch"]
        for member, theirs in zip(self.members, state["members"], strict=True):
            member.load_state_dict(theirs)


def _side_by_side(do: Callable[[T], R], work: Iterable[T], threads: int) -> Iterator[R]:
    """``do`` of every piece of work, in order, by so many threads."""
    return side_by_side(do, work, threads) if threads > 1 else map(do, work)
