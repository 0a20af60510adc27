"""Convolutions that clamp, and the pooling behind them, are torch's to the bit; what is no number stays none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ranktag.compute import clamped_conv
from ranktag.compute.clamped_conv import ClampedConv, ClampedPool, clamp_within
from ranktag.compute.compiled import kernels

OFFERED = clamped_conv._offered(torch.bfloat16)
offered = pytest.mark.skipif(not OFFERED, reason="torch offers no such convolutions in bfloat16 on this processor")
pooled = pytest.mark.skipif(kernels is None, reason="there was no C compiler where ranktag was installed")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def pictures(images: int, channels: int, height: int, width: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    x = torch.randn(images, channels, height, width, generator=torch.Generator().manual_seed(0))
    return x.to(dtype, memory_format=torch.channels_last)


def kinds(layers: nn.Sequential) -> list[type[nn.Module]]:
    return [type(module) for module in layers]


@offered
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "padding", "stride", "groups"), [(3, 1, 1, 1), (3, 0, 1, 1), (5, 2, 2, 2)])
def test_a_convolution_is_torchs_with_a_relu_to_the_bit(
    bias: bool, kernel: int, padding: int, stride: int, groups: int
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 32, kernel, padding=padding, stride=stride, groups=groups, bias=bias)
    layers = nn.Sequential(conv, nn.ReLU())
    clamped = clamp_within(layers, torch.bfloat16)
    assert kinds(clamped) == [ClampedConv]
    layers.bfloat16()
    # The weights are in the order that is best for the first of them.
    for images, height, width in [(1, 16, 20), (5, 16, 20), (2, 9, 7)]:
        x = pictures(images, 4, height, width)
        expected = layers(x.clone())
        assert torch.equal(clamped(x), expected) and 0.2 < (expected == 0).float().mean() < 0.8


@offered
@pytest.mark.parametrize("padding", ["same", "reflected"])
def test_another_border_is_left_to_torch(padding: str) -> None:
    conv = (
        nn.Conv2d(3, 8, 3, padding="same")
        if padding == "same"
        else nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
    )
    assert kinds(clamp_within(nn.Sequential(conv, nn.ReLU()), torch.bfloat16)) == [nn.Conv2d, nn.ReLU]


@offered
def test_pooling_behind_clamping_is_torchs_and_so_is_all_else() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.MaxPool2d(2, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(32 * 5 * 2, 8),
        nn.ReLU(),
    )
    clamped = clamp_within(layers, torch.bfloat16)
    pool = nn.MaxPool2d if kernels is None else ClampedPool
    behind = [nn.Conv2d, nn.MaxPool2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear, nn.ReLU]
    assert kinds(clamped) == [ClampedConv, ClampedConv, pool, *behind]
    layers.bfloat16()
    x = pictures(3, 3, 47, 23)
    assert torch.equal(clamped(x), layers(x))


@offered
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e25])
def test_what_may_be_no_number_is_left_to_torch_which_keeps_it(value: float) -> None:
    """Of weights of 1e25 the second convolution makes infinite numbers, and the third has them less each other."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(module for _ in range(3) for module in (nn.Conv2d(3, 3, 1, bias=False), nn.ReLU())))
    for conv in layers[::2]:
        conv.weight.copy_(torch.tensor([[1.0, -1.0, 1.0]] * 3)[:, :, None, None])
    layers[0].weight[0] = value
    layers[2].weight[:, 0] = value if value < torch.inf else 1.0
    left = clamp_within(layers, torch.bfloat16)
    assert kinds(left) == [nn.Conv2d, nn.ReLU] * 3
    layers.bfloat16()
    assert not left(torch.ones(1, 3, 2, 2, dtype=torch.bfloat16)).isfinite().any()


@offered
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_weights_may_be_of_any_type(dtype: torch.dtype) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).to(dtype)
    clamped = clamp_within(layers, torch.bfloat16)
    assert kinds(clamped) == [ClampedConv]
    x = pictures(2, 3, 8, 8)
    assert torch.equal(clamped(x), layers.bfloat16()(x))


def test_the_bound_of_sums_by_hand() -> None:
    first, second = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, (1, 2), groups=2, bias=False)
    first.weight.copy_(torch.tensor([2.0, -3.0]).view(2, 1, 1, 1))
    first.bias.copy_(torch.tensor([-5.0, 7.0]))
    second.weight.copy_(torch.tensor([[1.0, -1.0], [0.25, 0.5]]).view(2, 1, 1, 2))
    # Pixels up to 1,000: 2,005 and 3,007, and of those 4,010 and 2,255.25.
    assert clamped_conv._bound(nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.Flatten())) == 4010.0
    assert clamped_conv._bound(nn.Sequential(first, nn.ReLU())) == 3007.0


@offered
def test_layers_that_are_not_known_may_make_large_numbers() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Softplus(), nn.Conv2d(8, 8, 3), nn.ReLU())
    assert clamp_within(layers, torch.bfloat16) is layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_types_are_left_to_torch(dtype: torch.dtype) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    assert clamp_within(layers, dtype) is layers


@pytest.mark.parametrize("name", ["CONVOLVE", "PUT_IN_ORDER"])
def test_where_torch_calls_it_otherwise_it_is_left_to_torch(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    schema = getattr(clamped_conv, name)
    operation = schema.partition("::")[2].partition("(")[0]
    assert clamped_conv._is_there(torch.ops.mkldnn, schema)
    for other in (schema.replace("groups", "groups_"), schema.replace(operation, "no_such_operation")):
        assert not clamped_conv._is_there(torch.ops.mkldnn, other)
    monkeypatch.setattr(clamped_conv, name, schema.replace("groups", "groups_"))
    clamped_conv._offered.cache_clear()
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    try:
        assert clamp_within(layers, torch.bfloat16) is layers
    finally:
        clamped_conv._offered.cache_clear()


@pooled
def test_the_largest_of_two_by_two_by_hand() -> None:
    x = torch.tensor([[0.0, 2, 5, 0, 9], [1, 0.5, 0, 7, 9], [9, 9, 9, 9, 9]])[None, None]
    assert ClampedPool()(x).tolist() == [[[[2.0, 7.0]]]]


@pooled
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@settings(max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, most) for most in (4, 70, 9, 9)]), threads=st.integers(1, 3), zeros=st.booleans()
)
def test_pooling_is_torchs(dtype: torch.dtype, shape: tuple[int, int, int, int], threads: int, zeros: bool) -> None:
    images, channels, height, width = shape
    x = pictures(images, channels, height + 1, width + 1, dtype).relu_()
    if zeros:
        # As a sum of a small number less than 0 is rounded; it counts as 0.
        x[x == 0] = -0.0
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = ClampedPool()(x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, nn.functional.max_pool2d(x, 2)) and found.is_contiguous(memory_format=torch.channels_last)


@pooled
def test_what_is_too_large_stays_so() -> None:
    x = torch.zeros(1, 1, 2, 4)
    x[0, 0, 0, 1], x[0, 0, 1, 2], x[0, 0, 0, 3] = torch.inf, torch.nan, torch.inf
    found = ClampedPool()(x)[0, 0, 0]
    assert found[0] == torch.inf and found[1].isnan()


@pooled
@pytest.mark.parametrize(
    "module",
    [
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(2, 1),
        nn.MaxPool2d(2, 2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        nn.AvgPool2d(2),
    ],
)
def test_another_pooling_is_left_to_torch(module: nn.Module) -> None:
    assert ClampedPool.suits(nn.MaxPool2d(2)) and not ClampedPool.suits(module)


def test_without_a_compiler_pooling_is_left_to_torch(way: str) -> None:
    assert ClampedPool.suits(nn.MaxPool2d(2, 2)) is (way == "compiled")
