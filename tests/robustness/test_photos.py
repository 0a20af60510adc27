"""Photos of every kind, and accidents on the way to them, over extract-features. The table is ``PHOTO_FAULTS``.

Whatever lies beside a sound photo, the sound photo's features are the same to the bit.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from drawing import photo, saved
from extracting import OPTIONS, assert_same, use_tiny_network
from faults import DAMAGED, FINE, OUTAGE
from outcome import Outcome
from photo_files import POSTSCRIPT, dng, heic
from PIL import features

from ranktag.feature_cache.store import open_features
from ranktag.images import decode
from ranktag.images.pixels import read_pixels

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class PhotoFault:
    """name: what lies beside the sound photos, or happens. make: puts it into the folder. failed: id -> words of the
    reason. read: ids that are read. said: words on stderr. patch: makes it happen. code: where it is not the usual."""

    name: str
    make: Callable[[Path], object] = lambda folder: None
    failed: Mapping[str, str] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    patch: Callable[[Patch, Path], object] = lambda patch, folder: None
    code: int | None = None

    def __str__(self) -> str:
        return self.name


def files(**content: bytes) -> Callable[[Path], None]:
    """Files of the given names, in which '__' stands for '/' and '_dot_' for '.'."""

    def make(folder: Path) -> None:
        for name, data in content.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    return make


def thumbnails(folder: Path) -> None:
    for place in ("@eaDir/b.png", ".AppleDouble", "__MACOSX", "Previews.lrdata/0"):
        (folder / place).mkdir(parents=True)
        saved(folder / place / "SYNOPHOTO_THUMB_XL.jpg", photo(8, 8))
    (folder / "Thumbs.db").touch()


def odd_names(folder: Path) -> None:
    for name in ("b.jpg_large", "c.jxl", "IMG_0001"):
        saved(folder / name, photo(8, 8), format="JPEG")


def reader(photo: str, action: Callable[[], object]) -> Callable[[Patch, Path], None]:
    """The reader does something else at one photo."""

    def patch(monkeypatch: Patch, folder: Path) -> None:
        def read(path: bytes, *arguments: object) -> np.ndarray:
            if path.endswith(photo.encode()):
                action()
            return read_pixels(path, *arguments)

        monkeypatch.setattr("ranktag.images.batches.read_pixels", read)

    return patch


def disk(kind: int, times: int) -> Callable[[Patch, Path], None]:
    """The disk fails so many times at b.png."""

    def patch(monkeypatch: Patch, folder: Path) -> None:
        def look(path: bytes) -> None:
            tried = len(list(folder.parent.glob("try*")))
            if path.endswith(b"b.png") and tried < times:
                (folder.parent / f"try{tried}").touch()
                raise OSError(kind, os.strerror(kind))

        monkeypatch.setattr("ranktag.images.decode._refuse_no_file", look)
        monkeypatch.setattr("ranktag.images.batches.WAITS", (0.0, 0.0, 0.0))

    return patch


def without_packages(monkeypatch: Patch, folder: Path) -> None:
    decode._register_heif.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "rawpy", None)


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
ADDED = ("b.png",)


def sound(folder: Path) -> None:
    saved(folder / "b.png", photo(20, 20, seed=2))


PHOTO_FAULTS = [
    PhotoFault("HEIC", lambda folder: heic(folder / "b.heic", photo(40, 30)), read=("b.heic",)),
    PhotoFault(
        "HEIC without pillow-heif",
        files(b_dot_heic=HEIC_HEAD),
        {"b.heic": "pip install 'ranktag[heif]'"},
        patch=without_packages,
    ),
    *(
        [PhotoFault("AVIF", lambda folder: saved(folder / "b.avif", photo(40, 30)), read=("b.avif",))]
        if features.check("avif")
        else []
    ),
    PhotoFault("a camera's RAW", lambda folder: dng(folder / "b.dng", photo(40, 30)), read=("b.dng",)),
    PhotoFault(
        "a camera's RAW without rawpy",
        lambda folder: dng(folder / "b.dng", photo(40, 30)),
        {"b.dng": "pip install 'ranktag[raw]'"},
        patch=without_packages,
    ),
    PhotoFault(
        "a camera's RAW beside its JPEG",
        lambda folder: (dng(folder / "b.dng", photo(40, 30)), saved(folder / "b.jpg", photo(40, 30))),
        read=("b.jpg",),
        said=("left out: 1 file of a camera's RAW", ".dng 1"),
    ),
    PhotoFault("PostScript named .jpg", files(b_dot_jpg=POSTSCRIPT), {"b.jpg": "PostScript"}),
    PhotoFault(
        "a decoder that crashes",
        sound,
        {"b.png": "its decoder crashes (SIGSEGV)"},
        patch=reader("b.png", lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    ),
    PhotoFault(
        "a decoder that ends the process",
        sound,
        {"b.png": "its decoder crashes (exit code 1)"},
        patch=reader("b.png", lambda: os._exit(1)),
    ),
    PhotoFault(
        "a process that is killed",
        sound,
        said=("died (killed for want of memory?)", "run the same command again"),
        patch=reader("b.png", lambda: os.kill(os.getpid(), signal.SIGKILL)),
        code=OUTAGE,
    ),
    *(
        PhotoFault(f"{errno.errorcode[kind]} that passes", sound, read=ADDED, patch=disk(kind, 3))
        for kind in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
    ),
    *(
        PhotoFault(
            f"{errno.errorcode[kind]} that stays",
            sound,
            said=("b.png", os.strerror(kind), "tried 4 times", "run the same command again"),
            patch=disk(kind, 10**6),
            code=OUTAGE,
        )
        for kind in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
    ),
    PhotoFault("thumbnails beside the photos", thumbnails, said=("left out: 5 files that servers", "@eaDir 1")),
    PhotoFault(
        "names that are not looked at",
        odd_names,
        said=("left out: 3 files without a photo's ending", ".jpg_large 1", ".jxl 1", "no ending 1"),
    ),
    PhotoFault("a name of another kind in a photo's form", lambda f: saved(f / "d.mpo", photo(8, 8)), read=("d.mpo",)),
]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: Patch, ranktag: Callable[..., Outcome]) -> Path:
    """The cache of the sound photos alone."""
    use_tiny_network(monkeypatch)
    (tmp_path / "alone").mkdir()
    for number in range(3):
        saved(tmp_path / f"alone/a{number}.png", photo(20, 20, seed=number))
    assert ranktag("extract-features", tmp_path / "alone", "-o", tmp_path / "alone.h5", *OPTIONS).code == FINE
    return tmp_path / "alone.h5"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fault", PHOTO_FAULTS, ids=str)
def test_fault(
    alone: Path, tmp_path: Path, monkeypatch: Patch, ranktag: Callable[..., Outcome], fault: PhotoFault, workers: int
) -> None:
    folder, output = tmp_path / "photos", tmp_path / "c.h5"
    (tmp_path / "alone").rename(folder)
    fault.make(folder)
    command = ("extract-features", folder, "-o", output, *OPTIONS, "--workers", workers)
    with monkeypatch.context() as patch:
        fault.patch(patch, folder)
        outcome = ranktag(*command)
    assert outcome.code == (fault.code if fault.code is not None else DAMAGED if fault.failed else FINE), outcome
    assert all(words in outcome.err for words in fault.said) and "Traceback" not in outcome.err, outcome
    if fault.code == OUTAGE:
        # It was no photo's fault: the same command reads it.
        assert not output.exists() and ranktag(*command).code == FINE
    store, before = open_features(output), open_features(alone)
    assert list(store.image_id)[:3] == list(before.image_id)
    assert np.array_equal(store.features[:3], before.features)
    reasons = {i: error for i, error in zip(store.image_id, store.error) if error}
    assert reasons.keys() == fault.failed.keys() and all(fault.failed[i] in reasons[i] for i in reasons), reasons
    added = fault.read or (ADDED if fault.code == OUTAGE else tuple(fault.failed))
    assert tuple(store.image_id)[3:] == added


def test_a_killed_runs_temporary_files_are_cleared(
    alone: Path, tmp_path: Path, ranktag: Callable[..., Outcome]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/.c.h5.abcdefgh.tmp").write_bytes(b"half")
    assert ranktag("extract-features", tmp_path / "alone", "-o", tmp_path / "cache/c.h5", *OPTIONS).code == FINE
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["c.h5"]
    assert_same(tmp_path / "cache/c.h5", alone)
