"""``ranktag prepare keywords``: what photo programs write into photos and sidecars, to tag lists."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xmp_crashing
from outcome import Outcome
from xmp_files import EXIFTOOL, Here, embed, needs_exiftool, packet, photo, sidecar

from ranktag.errors import Outage, RanktagError
from ranktag.metadata import keywords
from ranktag.metadata.exiv2 import exiv2
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.readers.keywords import KeywordsConfig, read

pytest.importorskip("exiv2")
Ranktag = Callable[..., Outcome]

DIGIKAM = {
    "digiKam:TagsList": ["Places/Lake", "Animals/Dog"],
    "lr:hierarchicalSubject": ["Places|Lake", "Animals|Dog"],
    "dc:subject": ["Lake", "Dog"],
}
LIGHTROOM = {
    "lr:hierarchicalSubject": ["Animals|Mammals|Cat", "Sofa"],
    "dc:subject": ["Animals", "Cat", "Mammals", "Sofa"],
}
DARKTABLE = {
    "lr:hierarchicalSubject": ["darktable|format|jpg", "nature|tree"],
    "dc:subject": ["darktable", "format", "jpg", "nature", "tree"],
}


@pytest.fixture(autouse=True)
def quickly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests read in this process, and do not start another one."""
    if request.function not in APART:
        monkeypatch.setattr("ranktag.tags.readers.keywords.Apart", Here)


def lists(folder: Path, **settings: Any) -> dict[str, list[tuple[str, ...]]]:
    return dict(read(folder, KeywordsConfig(**settings)).lists)


def archive(tmp_path: Path) -> Path:
    """A photo a program: digiKam's sidecar, Lightroom's photo, darktable's sidecar, a photo with IPTC."""
    for name in ("digikam.jpg", "sub/lightroom.jpg", "darktable.png", "old.jpg"):
        photo(tmp_path / name)
    sidecar(tmp_path / "digikam.jpg.xmp", DIGIKAM)
    embed(tmp_path / "sub/lightroom.jpg", LIGHTROOM)
    sidecar(tmp_path / "darktable.png.xmp", DARKTABLE)
    embed(tmp_path / "old.jpg", iptc=["Bäume".encode("cp1252"), b"Aue"])
    return tmp_path


def test_every_program_with_its_first_field(tmp_path: Path) -> None:
    builder = read(archive(tmp_path), KeywordsConfig(prefix="a/"))
    assert builder.lists == {
        "a/darktable.png": [("tree",)],
        "a/digikam.jpg": [("Lake", "Dog")],
        "a/old.jpg": [("Bäume", "Aue")],
        "a/sub/lightroom.jpg": [("Cat", "Sofa")],
    }
    assert builder.dropped == {"keywords that a program wrote for itself (darktable|...)": 1}
    assert builder.notes == {
        "IPTC keywords that do not say their character set, read as Windows-1252": ["old.jpg"],
    }
    assert [fact.split(";")[0] for fact in builder.facts] == [
        "digiKam:TagsList: 1 lists",
        "lr:hierarchicalSubject: 2 lists",
        "IPTC keywords: 1 lists",
    ]


def test_levels_and_fields(tmp_path: Path) -> None:
    archive(tmp_path)
    assert lists(tmp_path, levels="path", field="hierarchical") == {
        "darktable.png": [("nature/tree",)],
        "digikam.jpg": [("Places/Lake", "Animals/Dog")],
        "sub/lightroom.jpg": [("Animals/Mammals/Cat", "Sofa")],
    }
    assert lists(tmp_path, levels="all", field="tagslist") == {"digikam.jpg": [("Lake", "Places", "Dog", "Animals")]}
    # darktable writes each level of its own hierarchy here.
    assert lists(tmp_path, field="subject")["darktable.png"] == [("nature", "tree")]
    assert lists(tmp_path, field="iptc") == {"old.jpg": [("Bäume", "Aue")]}


def test_a_sidecar_goes_before_adobes_and_that_before_the_photo(tmp_path: Path) -> None:
    embed(photo(tmp_path / "a.jpg"), {"digiKam:TagsList": ["photo"]})
    assert lists(tmp_path) == {"a.jpg": [("photo",)]}
    sidecar(tmp_path / "A.XMP", {"dc:subject": ["adobe"]})
    assert lists(tmp_path) == {"a.jpg": [("adobe",)]}
    sidecar(tmp_path / "a.jpg.xmp", {"dc:subject": ["whole"]})
    builder = read(tmp_path, KeywordsConfig())
    assert builder.lists == {"a.jpg": [("whole",)]}
    assert builder.notes == {"photos that hold other keywords than their sidecars, which were taken": ["a.jpg"]}
    sidecar(tmp_path / "a.jpg.xmp", {}, 'xmp:Rating="5"')
    assert lists(tmp_path) == {"a.jpg": [("adobe",)]}


def test_adobes_sidecar_serves_all_photos_of_its_name_unless_it_says_which(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "a.png")
    sidecar(tmp_path / "a.xmp", {"dc:subject": ["one"]})
    assert lists(tmp_path) == {"a.jpg": [("one",)], "a.png": [("one",)]}
    sidecar(tmp_path / "a.xmp", {"dc:subject": ["one"]}, 'photoshop:SidecarForExtension="PNG"')
    assert lists(tmp_path) == {"a.png": [("one",)]}
    # Of a RAW that is no photo of its own: the same shot.
    sidecar(tmp_path / "a.xmp", {"dc:subject": ["one"]}, 'photoshop:SidecarForExtension="CR2"')
    assert lists(tmp_path) == {"a.jpg": [("one",)], "a.png": [("one",)]}


def test_damage_is_listed_and_the_rest_is_read(tmp_path: Path, ranktag: Ranktag) -> None:
    for name in "abcde":
        photo(tmp_path / "p" / f"{name}.jpg")
    folder = tmp_path / "p"
    sidecar(folder / "a.jpg.xmp", {"dc:subject": ["fine"]})
    (folder / "b.jpg.xmp").write_text(packet({"dc:subject": ["cut"]})[:300], encoding="utf-8")
    (folder / "c.xmp").write_bytes(b"")
    (folder / "d.jpg").write_bytes(b"no photo")
    embed(folder / "e.jpg", {"dc:subject": ["Bäume"]})
    data = (folder / "e.jpg").read_bytes()
    (folder / "e.jpg").write_bytes(data.replace("ä".encode(), b"\xff\xff"))
    photo(folder / "f.jpg")
    (folder / "lonely.jpg.xmp").write_text("-")
    (folder / ".hidden.jpg.xmp").write_text("-")
    photo(folder / ".trash/h.jpg")
    done = ranktag("prepare", "keywords", folder, "-o", tmp_path / "t.csv")
    assert done.code == 1, done
    assert done.err.splitlines() == [
        "files skipped: 4",
        "  b.jpg has a sidecar, b.jpg.xmp, that holds XMP that is damaged",
        "  c.jpg has a sidecar, c.xmp, that is empty",
        "  d.jpg is damaged, or no photo",
        "  e.jpg holds XMP that is damaged",
    ]
    assert "dropped: 1 photos without keywords" in done.out
    assert "note: sidecars that belong to no photo: 1 (lonely.jpg.xmp)" in done.out
    assert (tmp_path / "t.csv").read_text() == "image_id,tags\na.jpg,fine\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf8"])
def test_sidecars_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    photo(tmp_path / "a.jpg")
    text = packet({"dc:subject": ["Bäume"]}).split("\n", 1)[1]
    # Without a mark or a declaration, text is UTF-8.
    declared = "" if encoding in ("utf-8", "utf-8-sig", "utf-16") else f'<?xml version="1.0" encoding="{encoding}"?>\n'
    if encoding == "utf-16-le":
        text, declared = "\ufeff" + text, ""
    (tmp_path / "a.jpg.xmp").write_bytes((declared + text).encode(encoding))
    assert lists(tmp_path) == {"a.jpg": [("Bäume",)]}


def test_iptc_in_its_character_sets(tmp_path: Path) -> None:
    words = {"utf8.jpg": ("Bäume".encode(), b"\x1b%G"), "unmarked.jpg": ("Bäume".encode(), b"")}
    words |= {"latin.jpg": (b"B\xe4ume", b"\x1b.A"), "guess.jpg": (b"B\xe4ume \x80", b""), "other.jpg": (b"\x81", b"")}
    for name, (word, mark) in words.items():
        embed(photo(tmp_path / name), iptc=[word], mark=mark)
    builder = read(tmp_path, KeywordsConfig())
    assert {name: tags[0][0] for name, tags in builder.lists.items()} == {
        **dict.fromkeys(("utf8.jpg", "unmarked.jpg", "latin.jpg"), "Bäume"),
        "guess.jpg": "Bäume €",
        "other.jpg": "\x81",
    }
    assert builder.notes == {
        "IPTC keywords that do not say their character set, read as Windows-1252": ["guess.jpg"],
        "IPTC keywords that do not say their character set, read as Latin-1": ["other.jpg"],
    }


def test_a_list_in_one_keyword_is_a_list(tmp_path: Path) -> None:
    sidecar(photo(tmp_path / "a.jpg").with_suffix(".xmp"), {"dc:subject": ["dog, cat; a tree"]})
    sidecar(photo(tmp_path / "b.jpg").with_suffix(".xmp"), {"dc:subject": ["Paris, France", "tower"]})
    builder = read(tmp_path, KeywordsConfig())
    assert builder.lists == {"a.jpg": [("dog", "cat", "a tree")], "b.jpg": [("Paris, France", "tower")]}
    assert list(builder.notes.values()) == [["a.jpg"]]


def test_links_and_odd_names(tmp_path: Path) -> None:
    embed(photo(tmp_path / "a b\n.jpg"), {"dc:subject": ["x"]})
    os.symlink("a b\n.jpg", tmp_path / "link.jpg")
    os.symlink("nowhere", tmp_path / "dead.jpg")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    os.link(tmp_path / "a b\n.jpg", odd)
    (tmp_path / "folder.jpg").mkdir()
    builder = read(tmp_path, KeywordsConfig())
    assert set(builder.lists) == {"a b\n.jpg", "link.jpg", "\\xff.jpg"}
    assert builder.broken == [
        ("dead.jpg", "cannot be read (No such file or directory)"),
        ("folder.jpg", "is no file"),
    ]


def test_photos_of_kinds_that_exiv2_does_not_know_are_no_damage(tmp_path: Path) -> None:
    photo(tmp_path / "a.ppm")
    photo(tmp_path / "b.ppm")
    sidecar(tmp_path / "a.ppm.xmp", {"dc:subject": ["x"]})
    builder = read(tmp_path, KeywordsConfig())
    assert (builder.lists, builder.broken) == ({"a.ppm": [("x",)]}, [])
    assert builder.dropped == {"photos without keywords": 1}


def test_no_keyword_anywhere_and_no_folder_are_refused(tmp_path: Path, ranktag: Ranktag) -> None:
    photo(tmp_path / "p/a.jpg")
    out = tmp_path / "t.csv"
    refused = ranktag("prepare", "keywords", tmp_path / "p", "-o", out)
    refused.assert_refused("p: holds no keyword; left out: 1 photos without keywords")
    ranktag("prepare", "keywords", tmp_path / "p/a.jpg", "-o", out).assert_refused("is no folder")
    (tmp_path / "e").mkdir()
    ranktag("prepare", "keywords", tmp_path / "e", "-o", out).assert_refused("holds no image")


def test_without_the_extra_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exiv2", None)
    with pytest.raises(RanktagError, match=r"pip install 'ranktag\[xmp\]'"):
        read(tmp_path, KeywordsConfig())


def test_a_crash_costs_one_photo_and_an_outage_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(xmp_crashing.__file__).parent))
    monkeypatch.setattr("ranktag.tags.readers.keywords.read_photo", xmp_crashing.read_photo)
    for name in ("a", "crash", "z"):
        embed(photo(tmp_path / f"{name}.jpg"), {"dc:subject": [name]})
    builder = read(tmp_path, KeywordsConfig())
    assert builder.lists == {"a.jpg": [("a",)], "z.jpg": [("z",)]}
    assert builder.broken == [("crash.jpg", "cannot be read: exiv2 crashes on it, or on one of its sidecars")]
    photo(tmp_path / "killed.jpg")
    with pytest.raises(Outage, match="enough memory"):
        read(tmp_path, KeywordsConfig())
    (tmp_path / "killed.jpg").rename(tmp_path / "disk.jpg")
    with pytest.raises(Outage, match=r"disk.jpg: cannot be read \(Input/output error\)"):
        read(tmp_path, KeywordsConfig())


def test_what_ranktag_wrote_is_no_persons(tmp_path: Path) -> None:
    from ranktag.metadata.write import write_tags

    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / name)
    sidecar(tmp_path / "a.jpg.xmp", {"dc:subject": ["lake", "dog"], "digiKam:TagsList": ["Water/lake", "dog"]})
    for name in ("a.jpg.xmp", "b.jpg.xmp"):
        assert write_tags(str(tmp_path / name), ["dog", "grass"], "auto/ranktag", False, False)["outcome"] == "written"
    builder = read(tmp_path, KeywordsConfig())
    assert builder.lists == {"a.jpg": [("lake", "dog")]}
    assert lists(tmp_path, whose="ranktag") == dict.fromkeys(("a.jpg", "b.jpg"), [("dog", "grass")])
    assert lists(tmp_path, whose="ranktag", levels="path")["b.jpg"] == [("dog", "grass")]
    assert lists(tmp_path, whose="all")["a.jpg"] == [("lake", "dog", "grass")]
    # Another program dropped the record: what stands below ranktag's own prefix is known still.
    sidecar(tmp_path / "b.jpg.xmp", {"digiKam:TagsList": ["ranktag/dog"]})
    assert set(lists(tmp_path)) == {"a.jpg"}


# These start the process that the command does.
APART = (test_a_crash_costs_one_photo_and_an_outage_stops, test_damage_is_listed_and_the_rest_is_read)


@needs_exiftool
def test_files_that_exiftool_wrote(tmp_path: Path) -> None:
    import subprocess

    assert EXIFTOOL is not None
    for name in ("a.jpg", "b.png", "c.tif", "d.webp"):
        done = [EXIFTOOL, "-q", "-overwrite_original", "-XMP-digiKam:TagsList=Z/y", "-XMP-digiKam:TagsList=A/b"]
        subprocess.run([*done, str(photo(tmp_path / name))], check=True)
    assert lists(tmp_path) == dict.fromkeys(("a.jpg", "b.png", "c.tif", "d.webp"), [("y", "b")])


def test_the_order_is_measured_and_said(tmp_path: Path, ranktag: Ranktag) -> None:
    folder = tmp_path / "p"
    for number in range(12):
        embed(photo(folder / f"{number}.jpg"), {"dc:subject": ["ant", "Bee", "çat", "dog"]})
    done = ranktag("prepare", "keywords", folder, "-o", tmp_path / "t.csv")
    assert done.code == 0, done
    assert "dc:subject: 12 lists; 12 of the 12 of two tags or more are in alphabetical order (by chance 0" in done.out
    assert "WARNING: most lists of dc:subject were sorted by alphabet" in done.out


def test_exiv2_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(tmp_path / "b.jpg").read_bytes()[:300])
    exiv2()
    builder = TagListBuilder()
    assert keywords.read_photo(str(tmp_path / "a.jpg"), [])[0]["lists"] == builder.lists == {}
    assert capfd.readouterr() == ("", "")
