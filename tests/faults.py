"""The fault suite's tables: what is wrong with a file -> what each command that reads it must do.

A row is a ``Fault``: a name, how it is made of a sound file, words of the message,
and the exit code of each command where that is not the usual one. The tests
(``test_faults_*.py``) run every row over every command, each in a folder of sound
files of its own, and ``Place.refuses`` asserts what holds for all of them: one line
on stderr that names the file, no file more, none less, none changed.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from making import TAGS, features_of, make_cache, make_data, tiny
from outcome import Outcome
from PIL import Image

from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import FeatureStore, open_features
from ranktag.feature_cache.write import write_features
from ranktag.training.train import train

D = 4096
FINE = 0
DAMAGED = 1
REFUSED = 2
OUTAGE = 4
NOT_RUN = None

SMALL = (
    "--members",
    1,
    "--head",
    0,
    "--projection",
    8,
    "--hidden",
    8,
    "--embedding",
    8,
    "--epochs",
    1,
    "--precision",
    "fp32",
    "--device",
    "cpu",
    "--quiet",
)


@dataclass(frozen=True)
class Fault:
    """name: what is wrong. make: does it to the sound file at a path. words: of the message. codes: of a command,
    where it is not ``REFUSED`` (of inspect: ``DAMAGED``); ``NOT_RUN`` where the fault is none for the command."""

    name: str
    make: Callable[[Path], None]
    words: tuple[str, ...] = ()
    codes: Mapping[str, int | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


# A folder of sound files, and the commands that read them.


@dataclass(frozen=True)
class Place:
    """A folder with a sound cache, shard, tag file, run, prediction file and photos, and its commands."""

    folder: Path
    run: Callable[..., Outcome]

    @property
    def cache(self) -> Path:
        return self.folder / "cache.h5"

    @property
    def shard(self) -> Path:
        return self.folder / "joined.h5.shards/00000-of-00001.h5"

    @property
    def tags(self) -> Path:
        return self.folder / "tags.csv"

    @property
    def model(self) -> Path:
        return self.folder / "run"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.csv"

    def command(self, name: str) -> tuple[object, ...]:
        """Arguments of a command that reads the sound files and writes something new."""
        return {
            "inspect": ("inspect", self.cache),
            "train-from-cache": ("train-from-cache", self.cache, self.tags, "-o", self.folder / "new", *SMALL),
            "resume": ("train-from-cache", self.cache, self.tags, "-o", self.model, *SMALL, "--resume"),
            "export-tags": (
                "export-tags",
                self.cache,
                "--model",
                self.model,
                "-o",
                self.folder / "new.csv",
                "--device",
                "cpu",
                "--quiet",
            ),
            "extract-features": (
                "extract-features",
                self.folder / "photos",
                "-o",
                self.cache,
                "--weights",
                "random:0",
                "--quiet",
            ),
            "join-features": ("join-features", self.folder / "joined.h5", "--quiet"),
            "evaluate": ("evaluate", self.predictions, self.tags, "-o", self.folder / "report", "--resamples", 0),
            "prepare csv": ("prepare", "csv", self.tags, "-o", self.folder / "new.csv"),
            "tag": ("tag", self.folder / "photos", "--model", self.model, "--device", "cpu"),
        }[name]

    def does(self, name: str, code: int, file: Path, *words: str) -> Outcome:
        """Run a command and assert how it ends (see ``refuses``)."""
        return self.refuses(self.command(name), code, file, *words)

    def refuses(self, arguments: tuple[object, ...], code: int, file: Path, *words: str) -> Outcome:
        """A call that fails says so in one line that names ``file`` and a remedy, and changes nothing in the folder."""
        before = snapshot(self.folder)
        outcome = self.run(*arguments)
        assert outcome.code == code, outcome
        if code == FINE:
            return outcome
        assert snapshot(self.folder) == before, outcome
        if code == REFUSED:
            assert outcome.out == ""
            outcome.assert_refused()
        assert outcome.err.endswith("\n") and "Traceback" not in outcome.err
        for line in outcome.err.splitlines():
            assert str(file) in line, outcome
        for word in words:
            assert word in outcome.err, outcome
        return outcome


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below a folder: path -> kind and, of files, digest. Lock files, which may stay, are left out."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            kind = stat.S_IFMT(path.lstat().st_mode)
            content = (
                hashlib.sha256(path.read_bytes()).hexdigest()
                if kind == stat.S_IFREG
                else os.readlink(path)
                if kind == stat.S_IFLNK
                else ""
            )
            if name not in (".lock", "lock"):
                found[str(path.relative_to(folder))] = f"{kind:o} {content}"
    return found


def make_sound(folder: Path) -> None:
    """The files of a ``Place``: 20 images, a trained run of them, its predictions."""
    cache, tags = make_data(folder, images=20)
    train(cache, tags, folder / "run", tiny(embedding=8, epochs=1, batch_size=128))
    store = open_features(cache)
    (folder / "joined.h5.shards").mkdir()
    rewritten(
        folder / "joined.h5.shards/00000-of-00001.h5", store, attributes={"row_start": 0, "row_count": len(store)}
    )
    (folder / "predictions.csv").write_text(
        "image_id,rank,tag,probability\n" + "".join(f"{i},1,dog,0.5\n" for i in store.image_id)
    )
    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos/a.png")


def rewritten(path: Path, store: FeatureStore, attributes: Mapping[str, Any] | None = None) -> Path:
    """A copy of a cache, written anew."""
    features = np.array(store.features)
    write_features(
        path,
        store.image_id,
        [features],
        store.valid,
        store.error,
        store.provenance,
        features.dtype.name,
        store.width,
        attributes,
    )
    return path


# Faults of any file.


def cut(part: float) -> Callable[[Path], None]:
    """Keep the first part of the file."""
    return lambda path: os.truncate(path, int(part * path.stat().st_size))


def becomes(content: bytes | str) -> Callable[[Path], None]:
    """The file holds something else."""
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data) and None


def remove(path: Path) -> None:
    path.unlink()


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_instead(target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return make


CUTS = [n / 20 for n in range(20)]


# Caches. What a row of the table does is done to a cache and, for join-features, to a shard.


def edit(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """Change the cache with h5py."""

    def make(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return make


def without_attribute(name: str) -> Callable[[Path], None]:
    return edit(lambda file: file.attrs.__delitem__(name))


def attribute(name: str, value: object) -> Callable[[Path], None]:
    return edit(lambda file: file.attrs.__setitem__(name, value))


def without(name: str) -> Callable[[Path], None]:
    return edit(lambda file: file.__delitem__(name))


def instead(name: str, make: Callable[[h5py.File, np.ndarray], object]) -> Callable[[Path], None]:
    """Take a dataset out and put there what ``make`` makes of its content (or puts there itself)."""

    def change(file: h5py.File) -> None:
        old = file[name][()]
        del file[name]
        new = make(file, old)
        if isinstance(new, np.ndarray):
            file[name] = new

    return edit(change)


def number_at(row: int, value: float) -> Callable[[Path], None]:
    """Put a number into a valid row of the features, leaving all else as it is."""

    def change(file: h5py.File) -> None:
        file["features"][row, 17] = value

    return edit(change)


def rows(n: int, *, valid: bool = True) -> Callable[[Path], None]:
    """A whole cache of the first n images."""

    def make(path: Path) -> None:
        store = open_features(path)
        ids = store.image_id[:n]
        features = np.array(store.features[:n]) if valid else np.full((n, D), np.nan, store.features.dtype)
        path.unlink()
        make_cache(path, ids, features)

    return make


def external_storage(file: h5py.File, old: np.ndarray) -> None:
    outside = Path(file.filename).with_name("outside.bin")
    outside.write_bytes(old.tobytes())
    file.create_dataset("features", old.shape, old.dtype, external=[(str(outside), 0, old.nbytes)])


def virtual(there: bool) -> Callable[[h5py.File, np.ndarray], None]:
    def make(file: h5py.File, old: np.ndarray) -> None:
        outside = Path(file.filename).with_name("outside.h5")
        if there:
            with h5py.File(outside, "w") as other:
                other["features"] = old
        layout = h5py.VirtualLayout(old.shape, old.dtype)
        layout[:] = h5py.VirtualSource(str(outside), "features", old.shape)
        file.create_virtual_dataset("features", layout)

    return make


def external_link(file: h5py.File, old: np.ndarray) -> None:
    outside = Path(file.filename).with_name("outside.h5")
    with h5py.File(outside, "w") as other:
        other["features"] = old
    file["features"] = h5py.ExternalLink(str(outside), "features")


def soft_link(file: h5py.File, old: np.ndarray) -> None:
    file["elsewhere"] = old
    file["features"] = h5py.SoftLink("/elsewhere")


def twice(file: h5py.File) -> None:
    file["image_id"][1] = file["image_id"][0]


def others_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = features_of(3)


UNREAD: Mapping[str, int | None] = {"inspect": REFUSED}
NO_FILE: Mapping[str, int | None] = {"inspect": REFUSED, "extract-features": NOT_RUN, "join-features": NOT_RUN}
# Stage one looks at the form of a finished cache, not at every number: that is what inspect is for.
INSIDE: Mapping[str, int | None] = {"extract-features": NOT_RUN}

CACHE_COMMANDS = ("inspect", "train-from-cache", "export-tags", "extract-features", "join-features")
CACHE_FAULTS = [
    *(Fault(f"cut to {part:.0%}", cut(part), ("damaged",)) for part in CUTS),
    Fault("one byte short", lambda path: os.truncate(path, path.stat().st_size - 1), ("damaged",)),
    Fault("no such file", remove, ("no such",), NO_FILE),
    Fault("a folder", folder_instead, ("is a folder",), UNREAD),
    Fault("a named pipe", fifo_instead, ("is not a regular file",), UNREAD),
    Fault("a device", link_instead("/dev/zero"), ("is not a regular file",), UNREAD),
    Fault("a link to nowhere", link_instead("nowhere"), ("no such feature cache",), UNREAD),
    Fault("a link to itself", link_instead("cache.h5"), (), NO_FILE),
    Fault("text", becomes("image_id,tags\na,b\n"), ("not a feature cache",)),
    Fault("zeros", becomes(bytes(100_000)), ("not a feature cache",)),
    Fault("someone else's HDF5", others_hdf5, ("not a feature cache of ranktag",)),
    Fault("another format", attribute("format", "other"), ("not a feature cache of ranktag",)),
    Fault("a format that is a number", attribute("format", 7), ("not a feature cache of ranktag",)),
    Fault("no format", without_attribute("format"), ("not a feature cache of ranktag",)),
    Fault("a later version", attribute("format_version", 2), ("format 2", "install a newer ranktag")),
    Fault("an earlier version", attribute("format_version", 0), ("format 0", "make it again")),
    Fault("a version that is no number", attribute("format_version", "one"), ("damaged",)),
    Fault("no version", without_attribute("format_version"), ("damaged", "format_version")),
    *(
        Fault(f"no {name}", without_attribute(name), (f"'{name}' is missing", "make it again"))
        for name in Provenance.__dataclass_fields__
    ),
    *(
        Fault(f"no {name}", without(name), (f"'{name}' is missing", "make it again"))
        for name in ("features", "image_id", "valid", "error")
    ),
    Fault(
        "features are a group", instead("features", lambda file, old: file.create_group("features")), ("not a dataset",)
    ),
    # It is a cache of another width: to be trained on, unlike what was asked for, not of the model, not as written.
    Fault("D = 1000", instead("features", lambda file, old: old[:, :1000].copy()), (), {"train-from-cache": FINE}),
    Fault("D = 0", instead("features", lambda file, old: old[:, :0].copy()), ("0-dimensional",)),
    Fault("features of three dimensions", instead("features", lambda file, old: old[:, :, None]), ("(N, D)",)),
    Fault("a single number", instead("features", lambda file, old: np.array(old[0, 0])), ("(N, D)",)),
    Fault("float64", instead("features", lambda file, old: old.astype(np.float64)), ("float64", "float16 or float32")),
    Fault("integers", instead("features", lambda file, old: np.nan_to_num(old).astype(np.int16)), ("int16",)),
    Fault("the other byte order", instead("features", lambda file, old: old.astype(">f2")), ("float16 or float32",)),
    Fault(
        "in chunks",
        instead("features", lambda file, old: file.create_dataset("features", data=old, chunks=True) and None),
        ("in chunks",),
    ),
    Fault(
        "never written",
        instead("features", lambda file, old: file.create_dataset("features", old.shape, old.dtype) and None),
        ("damaged",),
    ),
    Fault("an id too few", instead("image_id", lambda file, old: old[1:]), ("'image_id' has shape (19,)", "20 rows")),
    Fault(
        "an id too many", instead("image_id", lambda file, old: np.append(old, b"z")), ("'image_id' has shape (21,)",)
    ),
    Fault("ids that are numbers", instead("image_id", lambda file, old: np.arange(len(old))), ("damaged",)),
    Fault(
        "ids that are not UTF-8",
        instead("image_id", lambda file, old: np.array([b"\xff%d" % n for n in range(len(old))])),
        ("damaged",),
    ),
    Fault("an id twice", edit(twice), ("'000.jpg' stands there twice",)),
    Fault("marks that are numbers", instead("valid", lambda file, old: old.astype(np.int8)), ("'valid' is int8",)),
    Fault("a mark too few", instead("valid", lambda file, old: old[1:]), ("'valid' has shape (19,)",)),
    Fault("a reason too few", instead("error", lambda file, old: old[1:]), ("'error' has shape (19,)",)),
    Fault("NaN in a valid row", number_at(0, np.nan), ("damaged", "not "), INSIDE),
    Fault("infinity in a valid row", number_at(0, np.inf), ("damaged", "not "), INSIDE),
    Fault("minus infinity in a validation row", number_at(7, -np.inf), ("damaged", "not "), INSIDE),
    Fault("features in a file outside", instead("features", external_storage), ("from other files",)),
    Fault("features in another HDF5 file", instead("features", virtual(there=True)), ("from other files",)),
    Fault(
        "features in an HDF5 file that is not there", instead("features", virtual(there=False)), ("from other files",)
    ),
    Fault("a link into another file", instead("features", external_link), ("a link to elsewhere",)),
    Fault("a link within the file", instead("features", soft_link), ("a link to elsewhere",)),
    Fault(
        "0 images",
        rows(0),
        (),
        {
            "inspect": FINE,
            "train-from-cache": REFUSED,
            "export-tags": FINE,
            "extract-features": REFUSED,
            "join-features": NOT_RUN,
        },
    ),
    Fault(
        "1 image",
        rows(1),
        (),
        {
            "inspect": FINE,
            "train-from-cache": REFUSED,
            "export-tags": FINE,
            "extract-features": REFUSED,
            "join-features": NOT_RUN,
        },
    ),
    Fault(
        "every image failed",
        rows(20, valid=False),
        (),
        {"inspect": FINE, "export-tags": FINE, "join-features": NOT_RUN},
    ),
]


# Tag files as a whole. What is refused names the line or the remedy.

HEADER = "image_id,tags,split\n"
# A small sound file of the cache's images: seven to train on, two to validate with, one to test.
ROWS = [f"{n:03}.jpg,dog|cat,{split}\n" for n, split in enumerate(["train"] * 7 + ["val"] * 2 + ["test"])]
SOUND = HEADER + "".join(ROWS)

TAG_COMMANDS = ("train-from-cache", "evaluate", "prepare csv")
ALL_FINE: Mapping[str, int | None] = dict.fromkeys(TAG_COMMANDS, FINE)
# One image cannot be trained on and validated with; a table without splits has none to get wrong.
NO_SPLIT_READ: Mapping[str, int | None] = {"prepare csv": FINE}
# A bad row is listed, and the others are read.
ONE_ROW: Mapping[str, int | None] = {"prepare csv": DAMAGED}

TAG_FAULTS = [
    Fault("a byte order mark", becomes("\ufeff" + SOUND), codes=ALL_FINE),
    Fault("CRLF", becomes(SOUND.replace("\n", "\r\n")), codes=ALL_FINE),
    Fault("old Mac's line ends", becomes(SOUND.replace("\n", "\r")), codes=ALL_FINE),
    Fault("no newline at the end", becomes(SOUND.rstrip("\n")), codes=ALL_FINE),
    Fault("blank lines", becomes(SOUND.replace("\n", "\n\n")), codes=ALL_FINE),
    Fault(
        "every cell in quotes",
        becomes("".join('"' + '","'.join(line.split(",")) + '"\n' for line in SOUND.splitlines())),
        codes=ALL_FINE,
    ),
    Fault(
        "columns in another order, and one more",
        becomes("\n".join(",".join(("note", *reversed(line.split(",")))) for line in SOUND.splitlines())),
        codes=ALL_FINE,
    ),
    Fault("empty lists", becomes(SOUND + "".join(f"{n:03}.jpg,,train\n" for n in range(10, 20))), codes=ALL_FINE),
    Fault("a tag of 10 MB", becomes(SOUND.replace("dog", "x" * 10_000_000, 1)), codes=ALL_FINE),
    Fault(
        "a list of 10 MB",
        becomes(SOUND.replace("cat,val", "|".join(f"{n:0999}" for n in range(10_000)) + ",val", 1)),
        codes=ALL_FINE,
    ),
    Fault("semicolons", becomes(SOUND.replace(",", ";")), codes=ALL_FINE),
    Fault("tabs", becomes(SOUND.replace(",", "\t")), codes=ALL_FINE),
    Fault("UTF-16", becomes(SOUND.encode("utf-16")), codes=ALL_FINE),
    Fault("Windows-1252", becomes(SOUND.replace("dog", "chi\xe9n").encode("cp1252")), codes=ALL_FINE),
    Fault("Excel's sep=", becomes("sep=;\n" + SOUND.replace(",", ";")), codes=ALL_FINE),
    Fault("rows of nothing but separators", becomes(SOUND + ",,\n, ,\n"), codes=ALL_FINE),
    Fault("columns of nothing", becomes(SOUND.replace("\n", ",,\n")), codes=ALL_FINE),
    Fault("lists as Python writes them", becomes(SOUND.replace("dog|cat", "\"['dog', 'cat']\"")), codes=ALL_FINE),
    Fault("what pandas writes for no list", becomes(SOUND.replace("dog|cat", "nan", 1)), codes=ALL_FINE),
    Fault("a set", becomes(SOUND.replace("dog|cat", "\"{'dog', 'cat'}\"", 1)), ("line 2", "order"), ONE_ROW),
    Fault("a list without quotes", becomes(SOUND.replace("dog|cat", '"[dog, cat]"', 1)), ("line 2", "quotes"), ONE_ROW),
    Fault("a spreadsheet's error", becomes(SOUND.replace("dog|cat", "#NAME?", 1)), ("line 2", "#NAME?"), ONE_ROW),
    Fault("a quote that is never closed", becomes(SOUND.replace("dog", '"dog', 1)), ("double quotes",), ONE_ROW),
    Fault("text after a quote", becomes(SOUND.replace("dog|cat", '"dog"cat', 1)), ("line 2", "double quotes"), ONE_ROW),
    Fault("a NUL byte", becomes(SOUND.replace("dog", "d\0g", 1)), ("line 2", "NUL"), ONE_ROW),
    Fault("a NUL byte in the header", becomes("\0" + SOUND), ("line 1", "NUL")),
    Fault(
        "Russian of Windows", becomes(SOUND.replace("dog", "\u043f\u0451\u0441").encode("cp1251")), ("UTF-8", "0xef")
    ),
    Fault(
        "half a surrogate pair", becomes(SOUND.replace("dog", "d\ud83d").encode("utf-8", "surrogatepass")), ("UTF-8",)
    ),
    Fault("a line of 10 MB that is no table", becomes(b"x" * 10_000_000), ("no column",)),
    Fault("a line of 10 MB of quotes", becomes(SOUND.encode() + b'"' * 10_000_001), (), ONE_ROW),
    Fault("10 MB of cells", becomes(SOUND + "a," * 5_000_000), ("line 12", "cells"), ONE_ROW),
    Fault("nothing", becomes(""), ("is empty",)),
    Fault("a header only", becomes(HEADER), ("no tag",)),
    Fault("no header", becomes("".join(ROWS)), ("no column 'image_id'",)),
    Fault("no column of tags", becomes(SOUND.replace("tags", "labels", 1)), ("no column 'tags'", "'labels'")),
    Fault("a column twice", becomes(SOUND.replace("split", "tags", 1)), ("'tags' twice",)),
    Fault("a cell too many", becomes(SOUND + "a,b,train,x\n"), ("line 12", "4 cells"), ONE_ROW),
    Fault("a cell too few", becomes(SOUND + "a\n"), ("line 12", "1 cells"), ONE_ROW),
    Fault("no image id", becomes(SOUND + ",dog,train\n"), ("line 12",), ONE_ROW),
    Fault("an unknown split", becomes(SOUND + "z,dog,holdout\n"), ("line 12", "'holdout'"), NO_SPLIT_READ),
    Fault("an image in two splits", becomes(SOUND + "000.jpg,dog,val\n"), ("'000.jpg'", "line 12"), NO_SPLIT_READ),
    Fault("a split that is missing", becomes(SOUND + "z,dog,\n"), ("line 12", "split"), NO_SPLIT_READ),
    Fault("a photo", becomes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256))), ("UTF-8",)),
    Fault("a folder", folder_instead, ("is a folder",)),
    Fault("no such file", remove, ("no such file",)),
    Fault("a link to itself", link_instead("tags.csv"), ()),
    Fault("one image", becomes(HEADER + ROWS[0]), ("split 'val'",), {"evaluate": FINE, "prepare csv": FINE}),
    Fault("images that are not in the cache", becomes(SOUND.replace(".jpg", ".png")), (), {"prepare csv": FINE}),
    Fault("lists that are all empty", becomes(SOUND.replace("dog|cat", "")), ("no",)),
]


# Tags as they may be: a list of one person, as the cell of the file -> the tags it means.


@dataclass(frozen=True)
class Cell:
    """name. cell: as it stands in the tag file. tags: what it means, in order. options: of a large training."""

    name: str
    cell: str
    tags: tuple[str, ...]
    options: tuple[object, ...] = ()

    def __str__(self) -> str:
        return self.name


CELLS = [
    Cell("one tag", "dog", ("dog",)),
    Cell("a comma", '"rock, paper|scissors"', ("rock, paper", "scissors")),
    Cell("a newline", '"two\nlines|one"', ("two\nlines", "one")),
    Cell("a carriage return within", '"two\rlines|one"', ("two\rlines", "one")),
    Cell("quotes", '"a ""b""|c"', ('a "b"', "c")),
    Cell("a quote alone", '""""', ('"',)),
    Cell("bars too many", "|dog||cat|", ("dog", "cat")),
    Cell("spaces around", "  dog | cat\t", ("dog", "cat")),
    Cell("no-break space around", "\u00a0dog\u00a0|cat", ("dog", "cat")),
    Cell("a tag twice", "dog|cat|dog", ("dog", "cat")),
    Cell("alike after NFC", "caf\u00e9|cafe\u0301|tea", ("caf\u00e9", "tea")),
    Cell("Korean in parts", unicodedata.normalize("NFD", "\ud55c\uad6d") + "|\ud55c\uad6d", ("\ud55c\uad6d",)),
    Cell("case is kept", "Dog|dog", ("Dog", "dog")),
    Cell(
        "right to left",
        "\u05e9\u05dc\u05d5\u05dd|\u0643\u0644\u0628|dog",
        ("\u05e9\u05dc\u05d5\u05dd", "\u0643\u0644\u0628", "dog"),
    ),
    Cell("an override of direction", "\u202egod|dog", ("\u202egod", "dog")),
    Cell("emoji joined", "\U0001f469\u200d\U0001f33e|dog", ("\U0001f469\u200d\U0001f33e", "dog")),
    Cell("names of the model's own", "STOP|START|<unk>|<pad>", ("STOP", "START", "<unk>", "<pad>")),
    Cell("what pandas takes for missing", "nan|NULL|NA|None|null", ("nan", "NULL", "NA", "None", "null")),
    Cell("numbers", "1e5|007|1_000|inf|-0", ("1e5", "007", "1_000", "inf", "-0")),
    Cell("true and false", "True|false", ("True", "false")),
    Cell("formulas, guarded", "'=1+1|@x", ("=1+1", "@x")),
    Cell("formulas, bare", "=1+1|+1|@SUM(A1)|-2+3", ("=1+1", "+1", "@SUM(A1)", "-2+3")),
    Cell("an apostrophe", "'tis|dog", ("'tis", "dog")),
    Cell("markup", "<script>alert(1)</script>|&amp;", ("<script>alert(1)</script>", "&amp;")),
    Cell("a path", "../../etc/passwd|C:\\x", ("../../etc/passwd", "C:\\x")),
    Cell("terminal codes", "\x1b[31mred|dog", ("\x1b[31mred", "dog")),
    Cell("a list of 300 tags", "|".join(f"t{n}" for n in range(300)), tuple(f"t{n}" for n in range(300))),
]


# Run folders. A row is done to model.pt of the run; for resume, to state.pt.


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def no_run(path: Path) -> None:
    shutil.rmtree(path.parent)


def empty_run(path: Path) -> None:
    no_run(path)
    path.parent.mkdir()


class Hostile:
    """Makes the folder ``mark`` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def mark_of(path: Path) -> Path:
    """What a hostile file at ``path`` would make."""
    return path.parent.parent / "it ran"


def hostile(form: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        content: Any = Hostile(mark_of(path))
        if form == "within":
            content = torch.load(path, weights_only=True) | {"weights": content}
        if form == "pickle":
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=form != "old")

    return make


def holds(**changes: Any) -> Callable[[Path], None]:
    """Change entries of the dict in the file."""
    return lambda path: torch.save(torch.load(path, weights_only=True) | changes, path)


def lacks(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        del content[name]
        torch.save(content, path)

    return make


def zip_bomb(path: Path) -> None:
    """A zip that is small and would be 1 GB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", bytes(2**20))
        with archive.open("model/data/0", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(2**20))
    path.write_bytes(buffer.getvalue())


def of_several_disks(path: Path) -> None:
    """The archive says that it goes on on other disks."""
    data = bytearray(path.read_bytes())
    # The last four bytes of the locator of the end record: how many disks there are.
    data[data.rindex(b"PK\x06\x07") + 16] = 3
    path.write_bytes(data)


def broken_weights(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    name = next(iter(content["weights"]))
    torch.save(content | {"weights": {**content["weights"], name: torch.zeros(3, 3, 3)}}, path)


MODEL_COMMANDS = ("export-tags", "tag")
RUN_FAULTS = [
    *(Fault(f"cut to {part:.0%}", cut(part), ("damaged",)) for part in CUTS),
    Fault("one byte short", lambda path: os.truncate(path, path.stat().st_size - 1), ("damaged",)),
    Fault("text", becomes("a model"), ("damaged or not a",)),
    Fault("a folder", as_folder, ()),
    Fault("a zip that is no torch file", zip_bomb, ("damaged or not a",)),
    Fault("a zip of several disks", of_several_disks, ("damaged or not a",)),
    Fault("hostile: torch file", hostile("torch"), ("damaged or not a",)),
    Fault("hostile: old torch file", hostile("old"), ("damaged or not a",)),
    Fault("hostile: pickle", hostile("pickle"), ("damaged or not a",)),
    Fault("hostile: within the dict", hostile("within"), ("damaged or not a",)),
    Fault("a tensor", lambda path: torch.save(torch.zeros(3), path), ("is not a",)),
    Fault("another dict", lambda path: torch.save({"weights": torch.zeros(3)}, path), ()),
]
MODEL_FAULTS = [
    Fault("no such folder", no_run, ("no such run folder", "train-from-cache")),
    Fault("an empty folder", empty_run, ("no model.pt", "train-from-cache")),
    Fault("no model.pt", remove, ("no model.pt", "--resume")),
    Fault("someone else's model", holds(format="other"), ("not a model of ranktag",)),
    Fault("an older version", holds(format_version=0), ("model format 0", "train it again or install")),
    Fault("a later version", holds(format_version=2), ("model format 2", "train it again or install")),
    *(
        Fault(f"no {name}", lacks(name), ("damaged", name))
        for name in ("model", "model_config", "weights", "vocabulary", "longest", "split", "provenance")
    ),
    Fault("an unknown kind", holds(model="transformer"), ("damaged",)),
    Fault("weights of another shape", broken_weights, ("damaged",)),
    Fault("a tag too few", holds(vocabulary=list(TAGS[1:])), ("damaged",)),
    Fault("a tag twice", holds(vocabulary=["dog"] * len(TAGS)), ("damaged", "twice")),
    Fault("tags that are numbers", holds(vocabulary=list(range(len(TAGS)))), ("damaged",)),
    Fault("sizes beyond any memory", holds(model_config={"form": "every-step", "hidden": 2**40}), ("damaged",)),
    Fault("a longest list of none", holds(longest=0), ("damaged",)),
    Fault("a longest list beyond any memory", holds(longest=2**40), (), {"export-tags": FINE, "tag": NOT_RUN}),
    Fault("a longest list below nothing", holds(longest=-3), ("damaged",)),
]
STATE_FAULTS = [
    Fault("no state.pt", remove, ("no state.pt", "--overwrite")),
    *(Fault(f"no {name}", lacks(name), ("damaged", name)) for name in ("settings", "history", "ndcg5", "epoch")),
    Fault("a history of something else", holds(history=[("a",)]), ("damaged",)),
    Fault("settings that are a list", holds(settings=[1, 2]), ("damaged",)),
]


# Prediction files.

LONG = "image_id,rank,tag,probability\n"
WIDE = "image_id,tags,probabilities\n"
LISTED = "".join(f"{n:03}.jpg,1,dog,0.5\n{n:03}.jpg,2,cat,0.25\n" for n in range(20))

PREDICTION_FAULTS = [
    Fault("a byte order mark", becomes("\ufeff" + LONG + LISTED), codes={"evaluate": FINE}),
    Fault("CRLF", becomes((LONG + LISTED).replace("\n", "\r\n")), codes={"evaluate": FINE}),
    Fault("wide", becomes(WIDE + "".join(f"{n:03}.jpg,dog|cat,.5|.25\n" for n in range(20))), codes={"evaluate": FINE}),
    Fault("no tags at all", becomes(LONG + "".join(f"{n:03}.jpg,,,\n" for n in range(20))), codes={"evaluate": FINE}),
    Fault("one image", becomes(LONG + "000.jpg,1,dog,0.5\n"), codes={"evaluate": DAMAGED}),
    Fault("cut within a line", becomes((LONG + LISTED)[:-12]), ("line 41", "cells")),
    Fault("nothing", becomes(""), ("is empty",)),
    Fault("a header only", becomes(LONG), ()),
    Fault("a NUL byte", becomes(LONG + LISTED.replace("dog", "d\0g", 1)), ("line 2", "NUL")),
    Fault("UTF-16", becomes((LONG + LISTED).encode("utf-16")), codes={"evaluate": FINE}),
    Fault("semicolons", becomes((LONG + LISTED).replace(",", ";")), codes={"evaluate": FINE}),
    Fault("a rank missing", becomes(LONG + LISTED.replace("000.jpg,1,dog,0.5\n", "")), ("none at rank 1",)),
    Fault("a rank twice", becomes(LONG + LISTED + "000.jpg,1,sky,0.5\n"), ("rank 1 of '000.jpg'",)),
    Fault("a rank that is no number", becomes(LONG + LISTED.replace(",1,", ",first,", 1)), ("line 2", "rank 'first'")),
    Fault(
        "a rank of a million digits",
        becomes(LONG + LISTED.replace(",1,", f",{'9' * 1_000_000},", 1)),
        ("line 2", "rank '999"),
    ),
    Fault("a probability above 1", becomes(LONG + LISTED.replace("0.5", "1.5", 1)), ("line 2", "probability '1.5'")),
    Fault(
        "a probability that is no number",
        becomes(LONG + LISTED.replace("0.5", "nan", 1)),
        ("line 2", "probability 'nan'"),
    ),
    Fault("images that are not in the tag file", becomes(LONG + LISTED.replace(".jpg", ".png")), ()),
    Fault("a folder without a prediction file", folder_instead, ("no .csv file",)),
    Fault("no such file", remove, ("no such file",)),
    Fault("a photo", becomes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256))), ("UTF-8",)),
]
