"""The training loop, held to torch's own and to values by hand."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from making import make_data, tiny
from trainings import NO_DROPOUT

from ranktag.compute.device import choose_device
from ranktag.compute.forks import can_fork
from ranktag.models.checkpoint import load_checkpoint
from ranktag.training.loop import Member, Trainer
from ranktag.training.train import train
from ranktag.training_data.load import load_training_data


def test_a_step_equals_torchs_own_loop(tmp_path: Path) -> None:
    # One epoch of two batches without dropout, by torch.optim.AdamW, clip_grad_norm_ and the model's own loss.
    cache, tags = make_data(tmp_path)
    config = tiny(average=0.0, clip=0.5, label_smoothing=0.1, batch_size=16, warmup=1.0, epochs=4, **NO_DROPOUT)
    data = load_training_data(cache, tags, config, choose_device("cpu"))
    ours = Trainer(data, config, choose_device("cpu"))
    theirs = Trainer(data, config, choose_device("cpu")).members[0].model
    groups = [[p for p in theirs.parameters() if p.dim() > 1], [p for p in theirs.parameters() if p.dim() <= 1]]
    reference = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}]
    )
    member = ours.members[0]
    batches = member.batches(torch.Generator().manual_seed(member.seed * 1_000_003))
    assert sorted(len(chosen) for chosen in batches) == [5, 16]
    ours.run_epoch()
    for step, chosen in enumerate(batches):
        features, lists = data.training.pack(chosen)
        # A batch's mean loss, by its share of the tags of a usual one.
        share = len(lists.target) / (16 * float(data.training.steps.sum()) / 21)
        loss = share * torch.nn.functional.cross_entropy(theirs(features, lists), lists.target, label_smoothing=0.1)
        reference.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for group in reference.param_groups:
            group["lr"] = 1e-3 * (step + 1) / 2
        reference.step()
    for (name, a), b in zip(ours.members[0].model.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_a_batch_is_of_lists_of_much_the_same_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(batch_size=3)
    data = load_training_data(cache, tags, config, choose_device("cpu"))
    member = Trainer(data, config, choose_device("cpu")).members[0]
    steps = data.training.steps
    assert len(steps) == 21 and len(set(steps.tolist())) > 1
    # All of an epoch's lists are sorted together.
    batches = member.batches(torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(21))
    dealt = sorted(sorted(steps[chosen].tolist()) for chosen in batches)
    assert [n for lengths in dealt for n in lengths] == sorted(steps.tolist())
    # Two batches' at a time: of the seven, each two are of six lists drawn by chance.
    monkeypatch.setattr("ranktag.training.loop.SORTED_TOGETHER", 2)
    pairs = torch.randperm(21, generator=torch.Generator().manual_seed(0)).split(6)
    sets = [set(chosen.tolist()) for chosen in member.batches(torch.Generator().manual_seed(0))]
    for pair in pairs:
        assert set().union(*(one for one in sets if one <= set(pair.tolist()))) == set(pair.tolist())
    # In another order every epoch.
    assert sets != [set(chosen.tolist()) for chosen in member.batches(torch.Generator().manual_seed(1))]


def test_the_kept_weights_are_a_moving_average(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(average=0.9, batch_size=64)
    run = Trainer(load_training_data(cache, tags, config, choose_device("cpu")), config, choose_device("cpu"))
    expected = {name: p.detach().clone() for name, p in run.members[0].model.named_parameters()}
    for step in range(12):
        run.run_epoch()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, p in run.members[0].model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach()
    for name, p in run.average.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], rtol=1e-4, atol=1e-6)


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
@pytest.mark.parametrize("threads", [2, 3])
def test_members_side_by_side_learn_what_they_learn_one_after_another(
    tmp_path: Path, threads: int, forked: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forked and not can_fork():
        pytest.skip("a fork cannot compute here")
    monkeypatch.setattr("ranktag.training.loop.can_fork", lambda: forked is not False)
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


def test_a_member_that_fails_ends_the_others_at_their_next_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr("ranktag.training.loop.can_fork", lambda: False)
    cache, tags = make_data(tmp_path)
    config = tiny(members=2, batch_size=1)
    trainer = Trainer(load_training_data(cache, tags, config, choose_device("cpu")), config, choose_device("cpu"))
    first, second = trainer.members
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

    monkeypatch.setattr(Member, "_step", step)
    try:
        with pytest.raises(MemoryError):
            trainer.train_epoch()
    finally:
        torch.set_num_threads(before)
    assert 1 <= steps < len(trainer.data.training.image)


def test_members_of_one_run_are_not_those_of_another(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    data = load_training_data(cache, tags, tiny(), choose_device("cpu"))
    seeds = [
        member.seed
        for seed in (0, 1, 2)
        for member in Trainer(data, tiny(seed=seed, members=3), choose_device("cpu")).members
    ]
    assert len(set(seeds)) == 9
