"""The whole path on scenes drawn on the spot: draw, extract, train, decode, evaluate, browse.

What the demo leaves in its folder:

==================  ==================================================================
photos/, tags.csv   the scenes and what made-up people say of them (``ranktag.recipes.demo_scenes``)
features.h5         the feature cache
run/, popularity/   the trained model, and the baseline that knows only which tags are popular
predictions.csv     the model's tags for the test scenes; popularity.csv: the baseline's
report/             the evaluation; report/report.html is to be looked at
site/               a page of the test scenes; site/index.html is to be looked at
demo.json           the settings, and the mark of a folder that the demo may replace
==================  ==================================================================
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ranktag.browse.site import browse
from ranktag.config import DecodingConfig, DemoConfig, ExtractionConfig, TrainingConfig
from ranktag.decoding.decode import decode
from ranktag.errors import Exists
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.results import Change, Estimate, EvaluationReport
from ranktag.features.backbone import find_backbone
from ranktag.features.extract import extract_features
from ranktag.features.progress import ExtractionProgress
from ranktag.features.read_weights import published_path
from ranktag.features.weights import choose_weights
from ranktag.files.atomic import atomic_path
from ranktag.recipes.demo_scenes import SETTINGS, draw_scenes
from ranktag.tags.lists import TagList
from ranktag.training.history import Epoch
from ranktag.training.train import train

MARK = "demo.json"
OUTPUTS = (
    "photos",
    "tags.csv",
    "features.h5",
    "features.h5.shards",
    "run",
    "popularity",
    "predictions.csv",
    "popularity.csv",
    "report",
    "site",
    MARK,
)

MODEL, POPULARITY = "model", "popularity"

# NDCG@5 looks at five places, so both lists fill them: leaving places empty could only lose.
TAGS_AN_IMAGE = 5
EXAMPLES = 4
EPOCHS_A_LINE = 5

# Few epochs: a few hundred scenes are soon learned.
SHORT = TrainingConfig(epochs=20)


@dataclass(frozen=True)
class Example:
    """A test scene: its people's lists, and the model's tags with P(tag in the list)."""

    image_id: str
    people: tuple[TagList, ...]
    predicted: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class DemoReport:
    """What the demo made, and how good it is.

    weights: of the network, as asked for, 'default' or 'random:SEED'. model, popularity: NDCG@5 on
    the test scenes. better: their difference. people: the NDCG@5 of a person's list
    against the other people's; None with one person.
    """

    folder: Path
    weights: str
    scenes: int
    test_scenes: int
    model: Estimate
    popularity: Estimate
    better: Change
    people: Estimate | None
    examples: tuple[Example, ...]
    seconds: float

    @property
    def page(self) -> Path:
        """The report to look at."""
        return self.folder / "report" / "report.html"

    @property
    def site(self) -> Path:
        """The page of the test scenes."""
        return self.folder / "site" / "index.html"


def run_demo(
    folder: str | Path,
    config: DemoConfig = DemoConfig(),
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: ExtractionProgress | None = None,
) -> DemoReport:
    """Run every stage in ``folder``. say: is given lines that tell what is done. progress: is told of the extraction.

    overwrite: replace what an earlier demo left there. Raises RanktagError if the
    folder holds anything else, or anything without ``overwrite``.
    """
    begin = time.monotonic()
    folder = Path(folder)
    weights = _weights(config)
    _clear(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / MARK) as temporary:
        settings = json.dumps({"demo": config.to_dict(), "weights": weights}, indent=2)
        temporary.write_text(settings + "\n", encoding="utf-8")
    stages = _Stages(folder, config, weights, say, progress)
    stages.draw()
    stages.extract()
    stages.train()
    stages.decode()
    evaluation = stages.evaluate()
    stages.browse()
    report = _report(folder, weights, config, evaluation, time.monotonic() - begin)
    for line in summary(report):
        say(line)
    return report


def _weights(config: DemoConfig) -> str:
    """Those asked for, else the published ones if they need not be downloaded, else random ones.

    Raises RanktagError for a network or weights that are not there.
    """
    published = find_backbone(config.backbone).published
    if config.weights is not None:
        choose_weights(config.weights, published)
        return config.weights
    here = published is not None and published.url and published_path(published).is_file()
    return "default" if here else f"random:{config.seed}"


class _Stages:
    """The stages in their order, each from files to files in the folder, and what is said of them."""

    def __init__(
        self,
        folder: Path,
        config: DemoConfig,
        weights: str,
        say: Callable[[str], None],
        progress: ExtractionProgress | None,
    ) -> None:
        self.config, self.weights, self.say, self.progress = config, weights, say, progress
        self.photos, self.tags, self.cache = folder / "photos", folder / "tags.csv", folder / "features.h5"
        self.runs = {MODEL: folder / "run", POPULARITY: folder / "popularity"}
        self.predictions = {MODEL: folder / "predictions.csv", POPULARITY: folder / "popularity.csv"}
        self.report, self.site = folder / "report", folder / "site"

    def draw(self) -> None:
        """Draw the scenes and write the lists."""
        self.say(
            f"1/6 Drawing {self.config.scenes} scenes; {self.config.people} made-up people write a list of tags "
            "about each, the most important first."
        )
        drawn = draw_scenes(self.photos, self.tags, self.config)
        kinds = {tag for people in drawn.lists.values() for one in people for tag in one}
        self.say(
            f"    {len(kinds)} kinds of object in {len(SETTINGS)} settings: photos in {self.photos}, "
            f"lists in {self.tags}"
        )

    def extract(self) -> None:
        """Stage one."""
        network = find_backbone(self.config.backbone)
        shown = "VGG-16" if network.name == "vgg16" else network.name
        self.say(f"2/6 Extracting features with {shown} ({network.layer}), the slowest step.")
        if self.config.weights is not None:
            self.say(f"    Weights: {self.weights}.")
        elif self.weights == "default":
            self.say("    Weights: ImageNet's, which torch has in its cache already.")
        else:
            self.say(
                f"    Weights: random, seed {self.config.seed}. ImageNet's are not in torch's cache and the demo "
                "downloads nothing;"
            )
            self.say("    even untrained, the network tells drawings apart. For photos take trained weights.")
        extraction = ExtractionConfig(backbone=network.name, weights=self.weights, worker_index=0, worker_count=1)
        extracted = extract_features(self.photos, self.cache, extraction, self.progress)
        width = network.layers[network.layer]
        self.say(f"    {extracted.images} features of {width:,} numbers in {self.cache} ({extracted.seconds:.0f} s)")

    def train(self) -> None:
        """Stage two: the model and the baseline."""
        self.say("3/6 Training an LSTM that sees the image at every step, and the baseline: tags ranked by popularity.")
        settings = SHORT.replace(seed=self.config.seed)
        with _one_thread():
            trained = train(self.cache, self.tags, self.runs[MODEL], settings, report=self._say_epoch)
            train(self.cache, self.tags, self.runs[POPULARITY], settings.replace(model="popularity"))
        self.say(
            f"    {trained.lists} lists of {trained.images} scenes; epoch {trained.epoch} was the best on the "
            f"validation scenes and is kept in {self.runs[MODEL]} ({trained.seconds:.0f} s)"
        )

    def _say_epoch(self, epoch: Epoch) -> None:
        if epoch.epoch % EPOCHS_A_LINE == 0:
            ndcg = f"NDCG@5 on the validation scenes {epoch.ndcg5:.3f}"
            self.say(f"    epoch {epoch.epoch}: loss {epoch.loss:.2f}, {ndcg}")

    def decode(self) -> None:
        """Write the tags of the test scenes."""
        self.say(f"4/6 Writing the {TAGS_AN_IMAGE} most important tags of every test scene, which neither has seen.")
        decoding = DecodingConfig(num_tags=TAGS_AN_IMAGE, seed=self.config.seed)
        for name, run in self.runs.items():
            decode(self.cache, run, self.predictions[name], decoding, split="test")
        self.say(f"    {self.predictions[MODEL]}, {self.predictions[POPULARITY]}")

    def evaluate(self) -> EvaluationReport:
        """Compare the tags with the people's lists."""
        self.say("5/6 Comparing both with the people's lists.")
        return evaluate(self.predictions, self.tags, self.report, images=self.photos)

    def browse(self) -> None:
        """Make the page of the test scenes."""
        self.say("6/6 Making a page of the test scenes, to look at and to search.")
        browse(list(self.predictions.values()), self.photos, self.site, tags=self.tags)


def _clear(folder: Path, overwrite: bool) -> None:
    """Remove what an earlier demo left, and only that."""
    if not folder.exists() or folder.is_dir() and not any(folder.iterdir()):
        return
    if not folder.is_dir():
        raise Exists(f"{folder}: is a file, the demo needs a folder; choose another with -o")
    if not (folder / MARK).is_file():
        raise Exists(f"{folder}: holds things that the demo did not make; choose another folder with -o")
    if not overwrite:
        raise Exists(
            f"{folder}: holds a demo already; pass --overwrite to make it anew, or choose another folder with -o"
        )
    photos = folder / "photos"
    foreign = sorted(p.name for p in photos.iterdir() if not p.match("scene-*.jpg")) if photos.is_dir() else []
    if foreign:
        raise Exists(
            f"{photos}: holds '{foreign[0]}', which the demo did not draw; "
            "move it elsewhere or choose another folder with -o"
        )
    for name in OUTPUTS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: a model this small gains nothing from a second, and loses much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _report(folder: Path, weights: str, config: DemoConfig, evaluation: EvaluationReport, seconds: float) -> DemoReport:
    model, popularity = (row.scores["ndcg@5"] for row in evaluation.rows)
    examples = tuple(
        Example(image_id, tuple(evaluation.lists[image_id]), tuple(evaluation.predictions[MODEL][image_id]))
        for image_id in evaluation.image_ids[:EXAMPLES]
    )
    return DemoReport(
        folder,
        weights,
        config.scenes,
        len(evaluation.image_ids),
        model,
        popularity,
        evaluation.differences[0].scores["ndcg@5"],
        evaluation.people.scores["ndcg@5"] if evaluation.people else None,
        examples,
        seconds,
    )


def summary(report: DemoReport) -> list[str]:
    """The outcome in plain words, a line each."""
    lines = [
        "",
        "The first test scenes, with the lists of two people and the model's tags "
        "(and how likely a person is to name each):",
    ]
    for example in report.examples:
        lines.append(f"  {report.folder / 'photos' / example.image_id}")
        lines += [f"    a person   {', '.join(tags)}" for tags in example.people[:2]]
        lines.append(
            "    the model  " + ", ".join(f"{tag} {probability:.0%}" for tag, probability in example.predicted)
        )
    better = report.better
    clearly = (
        "clearly better than" if better.low > 0 else "not clearly better than" if better.high >= 0 else "worse than"
    )
    lines += [
        "",
        f"NDCG@5 on the {report.test_scenes} test scenes (1 is perfect; in brackets 95% intervals):",
        f"  the model           {_interval(report.model)}",
        f"  popular tags        {_interval(report.popularity)}",
    ]
    if report.people is not None:
        lines.append(f"  one person's list   {_interval(report.people)}, judged by the other people's")
    lines += [
        f"The model is {clearly} tags ranked by popularity: "
        f"by {better.value:+.3f} ({better.low:+.3f} to {better.high:+.3f}).",
        "",
        f"Done in {report.seconds:.0f} s. Everything is in {report.folder}; "
        f"{report.page} shows scenes, tags and scores.",
        f"Open {report.site} to look at the scenes and to search them, those in which a tag matters most first.",
    ]
    return lines


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
