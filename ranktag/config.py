"""The settings of every stage: defaults, limits and help, read by the commands and by the Python functions.

Nothing heavy is imported, so that ``--help`` is instant.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ranktag import registry
from ranktag.errors import Usage

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
    option: str | None = None,
) -> Any:
    """A dataclass field of a Config.

    help: a sentence without the default. unit: what a number counts. choices: the
    allowed words. low, high: inclusive limits. when_none: what None, the default,
    stands for. option: its name on the command line, if that is another than its own.
    """
    return field(
        default=default,
        metadata={
            "help": help,
            "unit": unit,
            "choices": choices,
            "low": low,
            "high": high,
            "when_none": when_none,
            "option": option,
        },
    )


@dataclass(frozen=True)
class Config:
    """Base of the settings: checked when made, so that a wrong value is refused wherever it comes from."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value, meta = getattr(self, f.name), f.metadata
            if value is None:
                if meta.get("when_none") is None:
                    raise Usage(f"{f.name}: is None; give it a value")
                continue
            if meta.get("choices") and value not in meta["choices"]:
                raise Usage(f"{f.name}: '{value}' is not one of {', '.join(meta['choices'])}; choose one of them")
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
                raise Usage(f"{f.name}: {value} is not {limits}; choose another")

    def to_dict(self) -> dict[str, Any]:
        """Names and values, ready for JSON."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def replace(self: C, **changes: Any) -> C:
        """A copy with some values changed (and checked)."""
        return dataclasses.replace(self, **changes)


MOST_SEEDS = 1000


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds of '0,1,2', and of '5', which is how many: 0 to 4. Raises Usage for other texts and a seed twice."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or max(numbers) >= 2**32:
        raise Usage(f"--seeds {text}: is neither a list such as 0,1,2 nor a number of seeds, such as 5; write one")
    if "," not in text:
        if not 1 <= numbers[0] <= MOST_SEEDS:
            raise Usage(
                f"--seeds {text}: is a number of seeds, which is 1 to {MOST_SEEDS:,}; "
                f"for the one seed {text} write --seeds {text},"
            )
        return tuple(range(numbers[0]))
    twice = next((seed for seed in numbers if numbers.count(seed) > 1), None)
    if twice is not None:
        raise Usage(f"--seeds {text}: {twice} stands there twice, which trains the same model twice; leave one out")
    return tuple(numbers)


# The package whose modules are the models without an LSTM.
BASELINE_FOLDER = "ranktag.models.baselines"
PRECISION_HELP = "what is computed in; auto takes bf16 where the device is fast in it, else fp32"
DEVICE_HELP = "where to compute: cpu, cuda, cuda:1, mps"
DEVICE_DEFAULT = "the first GPU if there is one, else the processor"
BACKBONE_HELP = (
    f"the network: {', '.join(registry.names('ranktag.features.backbones'))}; "
    "of a library's networks one by its name, as torchvision:resnet50 or timm:tf_efficientnet_lite0"
)
WEIGHTS_HELP = (
    "the network's weights: default (those published with it, downloaded once), random or random:SEED, "
    "or a file holding a state dict, torch's or safetensors'"
)
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class ExtractionConfig(Config):
    """Settings of stage one."""

    backbone: str = setting("vgg16", BACKBONE_HELP)
    layer: str | None = setting(
        None,
        "the network's layer whose activations are kept; VGG has fc7 and fc6, after ReLU, a library's network "
        "only what its classifier is given",
        when_none="fc7 of VGG",
    )
    weights: str = setting("default", WEIGHTS_HELP)
    crops: str = setting(
        "center",
        "what of an image the network looks at: center; flip, that and its mirror image, averaged; "
        "ten, center, corners and their mirror images",
        choices=("center", "flip", "ten"),
    )
    id_from: str = setting(
        "path",
        "what photos in tars are called: path, shard.tar/dir/photo.jpg; key, their path in the tar to its first dot, "
        "as WebDataset calls samples",
        choices=("path", "key"),
    )
    dtype: str = setting("float16", "the type the features are stored in", choices=("float16", "float32"))
    precision: str = setting("auto", PRECISION_HELP, choices=PRECISIONS)
    device: str | None = setting(None, DEVICE_HELP, when_none=DEVICE_DEFAULT)
    batch_size: int | None = setting(
        None, "images computed at once", unit="images", low=1, high=65536, when_none="fits the device"
    )
    workers: int | None = setting(
        None,
        "processes that decode images ahead of the network; 0 decodes a batch when it is asked for",
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
        None,
        "which of the workers this is, from 0",
        low=0,
        when_none="from the variables of torchrun, Slurm or Kubernetes, else 0",
    )
    worker_count: int | None = setting(
        None,
        "how many workers share the run; the tasks of a Slurm array and the pods of an indexed job need to be told",
        unit="workers",
        low=1,
        when_none="from torchrun's or srun's variables, else 1",
    )
    executor: str = setting("local", "what computes the shards", choices=registry.names("ranktag.features.executors"))
    ray_address: str | None = setting(
        None, "the Ray cluster, HOST:PORT", when_none="RAY_ADDRESS, or the one that runs on this machine"
    )
    cpus_per_task: int = setting(1, "processors of a node that a task on Ray takes", unit="processors", low=1)
    gpus_per_task: float = setting(
        0.0, "GPUs of a node that a task on Ray takes, or a share of one", unit="GPUs", low=0.0
    )
    memory_per_task: float | None = setting(
        None, "memory of a node that is set aside for a task on Ray", unit="GB", low=0.001, when_none="not counted"
    )
    retries: int = setting(3, "how often Ray tries a shard again, elsewhere if it can", unit="times", low=0)
    overwrite: bool = setting(False, "replace an existing cache or another run's shards, and compute everything again")
    retry_failed: bool = setting(False, "try images that failed again, also those whose file has not changed")
    verify_content: bool = setting(
        False, "tell changed images by their content (SHA-256: every file is read) instead of by size and time"
    )
    allow_removals: bool = setting(False, "go on when more than a tenth of the cache's images is gone from the folder")


# The settings that only the engine of that name looks at.
RAY_SETTINGS = ("ray_address", "cpus_per_task", "gpus_per_task", "memory_per_task", "retries")


@dataclass(frozen=True)
class ClusterBenchmarkConfig(Config):
    """Assumptions of the simulation of a cluster."""

    images: int = setting(100_000_000, "how many images there are", unit="images", low=1)
    rate: float = setting(2000.0, "what a GPU computes, decoding included", unit="images/s", low=0.001)
    start: float = setting(
        10.0, "from a machine's first task to its first image: libraries, weights", unit="seconds", low=0.0
    )
    losses: float = setting(0.2, "how often a machine is taken away", unit="times an hour", low=0.0, high=60.0)
    silence: float = setting(30.0, "until it is noticed that a machine was taken away", unit="seconds", low=0.0)
    replacement: float = setting(300.0, "until there is another in its place", unit="seconds", low=0.0)
    shard_size: int = setting(1024, "images a shard", unit="images", low=1)
    retries: int = setting(3, "how often a shard is tried again", unit="times", low=0)
    seed: int = setting(0, "seed of the losses", low=0)


def first_line(folder: str, name: str) -> str:
    """The first line of a module's docstring, as part of a sentence; the module is read, not imported."""
    spec = importlib.util.find_spec(f"{folder}.{name.replace('-', '_')}")
    assert spec is not None and spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        line = file.readline().strip().strip('"').rstrip(".")
    return line[:1].lower() + line[1:]


BASELINES = {name: first_line(BASELINE_FOLDER, name) for name in registry.names(BASELINE_FOLDER)}


# The settings of a training that make a difference to a model without an LSTM.
BASELINE_SETTINGS = ("model", "seed", "min_count", "keep_case", "split_seed", "device", "max_memory")


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
    keep_case: bool = setting(False, "keep tags apart that differ only in letter case, spaces or Unicode form")
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
    person_embedding: bool = setting(
        False,
        "learn what each person of the tag file's column person does otherwise than the others; --person then tells "
        "whose list is to be written",
    )
    person_min_lists: int = setting(5, "people with fewer training lists are not told apart", unit="lists", low=1)
    dropout_person: float = setting(0.2, "share of the lists whose person is not told; 0 is off", low=0.0, high=0.99)
    label_smoothing: float = setting(0.05, "probability spread over all tags in the loss; 0 is off", low=0.0, high=0.99)
    head: float = setting(
        0.2,
        "share that a network on the image alone has in mbr's ranking beside the LSTMs; it is trained after them, as "
        "--model mlp, unless that takes more than --max-memory; 0 is off",
        low=0.0,
        high=1.0,
    )
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
        PRECISION_HELP,
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
        "the decoder: mbr ranks tags by what they are expected to earn in evaluation; "
        "greedy and beam write one likely list",
        choices=("mbr", "greedy", "beam"),
    )
    beam_size: int = setting(5, "how many unfinished lists beam keeps at every step", unit="lists", low=1, high=1000)
    samples: int | None = setting(
        None,
        "draw so many lists from the model for each image, by chance, for mbr",
        unit="lists",
        low=1,
        high=100_000,
        when_none="none: mbr follows the likely lists",
    )
    gain: str = setting(
        "log",
        "what a tag at rank r earns in mbr: log is 1/log2(1+r), linear falls evenly, binary is 1 at any rank",
        choices=("log", "linear", "binary"),
    )
    seed: int = setting(0, "seed of the lists that mbr draws with --samples", low=0, high=2**32 - 1)
    num_tags: int | None = setting(
        None, "name exactly so many tags for each image", unit="tags", low=1, when_none="as many as the model says"
    )
    max_tags: int | None = setting(
        None,
        "name at most so many tags for each image",
        unit="tags",
        low=1,
        when_none="as in the longest list the model was trained on",
    )
    allow_repeats: bool = setting(False, "let greedy and beam write the same tag more than once")
    person: str | None = setting(
        None,
        "write the list as this person of the training lists would, by a model with --person-embedding; somebody whom "
        "it does not know is taken as the mean of those it knows",
        when_none="as the mean of all people",
    )
    given_order: str = setting(
        "list",
        "what the order of given tags says: with list, their importance; with none nothing, and all orders count by "
        "their probability",
        choices=("list", "none"),
    )
    keep_given: bool = setting(False, "write the given tags too, before those that come next")
    cooccurrence: bool = setting(
        True, "let baselines weigh the tags that come next by how often they stand beside the given ones"
    )
    precision: str = setting(
        "auto",
        PRECISION_HELP,
        choices=("auto", "fp32", "bf16"),
    )
    device: str | None = setting(None, DEVICE_HELP, when_none=DEVICE_DEFAULT)
    max_memory: float = setting(
        2.0,
        "how much memory decoding may take beside the model; more lets it work on larger batches",
        unit="GiB",
        low=0.01,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_tags is not None and self.max_tags is not None:
            raise Usage(
                f"--num-tags {self.num_tags} --max-tags {self.max_tags}: one says exactly how many tags, "
                "the other at most how many; leave one out"
            )


@dataclass(frozen=True)
class ChoiceConfig(Config):
    """Settings of which of a model's tags are written."""

    replacements: Path | None = setting(
        None,
        "write tags under other names: a CSV with the columns old and new; of tags that become one, "
        "the first keeps its place and probability",
        when_none="as the model calls them",
        option="replace",
    )
    exclude: Path | None = setting(
        None,
        "tags that are never written: a file with a tag a line, or a CSV with the column tag",
        when_none="none",
    )
    min_probability: float | None = setting(
        None, "leave out tags whose probability is lower", low=0.0, high=1.0, when_none="none is left out"
    )
    top: int | None = setting(
        None,
        "write the first so many of the tags that are left (--num-tags and --max-tags say how many the model names, "
        "before any is left out)",
        unit="tags",
        low=1,
        when_none="all",
    )


@dataclass(frozen=True)
class EvaluationConfig(Config):
    """Settings of the comparison of predictions with people's lists."""

    gain: str = setting(
        "log",
        "what naming a tag earns in NDCG, from its rank r in a list of n: "
        "log is 1/log2(1+r), linear (n-r+1)/n, binary 1",
        choices=("log", "linear", "binary"),
    )
    split: str | None = setting(
        None,
        "score the images of this split only; all is every image, those that the models were trained on among them",
        choices=("train", "val", "test", "all"),
        when_none="test; where the files hold a single other split, that",
    )
    keep_case: bool = setting(False, "keep tags apart that differ only in letter case, spaces or Unicode form")
    given: int | None = setting(
        None,
        "score completion: the first so many tags of every person's longer list are given, and the rest is the truth; "
        "predictions are of 'export-tags --given TAGS --given-first K'",
        unit="tags",
        low=1,
        when_none="whole lists are scored",
    )
    reference: str | None = setting(
        None, "compare every row with this one only, by its name or its file", when_none="every two rows are compared"
    )
    retrieval: bool = setting(
        False,
        "score search too: how well photos are found by each tag, and by each pair of tags that stand together, that "
        "at least ten test images hold; by importance, and by presence",
    )
    resamples: int = setting(
        1000,
        "how often the images are resampled for the intervals; 0 gives no intervals",
        unit="resamples",
        low=0,
        high=1_000_000,
    )
    seed: int = setting(0, "seed of the resampling and of the random images shown", low=0, high=2**32 - 1)


@dataclass(frozen=True)
class SearchConfig(Config):
    """Settings of a search in predicted tags."""

    by: str = setting(
        "importance",
        "what comes first: importance, the photos in which the tags matter most; presence, those that most likely "
        "have them at all",
        choices=("importance", "presence"),
    )
    limit: int = setting(20, "how many photos are printed; 0 prints all", unit="photos", low=0)


@dataclass(frozen=True)
class BrowseConfig(Config):
    """Settings of the page of an archive."""

    size: int = setting(
        512,
        "pixels of a photo's longer side in the page; larger ones are made smaller",
        unit="pixels",
        low=64,
        high=8192,
    )
    quality: int = setting(75, "of the photos in the page (WebP)", unit="of 100", low=1, high=100)
    workers: int | None = setting(
        None, "processes that make photos smaller", unit="processes", low=1, high=1024, when_none="one a processor"
    )


@dataclass(frozen=True)
class DemoConfig(Config):
    """Settings of the demo."""

    scenes: int = setting(
        600,
        "how many scenes are drawn: of ten, seven to train on, one to validate and two to test",
        unit="scenes",
        low=20,
        high=100_000,
    )
    people: int = setting(3, "how many made-up people write a list about each scene", unit="people", low=1, high=1000)
    backbone: str = setting("vgg16", BACKBONE_HELP)
    weights: str | None = setting(
        None, WEIGHTS_HELP, when_none="the published ones if torch has them already, else random with the seed"
    )
    seed: int = setting(0, "seed of the scenes, the random weights and the training", low=0, high=2**32 - 1)


@dataclass(frozen=True)
class RecipeConfig(Config):
    """Settings of a recipe: every model on one data set, to the finished table."""

    table: str = setting("val", "the split whose images the table is of; it is not trained on", choices=("val", "test"))
    folds: int | None = setting(
        None,
        "cross-validate: the images are dealt into so many parts, each tagged by models trained on the others, and the "
        "table is of all of them; splits do not count",
        unit="folds",
        low=2,
        when_none="by --table",
    )
    seeds: tuple[int, ...] = setting(
        (0, 1, 2, 3, 4), "of each model that has something random, a training each: a list, 0,1,2, or how many, 5"
    )
    num_tags: int = setting(
        10, "tags that every model names for an image, so that none gains by naming more", unit="tags", low=1
    )
    backbone: str = setting("vgg16", "the network, if features are extracted (see extract-features)")
    weights: str = setting("default", "the weights of the network, if features are extracted (see extract-features)")
    device: str | None = setting(None, DEVICE_HELP, when_none=DEVICE_DEFAULT)
