"""Which images there are, in which order, under which ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drawing import VGG, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ranktag.errors import RanktagError
from ranktag.images.decode import ImageError
from ranktag.images.listing import EXTENSIONS, ImageList, list_images
from ranktag.images.pixels import read_pixels


def test_a_folder_is_listed_by_relative_path_in_sorted_order(tmp_path: Path) -> None:
    names = [
        "b.JPG",
        "a/1.png",
        "a/1.jpg",
        "ü😀 ,x\ny.webp",
        "a.jpg/inside.gif",
        ".hidden.jpg",
        ".cache/a.jpg",
        "notes.txt",
        "a/deep/er/z.tif",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    images = list_images(tmp_path)
    # The folder a.jpg carries an image's name, so it is listed (and will be a failure), and searched as well.
    assert list(images.ids) == [
        "a.jpg",
        "a.jpg/inside.gif",
        "a/1.jpg",
        "a/1.png",
        "a/deep/er/z.tif",
        "b.JPG",
        "ü😀 ,x\ny.webp",
    ]
    assert [os.fsdecode(images.path(k)) for k in range(len(images))] == [str(tmp_path / i) for i in images.ids]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_what_servers_and_programs_lay_beside_photos_is_left_out_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg")
    touch(tmp_path, "sub/b.jpg", "sub/@eaDir/b.jpg/SYNOPHOTO_THUMB_XL.jpg", "__MACOSX/._a.jpg", ".AppleDouble/a.jpg")
    touch(tmp_path, "Thumbs.db", "sub/Thumbs.db", "._a.jpg", "Previews.lrdata/0/1.jpg", ".hidden/c.jpg")
    images = list_images(tmp_path)
    assert list(images.ids) == ["a.jpg", "sub/b.jpg"]
    assert images.left_out == [
        f"{tmp_path}: left out: 9 files that servers and programs lay beside photos "
        "(@eaDir 3, Thumbs.db 2, .AppleDouble 1, ._* 1, Previews.lrdata 1, __MACOSX 1)"
    ]


def test_files_that_are_not_named_as_photos_are_counted_by_their_endings(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "d.MPO", "b.jpg_large", "s/c.jxl", "s/e.JXL", "DSC0001", "g.a", "h.b", "i.c", "j.d")
    images = list_images(tmp_path)
    assert list(images.ids) == ["a.jpg", "d.MPO"]
    assert images.left_out == [
        f"{tmp_path}: left out: 8 files without a photo's ending "
        "(.jxl 2, .a 1, .b 1, .c 1, .d 1, .jpg_large 1 and 1 other kinds); a CSV that names such files has them tried"
    ]
    (tmp_path / "list.csv").write_text("image_id\nb.jpg_large\nDSC0001\n")
    named = list_images(tmp_path / "list.csv")
    assert list(named.ids) == ["b.jpg_large", "DSC0001"] and named.left_out == ()


def test_a_raw_is_listed_unless_its_photo_lies_beside_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.NEF", "b.CR2", "b.jpg", "s/b.dng", "c.arw", "c.xmp")
    images = list_images(tmp_path)
    assert list(images.ids) == ["a.NEF", "b.jpg", "c.arw", "s/b.dng"]
    assert images.left_out == [
        f"{tmp_path}: left out: 1 file without a photo's ending (.xmp 1); a CSV that names such files has them tried",
        f"{tmp_path}: left out: 1 file of a camera's RAW beside the same photo (.cr2 1)",
    ]


def test_a_folder_without_photos_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "a.jxl", "b.jxl")
    with pytest.raises(RanktagError, match=r"holds no image .*it holds 2 files: \.jxl 2"):
        list_images(tmp_path)


def test_a_name_that_is_not_utf8_is_written_with_backslashes(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg"
    try:
        (tmp_path / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    images = list_images(tmp_path)
    assert list(images.ids) == ["caf\\xe9.jpg"] and images.path(0) == os.fsencode(tmp_path) + b"/" + name
    images.sha256()


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "real").mkdir(parents=True)
    (photos / "real" / "a.jpg").touch()
    (photos / "a_link_before_real").symlink_to("real")
    (photos / "real" / "loop").symlink_to("..")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jpg").touch()
    (photos / "other").symlink_to(tmp_path / "elsewhere")
    (photos / "broken.jpg").symlink_to("nowhere")
    # A folder is searched once, by its own name rather than a link's.
    assert list(list_images(photos).ids) == ["broken.jpg", "other/b.jpg", "real/a.jpg"]


def test_a_folder_that_may_not_be_searched_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def guarded(path: bytes) -> object:
        if path.endswith(b"locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert list(list_images(tmp_path).ids) == ["a.jpg", "locked"]
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(ImageError, match="a folder that may not be searched"):
        read_pixels(tmp_path / "locked", VGG)


def test_two_names_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match=r"caf\\xe9.jpg.*would both have the id"):
        ImageList.of(tmp_path, ["caf\\xe9.jpg", "caf\\xe9.jpg"], [b"caf\xe9.jpg", b"caf\\xe9.jpg"])


def test_a_table_lists_images_in_its_order_with_paths_relative_to_it(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text('image_id,path,other\nz,sub/1.jpg,x\na.bin,,y\n"b, c",/abs/2.png,z\n', encoding="utf-8")
    images = list_images(table)
    assert list(images.ids) == ["z", "a.bin", "b, c"] and images.folder == tmp_path
    assert [os.fsdecode(images.path(k)) for k in range(3)] == [
        str(tmp_path / "sub/1.jpg"),
        str(tmp_path / "a.bin"),
        "/abs/2.png",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_id\na\nb\na\n", ("'a'", "line 2", "line 4")),
        ("image_id,path\n,x.jpg\n", ("line 2 has no image_id",)),
        ("image_id\n", ("lists no image",)),
        ("", ("is empty",)),
        ("name,path\na,b\n", ("no column 'image_id'", "'name', 'path'")),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    table = tmp_path / "list.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(RanktagError) as caught:
        list_images(table)
    assert all(word in str(caught.value) for word in words)


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match="no such file or folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(RanktagError, match="holds no image"):
        list_images(tmp_path)
    with pytest.raises(RanktagError, match="is a single image"):
        list_images(saved(tmp_path / "a.png", Image.new("RGB", (3, 3))))


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b"\0" not in b), max_size=20))
def test_paths_survive_being_packed(paths: list[bytes]) -> None:
    images = ImageList.of(Path(), [str(k) for k in range(len(paths))], paths)
    assert [images.path(k) for k in range(len(images))] == paths


def test_extensions_are_lower_case() -> None:
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tiff", ".bmp", ".heic"} <= EXTENSIONS
    assert all(e.startswith(".") and e == e.lower() for e in EXTENSIONS)
