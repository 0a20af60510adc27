"""Photos in tars and in Parquet files: which are listed, and that each is read as the file it was."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objects import BUCKET, Objects
from PIL import Image
from tars import make_parquet, make_tar

from ranktag.errors import NotFound, Outage, RanktagError, Usage
from ranktag.features.backbones.vgg16 import BACKBONE
from ranktag.files import remote, tars
from ranktag.files.contents import content_of, fetched
from ranktag.files.locations import Within, is_file, shown, within
from ranktag.images.archives import expanded
from ranktag.images.batches import outages, read_batches
from ranktag.images.decode import ImageError
from ranktag.images.files import file_sha256, stat_files
from ranktag.images.listing import list_images
from ranktag.images.pixels import read_pixels


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-folder"))
    monkeypatch.setattr(remote, "WAITS", ())
    monkeypatch.setattr("ranktag.images.batches.WAITS", ())


def png(colour: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (colour, 100, 50)).save(file, "PNG")
    return file.getvalue()


@settings(max_examples=30)
@given(
    archive=st.text(st.characters(codec="utf-8", exclude_characters="!\0"), min_size=1),
    name=st.binary(),
    start=st.integers(0, 2**60),
    size=st.none() | st.integers(0, 2**60),
)
def test_a_place_within_a_file_is_read_as_it_was_written(
    archive: str, name: bytes, start: int, size: int | None
) -> None:
    photo = Within(archive, name, start, size)
    assert within(photo.to_bytes()) == photo and not is_file(photo.to_bytes())


@pytest.mark.parametrize("path", [b"a.jpg", b"/x/tar:1+2:a!/b", b"tar:1:a!/b", b"tar:x", b"./s3://b/a", b"\xff.jpg"])
def test_a_path_is_a_path(path: bytes) -> None:
    assert is_file(path) and shown(path) == os.fsdecode(path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("p-{00098..00100}.tar", ["p-00098.tar", "p-00099.tar", "p-00100.tar"]),
        ("{a,b}/{1..2}.tar", ["a/1.tar", "a/2.tar", "b/1.tar", "b/2.tar"]),
        ("p-{2..0}.tar", ["p-2.tar", "p-1.tar", "p-0.tar"]),
        ("p{x}.tar", ["p{x}.tar"]),
        ("p.tar", ["p.tar"]),
    ],
)
def test_braces_are_expanded(text: str, names: list[str]) -> None:
    assert list(expanded(text)) == names


def test_the_photos_of_tars_are_listed_in_their_order(tmp_path: Path) -> None:
    long = "folder/" + "n" * 150 + ".jpg"
    make_tar(
        tmp_path / "p-0.tar",
        [("b.jpg", b"one"), ("./a.png", b"two"), (long, b"three"), ("a.json", b"{}"), (".hidden.jpg", b"x")],
    )
    make_tar(tmp_path / "p-1.tar", [("x/a.b.jpg", b""), ("__MACOSX/y.jpg", b"x"), ("y.nef", b"r"), ("y.jpg", b"four")])
    images = list_images(tmp_path / "p-{0..1}.tar")
    assert list(images.ids) == [
        "p-0.tar/b.jpg",
        "p-0.tar/a.png",
        f"p-0.tar/{long}",
        "p-1.tar/x/a.b.jpg",
        "p-1.tar/y.jpg",
    ]
    assert [content_of(images.path(n)) for n in range(5)] == [b"one", b"two", b"three", b"", b"four"]
    assert list(stat_files(images).size) == [3, 3, 5, 0, 4]
    assert set(stat_files(images).mtime_ns) == {(tmp_path / f"p-{k}.tar").stat().st_mtime_ns for k in (0, 1)}
    assert len(images.left_out) == 3 and ".json 1" in images.left_out[0]
    assert list(list_images(str(tmp_path / "p-{0..1}.tar"), id_from="key").ids) == ["b", "a", long[:-4], "x/a", "y"]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_every_form_of_tar_is_read(tmp_path: Path, format: int) -> None:
    names = [f"{'d' * 60}/{k}-é.jpg" for k in range(3)]
    make_tar(tmp_path / "a.tar", [(name, name.encode() * 99) for name in names], format=format)
    images = list_images(tmp_path / "a.tar")
    assert [i.removeprefix("a.tar/") for i in images.ids] == names
    assert [content_of(images.path(n)) for n in range(3)] == [name.encode() * 99 for name in names]


def test_links_are_what_they_link_to(tmp_path: Path) -> None:
    for name in ("d/a.jpg",):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"photo")
    os.link(tmp_path / "d/a.jpg", tmp_path / "d/hard.jpg")
    os.symlink("a.jpg", tmp_path / "d/soft.jpg")
    os.symlink("nowhere.jpg", tmp_path / "d/broken.jpg")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("a", "hard", "soft", "broken"):
            tar.add(tmp_path / f"d/{name}.jpg", f"d/{name}.jpg")
    images = list_images(tmp_path / "a.tar")
    assert [content_of(images.path(n)) for n in range(3)] == [b"photo"] * 3
    with pytest.raises(ImageError, match="a link"):
        read_pixels(images.path(3), BACKBONE.preprocessing)


def test_repeated_ids_are_refused_by_name(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.jpg", b"y")])
    with pytest.raises(RanktagError, match=r"a\.tar/1\.jpg' is there twice"):
        list_images(tmp_path / "a.tar")
    make_tar(tmp_path / "b.tar", [("1.jpg", b"x")])
    make_tar(tmp_path / "c.tar", [("1.png", b"y")])
    assert len(list_images(tmp_path / "{b,c}.tar")) == 2
    with pytest.raises(RanktagError, match=r"b\.tar/1\.jpg' and '.*c\.tar/1\.png' would both have the id '1'"):
        list_images(tmp_path / "{b,c}.tar", id_from="key")


def test_what_is_no_set_of_whole_tars_is_refused(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "a.tar", [(f"{k}.jpg", b"x" * 700) for k in range(3)]).read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "c.tar").write_bytes(gzip.compress(whole))
    for name in ("b.tar.gz", "c.tar"):
        with pytest.raises(RanktagError, match="compressed as a whole") as raised:
            list_images(tmp_path / name)
        assert not isinstance(raised.value, Outage)
    # Cut within a member, within a header, where a member ends; and a header that is damaged.
    damaged = bytearray(whole)
    damaged[1536 + 3] ^= 255
    for content in (whole[:800], whole[:1700], whole[:1536], bytes(damaged), b"text" * 999, b""):
        (tmp_path / "d.tar").write_bytes(content)
        with pytest.raises(Outage, match="cut short or damaged"):
            list_images(tmp_path / "d.tar")
    with pytest.raises(NotFound, match=r"a-1.tar: no such file \(of .*, 0 are there\)"):
        list_images(tmp_path / "a-{1..3}.tar")
    with pytest.raises(RanktagError, match=r"no photo in it \(it holds 1 file: \.txt 1\)"):
        list_images(make_tar(tmp_path / "e.tar", [("a.txt", b"x")]))
    with pytest.raises(Usage, match="--id-from"):
        list_images(tmp_path, id_from="key")
    with pytest.raises(Usage, match="several kinds"):
        list_images(tmp_path / "{a.tar,b.parquet}")
    with pytest.raises(Usage, match="s3://bucket/photos: is a URL of no tar"):
        list_images("s3://key:secret@bucket/photos")


def test_members_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = make_tar(tmp_path / "a.tar", [("a.jpg", b"x"), ("b.jpg", b"y")])
    looked: list[str] = []
    found = tars._found
    monkeypatch.setattr(tars, "_found", lambda tar: looked.append(tar) or found(tar))
    first = list_images(tar)
    assert list(list_images(tar).ids) == list(first.ids) and len(looked) == 1
    index = next((tmp_path / "cache-folder" / "ranktag" / "tars").iterdir())
    index.write_text(index.read_text()[:40])
    assert list(list_images(tar).ids) == list(first.ids) and len(looked) == 2
    make_tar(tar, [("c.jpg", b"z")])
    assert list(list_images(tar).ids) == ["a.tar/c.jpg"] and len(looked) == 3


def test_what_is_kept_of_tars_goes_a_month_after_its_last_use(tmp_path: Path) -> None:
    def days_ago(days: int, path: Path) -> None:
        os.utime(path, (time.time() - days * 24 * 60 * 60,) * 2)

    folder = tmp_path / "cache-folder" / "ranktag" / "tars"
    listed = {}
    for name in ("old", "used", "younger"):
        before = set(folder.iterdir()) if folder.exists() else set()
        list_images(make_tar(tmp_path / f"{name}.tar", [("a.jpg", b"x")]))
        (listed[name],) = set(folder.iterdir()) - before
    days_ago(31, listed["old"])
    days_ago(29, listed["younger"])
    days_ago(31, listed["used"])
    # To look into one is to use it; what is not used goes when there is another tar.
    list_images(tmp_path / "used.tar")
    assert listed["old"].exists()
    list_images(make_tar(tmp_path / "new.tar", [("a.jpg", b"x")]))
    assert [name for name, path in listed.items() if path.exists()] == ["used", "younger"]


def test_a_tar_that_is_written_anew_is_no_image_of_another(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "a.tar", [("a.png", png(1)), ("b.png", png(2))])
    images = list_images(tar)
    make_tar(tar, [("c.txt", b"x" * 1000), ("b.png", png(3))])
    with pytest.raises(Outage, match=r"a\.tar/b\.png: .* no longer as it was"), outages():
        from ranktag.images.batches import read_patiently

        read_patiently(images.path(1), lambda: read_pixels(images.path(1), BACKBONE.preprocessing))
    tar.unlink()
    with pytest.raises(NotFound):
        stat_files(images)


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_and_digests_are_those_of_the_files(tmp_path: Path, workers: int) -> None:
    contents = [png(k) for k in range(20)]
    contents[3], contents[4] = b"text", b""
    for number, content in enumerate(contents):
        (tmp_path / f"{number:02}.png").write_bytes(content)
    make_tar(tmp_path / "a.tar", [(f"{number:02}.png", content) for number, content in enumerate(contents)])
    rows = [{"bytes": content, "path": f"{number:02}.png"} for number, content in enumerate(contents)]
    make_parquet(tmp_path / "a.parquet", {"image": rows}, row_group_size=7)
    expected, *others = (
        _read(list_images(source), workers) for source in (tmp_path, tmp_path / "a.tar", tmp_path / "a.parquet")
    )
    for pixels, errors, digests in others:
        assert np.array_equal(pixels, expected[0]) and digests[:3] == expected[2][:3] and digests[5:] == expected[2][5:]
        assert set(errors) == {3, 4} and errors[3] == expected[1][3]


def _read(images: object, workers: int) -> tuple[np.ndarray, dict[int, str], list[str]]:
    pixels, errors, digests = [], {}, {}
    with read_batches(images, [(0, 8), (8, 16), (16, 20)], 8, workers, BACKBONE.preprocessing, digests=True) as batches:
        for batch in batches:
            pixels.append(batch.pixels[: batch.stop - batch.start].copy())
            errors |= batch.errors
            digests |= batch.sha256
    return np.concatenate(pixels), errors, [digests[n] for n in range(20)]


def test_parquet_names_its_photos(tmp_path: Path) -> None:
    rows = [{"bytes": b"one", "path": "a.jpg"}, {"bytes": b"two", "path": None}, {"bytes": None, "path": "c.jpg"}]
    images = list_images(make_parquet(tmp_path / "t.parquet", {"label": [1, 2, 3], "image": rows}))
    assert list(images.ids) == ["t.parquet/a.jpg", "t.parquet/1", "t.parquet/c.jpg"]
    # In any order, as processes that share the work ask for them.
    assert [content_of(images.path(n)) for n in (1, 0, 1)] == [b"two", b"one", b"two"]
    with pytest.raises(ImageError, match="no bytes"):
        read_pixels(images.path(2), BACKBONE.preprocessing)
    plain = make_parquet(tmp_path / "u.parquet", {"image_id": ["x", "y"], "jpg": [b"1", b"2"], "other": [b"3", b"4"]})
    images = list_images(plain)
    assert list(images.ids) == ["x", "y"] and content_of(images.path(1)) == b"2"
    with pytest.raises(RanktagError, match="no column of photos"):
        list_images(make_parquet(tmp_path / "v.parquet", {"a": [1]}))
    with pytest.raises(RanktagError, match="several columns of photos"):
        list_images(make_parquet(tmp_path / "w.parquet", {"a": [b"1"], "b": [b"2"]}))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(Outage, match="cannot be read as Parquet"):
        list_images(tmp_path / "x.parquet")


def test_objects_tars_and_parquet_files_at_urls_are_read(objects: Objects, tmp_path: Path) -> None:
    members = [(f"{number:02}.png", png(number)) for number in range(12)]
    tar = make_tar(tmp_path / "a.tar", members)
    objects.put("set/a.tar", tar.read_bytes())
    images = list_images(f"{BUCKET}/set/a.tar")
    assert list(images.ids) == [f"a.tar/{name}" for name, _ in members] and images.folder == f"{BUCKET}/set"
    objects.asked.clear()
    with fetched([images.path(n) for n in range(12)]):
        assert [content_of(images.path(n)) for n in range(12)] == [content for _, content in members]
    # Twelve members are one range.
    assert [method for method, _ in objects.asked] == ["GET"]
    assert len(set(stat_files(images).mtime_ns)) == 1
    url = objects.put("one.png", members[0][1])
    (tmp_path / "list.csv").write_text(f"image_id,path\na,{url}\nb,{BUCKET}/none.png\nc,set/c.png\n")
    images = list_images(tmp_path / "list.csv")
    assert images.path(0) == url.encode() and images.path(2) == os.fsencode(tmp_path / "set/c.png")
    assert list(stat_files(images).size) == [len(members[0][1]), -1, -1]
    assert len(file_sha256(images.path(0))) == 64 and file_sha256(images.path(1)) == ""
    with pytest.raises(ImageError, match="no such object"):
        read_pixels(images.path(1), BACKBONE.preprocessing)
    rows = [{"bytes": content, "path": name} for name, content in members]
    objects.put("a.parquet", make_parquet(tmp_path / "a.parquet", {"image": rows}).read_bytes())
    images = list_images(f"{BUCKET}/a.parquet")
    assert [content_of(images.path(n)) for n in range(12)] == [content for _, content in members]


def test_ids_hold_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image_id\nhttps://me:pass@host/a.jpg\n")
    with pytest.raises(RanktagError, match="line 2: the image_id is a URL with a password"):
        list_images(tmp_path / "list.csv")
