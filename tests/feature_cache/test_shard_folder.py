"""A folder of shards is used as the file that it would be joined to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from objects import Objects

from ranktag import decode, train
from ranktag.config import DecodingConfig, TrainingConfig
from ranktag.errors import Damaged, Mismatch, NotFound, RanktagError
from ranktag.feature_cache.inspection import inspect_cache
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.rows import ChainedRows, FileRows, Identity, OpenFiles
from ranktag.feature_cache.shard_folder import open_shards
from ranktag.feature_cache.shards import KEPT, PENDING, cut, folder_of, join_shards, write_shard
from ranktag.feature_cache.store import open_features
from ranktag.feature_cache.together import join_caches, open_together
from ranktag.feature_cache.write import write_features
from ranktag.models.checkpoint import load_checkpoint

IMAGES, WIDTH = 60, 5
IDS = [f"{n:02}.jpg" for n in range(IMAGES)]
FEATURES = np.random.default_rng(0).normal(size=(IMAGES, WIDTH)).astype(np.float16)
ERRORS = ["damaged" if n == 7 else "" for n in range(IMAGES)]
FEATURES[7] = np.nan
PROVENANCE = Provenance("tiny", "pool", "random:0", "0" * 64, "{}", "float32", "", ranktag_version="1.0")
DECODING = DecodingConfig(device="cpu", precision="fp32", num_tags=2)


def write_shards(output: Path, ids: list[str] = IDS, features: Any = FEATURES, errors: list[str] = ERRORS) -> Path:
    """The folder of shards of 8 rows each."""
    from ranktag.feature_cache.digest import image_list_sha256

    folder_of(output).mkdir()
    provenance = replace(PROVENANCE, image_list_sha256=image_list_sha256(ids))
    for shard in cut(len(ids), 8):
        rows = slice(shard.start, shard.stop)
        write_shard(output, shard, ids[rows], features[rows], errors[rows], provenance, len(ids))
    return folder_of(output)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "c.h5")


@pytest.fixture
def joined(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, folder_of(tmp_path / "joined.h5"))
    return join_shards(tmp_path / "joined.h5").path


@pytest.fixture
def tags(tmp_path: Path) -> Path:
    splits = ["train", "train", "val", "test"]
    rows = [f"{i},{'cat|dog' if n % 3 else 'dog|sky'},{splits[n % 4]}" for n, i in enumerate(IDS) if n != 7]
    (tmp_path / "tags.csv").write_text("\n".join(["image_id,tags,split", *rows]) + "\n")
    return tmp_path / "tags.csv"


def test_rows_are_those_of_the_joined_file(folder: Path, joined: Path) -> None:
    store, one = open_together(folder), open_features(joined)
    assert list(store.image_id) == list(one.image_id) == IDS and list(store.error) == list(one.error)
    assert store.valid.tolist() == one.valid.tolist() and store.features.shape == one.features.shape == (IMAGES, WIDTH)
    chosen = np.array([59, 0, 8, 7, 8, 16, 31, 32, -1])
    for rows in (slice(None), slice(6, 19), slice(50, 10, -7), chosen, store.valid, 33, -2, np.array([], np.int64)):
        assert store.features[rows].tobytes() == one.features[rows].tobytes()
    with pytest.raises(IndexError):
        store.features[np.array([60])]
    assert store.provenance == replace(one.provenance, created=store.provenance.created)


def test_the_same_weights_and_tags_come_of_it(folder: Path, joined: Path, tags: Path, tmp_path: Path) -> None:
    for model in ("every-step", "linear"):
        weights, written = [], []
        # In memory, and left on disk.
        for name, cache, memory in (("file", joined, 8.0), ("shards", folder, 8.0), ("on-disk", folder, 0.0)):
            run = tmp_path / f"{model}-{name}"
            config = TrainingConfig(
                model=model, epochs=2, hidden=8, projection=8, members=1, head=0.0, device="cpu", max_memory=memory
            )
            train(cache, tags, run, config)
            decode(cache, run, tmp_path / f"{model}-{name}.csv", DECODING)
            weights.append(load_checkpoint(run).model.state_dict())
            written.append((tmp_path / f"{model}-{name}.csv").read_bytes())
        assert written[0] == written[1] == written[2]
        for other in weights[1:]:
            assert all(torch.equal(value, other[name]) for name, value in weights[0].items())


def test_every_command_takes_it(folder: Path, tags: Path, tmp_path: Path, ranktag: Callable[..., Any]) -> None:
    settings = ("--model", "popularity", "--device", "cpu")
    assert ranktag("train-from-cache", folder, tags, "-o", tmp_path / "run", *settings).code == 0
    assert ranktag("export-tags", folder, "--model", tmp_path / "run", "-o", tmp_path / "p.csv").code == 0
    assert ranktag("evaluate", tmp_path / "p.csv", tags).code == 0
    inspected = ranktag("inspect", folder)
    assert inspected.code == 0 and "60: 59 valid, 1 failed" in inspected.out
    assert ranktag("join-features", tmp_path / "copy.h5", folder).code == 1  # one image failed
    assert open_features(tmp_path / "copy.h5").features.tobytes() == FEATURES.tobytes()
    prefixed = join_caches(tmp_path / "two.h5", [folder, f"again/={folder}"])
    assert list(prefixed.image_id) == [*IDS, *(f"again/{i}" for i in IDS)] and prefixed.error[67] == "damaged"


def test_missing_shards_are_named(folder: Path, tags: Path, tmp_path: Path, ranktag: Callable[..., Any]) -> None:
    for number in (2, 5):
        (folder / f"{number:05}-of-00008.h5").unlink()
    calls = {
        "train-from-cache": (folder, tags, "-o", tmp_path / "run"),
        "inspect": (folder,),
        "join-features": (tmp_path / "x.h5", folder),
    }
    for command, arguments in calls.items():
        ranktag(command, *arguments).assert_refused("of 8 shards 2 are missing: 2, 5")
    with pytest.raises(NotFound, match="holds no finished shard"):
        open_together(tmp_path)
    with pytest.raises(NotFound, match=r"its shards are not joined: name .*c.h5.shards"):
        open_together(tmp_path / "c.h5")


def test_shards_of_another_run_and_repeated_ids_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write_shards(tmp_path / "other.h5", IDS[:-1] + ["00.jpg"])
    shutil.copy(other / "00003-of-00008.h5", folder)
    with pytest.raises(Mismatch, match="00003-of-00008.h5: is of another run"):
        open_together(folder)
    with pytest.raises(Mismatch, match="'00.jpg' is in .*00000-of-00008.h5 and in .*00007-of-00008.h5"):
        open_together(other)


def test_a_damaged_shard_is_named(folder: Path, ranktag: Callable[..., Any]) -> None:
    shard = folder / "00004-of-00008.h5"
    data = bytearray(shard.read_bytes())
    at = data.index(FEATURES[32:40].tobytes())
    data[at] ^= 1
    shard.write_bytes(data)
    assert inspect_cache(folder).problems == [
        f"{shard}: damaged: its content is not what was written (content_sha256 differs)"
    ]
    shard.write_bytes(data[: at + 9])
    with pytest.raises(Damaged, match="00004-of-00008.h5"):
        open_together(folder)


def test_what_is_kept_of_earlier_runs_is_among_it(tmp_path: Path) -> None:
    pending = [3, 4, 10, 59]
    write_shards(tmp_path / "c.h5", [IDS[n] for n in pending], FEATURES[pending], [""] * 4)
    errors = [PENDING if n in pending else error for n, error in enumerate(ERRORS)]
    kept = FEATURES.copy()
    kept[pending] = np.nan
    valid = np.array([not error for error in errors])
    provenance = open_shards(folder_of(tmp_path / "c.h5")).provenance
    write_features(folder_of(tmp_path / "c.h5") / KEPT, IDS, [kept], valid, errors, provenance, "float16", WIDTH)
    store = open_together(folder_of(tmp_path / "c.h5"))
    assert list(store.image_id) == IDS and list(store.error) == ERRORS
    assert store.features[:].tobytes() == FEATURES.tobytes()
    assert not inspect_cache(store.path).problems
    assert "'10.jpg' is not finite" in str(store.not_finite(10)) and "00000-of-00001.h5" in str(store.not_finite(10))
    copy = join_caches(tmp_path / "copy.h5", [store.path])
    assert copy.features.tobytes() == FEATURES.tobytes() and list(copy.error) == ERRORS


def test_few_files_stay_open_and_one_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    files = OpenFiles(most=2)
    paths = [tmp_path / str(n) for n in range(5)]
    for n, path in enumerate(paths):
        path.write_bytes(b"xx" + np.full((3, 2), n, np.float32).tobytes())
    rows = [FileRows(files, p, 2, (3, 2), np.float32, Identity.of(p.stat())) for p in paths]
    together = ChainedRows(rows)  # type: ignore[arg-type]
    assert together[np.array([14, 0, 7, 3, 13])][:, 0].tolist() == [4, 0, 2, 1, 4]
    assert together[:][:, 1].tolist() == np.repeat(range(5), 3).tolist()
    assert len(files._open) == 2
    paths[0].unlink()
    paths[0].write_bytes(b"yy" + np.full((3, 2), 9, np.float32).tobytes())
    with pytest.raises(RanktagError, match="was replaced while it was read"):
        together[np.array([0])]
    paths[1].unlink()
    with pytest.raises(RanktagError, match="bring it back"):
        together[np.array([3])]


def test_what_is_at_a_url_is_read_from_a_copy(
    folder: Path, joined: Path, tags: Path, tmp_path: Path, objects: Objects, ranktag: Callable[..., Any]
) -> None:
    url = objects.put("one.h5", joined.read_bytes())
    for shard in folder.glob("*.h5"):
        objects.put(f"c.h5.shards/{shard.name}", shard.read_bytes())
    beside = url.replace("one.h5", "c.h5")
    for place in (url, beside, f"{beside}.shards"):
        assert open_together(place).features[:].tobytes() == FEATURES.tobytes()
    assert list(open_together([url, f"x/={beside}.shards"]).image_id) == [*IDS, *(f"x/{i}" for i in IDS)]
    inspected = ranktag("inspect", f"{beside}.shards")
    assert inspected.code == 0 and "60: 59 valid, 1 failed" in inspected.out
    run, settings = tmp_path / "run", ("--model", "popularity", "--device", "cpu")
    assert ranktag("train-from-cache", url, tags, "-o", run, *settings).code == 0
    assert ranktag("export-tags", url, f"x/={beside}", "--model", run, "-o", tmp_path / "p.csv").code == 0
    ranktag("inspect", url.replace("one", "none")).assert_refused("no such feature cache")
