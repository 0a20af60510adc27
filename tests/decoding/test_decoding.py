"""Decoding, held to the enumeration of every list of a tiny vocabulary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ranktag.config import DecodingConfig
from ranktag.decoding.beam import beam
from ranktag.decoding.greedy import greedy
from ranktag.decoding.mbr import Draw, expected_gains
from ranktag.decoding.rank import rank_tags
from ranktag.decoding.stepper import Stepper
from ranktag.errors import RanktagError
from ranktag.models.lstm import FORMS, Ensemble, ModelConfig, RankTagger
from ranktag.models.ranking import ExpectedGains, Limits, RankedTags, best_five, rank_by_gain

D = 5
CPU = torch.device("cpu")


def make_model(form: str, vocabulary: int, seed: int, sharpness: float = 3.0) -> RankTagger:
    """A small model with random weights; the larger ``sharpness``, the surer it is."""
    generator = torch.Generator().manual_seed(seed)
    model = RankTagger(ModelConfig(form, D, 4, 6, 3, vocabulary), generator)
    for name, parameter in model.named_parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.5)
        if name.startswith("output"):
            parameter.data.mul_(sharpness)
    return model.eval().requires_grad_(False)


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Answer:
    """A whole list: its tags' p_t, its probability (with STOP's, if it stopped), and whether it did."""

    steps: tuple[float, ...]
    probability: float
    stopped: bool


def every_list(model: RankTagger, x: Tensor, limits: Limits) -> dict[tuple[int, ...], Answer]:
    """Every list that the model can write for one image (D,), by nn.LSTMCell in float64 on [embedding; v]."""
    c = model.config
    image = [model.image_gates] if c.form == "every-step" else []
    cell = nn.LSTMCell(c.embedding + len(image) * c.projection, c.hidden, dtype=torch.float64)
    cell.requires_grad_(False)
    cell.weight_ih.copy_(torch.cat([model.embedding_gates, *image], dim=1))
    cell.weight_hh.copy_(model.recurrent)
    cell.bias_ih.copy_(model.bias)
    cell.bias_hh.zero_()
    v = model.project.weight.double() @ ((x.double() - model.mean) / model.scale) + model.project.bias
    h, state = torch.zeros(2, 1, c.hidden, dtype=torch.float64)
    if c.form == "initial-state":
        h, state = (model.start.weight.double() @ v + model.start.bias)[None].chunk(2, dim=1)
        h = torch.tanh(h)
    prefixes: list[tuple[tuple[int, ...], tuple[float, ...]]] = [((), ())]
    found: dict[tuple[int, ...], Answer] = {}
    for _ in range(limits.longest):
        last = torch.tensor([tags[-1] if tags else c.vocabulary for tags, _ in prefixes])
        embedded = model.embedding[last].double()
        h, state = cell(torch.cat([embedded, v.expand(len(last), -1)], dim=1) if image else embedded, (h, state))
        z = h @ model.output.weight.double().t() + model.output.bias
        longer, parent = [], []
        for n, (tags, steps) in enumerate(prefixes):
            if limits.exact:
                z[n, c.vocabulary] = -math.inf
            if not limits.repeats:
                z[n, list(tags)] = -math.inf
            p = torch.softmax(z[n], dim=0).tolist()
            if not limits.exact:
                found[tags] = Answer(steps, math.prod(steps) * p[c.vocabulary], True)
            for tag in range(c.vocabulary):
                if limits.repeats or tag not in tags:
                    longer.append(((*tags, tag), (*steps, p[tag])))
                    parent.append(n)
        prefixes, h, state = longer, h[parent], state[parent]
    return found | {tags: Answer(steps, math.prod(steps), False) for tags, steps in prefixes}


def lists_and_scores(ranked: RankedTags) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    return [(tuple(t[t >= 0].tolist()), tuple(s[t >= 0].tolist())) for t, s in zip(ranked.tags, ranked.scores)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[RankTagger, Tensor, Limits]:
    vocabulary = draw(st.integers(2, 4))
    repeats = draw(st.booleans())
    longest = draw(st.integers(1, 4 if repeats else vocabulary))
    model = make_model(
        draw(st.sampled_from(FORMS)), vocabulary, draw(st.integers(0, 10_000)), draw(st.sampled_from([0.3, 1.0, 3.0]))
    )
    return model, images(3, draw(st.integers(0, 100))), Limits(longest, draw(st.booleans()), repeats)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_an_exhaustive_beam_finds_the_best_of_all_lists(case: tuple[RankTagger, Tensor, Limits]) -> None:
    model, x, limits = case
    stepper = Stepper(model, torch.float32)
    found = lists_and_scores(beam(stepper, stepper.images(x), limits, width=400))
    for row, (tags, scores) in zip(x, found):
        answers = every_list(model, row, limits)
        assert len(answers) <= 400
        assert sum(answer.probability for answer in answers.values()) == pytest.approx(1.0)
        best, second, *_ = sorted((a.probability for a in answers.values()), reverse=True) + [0.0]
        assert answers[tags].probability == pytest.approx(best, rel=1e-4)
        if second < 0.999 * best:
            assert answers[tags].probability == best
        # The product of the scores, and of STOP's probability where it stopped, is the list's probability.
        assert scores == pytest.approx(answers[tags].steps, rel=1e-4, abs=1e-7)
        if limits.exact:
            assert len(tags) == limits.longest and not answers[tags].stopped
        if not limits.repeats:
            assert len(set(tags)) == len(tags)


def naive_beam(
    answers: Mapping[tuple[int, ...], Answer], vocabulary: int, limits: Limits, width: int
) -> tuple[tuple[int, ...], float]:
    """Beam search as a textbook writes it; prefixes' probabilities from the enumeration. The best list, and the narrowest choice made."""

    def prefix_probability(tags: tuple[int, ...]) -> float:
        return sum(a.probability for other, a in answers.items() if other[: len(tags)] == tags)

    kept: list[tuple[float, tuple[int, ...], bool]] = [(1.0, (), False)]
    narrowest = 1.0
    for _ in range(limits.longest):
        grown = []
        for p, tags, done in kept:
            if done:
                grown.append((p, tags, True))
                continue
            grown += [
                (prefix_probability((*tags, n)), (*tags, n), False)
                for n in range(vocabulary)
                if limits.repeats or n not in tags
            ]
            if not limits.exact:
                grown.append((answers[tags].probability, tags, True))
        grown.sort(key=lambda entry: -entry[0])
        places = sorted({0, width - 1})
        narrowest = min([narrowest, *(1 - grown[k + 1][0] / grown[k][0] for k in places if k + 1 < len(grown))])
        kept = grown[:width]
    return kept[0][1], narrowest


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 3))
def test_a_narrow_beam_is_the_textbooks(case: tuple[RankTagger, Tensor, Limits], width: int) -> None:
    model, x, limits = case
    stepper = Stepper(model, torch.float32)
    found = lists_and_scores(beam(stepper, stepper.images(x), limits, width))
    for row, (tags, scores) in zip(x, found):
        answers = every_list(model, row, limits)
        expected, narrowest = naive_beam(answers, model.config.vocabulary, limits, width)
        if narrowest > 1e-4:
            assert tags == expected
            assert scores == pytest.approx(answers[tags].steps, rel=1e-4, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_greedy_takes_the_likeliest_tag_at_every_step_and_is_a_beam_of_one(
    case: tuple[RankTagger, Tensor, Limits],
) -> None:
    model, x, limits = case
    stepper = Stepper(model, torch.float32)
    image = stepper.images(x)
    one_way, other_way = (
        lists_and_scores(greedy(stepper, image, limits)),
        lists_and_scores(beam(stepper, image, limits, 1)),
    )
    for row, (tags, scores), (beam_tags, beam_scores) in zip(x, one_way, other_way):
        assert tags == beam_tags
        assert scores == pytest.approx(beam_scores, rel=1e-5)
        answers = every_list(model, row, limits)
        assert scores == pytest.approx(answers[tags].steps, rel=1e-4, abs=1e-7)
        for t in range(len(tags) + answers[tags].stopped):
            # No other tag, nor STOP, was likelier.
            rivals = {other[t]: a.steps[t] for other, a in answers.items() if other[:t] == tags[:t] and len(other) > t}
            stop = (
                answers[tags[:t]].probability / math.prod(scores[:t])
                if tags[:t] in answers and not limits.exact
                else 0.0
            )
            chosen = stop if t == len(tags) else rivals[tags[t]]
            assert chosen >= max([stop, *rivals.values()]) - 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
@pytest.mark.parametrize("settings", [{}, {"num_tags": 4}, {"allow_repeats": True, "max_tags": 9}])
def test_a_batch_gives_its_images_one_by_one(form: str, decode: str, settings: dict[str, object]) -> None:
    # Of these images no code of mbr's lies so near a bound that rounding, which a batch's size changes, would decide where it falls.
    model, x = make_model(form, 12, seed=1), images(40, seed=38)
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", samples=16, **settings)
    together = rank_tags(model, x, 6, config, CPU)
    alone = [rank_tags(model, x[n : n + 1], 6, config, CPU) for n in range(len(x))]
    assert together.lists() == [one.lists()[0] for one in alone]
    np.testing.assert_allclose(together.scores, np.concatenate([one.scores for one in alone]), rtol=1e-4, atol=1e-5)


def test_little_memory_means_smaller_batches_with_the_same_lists() -> None:
    model, x = make_model("every-step", 12, seed=2), images(20)
    sizes = []

    class Counted:
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, part: slice) -> Tensor:
            sizes.append(len(x[part]))
            return x[part]

    for decode in ("beam", "mbr"):
        config = DecodingConfig(decode=decode, precision="fp32", device="cpu", beam_size=1000, samples=10_000)
        little = rank_tags(model, Counted(), 6, config.replace(max_memory=0.01), CPU)  # type: ignore[arg-type]
        assert little.lists() == rank_tags(model, x, 6, config, CPU).lists()
        assert max(sizes) < 20
        sizes.clear()


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_lists_that_never_stop_end_at_the_limit(decode: str) -> None:
    model = make_model("every-step", 5, seed=3)
    model.output.bias[5] = -1e4
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", samples=8)
    for n in (1, 3, 5):
        ranked = rank_tags(model, images(4), 5, config.replace(max_tags=n), CPU)
        assert [len(tags) for tags in ranked.lists()] == [n] * 4
        assert (ranked.scores > 0).all()
    # More than there are different tags cannot be said without repeats.
    assert [len(tags) for tags in rank_tags(model, images(4), 5, config.replace(max_tags=50), CPU).lists()] == [5] * 4
    if decode != "mbr":
        repeating = rank_tags(model, images(4), 5, config.replace(max_tags=50, allow_repeats=True), CPU)
        assert [len(tags) for tags in repeating.lists()] == [50] * 4


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_a_model_that_stops_at_once_gives_an_empty_list(decode: str) -> None:
    model = make_model("every-step", 4, seed=4)
    model.output.bias[4] = 1e4
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", samples=8)
    assert rank_tags(model, images(3), 4, config, CPU).lists() == [[], [], []]
    # A number of tags that is asked for is given all the same.
    asked = rank_tags(model, images(3), 4, config.replace(num_tags=2), CPU).lists()
    assert [len(set(tags)) for tags in asked] == [2, 2, 2]


@pytest.mark.parametrize("decode", ["greedy", "beam"])
def test_equal_scores_go_to_the_tag_of_the_lower_number(decode: str) -> None:
    model = make_model("every-step", 5, seed=5)
    for parameter in model.parameters():
        parameter.zero_()
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", num_tags=4)
    ranked = rank_tags(model, images(2), 5, config, CPU)
    assert ranked.lists() == [[0, 1, 2, 3]] * 2
    np.testing.assert_allclose(ranked.scores, [[1 / 5, 1 / 4, 1 / 3, 1 / 2]] * 2, rtol=1e-6)


def test_more_different_tags_than_there_are_cannot_be_asked_for() -> None:
    model = make_model("every-step", 3, seed=6)
    with pytest.raises(RanktagError, match="--num-tags 4: the model knows 3 tags"):
        rank_tags(model, images(1), 3, DecodingConfig(num_tags=4, device="cpu"), CPU)
    repeats = DecodingConfig(decode="greedy", num_tags=4, allow_repeats=True, precision="fp32", device="cpu")
    assert len(rank_tags(model, images(1), 3, repeats, CPU).lists()[0]) == 4


def test_no_image_gives_no_list() -> None:
    model = make_model("every-step", 3, seed=6)
    ranked = rank_tags(model, images(0), 3, DecodingConfig(precision="fp32", device="cpu"), CPU)
    assert ranked.tags.shape == ranked.scores.shape == (0, 3)


# Minimum-Bayes-risk decoding.


class Enumeration:
    """Stands in for a draw: every list goes on in exact shares."""

    lists = 1

    def begin(self, images: int, device: torch.device) -> None:
        return None

    def onward(self, points: None, weight: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        parent, tag = (p[:, :-1] > 0).nonzero(as_tuple=True)
        return parent, tag, weight[parent] * p[parent, tag], None


GAINS = {
    "log": lambda r, n: 1 / math.log2(1 + r),
    "binary": lambda r, n: 1.0,
    "linear": lambda r, n: (n - r + 1) / n,
}


def exact_gains(model: RankTagger, x: Tensor, limits: Limits, kind: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Expected gain and presence (V,) and length, by summing over every list."""
    gain, presence, length = np.zeros(model.config.vocabulary), np.zeros(model.config.vocabulary), 0.0
    for tags, answer in every_list(model, x, limits).items():
        length += answer.probability * len(tags)
        for rank, tag in enumerate(tags, 1):
            gain[tag] += answer.probability * GAINS[kind](rank, len(tags))
            presence[tag] += answer.probability
    return gain, presence, length


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", GAINS)
@pytest.mark.parametrize(("vocabulary", "longest"), [(2, 2), (3, 1), (4, 3), (4, 4)])
def test_with_enumeration_in_place_of_drawing_the_expectations_are_exact(
    form: str, kind: str, vocabulary: int, longest: int
) -> None:
    model, x = make_model(form, vocabulary, seed=7), images(3, seed=vocabulary)
    stepper = Stepper(model, torch.float32)
    found = expected_gains(stepper, stepper.images(x), Limits(longest), Enumeration(), kind)  # type: ignore[arg-type]
    for n, row in enumerate(x):
        gain, presence, length = exact_gains(model, row, Limits(longest), kind)
        np.testing.assert_allclose(found.gain[n], gain, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.presence[n], presence, rtol=0, atol=1e-6)
        assert float(found.length[n]) == pytest.approx(length, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from(list(GAINS)), st.sampled_from(FORMS))
def test_enumerated_expectations_are_exact_for_any_weights(seed: int, vocabulary: int, kind: str, form: str) -> None:
    model, x = make_model(form, vocabulary, seed), images(1, seed)
    stepper = Stepper(model, torch.float32)
    found = expected_gains(stepper, stepper.images(x), Limits(vocabulary), Enumeration(), kind)  # type: ignore[arg-type]
    gain, presence, length = exact_gains(model, x[0], Limits(vocabulary), kind)
    np.testing.assert_allclose(found.gain[0], gain, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.presence[0], presence, rtol=0, atol=2e-6)
    assert float(found.length[0]) == pytest.approx(length, abs=5e-6)


@pytest.mark.parametrize("kind", GAINS)
def test_drawn_expectations_converge_to_the_exact_ones(kind: str) -> None:
    model, x = make_model("every-step", 4, seed=8, sharpness=1.0), images(6, seed=8)
    stepper = Stepper(model, torch.float32)
    exact = np.stack([exact_gains(model, row, Limits(4), kind)[0] for row in x])
    error = {}
    for lists in (4, 64, 1024, 16384):
        drawn = [
            expected_gains(stepper, stepper.images(x), Limits(4), Draw.seeded(lists, seed), kind).gain
            for seed in range(4)
        ]
        error[lists] = float(np.abs(torch.stack(drawn).numpy() - exact).max())
    # Systematic draws are off by less than a list at each of at most 1 + 4 + 12 nodes, each worth at most 1.
    assert all(worst < 17 / lists for lists, worst in error.items())
    assert error[16384] < error[1024] < error[64] < error[4]


def test_averaged_over_offsets_the_drawn_expectations_are_the_exact_ones() -> None:
    model, x = make_model("every-step", 4, seed=9, sharpness=1.0), images(3, seed=9)
    stepper = Stepper(model, torch.float32)
    exact = np.stack([exact_gains(model, row, Limits(4), "log")[0] for row in x])
    offsets = (np.arange(400) + 0.5) / 400
    drawn = [expected_gains(stepper, stepper.images(x), Limits(4), Draw(8, offset), "log").gain for offset in offsets]
    mean = torch.stack(drawn).double().mean(0).numpy()
    # 400 offsets of 8 codes are 3,200 evenly spread codes, each of at most 17 nodes off by less than one of them.
    assert np.abs(mean - exact).max() < 17 / 3200


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_goes_on_is_whole_lists_near_their_share(data: st.DataObject) -> None:
    nodes, v, lists = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8)), data.draw(st.integers(1, 1000))
    # Probabilities as the decoder has them: a softmax in float32, some masked.
    z = data.draw(
        st.lists(
            st.lists(st.floats(-40, 40) | st.just(-math.inf), min_size=v, max_size=v), min_size=nodes, max_size=nodes
        )
    )
    z = [[*row, data.draw(st.floats(-40, 40))] for row in z]
    p = torch.log_softmax(torch.tensor(z, dtype=torch.float32), dim=1).exp()
    draw = Draw(lists, data.draw(st.floats(0, 1, exclude_max=True)))
    parent, tag, weight, points = draw.onward(
        draw.begin(nodes, torch.device("cpu")), torch.full((nodes,), float(lists)), p
    )
    drawn = torch.zeros(nodes, v)
    drawn[parent, tag] = weight
    assert bool((weight >= 1).all()) and torch.equal(weight, weight.round())
    share = lists * p[:, :v].double() / p.double().sum(1, keepdim=True)
    assert float((drawn - share).abs().max()) < 1 + 1e-6
    # What cannot follow never does, and every list is on the way that was drawn for it.
    assert float(drawn[p[:, :v] == 0].sum()) == 0
    assert torch.bincount(points.node, minlength=len(parent)).tolist() == weight.tolist()
    assert bool(((points.u >= 0) & (points.u < 1)).all())


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5), st.integers(1, 20))
def test_over_all_offsets_the_share_is_exact(masses: list[float], lists: int) -> None:
    p = (torch.tensor(masses, dtype=torch.float64) / sum(masses))[None]
    total = torch.zeros(p.shape[1] - 1)
    for offset in (np.arange(500) + 0.5) / 500:
        draw = Draw(lists, offset)
        _, tag, weight, _ = draw.onward(draw.begin(1, torch.device("cpu")), torch.tensor([float(lists)]), p)
        total[tag] += weight
    torch.testing.assert_close(total.double() / 500, lists * p[0, :-1], rtol=0, atol=2 / 500)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.sampled_from(list(GAINS)))
def test_what_is_drawn_for_an_image_does_not_hang_on_its_batch(seed: int, lists: int, kind: str) -> None:
    model, x = make_model("every-step", 4, seed), images(5, seed)
    stepper = Stepper(model, torch.float32)
    draw = Draw.seeded(lists, seed)
    together = expected_gains(stepper, stepper.images(x), Limits(4), draw, kind)
    backwards = expected_gains(stepper, stepper.images(x.flip(0)), Limits(4), draw, kind)
    torch.testing.assert_close(together.gain, backwards.gain.flip(0), rtol=1e-5, atol=1e-5)
    for n in range(len(x)):
        alone = expected_gains(stepper, stepper.images(x[n : n + 1]), Limits(4), draw, kind)
        torch.testing.assert_close(together.gain[n], alone.gain[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.presence[n], alone.presence[0], rtol=1e-5, atol=1e-5)


def test_the_draw_follows_from_its_seed() -> None:
    assert Draw.seeded(8, 3) == Draw.seeded(8, 3) != Draw.seeded(8, 4)
    model, x = make_model("every-step", 4, seed=10, sharpness=0.5), images(2)
    stepper = Stepper(model, torch.float32)
    a, b, c = (
        expected_gains(stepper, stepper.images(x), Limits(4), Draw.seeded(5, seed), "log").gain for seed in (3, 3, 4)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("kind", GAINS)
def test_a_probability_that_is_not_a_number_ends_the_tree(kind: str) -> None:
    # A damaged feature must not make every list of the vocabulary grow: 50^50 nodes.
    model = make_model("every-step", 50, seed=11)
    stepper = Stepper(model, torch.float32)
    x = images(2)
    x[0] = math.nan
    found = expected_gains(stepper, stepper.images(x), Limits(50), Draw(8, 0.5), kind)
    assert bool(found.presence[0].isnan().all())
    assert bool(found.presence[1].isfinite().all()) and bool(found.gain[1].isfinite().all())


# Ranks from expected gains.


def test_tags_are_ranked_by_gain_and_cut_at_the_expected_length() -> None:
    gains = ExpectedGains(
        gain=torch.tensor([[0.1, 0.9, 0.5], [0.2, 0.2, 0.3], [0.0, 0.0, 0.0]]),
        presence=torch.tensor([[0.2, 0.9, 0.8], [0.4, 0.3, 1.0000001], [0.1, 0.0, 0.0]]),
        length=torch.tensor([1.9, 2.4, 0.1]),
    )
    ranked = rank_by_gain(gains, Limits(3))
    assert ranked.lists() == [[1, 2], [2, 0], []]
    np.testing.assert_allclose(ranked.scores, [[0.9, 0.8, 0], [1, 0.4, 0], [0, 0, 0]], rtol=1e-6)
    assert rank_by_gain(gains, Limits(3, exact=True)).lists() == [[1, 2, 0], [2, 0, 1], [0, 1, 2]]
    assert rank_by_gain(gains, Limits(1)).lists() == [[1], [2], []]
    assert rank_by_gain(gains, Limits(9)).tags.shape == (3, 3)
    assert best_five(gains.gain) == [[1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_mbr_maximises_the_expected_score_among_all_lists() -> None:
    # What the decoder promises: no list of that length has a greater expected sum of gain(truth rank) / log2(1 + place).
    model, x = make_model("every-step", 4, seed=12), images(4)
    stepper = Stepper(model, torch.float32)
    gains = expected_gains(stepper, stepper.images(x), Limits(4), Enumeration(), "log")  # type: ignore[arg-type]
    for row, tags in zip(x, rank_by_gain(gains, Limits(3, exact=True)).lists()):
        answers = every_list(model, row, Limits(4))

        def expected_score(said: tuple[int, ...], answers: Mapping[tuple[int, ...], Answer] = answers) -> float:
            return sum(
                answer.probability / math.log2(2 + truth.index(tag)) / math.log2(1 + place)
                for truth, answer in answers.items()
                for place, tag in enumerate(said, 1)
                if tag in truth
            )

        best = max(expected_score(said) for said in itertools.permutations(range(4), 3))
        assert expected_score(tuple(tags)) == pytest.approx(best, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_bfloat16_changes_lists_only_on_near_ties(seed: int) -> None:
    model, x = make_model("every-step", 4, seed), images(4, seed)
    exact, near = (
        rank_tags(model, x, 4, DecodingConfig(decode="greedy", num_tags=1, precision=precision, device="cpu"), CPU)
        for precision in ("fp32", "bf16")
    )
    for row, ours, theirs in zip(x, exact.lists(), near.lists()):
        answers = every_list(model, row, Limits(1, exact=True))
        assume(answers[tuple(ours)].probability > 0.02)
        assert answers[tuple(theirs)].probability > 0.8 * answers[tuple(ours)].probability


def ensemble(form: str, vocabulary: int, *seeds: int) -> Ensemble:
    return Ensemble([make_model(form, vocabulary, seed) for seed in seeds])


@pytest.mark.parametrize("form", FORMS)
def test_an_ensembles_probability_is_the_mean_of_its_members_at_every_step(form: str) -> None:
    several, x = ensemble(form, 4, 1, 2, 3), torch.randn(5, D, generator=torch.Generator().manual_seed(0))
    assert several.config.members == 3
    steppers = [Stepper(several, torch.float32), *(Stepper(member, torch.float32) for member in several.members)]  # type: ignore[arg-type]
    states = [stepper.images(x) for stepper in steppers]
    said = torch.zeros((5, 0), dtype=torch.int64)
    for tag in (torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 2, 3, 0, 2])):
        together, *alone = (
            stepper.log_probabilities(state.h, said, Limits(4)).exp() for stepper, state in zip(steppers, states)
        )
        torch.testing.assert_close(together, torch.stack(alone).mean(0))
        assert float((alone[0] - alone[1]).abs().max()) > 0.01, "members that are alike show nothing"
        states = [
            state._replace(**dict(zip("hc", stepper.step(state.gates, state.h, state.c, None, tag))))
            for stepper, state in zip(steppers, states)
        ]
        said = torch.cat([said, tag[:, None]], dim=1)


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_an_ensemble_of_equal_members_decodes_as_one_of_them(decode: str) -> None:
    x = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu")
    one, three = (
        rank_tags(model, x, 4, config, torch.device("cpu"))
        for model in (make_model("every-step", 5, 7), ensemble("every-step", 5, 7, 7, 7))
    )
    assert one.lists() == three.lists()
    np.testing.assert_allclose(one.scores, three.scores, rtol=1e-5, atol=1e-6)


def test_enumerated_expectations_of_an_ensemble_are_those_of_its_lists() -> None:
    # P(list) by the chain rule from the members' mean at every step, summed over all lists.
    several, x, limits = (
        ensemble("every-step", 3, 1, 2),
        torch.randn(1, D, generator=torch.Generator().manual_seed(2)),
        Limits(3),
    )
    stepper = Stepper(several, torch.float32)
    image = stepper.images(x)
    gain, presence = np.zeros(3), np.zeros(3)

    def visit(p: float, said: list[int], h: Tensor, c: Tensor) -> None:
        if len(said) == 3:
            return
        ways = stepper.log_probabilities(h, torch.tensor([said], dtype=torch.int64), limits).exp()[0]
        for tag in range(3):
            q = p * float(ways[tag])
            gain[tag] += q / np.log2(2 + len(said))
            presence[tag] += q
            if q > 0:
                visit(q, [*said, tag], *stepper.step(image.gates, h, c, None, torch.tensor([tag])))

    visit(1.0, [], image.h, image.c)
    many = expected_gains(stepper, image, limits, Draw(lists=20_000, offset=0.5), "log")
    np.testing.assert_allclose(many.gain[0], gain, atol=2e-4)
    np.testing.assert_allclose(many.presence[0], presence, atol=2e-4)
