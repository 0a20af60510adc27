"""The recurrence, held to autograd's own gradient of the plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ranktag.compute.packed_lstm import PackedLSTM


def plain(gates: Tensor, image: Tensor, h: Tensor | None, c: Tensor | None, weight: Tensor, sizes: list[int]) -> Tensor:
    """What ``PackedLSTM.apply`` computes, as one would first write it."""
    outputs = []
    for n, sums in zip(sizes, gates.split(sizes)):
        sums = sums + image[:n] + (0.0 if h is None else h[:n] @ weight.t())
        i, f, g, o = sums.chunk(4, dim=1)
        c = torch.sigmoid(i) * torch.tanh(g) + (0.0 if c is None else torch.sigmoid(f) * c[:n])
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.cat(outputs)


@pytest.mark.parametrize("sizes", [[3, 2, 2, 1], [3, 3], [2]])
@pytest.mark.parametrize("from_zeros", [False, True])
def test_the_written_out_gradient_of_the_recurrence_is_that_of_its_values(sizes: list[int], from_zeros: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    images, hidden = sizes[0], 3

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    gates, image, weight = random(sum(sizes), 4 * hidden), random(images, 4 * hidden), random(4 * hidden, hidden)
    if from_zeros:
        assert torch.autograd.gradcheck(
            lambda g, i, w: PackedLSTM.apply(g, i, None, None, w, sizes), (gates, image, weight)
        )
        zeros = torch.zeros(images, hidden, dtype=torch.float64)
        torch.testing.assert_close(
            PackedLSTM.apply(gates, image, None, None, weight, sizes),
            PackedLSTM.apply(gates, image, zeros, zeros, weight, sizes),
        )
    else:
        start = random(images, hidden), random(images, hidden)
        assert torch.autograd.gradcheck(lambda *x: PackedLSTM.apply(*x, sizes), (gates, image, *start, weight))


@pytest.mark.parametrize("sizes", [[3, 2, 2, 1], [3, 3], [2]])
@pytest.mark.parametrize("from_zeros", [False, True])
def test_values_and_gradients_are_those_of_the_plain_loop(sizes: list[int], from_zeros: bool) -> None:
    generator = torch.Generator().manual_seed(8)
    shapes = [(sum(sizes), 12), (sizes[0], 12), (12, 3)] + ([] if from_zeros else [(sizes[0], 3)] * 2)
    inputs = [torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    gates, image, weight, *start = inputs
    h, c = start or (None, None)
    ours, theirs = PackedLSTM.apply(gates, image, h, c, weight, sizes), plain(gates, image, h, c, weight, sizes)
    torch.testing.assert_close(ours, theirs)
    gradient = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad(y, inputs, gradient, materialize_grads=True) for y in (ours, theirs))):
        torch.testing.assert_close(a, b)
