"""The settings of every stage: defaults, limits and help, read by the commands and by the Python functions.

Nothing heavy is imported, so that ``--help`` is instant.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from ranktag import registry
from ranktag.errors import RanktagError

C = TypeVar("C", bound="Config")


def setting(
    default: Any,
    help: str,
    *,
    unit: str | None = None,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    when_none: str | None = None,
) -> Any:
    """A dataclass field of a Config.

    help: a sentence without the default. unit: what a number counts. choices: the
    allowed words. low, high: inclusive limits. when_none: what None, the default,
    stands for.
    """
    return field(
        default=default,
        metadata={"help": help, "unit": unit, "choices": choices, "low": low, "high": high, "when_none": when_none},
    )


@dataclass(frozen=True)
class Config:
    """Base of the settings: checked when made, so that a wrong value is refused wherever it comes from."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value, meta = getattr(self, f.name), f.metadata
            if value is None:
                if meta.get("when_none") is None:
                    raise RanktagError(f"{f.name}: is None; give it a value")
                continue
            if meta.get("choices") and value not in meta["choices"]:
                raise RanktagError(
                    f"{f.name}: '{value}' is not one of {', '.join(meta['choices'])}; choose one of them"
                )
            low, high = meta.get("low"), meta.get("high")
            # Written so that NaN, which no comparison holds for, is refused too.
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                limits = (
                    f"at least {low}"
                    if high is None
                    else f"at most {high}"
                    if low is None
                    else f"between {low} and {high}"
                )
                raise RanktagError(f"{f.name}: {value} is not {limits}; choose another")

    def to_dict(self) -> dict[str, Any]:
        """Names and values, ready for JSON."""
        return dataclasses.asdict(self)

    def replace(self: C, **changes: Any) -> C:
        """A copy with some values changed (and checked)."""
        return dataclasses.replace(self, **changes)


# The package whose modules are the models without an LSTM.
BASELINE_FOLDER = "ranktag.models.baselines"
DEVICE_HELP = "where to compute: cpu, cuda, cuda:1, mps"
DEVICE_DEFAULT = "the first GPU if there is one, else the processor"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class ExtractionConfig(Config):
    """Settings of stage one."""

    backbone: str = setting("vgg16", "the network", choices=("vgg16", "vgg19"))
    layer: str = setting("fc7", "the layer whose activations, after ReLU, are kept", choices=("fc7", "fc6"))
    weights: str = setting(
        "imagenet",
        "the network's weights: imagenet (torchvision's, downloaded once), random or random:SEED, "
        "or a file holding a torchvision state dict",
    )
    dtype: str = setting("float16", "the type the features are stored in", choices=("float16", "float32"))
    precision: str = setting(
        "auto", "what is computed in; auto takes bf16 where the device is fast in it, else fp32", choices=PRECISIONS
    )
    device: str | None = setting(None, DEVICE_HELP, when_none=DEVICE_DEFAULT)
    batch_size: int | None = setting(
        None, "images computed at once", unit="images", low=1, high=65536, when_none="fits the device"
    )
    workers: int | None = setting(
        None,
        "processes that decode images; 0 decodes in the main process",
        unit="processes",
        low=0,
        high=1024,
        when_none="fits the machine",
    )
    shard_size: int = setting(
        1024,
        "images a shard; at most one shard's work is lost when a run is killed",
        unit="images",
        low=1,
        high=1_000_000,
    )
    worker_index: int | None = setting(
        None, "which of the workers this is, from 0", low=0, when_none="from torchrun's or Slurm's variables, else 0"
    )
    worker_count: int | None = setting(
        None,
        "how many workers share the run",
        unit="workers",
        low=1,
        when_none="from torchrun's or Slurm's variables, else 1",
    )
    overwrite: bool = setting(False, "replace an existing cache or another run's shards")


def first_line(folder: str, name: str) -> str:
    """The first line of a module's docstring, as part of a sentence; the module is read, not imported."""
    spec = importlib.util.find_spec(f"{folder}.{name.replace('-', '_')}")
    assert spec is not None and spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        line = file.readline().strip().strip('"').rstrip(".")
    return line[:1].lower() + line[1:]


BASELINES = {name: first_line(BASELINE_FOLDER, name) for name in registry.names(BASELINE_FOLDER)}


@dataclass(frozen=True)
class TrainingConfig(Config):
    """Settings of stage two: the model and how it is trained."""

    model: str = setting(
        "every-step",
        "every-step: the LSTM sees the image at every step; initial-state: only at the start, as in captioning; "
        "baselines to compare with: " + ", ".join(f"{name} ({line})" for name, line in BASELINES.items()),
        choices=("every-step", "initial-state", *BASELINES),
    )
    members: int = setting(
        3, "LSTMs trained from different random weights; their probabilities are averaged", unit="LSTMs", low=1, high=64
    )
    projection: int = setting(256, "the size d of the projected image feature", unit="numbers", low=1, high=65536)
    hidden: int = setting(256, "the size H of an LSTM's state", unit="numbers", low=1, high=65536)
    embedding: int = setting(128, "the size of a tag's embedding", unit="numbers", low=1, high=65536)
    min_count: int = setting(1, "tags in fewer training lists are left out of the vocabulary", unit="lists", low=1)
    epochs: int = setting(60, "the longest training", unit="epochs", low=1)
    batch_size: int = setting(128, "lists a step", unit="lists", low=1)
    lr: float = setting(1e-3, "the highest learning rate of AdamW", low=1e-12, high=10.0)
    warmup: float = setting(1.0, "epochs in which the learning rate rises linearly; 0 is off", unit="epochs", low=0.0)
    cosine: bool = setting(True, "after that, let the learning rate fall to zero along a cosine")
    weight_decay: float = setting(0.1, "AdamW's decay of weight matrices; 0 is off", low=0.0)
    clip: float = setting(5.0, "the gradient's largest norm; 0 is off", low=0.0)
    dropout_features: float = setting(0.8, "share of the image features dropped; 0 is off", low=0.0, high=0.99)
    dropout_embedding: float = setting(0.3, "share of the tag embeddings dropped; 0 is off", low=0.0, high=0.99)
    dropout_output: float = setting(0.3, "share of the LSTM's outputs dropped; 0 is off", low=0.0, high=0.99)
    label_smoothing: float = setting(0.05, "probability spread over all tags in the loss; 0 is off", low=0.0, high=0.99)
    average: float = setting(
        0.99, "decay of the moving average of the weights that is kept; 0 is off", low=0.0, high=0.99999
    )
    patience: int = setting(
        10, "epochs without a better one by validation NDCG@5 before training stops", unit="epochs", low=1
    )
    window: int = setting(
        5,
        "epochs over which NDCG@5 is averaged to choose the best one: it and those before it; 1 compares single epochs",
        unit="epochs",
        low=1,
    )
    seed: int = setting(0, "of the weights, the dropout and the order of the data", low=0, high=2**32 - 1)
    split_seed: int = setting(0, "of the 80/10/10 split that is made when the tag file has none", low=0, high=2**32 - 1)
    precision: str = setting(
        "auto",
        "what is computed in; auto takes bf16 where the device is fast in it, else fp32",
        choices=("auto", "fp32", "bf16"),
    )
    device: str | None = setting(None, DEVICE_HELP, when_none=DEVICE_DEFAULT)
    max_memory: float = setting(8.0, "a larger cache is mapped from disk instead of loaded", unit="GiB", low=0.0)


@dataclass(frozen=True)
class TrainingBenchmarkConfig(TrainingConfig):
    """Settings of what the benchmarks of stage two train: one LSTM of d = H = 512, whatever the default model is."""

    members: int = setting(1, "LSTMs", unit="LSTMs", low=1, high=1)
    projection: int = setting(512, "the size d of the projected image feature", unit="numbers", low=1, high=65536)
    hidden: int = setting(512, "the size H of the LSTM's state", unit="numbers", low=1, high=65536)


@dataclass(frozen=True)
class DecodingConfig(Config):
    """Settings of tag lists written by a trained model."""

    decode: str = setting(
        "mbr",
        "the decoder: mbr ranks tags by expected gain; greedy and beam write one likely list",
        choices=("mbr", "greedy", "beam"),
    )
    beam_size: int = setting(5, "lists kept at every step of beam", unit="lists", low=1, high=1000)
    samples: int = setting(64, "lists drawn an image by mbr", unit="lists", low=1, high=100_000)
    gain: str = setting("log", "what mbr expects: the gain of a tag by its rank", choices=("log", "linear", "binary"))
    seed: int = setting(0, "of the lists drawn by mbr", low=0, high=2**32 - 1)
    num_tags: int | None = setting(
        None, "exactly so many tags an image", unit="tags", low=1, when_none="as many as the model says"
    )
    max_tags: int | None = setting(
        None, "at most so many tags an image", unit="tags", low=1, when_none="the longest list the model was trained on"
    )
    allow_repeats: bool = setting(False, "let greedy and beam write a tag twice")
    precision: str = setting(
        "auto",
        "what is computed in; auto takes bf16 where the device is fast in it, else fp32",
        choices=("auto", "fp32", "bf16"),
    )
    device: str | None = setting(None, DEVICE_HELP, when_none=DEVICE_DEFAULT)
    max_memory: float = setting(2.0, "the most memory decoding may take beside the model", unit="GiB", low=0.01)


@dataclass(frozen=True)
class EvaluationConfig(Config):
    """Settings of the comparison of predictions with people's lists."""

    gain: str = setting(
        "log",
        "the gain of the tag at truth rank r: log is 1/log2(1+r), linear (n-r+1)/n, binary 1",
        choices=("log", "linear", "binary"),
    )
    split: str | None = setting(
        None,
        "the images to score",
        choices=("train", "val", "test"),
        when_none="every split that a prediction file touches",
    )
    resamples: int = setting(
        1000, "bootstrap resamples of the images; 0 gives no intervals", unit="resamples", low=0, high=1_000_000
    )
    seed: int = setting(0, "of the bootstrap and of the random images shown", low=0, high=2**32 - 1)


@dataclass(frozen=True)
class DemoConfig(Config):
    """Settings of the demo."""

    scenes: int = setting(
        600,
        "how many are drawn: seven of ten to train on, one to validate, two to test",
        unit="scenes",
        low=20,
        high=100_000,
    )
    people: int = setting(3, "how many write a list about each scene", unit="people", low=1, high=1000)
    seed: int = setting(0, "of the scenes, the random weights and the training", low=0, high=2**32 - 1)


@dataclass(frozen=True)
class PrepareConfig(Config):
    """What every format of ``ranktag prepare`` knows."""

    prefix: str | None = setting(
        None,
        "put before every image_id, as VOC2007/JPEGImages/, where features are extracted from a folder further up",
        when_none="nothing",
    )


@dataclass(frozen=True)
class VocConfig(PrepareConfig):
    """Settings of tag lists from PASCAL VOC."""

    order: str = setting(
        "largest",
        "what ranks the classes: the area of the largest box (largest); the greatest area x (1 - r), r being the distance of the box's "
        "middle from the image's over that of a corner (central); their order in the file (annotation)",
        choices=("largest", "annotation", "central"),
    )
    difficult: str = setting("drop", "what becomes of objects marked difficult", choices=("keep", "drop"))


@dataclass(frozen=True)
class LabelmeConfig(PrepareConfig):
    """Settings of tag lists from LabelMe, the web tool's and the desktop tool's."""

    order: str = setting(
        "largest",
        "what ranks the names: the area of the largest object (largest), or their order in the file (annotation)",
        choices=("largest", "annotation"),
    )
    image_id: str = setting("path", "the image's path, or its name without folders", choices=("path", "name"))
    missing_size: str = setting(
        "skip",
        "what becomes of files that give no image size; areas, which are in pixels, do not need it",
        choices=("skip", "keep"),
    )
    min_count: int = setting(1, "names in fewer lists are left out", unit="lists", low=1)


@dataclass(frozen=True)
class CaptionsConfig(PrepareConfig):
    """Settings of tag lists from captions."""

    layout: str = setting(
        "auto",
        "how captions are written: a CSV table, Flickr8k's token file (photo.jpg#0, tab, caption) or COCO's JSON; auto looks",
        choices=("auto", "csv", "tokens", "coco"),
    )
    image_column: str = setting("image", "the CSV column that names the image")
    caption_column: str = setting("caption", "the CSV column that holds the caption")
    separator: str = setting(",", "the character between the cells of a CSV file; tab for a tab")
    min_count: int = setting(
        1, "nouns in fewer captions are left out; 5 is usual with large sets", unit="captions", low=1
    )


@dataclass(frozen=True)
class TableConfig(PrepareConfig):
    """Settings of tag lists from any CSV table."""

    separator: str = setting(",", "the character between cells; tab for a tab")
    image_column: str = setting("image_id", "the column that names the image")
    tags_column: str = setting("tags", "one row an image: the column that holds its tags")
    tag_separator: str = setting("|", "one row an image: what stands between its tags; tab for a tab")
    tag_column: str | None = setting(None, "one row a tag: the column that holds the tag", when_none="one row an image")
    rank_column: str | None = setting(
        None, "one row a tag: the column to order by, smallest first", when_none="the rows' order"
    )
    score_column: str | None = setting(
        None, "one row a tag: the column to order by, largest first", when_none="the rows' order"
    )
    list_column: str | None = setting(
        None,
        "one row a tag: the column that tells several people's lists for an image apart",
        when_none="one list an image",
    )
    split_column: str | None = setting(None, "the column that says train, val or test", when_none="no split")


@dataclass(frozen=True)
class RecipeConfig(Config):
    """Settings of a recipe: every model on one data set, to the finished table."""

    table: str = setting("val", "the split whose images the table is of; it is not trained on", choices=("val", "test"))
    seeds: int = setting(5, "trainings of each model that has something random", unit="seeds", low=1, high=1000)
    num_tags: int = setting(
        10, "tags that every model names for an image, so that none gains by naming more", unit="tags", low=1
    )
    weights: str = setting("imagenet", "the weights of the network, if features are extracted (see extract-features)")
    device: str | None = setting(None, DEVICE_HELP, when_none=DEVICE_DEFAULT)
