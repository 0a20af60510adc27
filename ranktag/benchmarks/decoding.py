"""Decoding: whole batches against the textbook loop, one image at a time, on made-up data and a model trained on it.

The textbook loop runs ``nn.LSTMCell`` on concatenated [embedding; v] in float32; for
beam search, a batch of the beam's lists, and for mbr, of the default model's members, a batch of
TEXTBOOK_LISTS drawn lists. It sees fewer images, as one takes as long as the next, and runs on the processor,
where one image at a time is soonest done.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranktag.benchmarks.timing import alternate, rate
from ranktag.benchmarks.training import make_up_data
from ranktag.compute.allocator import kept_memory
from ranktag.compute.device import choose_device
from ranktag.config import DecodingConfig, TrainingBenchmarkConfig, TrainingConfig
from ranktag.decoding.rank import rank_tags
from ranktag.models.lstm import RankTagger, Tagger
from ranktag.training.trainer import Trainer
from ranktag.training_data.load import TrainingData, load_training_data

EPOCHS = 8
# Lists that the textbook's mbr draws of an image, as many as ours took before it followed the likely ones.
TEXTBOOK_LISTS = 64

# The tags of every image, by number.
Lists = Sequence[Sequence[int]]


@dataclass(frozen=True)
class DecodingBenchmark:
    """Seconds each took in each round, for ``images`` images (textbook: ``textbook_images``; mbr: ``drawn_images``).

    same: of the textbook's images, the share whose list is the same, for 'greedy',
    'greedy_fp32', 'beam', 'beam_fp32', and whose first tag is, for 'mbr', where the textbook's is drawn.
    """

    images: int
    textbook_images: int
    drawn_images: int
    device: str
    tags_an_image: float
    seconds: dict[str, list[float]]
    same: dict[str, float]

    def rate(self, name: str) -> float:
        """Images a second, from the median of the rounds."""
        fewer = {"textbook_mbr": self.drawn_images, "textbook_greedy": self.textbook_images}
        fewer["textbook_beam"] = self.textbook_images
        return rate(fewer.get(name, self.images), self.seconds[name])


@dataclass(frozen=True)
class _MadeUp:
    """What is decoded, and by what.

    model: one LSTM. ensemble: those of the default training. features: (N, D), of made-up images; the textbook's loops
    see the first of them: ``few`` and, for mbr, ``fewest``. longest: tags a list.
    """

    model: RankTagger
    ensemble: Tagger
    features: Tensor
    few: Tensor
    fewest: Tensor
    longest: int


@kept_memory()
def benchmark_decoding(config: DecodingConfig, images: int, vocabulary: int, rounds: int) -> DecodingBenchmark:
    """Train a model for a few epochs, then time every decoder and the textbook's loops in alternation.

    Freed memory is kept from call to call, for all of them, as it is from batch to batch of a long export.
    """
    device = choose_device(config.device)
    made_up = _make_up(images, vocabulary, device)
    contestants = _ours(made_up, config, device) | _textbooks(made_up, config)
    lists = {name: decode() for name, decode in contestants.items()}
    seconds = alternate(contestants, rounds)
    few, fewest = len(made_up.few), len(made_up.fewest)
    same = {
        name: sum(a == b for a, b in zip(lists[name], lists["textbook_" + name.removesuffix("_fp32")])) / few
        for name in ("greedy", "beam", "greedy_fp32", "beam_fp32")
    }
    same["mbr"] = sum(a[:1] == b[:1] for a, b in zip(lists["mbr"], lists["textbook_mbr"])) / fewest
    count = len(made_up.features)
    tags = sum(map(len, lists["greedy"])) / count
    return DecodingBenchmark(count, few, fewest, str(device), tags, seconds, same)


def _make_up(images: int, vocabulary: int, device: torch.device) -> _MadeUp:
    with tempfile.TemporaryDirectory() as folder:
        # A tenth of the images is held out by ``make_up_data``; all of them are decoded.
        settings = TrainingBenchmarkConfig(epochs=EPOCHS, device=str(device))
        data = load_training_data(*make_up_data(Path(folder), images, vocabulary), settings, device)
        model, ensemble = (_trained(data, one, device) for one in (settings, TrainingConfig(device=str(device))))
        assert isinstance(model, RankTagger), "TrainingBenchmarkConfig has one member"
        features = data.training.features[data.training.row].cpu()
    few = features[: max(1, images // 25)]
    return _MadeUp(model, ensemble, features, few, few[: max(1, images // 200)], data.longest)


def _trained(data: TrainingData, settings: TrainingConfig, device: torch.device) -> Tagger:
    """A model after a few epochs."""
    trainer = Trainer(data, settings.replace(epochs=EPOCHS), device)
    for _ in range(EPOCHS):
        trainer.run_epoch()
    return trainer.average.eval()


def _ours(made_up: _MadeUp, config: DecodingConfig, device: torch.device) -> dict[str, Callable[[], Lists]]:
    """Every decoder, by name."""

    def decoder(model: Tagger, **settings: str) -> Callable[[], Lists]:
        chosen = config.replace(**settings)
        return lambda: rank_tags(model, made_up.features, made_up.longest, chosen, device).lists()

    return {
        "greedy": decoder(made_up.model, decode="greedy"),
        "beam": decoder(made_up.model, decode="beam"),
        "mbr": decoder(made_up.ensemble, decode="mbr"),
        "greedy_fp32": decoder(made_up.model, decode="greedy", precision="fp32"),
        "beam_fp32": decoder(made_up.model, decode="beam", precision="fp32"),
    }


def _textbooks(made_up: _MadeUp, config: DecodingConfig) -> dict[str, Callable[[], Lists]]:
    """The textbook's loops, by name, of models that have been copied to the processor."""

    def loop(width: int) -> Callable[[], Lists]:
        cell = TextbookDecoder(copy.deepcopy(made_up.model).cpu())
        return lambda: [cell.decode(row, made_up.longest, width) for row in made_up.few]

    def mbr() -> Lists:
        members = [copy.deepcopy(member).cpu() for member in made_up.ensemble.members]
        cells = [TextbookDecoder(member) for member in members if isinstance(member, RankTagger)]
        generator = torch.Generator().manual_seed(config.seed)
        gains = torch.stack([textbook_gain(cells, row, made_up.longest, generator) for row in made_up.fewest])
        lists: list[list[int]] = gains.argsort(dim=1, descending=True).tolist()
        return lists

    return {"textbook_greedy": loop(1), "textbook_beam": loop(config.beam_size), "textbook_mbr": mbr}


@torch.no_grad()
def textbook_gain(
    cells: Sequence[TextbookDecoder], features: Tensor, longest: int, generator: torch.Generator
) -> Tensor:
    """Expected gain (V,) of the tags of one image (D,), from TEXTBOOK_LISTS lists drawn from the members' mean p_t."""
    stop = cells[0].model.config.vocabulary
    v = [cell.model.project(cell.model.standardise(features[None])).expand(TEXTBOOK_LISTS, -1) for cell in cells]
    states = [
        (zeros, zeros) for zeros in (x.new_zeros(TEXTBOOK_LISTS, cell.model.config.hidden) for x, cell in zip(v, cells))
    ]
    tags = torch.full((TEXTBOOK_LISTS, 1), stop)
    alive = torch.ones(TEXTBOOK_LISTS)
    gain = torch.zeros(stop + 1)
    for t in range(1, longest + 1):
        p = torch.zeros(TEXTBOOK_LISTS, stop + 1)
        for k, cell in enumerate(cells):
            x = torch.cat([F.embedding(tags[:, -1], cell.model.embedding), v[k]], dim=1)
            states[k] = cell.cell(x, states[k])
            z = cell.model.output(states[k][0])
            said = torch.zeros_like(z).scatter_(1, tags, 1.0)[:, :stop].bool()
            z[:, :stop].masked_fill_(said, float("-inf"))
            p += torch.softmax(z, dim=1) / len(cells)
        gain += (alive[:, None] * p).sum(dim=0) / math.log2(1 + t) / TEXTBOOK_LISTS
        drawn = torch.multinomial(p, 1, generator=generator)
        alive = alive * (drawn[:, 0] != stop)
        tags = torch.cat([tags, drawn], dim=1)
        if not bool(alive.any()):
            break
    return gain[:stop]


class TextbookDecoder:
    """One image at a time: ``nn.LSTMCell`` on [embedding; v], greedy as a beam of one."""

    def __init__(self, model: RankTagger) -> None:
        sizes = model.config
        self.model = model
        self.cell = nn.LSTMCell(sizes.embedding + sizes.projection, sizes.hidden)
        self.cell.weight_ih.data = torch.cat([model.embedding_gates, model.image_gates], dim=1).detach()
        self.cell.weight_hh.data = model.recurrent.detach()
        self.cell.bias_ih.data = model.bias.detach()
        self.cell.bias_hh.data = torch.zeros_like(model.bias)

    @torch.no_grad()
    def decode(self, features: Tensor, longest: int, width: int) -> list[int]:
        """The tag numbers of one image (D,)."""
        model, stop = self.model, self.model.config.vocabulary
        v = model.project(model.standardise(features[None]))
        h = c = v.new_zeros(1, model.config.hidden)
        beams: list[tuple[float, list[int], bool]] = [(0.0, [], False)]
        for _ in range(longest):
            live = [n for n, (_, _, done) in enumerate(beams) if not done]
            previous = torch.tensor([beams[n][1][-1] if beams[n][1] else stop for n in live])
            x = torch.cat([F.embedding(previous, model.embedding), v.expand(len(live), -1)], dim=1)
            h, c = self.cell(x, (h, c))
            z = model.output(h)
            for row, n in enumerate(live):
                z[row, beams[n][1]] = float("-inf")
            log_p = torch.log_softmax(z, dim=1)
            candidates = [(score, tags, True, 0) for score, tags, done in beams if done]
            best, choice = log_p.topk(width, dim=1)
            for row, n in enumerate(live):
                score, tags, _ = beams[n]
                for p, tag in zip(best[row].tolist(), choice[row].tolist()):
                    candidates.append((score + p, tags if tag == stop else [*tags, tag], tag == stop, row))
            candidates.sort(key=lambda candidate: -candidate[0])
            kept = candidates[:width]
            beams = [(score, tags, done) for score, tags, done, _ in kept]
            rows = [row for _, _, done, row in kept if not done]
            if not rows or beams[0][2]:
                break
            h, c = h[rows], c[rows]
        return beams[0][1]
