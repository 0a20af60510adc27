"""The folder of a page: small pictures, made once, whatever the photos are like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawing import photo
from outcome import Outcome
from PIL import Image
from tars import make_tar

from ranktag.browse import thumbnails
from ranktag.browse.site import browse
from ranktag.config import BrowseConfig
from ranktag.errors import Outage, RanktagError
from ranktag.images.decode import Unreachable
from ranktag.images.pixels import read_small
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.predictions import Predictions, write_predictions

CONFIG = BrowseConfig(workers=2)
NAMES = ["a.jpg", "below/b.png", "damaged.jpg", "gone.jpg"]
PREDICTIONS: Predictions = {name: [("dog", 0.9), ("cat", 0.4)] for name in NAMES}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Photos, of which one is damaged and one not there; one has no predictions."""
    photos = tmp_path / "photos"
    (photos / "below").mkdir(parents=True)
    photo(900, 600).save(photos / "a.jpg")
    photo(30, 40).save(photos / "below" / "b.png")
    (photos / "damaged.jpg").write_bytes(b"\xff\xd8\xff no photo")
    photo(40, 30).save(photos / "other.jpg")
    write_predictions(tmp_path / "p.csv", PREDICTIONS)
    return tmp_path


def made(site: Path, part: str) -> object:
    text = (site / "data" / f"{part}.js").read_text(encoding="ascii")
    name, data, _ = json.loads("[" + text.removeprefix("ranktagPart(").removesuffix(");\n") + "]")
    assert name == part
    return data


def pictures(site: Path) -> dict[str, int]:
    return {str(path.relative_to(site)): path.stat().st_ino for path in site.rglob("*.webp")}


def test_photos_are_made_small_and_those_that_cannot_be_read_are_reported(archive: Path) -> None:
    report = browse(archive / "p.csv", archive / "photos", archive / "site", CONFIG)
    assert (report.photos, report.not_predicted) == (4, 1)
    assert [image_id for image_id, _ in report.failures] == ["damaged.jpg", "gone.jpg"]
    assert report.bytes == sum(path.stat().st_size for path in (archive / "site").rglob("*") if path.is_file())
    block = made(archive / "site", "photos-0")
    assert isinstance(block, list) and [row[0] for row in block] == NAMES
    sizes = [Image.open(archive / "site" / row[1]).size for row in block[:2]]
    assert sizes == [(512, 341), (30, 40)]
    assert [row[1] for row in block[2:]] == [0, 0] and block[3][2] == "no such photo among those given"
    assert block[0][3:] == [[["dog", 0.9, "cat", 0.4]], []]
    assert len(pictures(archive / "site")) == 2
    names = sorted(path.name for path in (archive / "site").iterdir())
    assert names == [".lock", "browse.js", "data", "index.html", "look.css", "site.css", "site.json", "thumbnails"]
    assert str(archive) not in "".join(p.read_text() for p in (archive / "site").rglob("*.js*"))


def test_photos_in_a_tar_are_shown(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(archive / "cache-folder"))
    members = [(name, (archive / "photos" / name).read_bytes()) for name in NAMES[:2]]
    make_tar(archive / "p.tar", members)
    write_predictions(archive / "t.csv", {f"p.tar/{name}": PREDICTIONS[name] for name in NAMES[:2]})
    report = browse(archive / "t.csv", archive / "p.tar", archive / "site", CONFIG)
    assert (report.photos, report.failures) == (2, [])
    (block, before) = made(archive / "site", "photos-0"), pictures(archive / "site")
    assert isinstance(block, list) and Image.open(archive / "site" / block[0][1]).size == (512, 341)
    # Of a tar that is made anew pictures are made anew.
    os.utime(archive / "p.tar", ns=(1, 1))
    browse(archive / "t.csv", archive / "p.tar", archive / "site", CONFIG)
    assert not set(before) & set(pictures(archive / "site"))


def test_what_was_made_is_kept_and_what_changed_is_made_anew(archive: Path) -> None:
    site = archive / "site"
    browse(archive / "p.csv", archive / "photos", site, CONFIG)
    before = pictures(site)
    browse(archive / "p.csv", archive / "photos", site, CONFIG)
    assert pictures(site) == before
    photo(90, 60, seed=1).save(archive / "photos" / "a.jpg")
    photo(90, 60, seed=2).save(archive / "photos" / "damaged.jpg")
    # What power failures and killed runs leave.
    (kept,) = [name for name in before if Image.open(site / name).size == (30, 40)]
    whole = (site / kept).read_bytes()
    (site / kept).write_bytes(whole[:-10])
    (site / kept).with_name(".x.tmp").write_bytes(b"")
    report = browse(archive / "p.csv", archive / "photos", site, CONFIG)
    assert [image_id for image_id, _ in report.failures] == ["gone.jpg"]
    after = pictures(site)
    assert len(after) == 3 and set(after) & set(before) == {kept}
    assert (site / kept).read_bytes() == whole and not list(site.rglob("*.tmp"))


def test_a_run_that_is_stopped_keeps_its_pictures(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = archive / "site"

    def at_damaged(path: bytes, size: int) -> Image.Image:
        if path.endswith(b"damaged.jpg"):
            raise Unreachable("Input/output error")
        return read_small(path, size)

    with monkeypatch.context() as patch:
        patch.setattr(thumbnails, "read_small", at_damaged)
        patch.setattr("ranktag.images.batches.WAITS", ())
        patch.setattr(thumbnails, "TASK", 1)
        # An outage is no verdict on the photo, and no page is made without it.
        with pytest.raises(Outage, match=r"damaged\.jpg: Input/output error"):
            browse(archive / "p.csv", archive / "photos", site, CONFIG)
    assert not (site / "index.html").exists()
    begun = pictures(site)
    assert begun
    browse(archive / "p.csv", archive / "photos", site, CONFIG)
    assert begun.items() <= pictures(site).items()
    assert (site / "index.html").is_file()


def test_a_photo_that_crashes_its_decoder_costs_itself_alone(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: bytes, size: int) -> Image.Image:
        if path.endswith(b"damaged.jpg"):
            os.abort()
        return read_small(path, size)

    monkeypatch.setattr(thumbnails, "read_small", crash)
    report = browse(archive / "p.csv", archive / "photos", archive / "site", CONFIG)
    assert dict(report.failures)["damaged.jpg"].startswith("its decoder crashes (SIGABRT)")
    assert len(pictures(archive / "site")) == 2


def test_small_pictures_are_upright_and_say_nothing_of_place_or_camera(tmp_path: Path) -> None:
    whole = Image.new("RGB", (80, 40), "blue")
    whole.paste("red", (0, 0, 40, 40))
    upright = {1: whole, 6: whole.transpose(Image.Transpose.ROTATE_270), 3: whole.transpose(Image.Transpose.ROTATE_180)}
    for orientation, expected in upright.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif.get_ifd(0x8825)[1] = "N"
        whole.save(tmp_path / "turned.jpg", exif=exif, quality=95)
        small = read_small(tmp_path / "turned.jpg", 40)
        wanted = expected.resize((20, 40) if orientation == 6 else (40, 20))
        assert small.size == wanted.size and small.info == {}
        assert np.abs(np.asarray(small, int) - np.asarray(wanted, int)).mean() < 12
    small.save(tmp_path / "small.webp", "WEBP")
    assert not Image.open(tmp_path / "small.webp").getexif()


@pytest.mark.parametrize("size", [(4000, 3), (3, 4000), (1, 1), (2000, 1500)])
def test_small_pictures_of_any_form(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "green").save(tmp_path / "a.png")
    Image.new("L", size, 90).save(tmp_path / "a.jpg")
    for name in ("a.png", "a.jpg"):
        scale = min(1.0, 100 / max(size))
        assert read_small(tmp_path / name, 100).size == tuple(max(1, round(side * scale)) for side in size)


def test_people_and_other_predictions_stand_beside(archive: Path) -> None:
    write_predictions(archive / "q.csv", {"a.jpg": [("bird", float("nan"))]})
    write_tag_lists(archive / "tags.csv", TagLists({"a.jpg": [("dog", "tree"), ("cat",), ()]}))
    browse([archive / "p.csv", archive / "q.csv"], archive / "photos", archive / "s", CONFIG, tags=archive / "tags.csv")
    block = made(archive / "s", "photos-0")
    assert isinstance(block, list)
    assert block[0][3:] == [[["dog", 0.9, "cat", 0.4], ["bird", None]], [["dog", "tree"], ["cat"]]]
    assert block[1][3:] == [[["dog", 0.9, "cat", 0.4], 0], []]
    facts = made(archive / "s", "archive")
    assert isinstance(facts, dict) and (facts["labels"], facts["people"]) == (["p", "q"], True)


def test_what_is_refused(archive: Path) -> None:
    predictions, photos = archive / "p.csv", archive / "photos"
    (archive / "full").mkdir()
    (archive / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RanktagError, match="holds 'notes.txt'"):
        browse(predictions, photos, archive / "full", CONFIG)
    with pytest.raises(RanktagError, match="is a file"):
        browse(predictions, photos, predictions, CONFIG)
    with pytest.raises(RanktagError, match="has none of the 4 photos of .*'a.jpg' is to be found, 'b.png' is there"):
        browse(predictions, photos / "below", archive / "site", CONFIG)
    write_predictions(archive / "other.csv", {"x.jpg": [("dog", 0.5)]})
    with pytest.raises(RanktagError, match=r"other\.csv: has no image of .*p\.csv"):
        browse([predictions, archive / "other.csv"], photos, archive / "site", CONFIG)
    assert not (archive / "site").exists()
    browse(predictions, photos, archive / "site", CONFIG)
    (archive / "others").mkdir()
    photo(20, 20).save(archive / "others" / "a.jpg")
    with pytest.raises(RanktagError, match="the page of other photos"):
        browse(predictions, archive / "others", archive / "site", CONFIG)
    assert browse(predictions, archive / "others", archive / "site", CONFIG, overwrite=True).photos == 4


def test_two_runs_do_not_write_the_same_page(archive: Path, ranktag: Callable[..., Outcome]) -> None:
    (archive / "site").mkdir()
    script = """if True:
        import pathlib, sys
        from ranktag.files.lock import FileLock
        lock = FileLock(pathlib.Path(sys.argv[1]))
        print(lock.acquire(), flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", script, str(archive / "site" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        outcome = ranktag("browse", archive / "p.csv", archive / "photos", "-o", archive / "site")
        other.communicate("")
    assert outcome.code == 3 and "another 'ranktag browse' is at work there" in outcome.err


def test_the_same_photos_give_the_same_page(archive: Path) -> None:
    for name in ("one", "two"):
        browse(archive / "p.csv", archive / "photos", archive / name, CONFIG)
    one, two = (
        {p.relative_to(archive / n): p.read_bytes() for p in (archive / n).rglob("*.*") if p.is_file()}
        for n in ("one", "two")
    )
    assert one == two


def test_the_command(archive: Path, ranktag: Callable[..., Outcome]) -> None:
    outcome = ranktag("browse", archive / "p.csv", archive / "photos", "-o", archive / "site", "--workers", 1)
    assert outcome.code == 1
    assert "Error: gone.jpg: no such photo among those given\n" in outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "1 photo has no predictions and is left out."
    assert lines[1].startswith("4 photos, 0.") and lines[1].endswith(" kB a photo.")
    assert lines[2] == f"The page is in {archive / 'site'}: open {archive / 'site' / 'index.html'}"
    for name in ("damaged.jpg", "gone.jpg"):
        photo(30, 30).save(archive / "photos" / name)
    assert ranktag("browse", archive / "p.csv", archive / "photos", "-o", archive / "site", "--quiet") == Outcome(
        0, "", ""
    )
    ranktag("browse", archive / "none.csv", archive / "photos", "-o", archive / "x").assert_refused("none.csv")
