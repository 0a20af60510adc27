"""``ranktag prepare``: the formats are the modules in ``ranktag.tags.readers``, and every one says what it takes."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from added import of_readme
from outcome import Outcome

from ranktag import registry
from ranktag.files.tables import read_header
from ranktag.pipelines.prepare import READERS
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.lists import read_tag_lists

Ranktag = Callable[..., Outcome]
FORMATS = (
    "adobe-stock",
    "captions",
    "coco",
    "csv",
    "cvat",
    "fiftyone",
    "hwang-grauman",
    "keywords",
    "label-studio",
    "labelme-json",
    "labelme-xml",
    "open-images",
    "visual-genome",
    "voc",
    "yolo",
)

# The whole of a format: this is what README shows under "Extending".
READER = of_readme("ranktag/tags/readers/colon_lines.py")


@pytest.fixture
def colon_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format ``colon-lines``: a module in a folder of its own that belongs to the readers."""
    folder = tmp_path / "readers"
    folder.mkdir()
    (folder / "colon_lines.py").write_text(READER, encoding="utf-8")
    package = importlib.import_module(READERS)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.setitem(sys.modules, f"{READERS}.colon_lines", None)
    monkeypatch.delitem(sys.modules, f"{READERS}.colon_lines")


@pytest.mark.usefixtures("colon_lines")
def test_a_module_in_the_folder_is_a_format(ranktag: Ranktag, tmp_path: Path) -> None:
    assert "  colon-lines    Tags in lines of text: photo.jpg: dog, grass.\n" in ranktag("prepare", "--help").out
    page = ranktag("prepare", "colon-lines", "--help").out
    assert "Usage: ranktag prepare colon-lines [OPTIONS] SOURCE\n" in page and "--prefix TEXT" in page
    (tmp_path / "a.txt").write_text("1.jpg: dog, grass\n2.jpg: cat\n", encoding="utf-8")
    call = ("prepare", "colon-lines", tmp_path / "a.txt", "-o", tmp_path / "tags.csv")
    done = ranktag(*call, "--prefix", "p/")
    assert done.code == 0 and "2 images, 2 lists" in done.out, done
    assert read_tag_lists(tmp_path / "tags.csv").lists == {"p/1.jpg": [("dog", "grass")], "p/2.jpg": [("cat",)]}
    # It has what every format has, and its mistakes are one line without a care of its own.
    ranktag(*call).assert_refused("exists already", "--overwrite")
    (tmp_path / "a.txt").write_text("1.jpg: d\0g\n", encoding="utf-8")
    ranktag(*call, "--overwrite").assert_refused("a.txt: holds a character that text files cannot hold")


def test_help_and_the_group_itself(ranktag: Ranktag, tmp_path: Path) -> None:
    assert registry.names(READERS) == FORMATS
    for name in FORMATS:
        page = ranktag("prepare", name, "--help")
        assert page.code == 0
        assert page.out.count("\n") < 80
        assert "image_id" in page.out
    ranktag("prepare").assert_refused(f"name a format ({', '.join(FORMATS)})", "--download voc2007")
    ranktag("prepare", "--quiet", "voc", tmp_path, "-o", tmp_path / "x").assert_refused(
        "options stand behind the format"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_every_setting_of_a_format_is_an_option_and_the_page_is_the_modules_own(ranktag: Ranktag, name: str) -> None:
    reader = registry.load(READERS, name)
    page = ranktag("prepare", name, "--help").out
    config = typing.get_type_hints(reader.read)["config"]
    assert issubclass(config, ReaderConfig)
    for setting in dataclasses.fields(config):
        assert f"--{setting.name.replace('_', '-')} " in page
    # The page breaks the text into lines of its own, at hyphens, too.
    assert "".join((reader.__doc__ or "").replace("\b", "").split()) in "".join(page.split())


def test_formats_of_several_sources_say_so(ranktag: Ranktag) -> None:
    several = {name for name in FORMATS if "[OPTIONS] SOURCE...\n" in ranktag("prepare", name, "--help").out}
    assert several == {"captions", "coco", "hwang-grauman", "open-images"}


def test_a_setting_without_a_default_must_be_given(ranktag: Ranktag, tmp_path: Path) -> None:
    outcome = ranktag("prepare", "hwang-grauman", tmp_path, "-o", tmp_path / "t.csv")
    outcome.assert_refused("Missing option '--words'")


def test_images_are_called_as_the_photos_they_match(ranktag: Ranktag, tmp_path: Path) -> None:
    for name in ("2019/IMG_1.JPG", "2020/IMG_1.JPG", "2020/beach.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"")
    source, output = tmp_path / "mine.csv", tmp_path / "tags.csv"
    source.write_text(
        "image_id,tags\nx\\2019\\img_1.jpg,dog\nbeach.jpg,sea|sand\nBEACH.jpg,sea\nIMG_1.JPG,cat\nbaech.jpg,sun\n"
    )
    call = ("prepare", "csv", source, "-o", output, "--images", tmp_path / "photos")
    done = ranktag(*call)
    assert done.code == 1
    # Two rows of one photo are two people's lists.
    assert read_tag_lists(output).lists == {"2019/IMG_1.JPG": [("dog",)], "2020/beach.jpg": [("sea", "sand"), ("sea",)]}
    assert done.err.splitlines() == [
        "images skipped: 2",
        "  IMG_1.JPG may be any of 2 photos (2019/IMG_1.JPG, 2020/IMG_1.JPG)",
        f"  baech.jpg is no photo of {tmp_path / 'photos'}; the nearest is '2020/beach.jpg'",
        f"all of them are in {output}.unmatched.csv",
    ]
    assert read_header(f"{output}.unmatched.csv") == ["image_id", "reason"]
    source.write_text("image_id,tags\nsome/beach,sea\n")
    assert ranktag(*call, "--match", "stem", "--overwrite").code == 0
    assert read_tag_lists(output).lists == {"2020/beach.jpg": [("sea",)]}
    ranktag(*call, "--match", "name", "--overwrite").assert_refused(
        "none of the 1 images matches", "try another --match"
    )
    ranktag("prepare", "csv", source, "-o", output, "--match", "stem").assert_refused("--match", "--images")
    assert "note: images spelt in several ways, one photo's: 1 (2020/beach.jpg)" in done.out
    # Ids that are spelt otherwise may be of other photos.
    source.write_text("image_id,tags\nx/beach.jpg,sun\n2020/beach.jpg,sea\ny/IMG_1.JPG,sky\nz/IMG_1.JPG,sky\n")
    (tmp_path / "photos" / "2019" / "IMG_1.JPG").unlink()
    done = ranktag(*call, "--match", "name", "--overwrite")
    assert done.code == 1 and read_tag_lists(output).lists == {"2020/beach.jpg": [("sea",)]}, done
    assert "x/beach.jpg would be the photo '2020/beach.jpg', as '2020/beach.jpg' is" in done.err
    assert "z/IMG_1.JPG would be the photo '2020/IMG_1.JPG', as 'y/IMG_1.JPG' is" in done.err
    source.write_text("image_id,tags,split\nbeach.jpg,sea,train\nBeach.jpg,sea,test\n")
    ranktag(*call, "--split-column", "split", "--overwrite").assert_refused("2020/beach.jpg", "one split")
