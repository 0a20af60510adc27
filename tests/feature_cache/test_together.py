"""Several caches used as one, or copied into one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ranktag import cache_features, decode, train
from ranktag.config import DecodingConfig, TrainingConfig
from ranktag.errors import RanktagError
from ranktag.feature_cache.inspection import inspect_cache
from ranktag.feature_cache.store import open_features
from ranktag.feature_cache.together import join_caches, open_together
from ranktag.tags.predictions import read_predictions
from ranktag.training_data.loading import Loading

FEATURES = np.arange(24, dtype=np.float32).reshape(8, 3)
IDS = [f"{n}.jpg" for n in range(8)]
TRAINING = TrainingConfig(model="linear", device="cpu", precision="fp32")
DECODING = DecodingConfig(device="cpu", precision="fp32", num_tags=2)


@pytest.fixture
def caches(tmp_path: Path) -> list[Path]:
    """Rows 0 to 4, and 5 to 7."""
    first = cache_features(FEATURES[:5], IDS[:5], tmp_path / "one.h5")
    return [first, cache_features(FEATURES[5:], IDS[5:], tmp_path / "two.h5")]


@pytest.fixture
def tags(tmp_path: Path) -> Path:
    splits = ["train", "val", "train", "test"] * 2
    rows = [f"{image_id},{'cat|dog' if n % 3 else 'dog'},{splits[n]}" for n, image_id in enumerate(IDS[:-1])]
    (tmp_path / "tags.csv").write_text("\n".join(["image_id,tags,split", *rows]) + "\n")
    return tmp_path / "tags.csv"


def test_rows_are_those_of_the_caches_one_after_the_other(caches: list[Path]) -> None:
    store = open_together(caches)
    assert list(store.image_id) == IDS and store.width == 3 and store.features.shape == (8, 3)
    np.testing.assert_array_equal(store.features[np.array([7, 0, 4, 5])], FEATURES[[7, 0, 4, 5]])
    np.testing.assert_array_equal(store.features[3:6], FEATURES[3:6])
    np.testing.assert_array_equal(store.features[6], FEATURES[6])
    for gibibytes in (1.0, 0.0):
        with Loading(torch.device("cpu"), gibibytes) as loading:
            loading.begin(store)
            features = loading.features()
        assert torch.equal(features[torch.arange(8)].float(), torch.from_numpy(FEATURES))


def test_joined_they_are_a_whole_cache(caches: list[Path], tmp_path: Path, ranktag: Callable[..., Any]) -> None:
    outcome = ranktag("join-features", tmp_path / "all.h5", *caches)
    assert outcome.code == 0 and outcome.out.startswith("8 images, 0 of which failed.")
    joined = open_features(tmp_path / "all.h5")
    assert list(joined.image_id) == IDS and joined.features[:].tolist() == FEATURES.tolist()
    assert not inspect_cache(tmp_path / "all.h5").problems
    ranktag("join-features", tmp_path / "all.h5", *caches).assert_refused("exists already")


def test_a_repeated_id_is_refused_by_name_unless_prefixed(caches: list[Path], tmp_path: Path) -> None:
    again = cache_features(FEATURES[4:6], IDS[4:6], tmp_path / "again.h5")
    with pytest.raises(RanktagError, match=r"'4.jpg' is in .*one.h5 and in .*again.h5.*PREFIX=CACHE"):
        open_together([*caches, again])
    store = join_caches(tmp_path / "all.h5", [*caches, f"2025/={again}"])
    assert list(store.image_id) == [*IDS, "2025/4.jpg", "2025/5.jpg"]
    assert store.features[8].tolist() == FEATURES[4].tolist()


def test_features_of_another_network_are_refused_by_name(caches: list[Path], tmp_path: Path) -> None:
    other = cache_features(FEATURES, [f"x{i}" for i in IDS], tmp_path / "other.h5", source="another network")
    with pytest.raises(RanktagError, match="other.h5: was made otherwise than .*one.h5 .*backbone"):
        open_together([caches[0], other])
    wide = cache_features(np.ones((1, 4)), ["y"], tmp_path / "wide.h5", dtype="float32")
    with pytest.raises(RanktagError, match="width: 3 / 4; dtype: 'float16' / 'float32'"):
        open_together([caches[0], wide])


def test_training_and_decoding_with_several_is_as_with_one(
    caches: list[Path], tags: Path, tmp_path: Path, ranktag: Callable[..., Any]
) -> None:
    join_caches(tmp_path / "all.h5", caches)
    one, several = tmp_path / "run-one", tmp_path / "run-several"
    train(tmp_path / "all.h5", tags, one, TRAINING)
    assert ranktag("train-from-cache", *caches, tags, "-o", several, "--model", "linear", "--device", "cpu").code == 0
    decode(tmp_path / "all.h5", one, tmp_path / "one.csv", DECODING)
    options = ("-o", tmp_path / "several.csv", "--num-tags", 2, "--device", "cpu", "--precision", "fp32")
    assert ranktag("export-tags", *caches, "--model", several, *options).code == 0
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "several.csv").read_bytes()
    assert list(read_predictions(tmp_path / "one.csv")) == IDS


def test_only_chosen_images_are_decoded(
    caches: list[Path], tags: Path, tmp_path: Path, ranktag: Callable[..., Any]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out.csv"
    train(caches, tags, run, TRAINING)

    def exported(*options: object) -> list[str]:
        assert ranktag("export-tags", *caches, "--model", run, "-o", out, "--overwrite", *options).code == 0
        return list(read_predictions(out))

    # The last image has no list.
    assert exported("--untagged", tags) == ["7.jpg"]
    (tmp_path / "list.txt").write_text("6.jpg\n\n2.jpg\n6.jpg\n")
    assert exported("--images", tmp_path / "list.txt") == ["2.jpg", "6.jpg"]
    (tmp_path / "list.csv").write_text("note,image_id\nx,1.jpg\ny,7.jpg\n")
    assert exported("--images", tmp_path / "list.csv") == ["1.jpg", "7.jpg"]
    assert exported("--images", tmp_path / "list.csv", "--untagged", tags) == ["7.jpg"]
    command = ("export-tags", *caches, "--model", run, "-o", tmp_path / "new.csv")
    (tmp_path / "list.txt").write_text("1.jpg\nnowhere.jpg\n")
    ranktag(*command, "--images", tmp_path / "list.txt").assert_refused(
        "1 of the 2 images that are listed are not in it", "'nowhere.jpg' first"
    )
    (tmp_path / "list.txt").write_text("1.jpg\n")
    ranktag(*command, "--images", tmp_path / "list.txt", "--untagged", tags).assert_refused("no image is left")
    (tmp_path / "list.txt").write_text("")
    ranktag(*command, "--images", tmp_path / "list.txt").assert_refused("holds no image id")
