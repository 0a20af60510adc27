"""The model, held to torch.nn.LSTM on concatenated inputs: outputs, loss and every gradient."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ranktag.compute.adamw import AdamW
from ranktag.compute.dropout import Dropout
from ranktag.compute.row_adamw import RowAdamW
from ranktag.decoding.stepper import Stepper
from ranktag.models.lstm import FORMS, ModelConfig, RankTagger
from ranktag.models.ranking import Limits
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training_data.examples import Examples

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")),
]
D, V = 10, 6
LISTS = {
    "one tag": [[3]],
    "one tag each": [[0], [5], [5], [2]],
    "the same length": [[0, 1, 2], [3, 4, 5], [5, 0, 3]],
    "padding": [[1], [0, 1, 2, 3], [4, 5], [5, 4, 3, 2, 1, 0], [2]],
    "every tag": [[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]],
}


def make_model(form: str, seed: int = 0, vocabulary: int = V, scale: float = 1.0) -> RankTagger:
    """A small model with weights, mean and scale drawn from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    model = RankTagger(ModelConfig(form, D, 5, 7, 4, vocabulary), generator)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2).mul_(scale)
    model.mean.normal_(generator=generator)
    model.scale.uniform_(0.5, 2.0, generator=generator)
    return model


class Textbook(nn.Module):
    """The same model as a textbook writes it: nn.LSTM on [embedding; v] (or started from v), lists padded."""

    def __init__(self, model: RankTagger) -> None:
        super().__init__()
        c = model.config
        self.form, self.mean, self.scale = c.form, model.mean, model.scale
        self.project = nn.Linear(c.features, c.projection)
        self.embedding = nn.Embedding(c.vocabulary + 1, c.embedding)
        self.lstm = nn.LSTM(c.embedding + (c.projection if c.form == "every-step" else 0), c.hidden, batch_first=True)
        self.output = nn.Linear(c.hidden, c.vocabulary + 1)
        self.project.load_state_dict(model.project.state_dict())
        self.output.load_state_dict(model.output.state_dict())
        with torch.no_grad():
            self.embedding.weight.copy_(model.embedding)
            image = [model.image_gates] if c.form == "every-step" else []
            self.lstm.weight_ih_l0.copy_(torch.cat([model.embedding_gates, *image], dim=1))
            self.lstm.weight_hh_l0.copy_(model.recurrent)
            self.lstm.bias_ih_l0.copy_(model.bias)
            self.lstm.bias_hh_l0.zero_()
        if c.form == "initial-state":
            self.start = nn.Linear(c.projection, 2 * c.hidden)
            self.start.load_state_dict(model.start.state_dict())
        self.to(model.embedding.device)

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        """(B, D), (B, T) -> logits (B, T, V + 1)."""
        v = self.project((features - self.mean) / self.scale)
        embedded = self.embedding(previous)
        if self.form == "every-step":
            h, _ = self.lstm(torch.cat([embedded, v[:, None].expand(-1, previous.shape[1], -1)], dim=2))
        else:
            h_0, c_0 = self.start(v).chunk(2, dim=1)
            h, _ = self.lstm(embedded, (torch.tanh(h_0)[None].contiguous(), c_0[None].contiguous()))
        return self.output(h)

    def gradients(self) -> dict[str, Tensor]:
        """The gradients by the names that RankTagger's parameters have."""
        embedding = self.embedding.embedding_dim
        of = {name: p.grad for name, p in self.named_parameters()}
        named = {
            "project.weight": of["project.weight"],
            "project.bias": of["project.bias"],
            "embedding": of["embedding.weight"],
            "embedding_gates": of["lstm.weight_ih_l0"][:, :embedding],
            "recurrent": of["lstm.weight_hh_l0"],
            "bias": of["lstm.bias_ih_l0"],
            "output.weight": of["output.weight"],
            "output.bias": of["output.bias"],
        }
        if self.form == "every-step":
            return named | {"image_gates": of["lstm.weight_ih_l0"][:, embedding:]}
        return named | {"start.weight": of["start.weight"], "start.bias": of["start.bias"]}


def padded(lists: Sequence[Sequence[int]], device: str) -> tuple[Tensor, Tensor]:
    """Previous tags (START, tags) and targets (tags, STOP), (B, T); -100 beyond a list's end. START and STOP are V."""
    longest = max(map(len, lists)) + 1
    previous = torch.full((len(lists), longest), V)
    target = torch.full((len(lists), longest), -100)
    for n, tags in enumerate(lists):
        previous[n, 1 : len(tags) + 1] = torch.tensor(tags)
        target[n, : len(tags) + 1] = torch.tensor([*tags, V])
    return previous.to(device), target.to(device)


def examples(lists: Sequence[Sequence[int]], features: Tensor) -> Examples:
    """One image a list."""
    tags = [str(n) for n in range(V)]
    people = [[tuple(tags[n] for n in numbers)] for numbers in lists]
    return Examples(features, torch.arange(len(lists)), people, Vocabulary(tuple(tags)))


def assert_near(actual: Tensor, expected: Tensor, what: str, share: float = 1e-5) -> None:
    """Equal to ``share`` of the largest number."""
    torch.testing.assert_close(
        actual, expected, rtol=share, atol=share * float(expected.abs().max()), msg=lambda m: f"{what}: {m}"
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("form", FORMS)
def test_loss_and_every_gradient_equal_the_textbooks(
    form: str, lists: list[list[int]], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = make_model(form).to(device)
    textbook = Textbook(model)
    features = torch.randn(len(lists), D, generator=torch.Generator().manual_seed(1)).to(device)

    packed_features, packed = examples(lists, features).pack(torch.arange(len(lists)))
    loss = F.cross_entropy(model(packed_features, packed), packed.target)
    loss.backward()
    previous, target = padded(lists, device)
    expected = F.cross_entropy(textbook(features, previous).transpose(1, 2), target, ignore_index=-100)
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = textbook.gradients()
    assert set(gradients) == {name for name, _ in model.named_parameters()}
    # Two of cuDNN's and cuBLAS's sums differ by more than two of a processor's.
    share = 1e-4 if device == "cuda" else 1e-5
    for name, parameter in model.named_parameters():
        assert_near(parameter.grad, gradients[name], name, share)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
def test_logits_equal_the_textbooks_at_every_step(form: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = make_model(form, seed=2).to(device)
    lists = LISTS["padding"]
    features = torch.randn(len(lists), D, generator=torch.Generator().manual_seed(3)).to(device)
    packed_features, packed = examples(lists, features).pack(torch.arange(len(lists)))
    previous, target = padded(lists, device)
    with torch.no_grad():
        expected = Textbook(model)(features, previous)
        logits = model(packed_features, packed)
    # Packed: step 1 of every list, the longest first, then step 2 of those that have one, ...
    order = sorted(range(len(lists)), key=lambda n: -len(lists[n]))
    at = [(n, t) for t in range(target.shape[1]) for n in order if t <= len(lists[n])]
    torch.testing.assert_close(logits, torch.stack([expected[n, t] for n, t in at]), rtol=1e-5, atol=1e-5)
    assert packed.sizes == [sum(t <= len(tags) for tags in lists) for t in range(target.shape[1])]
    assert packed.target.tolist() == [int(target[n, t]) for n, t in at]


@pytest.mark.parametrize("form", FORMS)
def test_decoding_steps_give_the_logits_of_training(form: str) -> None:
    model = make_model(form, seed=4)
    features = torch.randn(3, D, generator=torch.Generator().manual_seed(5))
    lists = [[0, 4, 2], [5, 1, 3], [2, 0, 1]]
    previous, _ = padded(lists, "cpu")
    with torch.no_grad():
        expected = torch.log_softmax(Textbook(model)(features, previous), dim=2)
        stepper = Stepper(model, torch.float32)
        image = stepper.initial_state(features)
        h, c = image.h, image.c
        unsaid = torch.zeros(3, 0, dtype=torch.int64)
        for t in range(4):
            if t:
                h, c = stepper.step(image.gates, h, c, None, previous[:, t])
            actual = stepper.log_probabilities(h, unsaid, Limits(4))
            torch.testing.assert_close(actual, expected[:, t], rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.permutations(range(V)).flatmap(lambda p: st.integers(1, V).map(lambda n: p[:n])), min_size=1, max_size=6
    ),
    st.randoms(),
)
def test_the_order_of_a_batch_makes_no_difference(lists: list[list[int]], random: object) -> None:
    model = make_model("every-step")
    features = torch.randn(len(lists), D, generator=torch.Generator().manual_seed(6))
    chosen = torch.tensor(random.sample(range(len(lists)), len(lists)))
    losses = []
    for order in (torch.arange(len(lists)), chosen):
        packed_features, packed = examples(lists, features).pack(order)
        losses.append(F.cross_entropy(model(packed_features, packed), packed.target).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_steps_beyond_a_lists_end_count_for_nothing(form: str) -> None:
    model = make_model(form, seed=6)
    lists = [[0], [1, 2, 3], [2], [3, 0], [1, 0]]
    features = torch.randn(len(lists), D, generator=torch.Generator().manual_seed(7))
    results = []
    for multiple, sizes in ((1, [5, 5, 3, 1]), (2, [5, 5, 4, 2]), (4, [5, 5, 4, 4]), (16, [5, 5, 5, 5])):
        model.zero_grad()
        x, packed = examples(lists, features).pack(torch.arange(len(lists)), multiple=multiple)
        assert packed.sizes == sizes and len(packed.target) == len(packed.previous) == sum(sizes)
        assert int((packed.target >= 0).sum()) == sum(len(tags) + 1 for tags in lists)
        loss = F.cross_entropy(model(x, packed), packed.target, label_smoothing=0.1)
        loss.backward()
        results.append((loss.detach(), *(p.grad for p in model.parameters())))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_near(b, a, "with more steps")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_stays_near_float32(form: str, device: str) -> None:
    model = make_model(form, seed=8).to(device)
    lists = LISTS["padding"]
    features, packed = examples(
        lists, torch.randn(len(lists), D, generator=torch.Generator().manual_seed(9)).to(device)
    ).pack(torch.arange(len(lists)))
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        model.zero_grad()
        logits = model(features, packed, dtype)
        assert logits.dtype == torch.float32
        F.cross_entropy(logits, packed.target).backward()
        assert all(p.grad.dtype == torch.float32 for p in model.parameters())
        results.append((logits.detach(), {name: p.grad for name, p in model.named_parameters()}))
    (exact, gradients), (near, near_gradients) = results
    # bfloat16 has 8 significant bits: a step of 0.4%.
    assert_near(near, exact, "logits", 0.03)
    for name, gradient in gradients.items():
        assert_near(near_gradients[name], gradient, name, 0.06)


def test_the_image_is_seen_at_every_step_or_only_at_the_start() -> None:
    # With the recurrence cut, what is said at a later step can follow from the image only if it is seen there.
    generator = torch.Generator().manual_seed(10)
    a, b = torch.randn(2, 1, D, generator=generator)
    for form, seen_later in (("every-step", True), ("initial-state", False)):
        model = make_model(form)
        hidden = model.config.hidden
        with torch.no_grad():
            model.recurrent.zero_()
            model.bias[hidden : 2 * hidden] = -1e9  # the forget gate is shut: the cell state is lost too
            _, lists = examples([[0, 1]], a).pack(torch.tensor([0]))
            from_a, from_b = model(a, lists), model(b, lists)
        assert torch.equal(from_a[1:], from_b[1:]) is not seen_later


def test_standardisation_is_part_of_the_model() -> None:
    model = make_model("every-step")
    x = torch.randn(4, D)
    torch.testing.assert_close(model.standardise(x * model.scale + model.mean), x, rtol=1e-5, atol=1e-5)
    assert {"mean", "scale"} <= set(model.state_dict())


def test_dropout_of_each_place_reaches_the_output_only_there() -> None:
    model = make_model("every-step")
    lists = LISTS["padding"]
    features, packed = examples(lists, torch.randn(len(lists), D)).pack(torch.arange(len(lists)))
    plain = model(features, packed)
    for shares in ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)):
        assert not torch.equal(
            model(features, packed, torch.float32, Dropout(*shares, torch.Generator().manual_seed(0))), plain
        )
    assert torch.equal(model(features, packed, torch.float32, Dropout(0.0, 0.0, 0.0, torch.Generator())), plain)


def test_a_batch_drops_the_same_features_in_all_of_its_images() -> None:
    model = make_model("every-step")
    features = torch.randn(5, D)
    share = Dropout(0.7, 0.0, 0.0, torch.Generator().manual_seed(3))
    kept, scale = Dropout(0.7, 0.0, 0.0, torch.Generator().manual_seed(3)).kept_features(D)
    assert len(kept) == 3 and scale == D / 3 and kept.tolist() == sorted(set(kept.tolist()))
    gates = model.image_state(features, torch.float32, share).gates
    masked = torch.zeros(5, D)
    masked[:, kept] = model.standardise(features)[:, kept] * scale
    assert_near(gates.detach(), F.linear(model.project(masked), model.image_gates, model.bias).detach(), "gates")
    share.generator.manual_seed(3)
    rows = RowAdamW(model.project.weight.t(), 3, 0.0)
    again = model.image_state(features, torch.float32, share, optimiser=AdamW([], 0.0, rows)).gates
    assert torch.equal(again, gates)
    again.sum().backward()
    gates.sum().backward()
    gradient = model.project.weight.grad
    assert gradient is not None and torch.equal(rows.gradient, gradient.t()[kept])
    assert gradient.abs().sum(0).nonzero().flatten().tolist() == kept.tolist()
