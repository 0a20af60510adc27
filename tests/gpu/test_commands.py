"""``--device`` of every command, a tagger, the benchmarks, and a GPU that is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from extracting import make_photos
from fake_gpu import FakeGpu

from ranktag.config import DecodingConfig
from ranktag.models.checkpoint import load_checkpoint
from ranktag.tagging import Tagger
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.predictions import read_predictions
from ranktag.training import run

GPU = ("--device", "cuda:1")
NETWORK = ("--backbone", "torchvision:mobilenet_v3_small", "--weights", "random:0", "--precision", "fp32")
SMALL = (
    "--projection", 8, "--hidden", 8, "--embedding", 4, "--epochs", 2, "--batch-size", 8, "--members", 2,
    "--precision", "fp32",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "plot_history", lambda path, epochs, kept: None)
    monkeypatch.setattr("ranktag.models.baselines._descent.DROPOUT", (0.5,))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with ten photos and their tags."""
    photos = tmp_path / "photos"
    photos.mkdir()
    make_photos(photos)
    for photo in sorted(photos.iterdir())[10:]:
        photo.unlink()
    (photos / "05.png").unlink()
    ids = sorted(photo.name for photo in photos.iterdir())
    lists = {image_id: [("sky", "sea") if n % 2 else ("tree",)] for n, image_id in enumerate(ids)}
    split = {image_id: ("train", "train", "val")[n % 3] for n, image_id in enumerate(ids)}
    write_tag_lists(tmp_path / "tags.csv", TagLists(lists, split))
    return tmp_path


def extracted(ranktag: Callable, place: Path, device: str = GPU[1]) -> Path:
    to = ("-o", place / "f.h5", "--workers", 1, "--device", device)
    assert ranktag("extract-features", place / "photos", *to, *NETWORK).code == 0
    return place / "f.h5"


def trained(ranktag: Callable, place: Path, device: str = GPU[1]) -> Path:
    extracted(ranktag, place, device)
    to = ("-o", place / "run", "--device", device)
    outcome = ranktag("train-from-cache", place / "f.h5", place / "tags.csv", *to, *SMALL)
    assert outcome.code == 0, outcome
    return place / "run"


def test_from_photos_to_tags(ranktag: Callable, place: Path, fake: FakeGpu) -> None:
    model = trained(ranktag, place)
    call = ("export-tags", place / "f.h5", "--model", model, "--precision", "fp32", "--num-tags", 2)
    assert ranktag(*call, "-o", place / "gpu.csv", *GPU).code == 0
    ran = fake.computed[1]
    assert ranktag(*call, "-o", place / "cpu.csv", "--device", "cpu").code == 0
    assert fake.computed == [0, ran]
    here, there = (read_predictions(place / name) for name in ("cpu.csv", "gpu.csv"))
    assert len(here) == 9 and here.keys() == there.keys()
    for image_id, tags in here.items():
        assert [tag for tag, _ in tags] == [tag for tag, _ in there[image_id]]
    # What was trained on a GPU is read where there is none.
    weights = load_checkpoint(model).model.state_dict()
    assert all(type(value) is torch.Tensor and value.device.type == "cpu" for value in weights.values())
    tagged = ranktag("tag", place / "photos", "--model", model, "--precision", "fp32", "--format", "json", *GPU)
    assert tagged.code == 0, tagged
    for image in json.loads(tagged.out):
        tags = [tag["tag"] for tag in image["tags"]]
        assert tags == [tag for tag, _ in there[Path(image["image"]).name]][: len(tags)]
    assert fake.computed[0] == 0


def test_a_tagger_tags_and_suggests(ranktag: Callable, place: Path, device: str) -> None:
    model = trained(ranktag, place, device)
    photo = next(iter(sorted((place / "photos").iterdir())))
    found = {}
    for where in ("cpu", device):
        tagger = Tagger(model, DecodingConfig(device=where, precision="fp32", num_tags=2))
        tags = tagger.tag(photo).tags
        (of_files,) = tagger.tag_files([photo], given=["sky"])
        suggested = tagger.suggest(photo, ["tree"]).suggest(1)
        found[where] = [[tag for tag, _ in part] for part in (tags, of_files.tags, suggested)]
    assert found["cpu"] == found[device] and len(found["cpu"][0]) == 2


def test_benchmarks_measure_the_textbook_there_too(ranktag: Callable, fake: FakeGpu) -> None:
    sizes = ("--vocabulary", 12, "--rounds", 1, "--json", *GPU)
    model = ("--hidden", 16, "--projection", 16)
    found = json.loads(ranktag("benchmark", "train", "--images", 40, *model, *sizes).out)
    assert found["device"] == "cuda:1"
    outcome = ranktag("benchmark", "decode", "--images", 100, *sizes)
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["device"] == "cuda:1" and found["same"]["greedy_fp32"] == found["same"]["beam_fp32"] == 1.0
    outcome = ranktag(
        "benchmark",
        "extract",
        "--count",
        4,
        "--batch-size",
        2,
        "--workers",
        1,
        "--rounds",
        1,
        "--json",
        *NETWORK[:2],
        *GPU,
    )
    assert outcome.code == 0, outcome
    assert json.loads(outcome.out)["device"] == "cuda:1"
    assert fake.computed[0] == 0


@pytest.mark.parametrize(
    ("failure", "code", "word"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), 4, "device failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), 4, "device failed"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), 4, "--batch-size"),
    ],
)
def test_a_gpu_that_is_lost_is_an_outage_and_the_same_command_goes_on(
    ranktag: Callable, place: Path, fake: FakeGpu, failure: Exception, code: int, word: str
) -> None:
    call = ("extract-features", place / "photos", "-o", place / "f.h5", *NETWORK, *GPU)
    sizes = ("--workers", 1, "--batch-size", 2, "--shard-size", 4)
    whole = place / "whole.h5"
    assert ranktag(*call[:3], whole, *call[4:], *sizes).code == 0
    of_one = sum(fake.computed)
    fake.failure, fake.fail_at = failure, of_one + of_one * 3 // 4
    lost = ranktag(*call, *sizes)
    assert lost.code == code and word in lost.err.splitlines()[-1] and "Traceback" not in lost.err, lost
    fake.fail_at = None
    before = sum(fake.computed)
    assert ranktag(*call, *sizes).code == 0
    # What was done was kept.
    assert sum(fake.computed) - before < of_one
    train = ("train-from-cache", place / "f.h5", place / "tags.csv", "-o", place / "run", *SMALL, *GPU)
    fake.fail_at = sum(fake.computed) + 300
    lost = ranktag(*train)
    assert lost.code == code and word in lost.err.splitlines()[-1] and "Traceback" not in lost.err, lost


def test_a_device_that_does_not_answer_is_no_wrong_name(ranktag: Callable, place: Path, fake: FakeGpu) -> None:
    call = ("extract-features", place / "photos", "-o", place / "f.h5", *NETWORK)
    ranktag(*call, "--device", "cuda:2").assert_refused("there is no such device here", code=2)
    fake.failure, fake.fail_at = torch.AcceleratorError("CUDA error: out of memory"), 0
    ranktag(*call, *GPU).assert_refused("device", code=4)
