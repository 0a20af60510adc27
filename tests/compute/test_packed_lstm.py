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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [[3, 2, 2, 1], [3, 3], [2]])
@pytest.mark.parametrize("from_zeros", [False, True])
def test_values_and_gradients_are_those_of_the_plain_loop(
    way: str, sizes: list[int], from_zeros: bool, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(8)
    shapes = [(sum(sizes), 12), (sizes[0], 12), (12, 3)] + ([] if from_zeros else [(sizes[0], 3)] * 2)
    inputs = [torch.randn(*shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]
    gates, image, weight, *start = inputs
    h, c = start or (None, None)
    ours = PackedLSTM.apply(gates, image, h, c if c is None or dtype == torch.float64 else c.float(), weight, sizes)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    gates, image, weight, *start = exact
    h, c = start or (None, None)
    theirs = plain(gates, image, h, c, weight, sizes)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2**-5}[dtype]
    torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)
    gradient = torch.randn(ours.shape, generator=generator).to(dtype)
    found = torch.autograd.grad(ours, inputs, gradient, materialize_grads=True)
    expected = torch.autograd.grad(theirs, exact, gradient.double(), materialize_grads=True)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=2 * tolerance)
