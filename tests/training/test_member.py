"""An LSTM's steps, held to torch's own and to values by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from making import make_data, tiny
from trainings import NO_DROPOUT

from ranktag.compute.device import choose_device
from ranktag.training.trainer import Trainer
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
    batches = member.batches_of(0)
    assert sorted(len(chosen) for chosen in batches) == [5, 16]
    ours.run_epoch()
    # Of which weights the first gradient is more than float32's rounding of the largest, 5e-7 of it: AdamW's first step
    # divides each gradient by its own size.
    sure: dict[str, torch.Tensor] = {}
    for step, chosen in enumerate(batches):
        features, lists = data.training.pack(chosen)
        # A batch's mean loss, by its share of the tags of a usual one.
        share = len(lists.target) / (16 * float(data.training.steps.sum()) / 21)
        loss = share * torch.nn.functional.cross_entropy(theirs(features, lists), lists.target, label_smoothing=0.1)
        reference.zero_grad()
        loss.backward()
        for name, b in theirs.named_parameters():
            sure.setdefault(name, b.grad.abs() > 1e-5 * b.grad.abs().max())
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for group in reference.param_groups:
            group["lr"] = 1e-3 * (step + 1) / 2
        reference.step()
    for (name, a), b in zip(ours.members[0].model.named_parameters(), theirs.parameters()):
        for weights, atol in ((sure[name], 1e-6), (~sure[name], 1e-5)):
            torch.testing.assert_close(
                a[weights], b[weights], rtol=1e-5, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
            )
    assert float(sure["project.weight"].double().mean()) > 0.99


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
    monkeypatch.setattr("ranktag.training.member.SORTED_TOGETHER", 2)
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


def test_members_of_one_run_are_not_those_of_another(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    data = load_training_data(cache, tags, tiny(), choose_device("cpu"))
    seeds = [
        member.seed
        for seed in (0, 1, 2)
        for member in Trainer(data, tiny(seed=seed, members=3), choose_device("cpu")).members
    ]
    assert len(set(seeds)) == 9
