"""Members that train side by side."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from making import make_data, tiny
from trainings import history, weights

from ranktag.compute.device import choose_device
from ranktag.compute.forks import can_fork
from ranktag.models.checkpoint import load_checkpoint
from ranktag.training.member import Member
from ranktag.training.members import Members
from ranktag.training.train import train
from ranktag.training.trainer import Trainer
from ranktag.training_data.load import load_training_data


def test_members_are_the_runs_of_their_own_seeds(tmp_path: Path) -> None:
    # The first member of several is the only one of a run of one: nothing of a member depends on the others.
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "one", tiny(epochs=1))
    train(cache, tags, tmp_path / "three", tiny(epochs=1, members=3))
    one, three = load_checkpoint(tmp_path / "one").model, load_checkpoint(tmp_path / "three").model
    assert three.config.members == 3
    members = list(three.members)
    assert all(torch.equal(value, members[0].state_dict()[name]) for name, value in one.state_dict().items())
    starts = [member.recurrent for member in members]
    assert not any(
        torch.equal(a, b) for a, b in ((starts[0], starts[1]), (starts[0], starts[2]), (starts[1], starts[2]))
    )


@pytest.mark.parametrize("forked", [True, False, None], ids=["forks", "threads", "forks without gradients"])
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_members_side_by_side_learn_what_they_learn_one_after_another(
    tmp_path: Path, threads: int, forked: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forked and not can_fork():
        pytest.skip("a fork cannot compute here")
    monkeypatch.setattr("ranktag.training.members.can_fork", lambda: forked is not False)
    if forked is None:
        monkeypatch.setattr("ranktag.compute.forks._computes_gradients", lambda: False)
    cache, tags = make_data(tmp_path)
    config = tiny(members=3, epochs=2)
    data = load_training_data(cache, tags, config, choose_device("cpu"))
    before = torch.get_num_threads()
    learned, losses, left = [], [], []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            trainer = Trainer(data, config, choose_device("cpu"))
            losses.append([trainer.train_epoch()[0] for _ in range(2)])
            trainer.close()
            learned.append([p for member in trainer.members for p in member.model.state_dict().values()])
            left.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(before)
    assert losses[0] == losses[1] and left == [1, threads]
    assert all(torch.equal(a, b) for a, b in zip(*learned, strict=True))


@pytest.mark.skipif(not can_fork(), reason="a fork cannot compute here")
def test_members_that_go_ahead_while_an_epoch_is_validated_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(members=3, epochs=4, batch_size=4)
    ahead: list[bool] = []
    validate = Trainer.validate

    def watched(self: Trainer) -> tuple[float, float]:
        ahead.append(self.ahead)
        return validate(self)

    monkeypatch.setattr(Trainer, "validate", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        # A state after every epoch, which is one between two epochs, and none before the last.
        for seconds, expected in ((0.0, [False] * 4), (60.0, [True, True, True, False])):
            monkeypatch.setattr("ranktag.training.run.SECONDS_BETWEEN_STATES", seconds)
            train(cache, tags, tmp_path / f"{seconds}", config)
            assert ahead == expected
            ahead.clear()
    finally:
        torch.set_num_threads(before)
    one, other = weights(tmp_path / "0.0"), weights(tmp_path / "60.0")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert history(tmp_path / "0.0") == history(tmp_path / "60.0")


def test_a_member_that_fails_ends_the_others_at_their_next_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr("ranktag.training.members.can_fork", lambda: False)
    cache, tags = make_data(tmp_path)
    config = tiny(members=2, batch_size=1)
    data = load_training_data(cache, tags, config, choose_device("cpu"))
    members = Members(data, config, choose_device("cpu"))
    _, second = members
    begun, steps = threading.Event(), 0

    def step(self: Member, *_: object) -> torch.Tensor:
        nonlocal steps
        if self is second:
            assert begun.wait(timeout=30)
            raise MemoryError
        steps += 1
        begun.set()
        # Long enough for the failure to come in between.
        time.sleep(0.1)
        return torch.zeros(())

    monkeypatch.setattr(Member, "step", step)
    try:
        with pytest.raises(MemoryError):
            members.train_epoch(0)
    finally:
        torch.set_num_threads(before)
    assert 1 <= steps < len(data.training.image)
