"""What is there already: kept where it was made as is asked for, refused by name where it was not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from extracting import SETTINGS, assert_same, finished_shards
from tiny_backbone import tiny_network

from ranktag.errors import RanktagError
from ranktag.feature_cache import shards
from ranktag.feature_cache.store import open_features
from ranktag.feature_cache.write import write_features
from ranktag.features.extract import extract_features
from ranktag.files.digest import sha256_file

pytestmark = pytest.mark.usefixtures("tiny")


OTHERWISE = {
    "weights": {"weights": "random:1"},
    "backbone": {"backbone": "vgg19"},
    "layer": {"layer": "fc6"},
    "compute_dtype": {"precision": "bf16"},
    "dtype": {"dtype": "float32"},
}


def test_another_number_of_workers_finishes_what_others_began(photos: Path, whole: Path, tmp_path: Path) -> None:
    extract_features(photos, tmp_path / "c.h5", SETTINGS.replace(worker_index=1, worker_count=3))
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS)
    assert report.computed == 22 and report.images == 30
    # Failures are reported whoever met them: 13 is in shard 1, which the first call made.
    assert [image_id for image_id, _ in report.failures] == ["05.png", "13.png"]
    assert_same(tmp_path / "c.h5", whole)


def test_a_finished_cache_is_known_without_torch(photos: Path, whole: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ranktag.features.extract import extract_features\n"
        "from ranktag.config import ExtractionConfig\n"
        f"paths, config = (Path({str(photos)!r}), Path({str(whole)!r})), ExtractionConfig(weights='random:0')\n"
        "report = extract_features(*paths, config)\n"
        "assert report.computed == 0 and len(report.failures) == 2 and report.cache; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", OTHERWISE)
@pytest.mark.parametrize("finished", [True, False])
def test_what_was_made_otherwise_is_refused_by_name(
    photos: Path, begun: Path, whole: Path, name: str, finished: bool, tmp_path: Path
) -> None:
    output = Path(shutil.copy(whole, tmp_path / "done.h5")) if finished else begun
    with pytest.raises(RanktagError, match=rf"made otherwise.*{name}: .*--overwrite"):
        extract_features(photos, output, SETTINGS.replace(**OTHERWISE[name]))
    assert not finished or output.read_bytes() == whole.read_bytes()
    assert finished or finished_shards(output) == 2


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(("name", "value"), [("torch_version", "1.13.0"), ("preprocessing", "{}")])
def test_recorded_provenance_is_compared(
    photos: Path, begun: Path, whole: Path, tmp_path: Path, finished: bool, name: str, value: str
) -> None:
    output = Path(shutil.copy(whole, tmp_path / "done.h5")) if finished else begun
    with h5py.File(output if finished else shards.folder_of(begun) / "00000-of-00004.h5", "r+") as file:
        file.attrs[name] = value
    with pytest.raises(RanktagError, match=f"made otherwise.*{name}"):
        extract_features(photos, output, SETTINGS)


def test_a_minor_version_of_a_library_is_no_obstacle(photos: Path, begun: Path, whole: Path) -> None:
    with h5py.File(shards.folder_of(begun) / "00000-of-00004.h5", "r+") as file:
        file.attrs["torch_version"] = torch.__version__.split(".")[0] + ".0.0"
    assert extract_features(photos, begun, SETTINGS).computed == 14


def test_a_weights_file_that_changed_is_noticed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"one")

    def load(*arguments: object, **named: object) -> object:
        network = tiny_network()
        network.weights_sha256 = sha256_file(weights)
        return network

    monkeypatch.setattr("ranktag.features.network.load_network", load)
    settings = SETTINGS.replace(weights=str(weights))
    extract_features(photos, tmp_path / "c.h5", settings)
    assert extract_features(photos, tmp_path / "c.h5", settings).computed == 0
    # The same bytes under another name are the same weights.
    assert (
        extract_features(
            photos, tmp_path / "c.h5", settings.replace(weights=str(shutil.copy(weights, tmp_path / "v.pth")))
        ).computed
        == 0
    )
    weights.write_bytes(b"two")
    with pytest.raises(RanktagError, match="weights_sha256"):
        extract_features(photos, tmp_path / "c.h5", settings)


def test_another_cut_is_refused(photos: Path, begun: Path) -> None:
    with pytest.raises(RanktagError, match="--shard-size"):
        extract_features(photos, begun, SETTINGS.replace(shard_size=4))


def test_overwrite_replaces_what_was_made_otherwise_and_keeps_the_rest(photos: Path, begun: Path, whole: Path) -> None:
    assert extract_features(photos, begun, SETTINGS.replace(overwrite=True)).computed == 14
    assert_same(begun, whole)
    report = extract_features(photos, begun, SETTINGS.replace(overwrite=True, layer="fc6", shard_size=4))
    assert report.computed == 30 and open_features(begun).provenance.layer == "fc6"


def test_a_damaged_shard_is_made_again(photos: Path, begun: Path, whole: Path) -> None:
    shard = shards.folder_of(begun) / "00000-of-00004.h5"
    offset = 0
    with h5py.File(shard) as file:
        offset = file["features"].id.get_offset()
    data = bytearray(shard.read_bytes())
    data[offset + 1000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(RanktagError, match="damaged: its content is not what was written"):
        shards.read_shard(shard)
    assert extract_features(photos, begun, SETTINGS).computed == 22
    assert_same(begun, whole)


def test_something_else_at_the_output_is_not_touched(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "c.h5").write_text("my diary")
    with pytest.raises(RanktagError, match="not a feature cache"):
        extract_features(photos, tmp_path / "c.h5", SETTINGS)
    assert (tmp_path / "c.h5").read_text() == "my diary"
    with pytest.raises(RanktagError, match="is a folder"):
        extract_features(photos, tmp_path, SETTINGS)


@pytest.mark.parametrize("finished", [True, False])
def test_features_of_another_width_are_refused_by_name(photos: Path, begun: Path, whole: Path, finished: bool) -> None:
    path = begun if finished else shards.folder_of(begun) / "00000-of-00004.h5"
    store = open_features(whole if finished else path)
    narrow = np.array(store.features[:, :5])
    content = (store.image_id, [narrow], store.valid, store.error, store.provenance, "float16", 5)
    rows = {} if finished else {"row_start": 0, "row_count": 30}
    write_features(path, *content, rows)
    with pytest.raises(RanktagError, match=r"made otherwise \(asked for / there: width: 4096 / 5\).*--overwrite"):
        extract_features(photos, begun, SETTINGS)
    if not finished:
        assert extract_features(photos, begun, SETTINGS.replace(overwrite=True)).computed == 22
        assert_same(begun, whole)
