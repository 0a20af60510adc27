"""``--format xmp``: sidecars beside the photos, or XMP in them, from ranked tags."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xmp_crashing
from making import make_cache, make_tags
from outcome import Outcome
from xmp_files import Here, exiftool, listed, needs_exiftool, photo, sidecar

from ranktag.errors import Outage, RanktagError
from ranktag.metadata.packets import Packet, text_of
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import PredictedImage
from ranktag.tags.writers.xmp import XmpConfig

pytest.importorskip("exiv2")
Ranktag = Callable[..., Outcome]
IMAGES = [PredictedImage("a.jpg", [("dog", 0.9), ("grass", 0.5)]), PredictedImage("sub/b.png", [("tree", 0.7)])]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    photo(tmp_path / "p/a.jpg")
    photo(tmp_path / "p/sub/b.png")
    return tmp_path / "p"


def written(images: list[PredictedImage], path: Path | None = None, photos: Path | None = None, **how: Any) -> Output:
    output = Output("xmp", path, photos=photos, settings=XmpConfig(**how))
    output.write(images)
    return output


def subjects(path: Path) -> list[str]:
    return Packet.parse(text_of(path.read_bytes())).lists()["subject"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranktag.tags.writers.xmp.Apart", Here)


@pytest.mark.usefixtures("here")
def test_beside_the_photos_and_below_a_folder(photos: Path, tmp_path: Path) -> None:
    assert written(IMAGES, photos=photos).notes == ["2 sidecars written, 0 unchanged"]
    assert subjects(photos / "a.jpg.xmp") == ["dog", "grass"]
    assert subjects(photos / "sub/b.png.xmp") == ["tree"]
    assert written(IMAGES, photos=photos).notes == ["0 sidecars written, 2 unchanged"]
    assert written(IMAGES, tmp_path / "out").failures == []
    assert sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out").rglob("*.xmp")) == [
        "out/a.jpg.xmp",
        "out/sub/b.png.xmp",
    ]


@pytest.mark.usefixtures("here")
def test_a_dry_run_says_what_an_undoing_takes_out(photos: Path) -> None:
    sidecar(photos / "a.jpg.xmp", {"dc:subject": ["dog"]})
    dry = written(IMAGES, photos=photos, dry_run=True, prefix="x/")
    assert dry.notes == [
        f"{photos}/a.jpg.xmp: digiKam:TagsList +x/dog, +x/grass; lr:hierarchicalSubject +x|dog, +x|grass; "
        "dc:subject +grass",
        f"{photos}/sub/b.png.xmp: digiKam:TagsList +x/tree; lr:hierarchicalSubject +x|tree; dc:subject +tree",
        "2 sidecars would be written, 0 unchanged",
    ]
    assert not (photos / "sub/b.png.xmp").exists()
    written(IMAGES, photos=photos, prefix="x/")
    dry = written(IMAGES, photos=photos, undo=True, dry_run=True)
    assert dry.notes[1].startswith(f"{photos}/sub/b.png.xmp: the sidecar goes; digiKam:TagsList -x/tree")
    done = written(IMAGES, photos=photos, undo=True)
    assert done.notes == ["1 sidecars written, 0 unchanged, 1 removed"]
    assert subjects(photos / "a.jpg.xmp") == ["dog"] and not (photos / "sub/b.png.xmp").exists()


@pytest.mark.usefixtures("here")
def test_failures_are_the_images_own(photos: Path, tmp_path: Path) -> None:
    locked = sidecar(photos / "a.jpg.xmp", {"dc:subject": ["dog"]})
    locked.chmod(0o444)
    output = written([*IMAGES, PredictedImage("../c.jpg", [("x", 1.0)]), PredictedImage("none.jpg", [])], photos=photos)
    assert [image for image, _ in output.failures] == ["a.jpg", "../c.jpg", "none.jpg"]
    assert output.failures[0][1].startswith(f"{locked} is write-protected")
    assert output.notes == ["1 sidecars written, 0 unchanged"] and not (tmp_path / "c.jpg.xmp").exists()


@pytest.mark.usefixtures("here")
def test_embedding(photos: Path, tmp_path: Path) -> None:
    assert written(IMAGES, photos=photos, embed=True).notes == ["2 photos written, 0 unchanged"]
    assert sorted(os.listdir(photos)) == ["a.jpg", "sub"]
    with pytest.raises(RanktagError, match="leave out -o"):
        written(IMAGES, tmp_path / "out", photos=photos, embed=True)


def test_without_the_extra_the_command_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exiv2", None)
    with pytest.raises(RanktagError, match=r"pip install 'ranktag\[xmp\]'"):
        written(IMAGES, photos=photos)


def test_a_crash_costs_one_photo_and_the_disk_stops(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(xmp_crashing.__file__).parent))
    monkeypatch.setattr("ranktag.tags.writers.xmp.write_tags", xmp_crashing.write_tags)
    photo(photos / "crash.jpg")
    output = written([PredictedImage("crash.jpg", [("x", 1.0)]), *IMAGES], photos=photos)
    assert output.failures == [("crash.jpg", f"{photos}/crash.jpg.xmp is left as it is: exiv2 crashes on it")]
    assert subjects(photos / "sub/b.png.xmp") == ["tree"]
    for name, words in (
        ("disk.jpg", r"disk.jpg.xmp: cannot be written \(Input/output"),
        ("killed.jpg", "enough memory"),
    ):
        photo(photos / name)
        with pytest.raises(Outage, match=words):
            written([PredictedImage(name, [("x", 1.0)])], photos=photos)


def test_from_the_model_to_the_sidecars_and_back(tmp_path: Path, photos: Path, ranktag: Ranktag) -> None:
    ids = ["a.jpg", "sub/b.png"]
    cache = make_cache(tmp_path / "cache.h5", ids)
    tags = make_tags(
        tmp_path / "tags.csv", {i: [["dog", "grass"]] for i in ids}, {"a.jpg": "train", "sub/b.png": "val"}
    )
    run = tmp_path / "run"
    assert ranktag("train-from-cache", cache, tags, "-o", run, "--model", "popularity", "--quiet").code == 0
    export = ("export-tags", cache, "--model", run, "--format", "xmp", "--photos", photos)
    done = ranktag(*export)
    assert done.code == 0 and "2 sidecars written" in done.err, done
    back = ("prepare", "keywords", photos, "-o", tmp_path / "back.csv")
    assert ranktag(*back, "--whose", "ranktag").code == 0
    assert read_tag_lists(tmp_path / "back.csv").lists == dict.fromkeys(ids, [("dog", "grass")])
    assert ranktag(*back, "--overwrite").code == 2
    undone = ranktag(*export, "--undo")
    assert undone.code == 0 and "2 removed" in undone.err
    assert sorted(os.listdir(photos)) == ["a.jpg", "sub"]
    ranktag(*export[:-4], "-o", tmp_path / "p.csv", "--undo").assert_refused("makes no use of this")


@needs_exiftool
@pytest.mark.usefixtures("here")
def test_exiftool_reads_the_lists_in_rank_order(photos: Path) -> None:
    written(IMAGES, photos=photos)
    found = exiftool(photos / "a.jpg.xmp")
    assert listed(found["XMP-dc:Subject"]) == ["dog", "grass"]
    assert listed(found["XMP-digiKam:TagsList"]) == ["ranktag/dog", "ranktag/grass"]
