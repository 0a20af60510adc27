"""The LSTMs of one model in training, on a processor side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ranktag.compute.forks import Forks, Step, can_fork, shared_zeros_like
from ranktag.compute.threads import in_turns, one_thread, side_by_side
from ranktag.config import TrainingConfig
from ranktag.training.member import BatchLoss, Member
from ranktag.training_data.load import TrainingData


class Members:
    """The members of a model, each of which learns what it would learn alone.

    On a processor they learn side by side, with a share of torch's threads each: threads that share one member's small
    products wait for each other. Measured on VOC, two together took 0.24 s for an epoch of each member, and side by
    side 0.39 s for one of two members. They take turns, step by step, so that three keep two busy to the end: in
    processes, which ``close`` ends, or, where none can be forked or there are several threads for each, in threads.

    beside: steps of something else, some of which are done in every epoch while members learn side by side.
    """

    def __init__(self, data: TrainingData, config: TrainingConfig, device: torch.device) -> None:
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._at_once = min(config.members, threads)
        self._apart = self._at_once > 1 and threads < 2 * config.members and can_fork()
        self._forks: Forks | None = None
        # An epoch that was begun ahead.
        self._begun: int | None = None

        def member(number: int) -> Member:
            return Member(data, config, device, number, shared=self._apart)

        numbers = range(config.members)
        # The random weights of several are drawn at once.
        self._members = list(side_by_side(member, numbers, threads) if threads > 1 else map(member, numbers))
        self._batches = -(-len(data.training.image) // config.batch_size)
        self._losses = torch.zeros(config.members, self._batches)
        if self._apart:
            self._losses = shared_zeros_like(self._losses)
        self.beside: Iterator[None] = iter(())

    def __getitem__(self, number: int) -> Member:
        return self._members[number]

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    @property
    def apart(self) -> bool:
        """Whether they have processes of their own, once an epoch is trained."""
        return self._apart

    @property
    def ahead(self) -> bool:
        """Whether an epoch was begun for which ``train_epoch`` was not called."""
        return self._begun is not None

    def begin(self, epoch: int) -> None:
        """Let members that are ``apart`` begin the ``epoch``-th from 0, while something else is done here."""
        assert self._forks is not None, "apart, and an epoch is trained"
        self._forks.begin(epoch, len(self._members), self._batches)
        self._begun = epoch

    def train_epoch(self, epoch: int) -> list[list[BatchLoss]]:
        """Train all for one epoch, the ``epoch``-th from 0. The losses of each member's batches, in their order."""
        if self._apart and self._forks is None:
            # This process computes, too, or does what is beside.
            self._forks = Forks.start(self._do, min(len(self._members), torch.get_num_threads() - 1))
            # Where a fork cannot compute, all is done in this process.
            self._apart = self._forks is not None
        if self._forks is not None:
            return self._train_apart(self._forks, epoch)
        if self._at_once > 1:
            return self._train_in_turns(epoch)
        return self._train_one_by_one(epoch)

    def _train_apart(self, forks: Forks, epoch: int) -> list[list[BatchLoss]]:
        if not self.ahead:
            self.begin(epoch)
        assert self._begun == epoch, "epochs are trained one after another"
        with one_thread():
            forks.finish(self._do, self._turns_beside())
        self._begun = None
        # Before those of the next epoch are written there.
        losses = self._losses.clone()
        return [
            [BatchLoss(lists, loss) for lists, loss in zip(member.batches_of(epoch), of_member, strict=True)]
            for member, of_member in zip(self, losses)
        ]

    def _do(self, step: Step) -> None:
        """A step of a member, in whichever process."""
        self._losses[step.series, step.number] = self[step.series].step(step.round, step.number)

    def _train_in_turns(self, epoch: int) -> list[list[BatchLoss]]:
        series: list[Iterator[Any]] = [*(member.train_epoch(epoch) for member in self), self._turns_beside()]
        *losses, _ = in_turns(series, self._at_once, torch.get_num_threads() // self._at_once)
        return losses

    def _train_one_by_one(self, epoch: int) -> list[list[BatchLoss]]:
        losses = [list(member.train_epoch(epoch)) for member in self]
        # On a GPU all is launched now, on a stream of each member's own.
        for member in self:
            if member.recorded is not None:
                member.recorded.wait()
        return losses

    def _turns_beside(self) -> Iterator[None]:
        """As many turns as a member has in an epoch, each of two steps."""
        for _ in range(self._batches):
            next(self.beside, None)
            next(self.beside, None)
            yield

    def close(self) -> None:
        """End the processes that train."""
        if self._forks is not None:
            self._forks.close()
            self._forks = None
