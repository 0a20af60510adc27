"""Training: this project's epoch against the textbook's, on made-up data.

The textbook form is ``nn.LSTM`` on concatenated [embedding; v] in float32 with padded
lists, dropout in the same places, gradient clipping and ``torch.optim.AdamW``: once with
the features in memory, once fed by a DataLoader that reads rows from the HDF5 file.
The default training, of several smaller LSTMs, is compared with as many of the textbook's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ranktag.benchmarks.timing import alternate, rate
from ranktag.compute.allocator import kept_memory
from ranktag.compute.compiled import compiled
from ranktag.compute.device import choose_device
from ranktag.config import TrainingConfig
from ranktag.feature_cache.write import cache_features
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.training.trainer import Trainer
from ranktag.training_data.load import load_training_data

LONGEST = 8
FEATURE_DIM = 4096  # as VGG's


@dataclass(frozen=True)
class TrainingBenchmark:
    """Seconds an epoch of ``images`` images took in each round. validation: of ours, on a tenth as many images.

    kernels: whether those of ``ranktag.compute.compiled`` were used.
    """

    images: int
    device: str
    dtype: str
    kernels: bool
    seconds: dict[str, list[float]]

    def rate(self, name: str) -> float:
        """Images a second, from the median of the rounds."""
        return rate(self.images, self.seconds[name])


def make_up_data(folder: Path, images: int, vocabulary: int, seed: int = 0) -> tuple[Path, Path]:
    """A cache and a tag file of lists of 1 to 8 tags that show in the features; a tenth more images to validate on.

    A feature is the ReLU of the tags' directions, weighted by rank, and noise.
    """
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((vocabulary, FEATURE_DIM), dtype=np.float32)
    n = images + max(1, images // 10)
    # Frequent and rare tags, as among people's: the probability falls with the tag's number.
    frequency = 1.0 / np.arange(10, vocabulary + 10)
    features = np.empty((n, FEATURE_DIM), np.float16)
    lists = {}
    for image in range(n):
        tags = rng.choice(
            vocabulary,
            size=min(int(rng.integers(1, LONGEST + 1)), vocabulary),
            replace=False,
            p=frequency / frequency.sum(),
        )
        weight = 1.0 / np.log2(2.0 + np.arange(len(tags), dtype=np.float32))
        features[image] = np.maximum(
            weight @ directions[tags] + 0.5 * rng.standard_normal(FEATURE_DIM, dtype=np.float32), 0.0
        )
        lists[f"{image}.jpg"] = [tuple(f"tag{number}" for number in tags)]
    split = {image_id: "train" if place < images else "val" for place, image_id in enumerate(lists)}
    cache = cache_features(features, lists, folder / "features.h5", overwrite=True)
    write_tag_lists(folder / "tags.csv", TagLists(lists, split))
    return cache, folder / "tags.csv"


@kept_memory()
def benchmark_training(config: TrainingConfig, images: int, vocabulary: int, rounds: int) -> TrainingBenchmark:
    """Time an epoch of ours, of ours in float32, of the textbook's, and of what is trained by default, in turn, after
    one epoch of each to warm up.

    Freed memory is kept, as ``train`` does, for all of them.
    """
    device = choose_device(config.device)
    with tempfile.TemporaryDirectory() as folder:
        cache, tags = make_up_data(Path(folder), images, vocabulary)
        data = load_training_data(cache, tags, config, device)
        trainer = Trainer(data, config, device)
        plain = Trainer(data, config.replace(precision="fp32"), device)
        default = TrainingConfig(precision=config.precision, device=config.device, batch_size=config.batch_size)
        rows = data.training.row.cpu().numpy()
        lists = [data.training.known.encode(people[0]) for people in data.training.people]
        memory = torch.from_numpy(np.array(data.joined.store.features[rows], dtype=np.float32))

        def in_memory(of: TrainingConfig) -> Callable[[], None]:
            def batches(order: Tensor) -> Iterable[Tensor]:
                return (memory[chosen] for chosen in order.split(of.batch_size))

            return textbook_epoch(of, lists, len(data.vocabulary), batches, device)

        several = [in_memory(default) for _ in range(default.members)]
        from_file = textbook_epoch(
            config,
            lists,
            len(data.vocabulary),
            lambda order: _loader(cache, rows[order.numpy()], config.batch_size),
            device,
        )
        contestants: dict[str, Callable[[], None]] = {
            "ours": _epochs(trainer),
            "ours_fp32": _epochs(plain),
            "textbook": in_memory(config),
            "textbook_h5py": from_file,
            "default": _epochs(Trainer(data, default, device)),
            "textbook_default": lambda: _in_turn(several),
            "validation": lambda: _validate(trainer),
        }
        for contestant in contestants.values():
            contestant()
        seconds = alternate(contestants, rounds)
    dtype = str(trainer.dtype).removeprefix("torch.")
    kernels = compiled(torch.empty(0, dtype=trainer.dtype, device=device))
    return TrainingBenchmark(images, str(device), dtype, kernels, seconds)


def _epochs(trainer: Trainer) -> Callable[[], None]:
    """One epoch after another: the first steps are not like the others."""

    def epoch() -> None:
        trainer.train_epoch()
        trainer.epoch += 1

    return epoch


def _validate(trainer: Trainer) -> None:
    trainer.validate()


def _in_turn(epochs: Sequence[Callable[[], None]]) -> None:
    for epoch in epochs:
        epoch()


class Textbook(nn.Module):
    """The model as one would first write it."""

    def __init__(self, config: TrainingConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(FEATURE_DIM, config.projection)
        self.embedding = nn.Embedding(vocabulary + 1, config.embedding)
        self.lstm = nn.LSTM(config.embedding + config.projection, config.hidden, batch_first=True)
        self.output = nn.Linear(config.hidden, vocabulary + 1)

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        """(B, D) features and (B, T) previous tags -> (B, T, V + 1) logits."""
        config = self.config
        v = self.project(F.dropout(features, config.dropout_features))
        e = F.dropout(self.embedding(previous), config.dropout_embedding)
        hidden, _ = self.lstm(torch.cat([e, v[:, None].expand(-1, e.shape[1], -1)], dim=2))
        logits: Tensor = self.output(F.dropout(hidden, config.dropout_output))
        return logits


def textbook_epoch(
    config: TrainingConfig,
    lists: Sequence[Sequence[int]],
    vocabulary: int,
    batches: Callable[[Tensor], Iterable[Tensor]],
    device: torch.device,
) -> Callable[[], None]:
    """A function that trains the textbook model for an epoch.

    batches: the order of the images -> their (B, D) features, batch by batch.
    """
    model = Textbook(config, vocabulary).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def epoch() -> None:
        order = torch.randperm(len(lists))
        for chosen, features in zip(order.split(config.batch_size), batches(order), strict=True):
            steps = max(len(lists[n]) for n in chosen) + 1
            previous = torch.full((len(chosen), steps), vocabulary)
            target = torch.full((len(chosen), steps), -100)
            for row, n in enumerate(chosen):
                tags = torch.tensor(lists[n])
                previous[row, 1 : len(tags) + 1] = tags
                target[row, : len(tags)] = tags
                target[row, len(tags)] = vocabulary
            logits = model(features.to(device), previous.to(device))
            loss = F.cross_entropy(logits.flatten(0, 1), target.to(device).flatten())
            optimiser.zero_grad()
            loss.backward()
            if config.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimiser.step()
        # On a GPU an epoch has ended when its last loss is there.
        loss.item()

    return epoch


class _Rows(Dataset[Any]):
    """Rows of a cache, read one at a time with h5py, opened in the worker that reads."""

    def __init__(self, cache: Path, rows: np.ndarray) -> None:
        self.cache, self.rows = cache, rows
        self.file: h5py.File | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        if self.file is None:
            self.file = h5py.File(self.cache, "r")
        row: np.ndarray = self.file["features"][self.rows[index]].astype(np.float32)
        return row


def _loader(cache: Path, rows: np.ndarray, batch_size: int) -> Iterable[Tensor]:
    return DataLoader(_Rows(cache, rows), batch_size=batch_size, num_workers=1)
