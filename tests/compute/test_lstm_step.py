"""The step of an LSTM, compiled and by torch's operations, held to autograd in float64."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from ranktag.compute import compiled, lstm_step


class Step(NamedTuple):
    """What a step is given, and the gradient of what it gives."""

    gates: Tensor
    image: Tensor
    h: Tensor | None
    c: Tensor | None
    weight: Tensor
    d_output: Tensor
    d_h: Tensor
    d_c: Tensor


def random_step(n: int, hidden: int, dtype: torch.dtype, begins: bool, spread: float = 1.0) -> Step:
    generator = torch.Generator().manual_seed(n * 1000 + hidden)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * spread

    def numbers(*shape: int) -> Tensor:
        return random(*shape).to(dtype)

    h, c = (None, None) if begins else (numbers(n, hidden), random(n, hidden))
    gates, image, weight = numbers(n, 4 * hidden), numbers(n, 4 * hidden), numbers(4 * hidden, hidden)
    return Step(gates, image, h, c, weight, numbers(n, hidden), numbers(n, hidden), random(n, hidden))


def computed(x: Step, later: int | None = None) -> dict[str, Tensor]:
    n, hidden = x.d_output.shape
    later = n if later is None else later
    activated, c_next = torch.empty(n, 4 * hidden), torch.empty(n, hidden)
    output, d_gates = torch.empty_like(x.d_output), torch.empty_like(x.gates)
    lstm_step.forward(x.gates, x.image, x.h, x.c, x.weight, activated, c_next, output)
    result = {"output": output, "c_next": c_next, "d_gates": d_gates, "d_c": x.d_c.clone()}
    if not compiled.compiled(d_gates):
        result["d_image"] = torch.zeros(n, 4 * hidden)
    d_image = result.get("d_image")
    lstm_step.backward(activated, x.c, c_next, x.d_output, x.d_h.clone(), result["d_c"], later, d_gates, d_image)
    return result


def expected(x: Step) -> dict[str, Tensor]:
    exact = Step(*(None if tensor is None else tensor.double() for tensor in x))  # type: ignore[arg-type]
    before = torch.zeros_like(exact.d_c) if exact.c is None else exact.c
    before.requires_grad_()
    # The product is rounded to the numbers' type before it is added.
    product = 0.0 if x.h is None else (x.h @ x.weight.t()).double()
    sums = (exact.gates + exact.image + product).requires_grad_()
    i, f, g, o = sums.chunk(4, dim=1)
    c_next = torch.sigmoid(f) * before + torch.sigmoid(i) * torch.tanh(g)
    output = torch.sigmoid(o) * torch.tanh(c_next)
    d_sums, d_c = torch.autograd.grad((output, c_next), (sums, before), (exact.d_output + exact.d_h, exact.d_c))
    return {"output": output.detach(), "c_next": c_next.detach(), "d_gates": d_sums, "d_image": d_sums, "d_c": d_c}


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize(("n", "hidden"), [(1, 1), (3, 37), (64, 256)])
def test_float32_is_right_to_some_of_its_last_bits(way: str, n: int, hidden: int, begins: bool) -> None:
    x = random_step(n, hidden, torch.float32, begins)
    want = expected(x)
    for name, found in computed(x).items():
        torch.testing.assert_close(found.double(), want[name], rtol=5e-6, atol=2e-6, msg=name)


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize(("n", "hidden"), [(1, 1), (3, 37), (64, 256)])
def test_bfloat16_loses_what_it_rounds(way: str, n: int, hidden: int, begins: bool) -> None:
    x = random_step(n, hidden, torch.bfloat16, begins, spread=0.25)
    # Torch's operations also round what they add up to, 3 bits before the point at most: 8 bits in all.
    tolerance = 2**-8 if way == "compiled" else 2**-5
    want = expected(x)
    for name, found in computed(x).items():
        torch.testing.assert_close(found.double(), want[name], rtol=tolerance, atol=tolerance / 4, msg=name)


def test_c_and_d_c_are_float32_where_the_numbers_are_bfloat16(way: str) -> None:
    """A forget gate of almost 1 keeps what bfloat16 would round away: 1 + 2^-12."""
    x = random_step(1, 1, torch.bfloat16, begins=False)
    gates = torch.tensor([[-100.0, 100.0, 0.0, 0.0]], dtype=torch.bfloat16)
    kept = torch.tensor([[1.0 + 2**-12]])
    zeros = torch.zeros_like
    x = x._replace(
        gates=gates, image=zeros(gates), h=zeros(x.d_h), c=kept, d_output=zeros(x.d_h), d_h=zeros(x.d_h), d_c=kept
    )
    assert computed(x)["c_next"] == kept
    assert computed(x)["d_c"] == kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("later", [0, 2, 5])
def test_through_the_next_step_nothing_comes_to_those_that_end(
    way: str, later: int, begins: bool, dtype: torch.dtype
) -> None:
    x = random_step(5, 3, dtype, begins)
    d_h, d_c = x.d_h.clone(), x.d_c.clone()
    d_h[later:] = 0.0
    d_c[later:] = 0.0
    want = computed(x._replace(d_h=d_h, d_c=d_c))
    # Whatever is there.
    d_h[later:] = float("nan")
    d_c[later:] = float("inf")
    for name, found in computed(x._replace(d_h=d_h, d_c=d_c), later).items():
        assert torch.equal(found, want[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [[1], [4, 4, 4], [7, 5, 5, 1], [260, 130]])
@pytest.mark.parametrize("width", [4, 64, 150])
def test_steps_of_packed_sequences_add_up(sizes: list[int], width: int, dtype: torch.dtype) -> None:
    if compiled.kernels is None:
        pytest.skip("there was no C compiler where ranktag was installed")
    packed = torch.randn(sum(sizes), width, generator=torch.Generator().manual_seed(width)).to(dtype)
    want = torch.zeros(sizes[0], width)
    for n, step in zip(sizes, packed.float().split(sizes)):
        want[:n] += step
    found = lstm_step.sum_steps(packed, sizes)
    assert found.dtype == dtype
    assert torch.equal(found, want.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_sums_saturate_and_what_is_no_number_shows(way: str, dtype: torch.dtype) -> None:
    infinite, nan = float("inf"), float("nan")
    gates = torch.tensor([[1e4, -1e4, infinite, infinite], [infinite, -infinite, -infinite, 1e4], [nan] * 4]).to(dtype)
    x = random_step(3, 1, dtype, begins=True)._replace(gates=gates, image=torch.zeros_like(gates))
    found = computed(x)
    assert found["c_next"][:2].tolist() == [[1.0], [-1.0]]
    torch.testing.assert_close(found["output"][:2].float(), torch.tensor([[1.0], [-1.0]]).tanh(), rtol=2**-8, atol=0.0)
    for name, values in found.items():
        assert values[2].isnan().any(), name
        assert values[:2].isfinite().all(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_share_the_rows_out(way: str, dtype: torch.dtype) -> None:
    # As many numbers as are worth it, in rows of which one thread gets one more.
    x = random_step(257, 130, dtype, begins=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = computed(x)
        torch.set_num_threads(3)
        together = computed(x)
    finally:
        torch.set_num_threads(before)
    # The product is torch's, which sums in another order then.
    tolerance = 1e-5 if dtype == torch.float32 else 2**-6
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=tolerance, atol=tolerance)


def test_numbers_of_other_types_are_not_for_the_kernels() -> None:
    assert not compiled.compiled(torch.zeros(1, dtype=torch.float64))
    assert not compiled.compiled(torch.zeros(1, dtype=torch.float16))
