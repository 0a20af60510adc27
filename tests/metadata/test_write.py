"""Ranked tags in sidecars and photos: exactly what is meant, nothing else touched, and out again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from xmp_files import embed, exiftool, listed, needs_exiftool, packet, photo, sidecar

from ranktag.metadata.packets import Packet, text_of, values
from ranktag.metadata.ranked import Record, added, clean, without
from ranktag.metadata.write import Change, write_tags

pytest.importorskip("exiv2")
TAGS = ["dog", "grass & <tree>", "Äpfel, rot"]
# As Lightroom writes it.
RATED = 'xmp:Rating="4" crs:Exposure2012="+0.35" foo:Own="kept"'
MORE = (
    "<crs:ToneCurve><rdf:Seq><rdf:li>0, 0</rdf:li><rdf:li>255, 255</rdf:li></rdf:Seq></crs:ToneCurve>"
    '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">T</rdf:li><rdf:li xml:lang="de">Ü</rdf:li></rdf:Alt></dc:title>'
    '<foo:Thing rdf:parseType="Resource"><foo:Deep><rdf:Bag>'
    '<rdf:li foo:x="1" foo:y="2"/></rdf:Bag></foo:Deep></foo:Thing>'
)
PEOPLE = {"dc:subject": ["lake", "dog"], "digiKam:TagsList": ["Water/lake", "dog"], "lr:hierarchicalSubject": ["dog"]}


def write(path: Path, tags: list[str], prefix: str = "ranktag", **how: bool) -> Change:
    return write_tags(str(path), tags, prefix, how.get("embed", False), how.get("dry_run", False))


def lists_in(path: Path) -> dict[str, list[str]]:
    return Packet.parse(text_of(path.read_bytes())).lists()


def test_a_new_sidecar_and_its_undoing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg.xmp"
    assert write(path, TAGS)["outcome"] == "written"
    assert lists_in(path) == {
        "tagslist": [f"ranktag/{tag}" for tag in TAGS],
        "hierarchical": [f"ranktag|{tag}" for tag in TAGS],
        "subject": TAGS,
    }
    text = path.read_text(encoding="utf-8")
    assert text.count("<rdf:Seq>") == 1 and text.index("<digiKam:TagsList>") < text.index("<rdf:Seq>")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert write(path, TAGS)["outcome"] == "unchanged"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    # Another run's tags take the place of this one's.
    assert write(path, ["tree", "dog"], "auto/x")["after"] == {
        "tagslist": ["auto/x/tree", "auto/x/dog"],
        "hierarchical": ["auto|x|tree", "auto|x|dog"],
        "subject": ["tree", "dog"],
    }
    assert write(path, [])["outcome"] == "removed"
    assert list(tmp_path.iterdir()) == []
    assert write(path, [])["outcome"] == "unchanged"


def test_peoples_keywords_stay_in_their_places_and_survive_the_undoing(tmp_path: Path) -> None:
    path = sidecar(tmp_path / "a.jpg.xmp", PEOPLE, RATED, MORE)
    old = path.read_text(encoding="utf-8")
    path.chmod(0o640)
    assert write(path, ["dog", "tree"])["outcome"] == "written"
    assert lists_in(path) == {
        "tagslist": ["Water/lake", "dog", "ranktag/dog", "ranktag/tree"],
        "hierarchical": ["dog", "ranktag|dog", "ranktag|tree"],
        "subject": ["lake", "dog", "tree"],
    }
    assert not values(old) - values(path.read_text(encoding="utf-8"))
    assert path.stat().st_mode & 0o777 == 0o640
    for tags in (["dog", "tree"], ["bird", "dog"], []):
        write(path, tags)
    assert values(path.read_text(encoding="utf-8")) == values(old)
    assert lists_in(path) == {"tagslist": ["Water/lake", "dog"], "hierarchical": ["dog"], "subject": ["lake", "dog"]}


def test_what_a_person_adds_later_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg.xmp"
    write(path, ["dog"])
    path.write_text(
        path.read_text().replace(
            "<rdf:li>ranktag/dog</rdf:li>", "<rdf:li>ranktag/dog</rdf:li><rdf:li>ranktag/own</rdf:li>", 1
        )
    )
    path.write_text(
        path.read_text().replace(
            'ranktag:Made="True"', 'ranktag:Made="True" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3"'
        )
    )
    assert write(path, [])["outcome"] == "written"
    assert lists_in(path) == {"tagslist": ["ranktag/own"]}
    text = path.read_text()
    assert 'xmp:Rating="3"' in text and "ranktag:" not in text


def test_where_the_record_is_lost_the_prefix_tells(tmp_path: Path) -> None:
    lists = {
        "dc:subject": ["dog"],
        "digiKam:TagsList": ["A/b", "ranktag/dog"],
        "lr:hierarchicalSubject": ["ranktag|dog"],
    }
    path = sidecar(tmp_path / "a.xmp", lists)
    write(path, [])
    assert lists_in(path) == {"tagslist": ["A/b"], "subject": ["dog"]}


@given(
    people=st.dictionaries(
        st.sampled_from(["subject", "tagslist", "hierarchical"]),
        st.lists(st.sampled_from(["a", "b", "ranktag/a", "x|a"])),
    ),
    runs=st.lists(st.lists(st.sampled_from(["a", "b", "c", "a/b"]), unique=True), max_size=3),
)
def test_any_runs_are_undone_exactly_and_write_each_tag_once(
    people: dict[str, list[str]], runs: list[list[str]]
) -> None:
    there: Any = people
    record = Record(prefix="ranktag")
    for tags in runs:
        rest = without(there, record)
        assert {k: v for k, v in rest.items() if v} == {k: v for k, v in people.items() if v}
        new = added(rest, tags, "ranktag")
        record = Record(new)
        there = {name: rest.get(name, []) + new.get(name, []) for name in ("subject", "tagslist", "hierarchical")}
        for name, ours in new.items():
            assert len(set(ours)) == len(ours) and not set(ours) & set(people.get(name, ()))
    assert without(there, record) == {k: v for k, v in people.items() if v}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tags=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5))
def test_any_text_reads_back(tmp_path: Path, tags: list[str]) -> None:
    path = tmp_path / "a.xmp"
    path.unlink(missing_ok=True)
    change = write(path, tags)
    meant = [part for tag in tags if (part := [p for p in clean(tag).replace("|", "/").split("/") if p.strip()])]
    if meant and change["outcome"] != "failed":
        assert lists_in(path)["subject"] == list(dict.fromkeys(part[-1] for part in meant))
        assert lists_in(path)["tagslist"] == list(dict.fromkeys("/".join(["ranktag", *part]) for part in meant))
    else:
        assert not path.exists() and not (meant and not change["reason"])


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    path = sidecar(tmp_path / "a.xmp", PEOPLE)
    before = path.read_bytes()
    change = write(path, ["tree"], dry_run=True)
    assert change["outcome"] == "written" and change["after"]["subject"] == ["lake", "dog", "tree"]
    assert write(tmp_path / "b.xmp", ["tree"], dry_run=True)["outcome"] == "written"
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.xmp"]


def test_what_cannot_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    sound = sidecar(tmp_path / "sound.xmp", PEOPLE)
    cut = tmp_path / "cut.xmp"
    cut.write_text(packet(PEOPLE)[:400])
    locked = sidecar(tmp_path / "locked.xmp", PEOPLE)
    locked.chmod(0o444)
    link = tmp_path / "link.xmp"
    link.symlink_to(sound)
    dead = tmp_path / "dead.xmp"
    dead.symlink_to("nowhere")
    before = {path.name: path.read_bytes() for path in (sound, cut, locked)}
    reasons = {path.name: write(path, ["tree"])["reason"] for path in (cut, locked, link, dead, tmp_path)}
    assert reasons == {
        "cut.xmp": "holds XMP that is damaged",
        "locked.xmp": "is write-protected; make it writable, or write elsewhere with -o FOLDER",
        "link.xmp": "is a link, and is left as it is; name the folder that it leads to",
        "dead.xmp": "is a link to a file that is not there",
        tmp_path.name: "cannot be written (Is a directory)",
    }
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_what_the_library_would_lose_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sidecar(tmp_path / "a.xmp", PEOPLE, RATED, MORE)
    before, encode = path.read_bytes(), Packet.encode

    def lose(packet: Packet) -> bytes:
        packet.put_text("Xmp.xmp.Rating", "")
        return encode(packet)

    monkeypatch.setattr(Packet, "encode", lose)
    reason = write(path, ["tree"])["reason"]
    assert reason == "holds XMP that exiv2 would lose (http://ns.adobe.com/xap/1.0/Rating); it is left as it is"
    assert path.read_bytes() == before


def test_a_full_disk_is_no_verdict_and_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sidecar(tmp_path / "a.xmp", PEOPLE)
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, ["tree"])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.xmp"]


def test_a_jpeg_with_exif_is_the_same_to_the_byte_after_the_undoing(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", exif=_exif())
    old = path.read_bytes()
    assert write(path, TAGS, embed=True)["outcome"] == "written"
    write(path, [], embed=True)
    assert path.read_bytes() == old


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    return exif


def test_killed_at_any_moment_nothing_is_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sidecar(tmp_path / "a.xmp", PEOPLE)
    old = path.read_bytes()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in ("os.replace", "os.fsync", "ranktag.metadata.write._check"):
        with monkeypatch.context() as patch:
            patch.setattr(name, killed)
            with pytest.raises(KeyboardInterrupt):
                write(path, ["tree"])
        assert path.read_bytes() == old and os.listdir(tmp_path) == ["a.xmp"]
    assert write(path, ["tree"])["outcome"] == "written"


def test_a_file_that_changes_meanwhile_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sidecar(tmp_path / "a.xmp", PEOPLE)
    from ranktag.metadata import write as module

    def change(*_: Any) -> None:
        path.write_text(packet({"dc:subject": ["just now"]}), encoding="utf-8")

    monkeypatch.setattr(module, "_check", change)
    assert write(path, ["tree"])["reason"].startswith("was changed by another program just now")
    assert lists_in(path) == {"subject": ["just now"]}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_embedding_changes_no_pixel_and_is_undone(tmp_path: Path, name: str) -> None:
    path = photo(tmp_path / name, icc_profile=b"\0" * 200 if name == "a.png" else None)
    with Image.open(path) as image:
        pixels = image.tobytes()
    if name == "a.jpg":
        embed(path, PEOPLE, iptc=[b"B\xe4ume"])
    old = path.read_bytes()
    path.chmod(0o600)
    change = write(path, ["dog", "tree"], embed=True)
    assert change["outcome"] == "written", change
    with Image.open(path) as image:
        assert image.tobytes() == pixels
    assert path.read_bytes() != old and path.stat().st_mode & 0o777 == 0o600
    assert write(path, ["dog", "tree"], embed=True)["outcome"] == "unchanged"
    assert write(path, [], embed=True)["outcome"] == "written"
    with Image.open(path) as image:
        assert image.tobytes() == pixels
    if name == "a.jpg":
        assert write(path, [], embed=True)["before"]["subject"] == ["lake", "dog"]
    elif name == "a.png":
        # WebP keeps the container that holds XMP, TIFF the place of it.
        assert path.read_bytes() == old


def test_a_motion_photo_keeps_what_follows_it_and_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (30, 12), "blue")
    first.save(path, format="MPO", save_all=True, append_images=[second])
    path.write_bytes(path.read_bytes() + b"ftypmp42" + bytes(range(256)))
    change = write(path, ["tree"], embed=True)
    if change["outcome"] == "failed":
        assert "would not stay what it is" in change["reason"]
    else:
        assert path.read_bytes().endswith(b"ftypmp42" + bytes(range(256)))
        with Image.open(path) as image:
            assert image.n_frames == 2
            image.seek(1)
            assert image.size == (30, 12)


def test_photos_that_are_not_written_to(tmp_path: Path) -> None:
    raw = tmp_path / "a.NEF"
    shutil.copy(photo(tmp_path / "b.tif"), raw)
    (tmp_path / "c.jpg").write_bytes(b"no photo")
    photo(tmp_path / "d.ppm")
    extended = photo(tmp_path / "e.jpg")
    data = extended.read_bytes()
    extended.write_bytes(data[:2] + b"\xff\xe1\0\x30http://ns.adobe.com/xmp/extension/\0" + b"x" * 11 + data[2:])
    truncated = tmp_path / "f.jpg"
    truncated.write_bytes(data[:-40])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    reasons = {p.name: write(p, ["x"], embed=True)["reason"] for p in [*sorted(before), tmp_path / "none.jpg"]}
    assert reasons.pop("b.tif") == ""
    assert reasons == {
        "a.NEF": "is a camera's RAW, which is never written to; write a sidecar",
        "c.jpg": "is damaged, or of a kind that exiv2 does not know; write a sidecar",
        "d.ppm": "is damaged, or of a kind that exiv2 does not know; write a sidecar",
        "e.jpg": "holds XMP in several pieces, which exiv2 does not keep; write a sidecar",
        "f.jpg": "cannot be decoded to compare it with its copy (OSError)",
        "none.jpg": "there is no such photo",
    }
    assert all(path.read_bytes() == data for path, data in before.items() if path.name != "b.tif")


def test_a_copy_whose_pixels_differ_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(tmp_path / "a.jpg")
    from ranktag.metadata import write as module

    real, before = module.content, path.read_bytes()

    def other_picture(image: Any) -> bytes:
        # With the same metadata, and the pixels of a flat picture.
        flat = tmp_path / "flat.jpg"
        Image.new("RGB", (24, 16)).save(flat)
        data, scan = real(image), flat.read_bytes()
        return data[: data.index(b"\xff\xdb")] + scan[scan.index(b"\xff\xdb") :]

    monkeypatch.setattr(module, "content", other_picture)
    assert "would not stay what it is" in write(path, ["x"], embed=True)["reason"]
    assert path.read_bytes() == before


@needs_exiftool
@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.jpg", "a.png", "a.webp", "a.tif"])
def test_exiftool_and_exiv2_read_the_same_lists_in_the_same_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    before = None if name.endswith(".xmp") else exiftool(photo(path)).get("ExifTool:Validate")
    write(path, TAGS, embed=not name.endswith(".xmp"))
    found = exiftool(path)
    assert listed(found["XMP-dc:Subject"]) == TAGS
    assert listed(found["XMP-digiKam:TagsList"]) == [f"ranktag/{tag}" for tag in TAGS]
    assert listed(found["XMP-lr:HierarchicalSubject"]) == [f"ranktag|{tag}" for tag in TAGS]
    # What Pillow leaves out of a TIFF is warned of before, too.
    assert found["ExifTool:Validate"] == (before or "OK"), found
    program = shutil.which("exiv2")
    if program:
        done = subprocess.run([program, "-px", str(path)], capture_output=True, text=True, check=True)
        assert done.stderr == "" and "Xmp.digiKam.TagsList" in done.stdout


@needs_exiftool
def test_exiftool_finds_all_else_as_it_was(tmp_path: Path) -> None:
    path = sidecar(tmp_path / "a.xmp", PEOPLE, RATED, MORE)
    before = exiftool(path)
    write(path, ["tree"])
    keywords = ("XMP-dc:Subject", "XMP-digiKam:TagsList", "XMP-lr:HierarchicalSubject")
    after = exiftool(path)
    assert {
        k: v
        for k, v in after.items()
        if k.startswith("XMP-") and not k.startswith(("XMP-ranktag", "XMP-x:")) and k not in keywords
    } == {k: v for k, v in before.items() if k.startswith("XMP-") and not k.startswith("XMP-x:") and k not in keywords}
    write(path, [])
    again = exiftool(path)
    assert [again.get(k) for k in keywords] == [before.get(k) for k in keywords]


def test_no_warning_of_a_library_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path / "a.xmp", TAGS)
        write(photo(tmp_path / "a.jpg"), TAGS, embed=True)
    assert capfd.readouterr() == ("", "")
