"""What the tests of the decoders are held to: every list that a tiny model can write, with its probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ranktag.models.lstm import FORMS, Ensemble, ModelConfig, RankTagger
from ranktag.models.ranking import Limits, RankedTags

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


def ensemble(form: str, vocabulary: int, *seeds: int) -> Ensemble:
    return Ensemble([make_model(form, vocabulary, seed) for seed in seeds])


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
