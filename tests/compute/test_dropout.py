"""Dropout: its share, its expectation, and what it draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ranktag.compute.dropout import Dropout

pytestmark = pytest.mark.usefixtures("way")

D = 10


def dropout(seed: int = 0) -> Dropout:
    return Dropout(0.0, 0.0, 0.0, torch.Generator().manual_seed(seed))


def philox(counter: list[int], key: list[int], rounds: int = 7) -> list[int]:
    """Salmon et al., 2011, section 4.3: as the paper writes it, for a counter at a time."""
    (r0, l0, r1, l1), (k0, k1) = counter, key
    for _ in range(rounds):
        high0, low0 = divmod(0xD2511F53 * r0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * r1, 2**32)
        r0, l0, r1, l1 = high1 ^ l0 ^ k0, low1, high0 ^ l1 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [r0, l0, r1, l1]


def bits(count: int, seed: int) -> Tensor:
    """Of so many numbers each one's 16 bits: 1024 numbers are 128 counters' low and high halves, word by word."""
    numbers: list[int] = []
    for first in range(0, count, 1024):
        words = [philox([first // 8 + k, 0, 0, 0], [seed % 2**32, seed >> 32]) for k in range(128)]
        numbers += [word[part // 2] >> 16 * (part % 2) & 0xFFFF for part in range(8) for word in words]
    return torch.tensor(numbers[:count])


def test_philox_of_here_gives_the_answers_that_its_authors_publish() -> None:
    """Random123's tests/kat_vectors."""
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    assert philox([0] * 4, [0] * 2) == [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]
    assert philox(*pi) == [0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A]
    assert philox(*pi, rounds=10) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 1023, 1024, 2600])
def test_the_kernel_keeps_what_philox_says_of_the_seed_and_the_place(way: str, count: int, dtype: torch.dtype) -> None:
    if way == "torch":
        pytest.skip("torch draws otherwise")
    for state in range(3):
        seed = int(torch.empty((), dtype=torch.int64).random_(generator=torch.Generator().manual_seed(state)))
        y = dropout(state)(torch.ones(count, dtype=dtype), 0.3)
        assert torch.equal(y != 0, bits(count, seed) >= round(0.3 * 65536))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_keeps_the_expectation(p: float, dtype: torch.dtype) -> None:
    x = torch.ones(400, 1003, dtype=dtype)
    y = dropout()(x, p).float()
    share = 1.0 / (1.0 - p)
    assert set(y.unique().tolist()) <= {0.0, float(torch.tensor(share, dtype=dtype))}
    # Four standard deviations of a binomial share.
    deviation = 4 * (p * (1 - p) / x.numel()) ** 0.5
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=deviation + 1 / 65536)
    assert float(y.mean()) == pytest.approx(1.0, abs=share * deviation + 0.005)
    # No column and no row is dropped more than the others, and neighbours are dropped independently.
    dropped = (y == 0).double()
    assert float((dropped.mean(0) - p).abs().max()) < 6 * (p * (1 - p) / 400) ** 0.5
    for apart in (1, 2, 3, 4):
        together = float((dropped[:, apart:] * dropped[:, :-apart]).mean())
        assert together == pytest.approx(p * p, abs=0.01)


def test_dropout_of_nothing_is_the_identity_and_draws_nothing() -> None:
    drop = dropout()
    before = drop.generator.get_state()
    x = torch.randn(3, 4)
    assert drop(x, 0.0) is x
    assert torch.equal(drop.generator.get_state(), before)


def test_dropout_follows_from_its_seed() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(dropout(1)(x, 0.5), dropout(1)(x, 0.5))
    assert not torch.equal(dropout(1)(x, 0.5), dropout(2)(x, 0.5))


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_what_is_dropped_depends_neither_on_its_place_nor_on_the_draw_before(p: float) -> None:
    drop, places = dropout(), 4096
    dropped = torch.stack([drop(torch.ones(places), p) == 0 for _ in range(201)]).double() - p
    # Places as far apart as a word, a part and a row of the kernel's, and draws one after the other: correlations of n
    # pairs vary with a standard deviation of 1 / sqrt(n).
    pairs = {apart: (dropped[:, apart:], dropped[:, :-apart]) for apart in (1, 2, 3, 4, 64, 127, 128, 256, 1024)}
    for apart, (a, b) in (pairs | {0: (dropped[1:], dropped[:-1])}).items():
        assert abs(float((a * b).mean())) / (p * (1 - p)) < 4.5 / math.sqrt(a.numel()), apart
    # Two neighbours in two draws: chi-square of the 16 outcomes, 15 degrees of freedom, is above 45 once in 10,000.
    four = (dropped[:200] > 0).long().view(100, 2, places // 2, 2).transpose(1, 2).reshape(-1, 4)
    observed = torch.bincount(four @ torch.tensor([8, 4, 2, 1]), minlength=16).numpy()
    ones = np.array([bin(outcome).count("1") for outcome in range(16)])
    expected = len(four) * p**ones * (1 - p) ** (4 - ones)
    assert ((observed - expected) ** 2 / expected).sum() < 45


def test_what_is_dropped_depends_neither_on_the_length_of_rows_nor_on_threads() -> None:
    # As many numbers as are shared out among threads, and not a whole number of the kernel's rows.
    x = torch.rand(330 * 101) + 1.0
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = dropout()(x, 0.5)
        torch.set_num_threads(3)
        assert torch.equal(dropout()(x, 0.5), alone)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(dropout()(x.view(330, 101), 0.5).flatten(), alone)
    # Nor on how they lie in memory.
    assert torch.equal(dropout()(x.view(330, 101).t().contiguous().t(), 0.5).flatten(), alone)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.3, 0.5])
def test_what_is_kept_and_its_gradient_are_scaled_and_what_is_dropped_has_none(
    way: str, dtype: torch.dtype, p: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    x = (torch.rand(40, 900, generator=generator) + 1.0).to(dtype).requires_grad_()
    gradient = (torch.rand(900, 40, generator=generator) + 1.0).to(dtype).t()
    y = dropout()(x, p)
    y.backward(gradient)
    by_kernel = way == "compiled" and dtype != torch.float64
    assert type(y.grad_fn).__name__ == ("_DroppedBackward" if by_kernel else "MulBackward0")
    scale = torch.tensor(1.0 / (1.0 - p), dtype=torch.float32 if by_kernel else dtype)
    assert torch.equal(y, (x * scale).to(dtype).where(y != 0, 0.0))
    assert torch.equal(x.grad, (gradient * scale).to(dtype).where(y != 0, 0.0))


def test_the_gradient_of_dropout_flows_through_what_was_kept() -> None:
    x = torch.randn(50, requires_grad=True)
    y = dropout()(x, 0.5)
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, 2.0))


def test_over_many_batches_every_feature_is_kept_as_often() -> None:
    share = Dropout(0.7, 0.0, 0.0, torch.Generator().manual_seed(0))
    counts = torch.zeros(D)
    for _ in range(2000):
        counts[share.kept_features(D)[0]] += 1
    # Four standard deviations of a binomial share of 0.3.
    assert float((counts / 2000 - 0.3).abs().max()) < 4 * (0.3 * 0.7 / 2000) ** 0.5
