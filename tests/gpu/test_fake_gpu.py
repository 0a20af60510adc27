"""The GPU that is not there refuses and forgets what a real one does."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from fake_gpu import FakeGpu, GpuTensor
from torch import nn


@pytest.mark.usefixtures("fake")
def test_what_is_made_on_a_gpu_or_moved_there_is_there() -> None:
    second = torch.device("cuda:1")
    made = [
        torch.zeros(2, device="cuda:1"),
        torch.tensor([1.0], device=second),
        torch.arange(3, device="cuda:1"),
        torch.ones(2).to("cuda:1"),
        torch.ones(2).to("cuda:1", torch.bfloat16, non_blocking=True) + 1,
        nn.Linear(2, 1).to(second).weight,
        torch.randn(2, generator=torch.Generator("cuda:1"), device="cuda:1"),
    ]
    assert all(isinstance(x, GpuTensor) and x.device == second and x.is_cuda for x in made)
    assert torch.ones(2).to("cuda").device == torch.device("cuda:0")
    assert made[0].to(second) is made[0]
    assert type(made[0].cpu()) is torch.Tensor and made[2].tolist() == [0, 1, 2]
    assert torch.equal(pickle.loads(pickle.dumps(made[2])), torch.arange(3))


@pytest.mark.usefixtures("fake")
def test_tensors_of_two_devices_do_not_go_together() -> None:
    here, there, elsewhere = torch.ones(2, 2), torch.ones(2, 2, device="cuda:1"), torch.ones(2, 2, device="cuda:0")
    for refused in (
        lambda: here + there,
        lambda: there + elsewhere,
        lambda: there @ here,
        lambda: torch.cat([there, here]),
        lambda: F.embedding(torch.tensor([1]), there),
        lambda: F.linear(there, here),
        lambda: there.index_add_(0, torch.tensor([1]), there[:1]),
        lambda: torch.stack([there[0, 0], torch.tensor(1.0)]),
        lambda: there.__setitem__(torch.tensor([0]), here[:1]),
        lambda: nn.Linear(2, 2)(there),
    ):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            refused()
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"):
        here[torch.tensor([0], device="cuda:1")]
    with pytest.raises(RuntimeError, match="device type for generator"):
        torch.randperm(3, generator=torch.Generator(), device="cuda:1")
    with pytest.raises(TypeError, match="to numpy"):
        there.numpy()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.zeros(1, device="cuda:2")
    # As on a real one: numbers and indices may come from the processor.
    assert (there * torch.tensor(3.0)).tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert there[torch.tensor([1])].device == torch.device("cuda:1")
    there[0] = torch.tensor(5.0)
    assert there[:, 0].tolist() == [5.0, 1.0]


@pytest.mark.usefixtures("fake")
def test_a_copy_that_is_not_waited_for_has_not_arrived() -> None:
    there = torch.ones(2, device="cuda:1")
    for copy in (
        lambda: torch.empty(2, pin_memory=True).copy_(there, non_blocking=True),
        lambda: there.to("cpu", non_blocking=True),
    ):
        copied = copy()
        assert copied.is_pinned() and copied.isnan().all()
        early, behind = torch.cuda.Event(), torch.cuda.Event()
        # On the first GPU's stream, where no copy was asked for.
        early.record()
        early.synchronize()
        assert copied.isnan().all()
        with torch.cuda.device(1):
            behind.record()
        behind.synchronize()
        assert copied.tolist() == [1.0, 1.0]
    late = torch.zeros(2).pin_memory().copy_(there, non_blocking=True)
    torch.cuda.synchronize("cuda:1")
    assert late.tolist() == [1.0, 1.0]
    # Memory that is not pinned is waited for.
    assert torch.zeros(2).copy_(there, non_blocking=True).tolist() == [1.0, 1.0]


@pytest.mark.usefixtures("fake")
def test_pinned_memory_is_not_overwritten_while_it_is_copied() -> None:
    pinned = torch.ones(2).pin_memory()
    there = pinned.to("cuda:1", non_blocking=True)
    pinned.zero_()
    with pytest.raises(AssertionError, match="overwritten before its copy"):
        there.cpu()


def test_what_is_recorded_is_done_when_it_is_replayed(fake: FakeGpu) -> None:
    place, generator = torch.device("cuda", 1), torch.Generator("cuda:1").manual_seed(3)
    held, added = torch.ones(4, device=place), torch.zeros(4, device=place)

    def work() -> torch.Tensor:
        held[:2].add_(added[:2])
        return held.sum() + torch.rand(3, generator=generator, device=place)

    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        result = work()
    assert held.tolist() == [1, 1, 1, 1] and result.isnan().all()
    drawn = torch.rand(6, generator=torch.Generator().manual_seed(3))
    for step in range(2):
        added.fill_(10.0**step)
        graph.replay()
        assert held.tolist() == [[2, 2, 1, 1], [12, 12, 1, 1]][step]
        torch.testing.assert_close(result.cpu(), [6, 26][step] + drawn[3 * step : 3 * step + 3])


@pytest.mark.parametrize(
    "work",
    [
        lambda x, _: x.cpu(),
        lambda x, _: x.sum().item(),
        lambda x, _: torch.ones(2).to(x.device),
        lambda x, generator: torch.rand(2, generator=generator, device=x.device),
    ],
    ids=["fetch", "look", "send", "draw"],
)
@pytest.mark.usefixtures("fake")
def test_what_cannot_be_recorded_is_refused(work: Callable[..., object]) -> None:
    x, generator = torch.ones(2, device="cuda:0"), torch.Generator("cuda:0")
    with (
        pytest.raises(RuntimeError, match="captur"),
        torch.cuda.graph(torch.cuda.CUDAGraph(), stream=torch.cuda.Stream()),
    ):
        work(x, generator)
    with pytest.raises(AssertionError), torch.cuda.graph(torch.cuda.CUDAGraph(), stream=torch.cuda.current_stream()):
        pass


def test_gradients_are_the_processor_s(fake: FakeGpu) -> None:
    layer, x = nn.Linear(3, 2), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 1, 0])
    F.cross_entropy(layer(x), target, label_smoothing=0.1).backward()
    expected = layer.weight.grad
    layer.zero_grad()
    layer.to("cuda:1")
    F.cross_entropy(layer(x.to("cuda:1")), target.to("cuda:1"), label_smoothing=0.1).backward()
    found = layer.weight.grad
    assert expected is not None and found is not None and found.device == torch.device("cuda:1")
    assert torch.equal(found.cpu(), expected)
    assert fake.computed[0] == 0 < fake.computed[1]


def test_it_fails_when_it_is_told_to(fake: FakeGpu) -> None:
    x = torch.ones(1, device="cuda:1")
    fake.fail_at = fake.computed[1] + 2
    x = x + 1
    with pytest.raises(torch.AcceleratorError, match="CUDA error"):
        x + 1


def test_nothing_of_it_is_left() -> None:
    assert not isinstance(torch.zeros(1), GpuTensor) and torch.Generator().device.type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)):
            torch.zeros(1, device="cuda")
