"""A page of photos and their ranked tags, as a folder that opens from the disk or lies on any web server.

=====================  ==================================================================================
index.html             the page
browse.js, *.css       its script and its looks
data/                  what it knows of the photos (``ranktag.browse.parts``)
thumbnails/            the photos, made small (``ranktag.browse.thumbnails``)
site.json              the mark of a page that 'ranktag browse' may bring up to date
=====================  ==================================================================================

Nothing is read from anywhere else, and the page's policy forbids it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranktag.browse.parts import Archive, write_parts
from ranktag.browse.thumbnails import make_thumbnails, remove_others, thumbnail_name
from ranktag.config import BrowseConfig
from ranktag.errors import Exists, Locked, Mismatch, RanktagError
from ranktag.evaluation.evaluate import unique_labels
from ranktag.files.atomic import atomic_text
from ranktag.files.lock import FileLock
from ranktag.files.replacement import replaced_together
from ranktag.images.listing import ImageList, list_images_as
from ranktag.pages import LOOK
from ranktag.progress import Progress
from ranktag.tags.lists import TagList, read_tag_lists
from ranktag.tags.matching import Ids
from ranktag.tags.predictions import Predictions, read_predictions
from ranktag.tags.unicode_forms import other_forms, said

MARK, LOCK, THUMBNAILS, DATA = "site.json", ".lock", "thumbnails", "data"
PAGE = ("index.html", "site.css", "browse.js")
REPLACED = (*PAGE, LOOK.name, DATA)
HERE = Path(__file__).parent
NOT_THERE = "no such photo among those given"


@dataclass(frozen=True)
class BrowseReport:
    """What was made.

    failures: (image id, why it has no picture), in order. not_predicted: photos without predictions,
    which are not in the page. bytes: of the whole folder.
    """

    page: Path
    photos: int
    failures: Sequence[tuple[str, str]]
    not_predicted: int
    bytes: int


def browse(
    predictions: str | Path | Sequence[str | Path],
    photos: str | Path,
    output: str | Path,
    config: BrowseConfig = BrowseConfig(),
    *,
    tags: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BrowseReport:
    """Make the page of an archive in the folder ``output``, or bring it up to date.

    predictions: one prediction file or several; the first is searched and says which photos are in
    the page, the others' lists stand beside its own. photos: a folder or a CSV of photos, as
    'extract-features' takes it. tags: people's lists to be shown. overwrite: replace the page of
    other photos.

    Killed at any moment, the same call goes on where it was. Photos that cannot be read, and those
    that are not there, are shown as such and reported. Raises RanktagError for files that cannot be
    read, none of the photos there, and an ``output`` that is something else.
    """
    progress = progress or Progress()
    given = [predictions] if isinstance(predictions, (str, Path)) else list(predictions)
    files, photos, output = [Path(one) for one in given], Path(photos), Path(output)
    _refuse_other_folder(output, photos, overwrite)
    read = _read(files, progress)
    first = next(iter(read.values()))
    if not first:
        raise RanktagError(f"{files[0]}: holds no image; export tags of some photos first")
    people = {} if tags is None else _people(Path(tags), first, progress)
    listed = list_images_as(photos, first, progress)
    paths, not_predicted = _join(list(first), listed, files[0], photos, progress)
    output.mkdir(parents=True, exist_ok=True)
    with FileLock(output / LOCK) as lock:
        if not lock.acquire():
            raise Locked(f"{output}: another 'ranktag browse' is at work there; wait until it has ended")
        with atomic_text(output / MARK) as file:
            file.write(json.dumps({"ranktag-page": 1, "photos": _digest(photos)}) + "\n")
        images, failed = _thumbnails(list(first), paths, output / THUMBNAILS, config, progress)
        with replaced_together(output, REPLACED) as new:
            write_page(new, Archive(read, images, failed, people))
        remove_others(output / THUMBNAILS, [name.removeprefix(f"{THUMBNAILS}/") for name in images if name])
    failures = [(image_id, failed[number]) for number, image_id in enumerate(first) if number in failed]
    return BrowseReport(output / PAGE[0], len(first), failures, not_predicted, _size(output))


def write_page(folder: Path, archive: Archive) -> None:
    """Write everything but the pictures to an existing folder."""
    files = {path.name: path.read_text(encoding="utf-8") for path in (*(HERE / name for name in PAGE), LOOK)}
    # Browsers keep scripts and styles for a while: those of another version have another address.
    version = hashlib.sha256("".join(files.values()).encode()).hexdigest()[:16]
    for name, text in files.items():
        (folder / name).write_text(text.replace("?VERSION", f"?{version}"), encoding="utf-8")
    write_parts(folder / DATA, archive)


def _refuse_other_folder(output: Path, photos: Path, overwrite: bool) -> None:
    """Raise RanktagError unless the page may be made there."""
    if not output.is_dir():
        if os.path.lexists(output):
            raise Exists(f"{output}: is a file, the page is a folder; choose another path")
        return
    try:
        mark = json.loads((output / MARK).read_text(encoding="utf-8"))
        of = mark["photos"] if isinstance(mark, dict) and "ranktag-page" in mark else None
    except (OSError, ValueError, KeyError):
        of = None
    there = sorted(path.name for path in output.iterdir() if path.name != LOCK)
    if of is None and there:
        raise Exists(f"{output}: holds '{there[0]}', which is not of a page; choose a new folder")
    if of not in (None, _digest(photos)) and not overwrite:
        raise Exists(f"{output}: holds the page of other photos; choose another folder or pass --overwrite")


def _digest(photos: Path) -> str:
    """Tells the photos' place without saying it: the page may be shown to anybody."""
    return hashlib.sha256(os.fsencode(photos.resolve())).hexdigest()[:16]


def _read(files: Sequence[Path], progress: Progress) -> dict[str, Predictions]:
    """Label -> predictions of each file; images named in another Unicode form are named as in the first."""
    read: dict[str, Predictions] = {}
    reading = progress.over(files, "Reading", len(files), "prediction files")
    for label, file in zip(unique_labels(files), reading):
        predictions = read_predictions(file)
        first = next(iter(read.values()), predictions)
        if forms := other_forms(predictions, first, str(file)):
            progress.note(said(forms))
            predictions = {forms.get(image_id, image_id): tags for image_id, tags in predictions.items()}
        if first and not any(image_id in first for image_id in predictions):
            raise Mismatch(f"{file}: has no image of {files[0]}; give predictions of the same photos")
        read[label] = predictions
    return read


def _people(tags: Path, predicted: Predictions, progress: Progress) -> Mapping[str, Sequence[TagList]]:
    lists = read_tag_lists(tags)
    if forms := other_forms(lists.lists, predicted, str(tags)):
        lists = lists.renamed(forms)
        progress.note(said(forms))
    if not any(image_id in lists.lists for image_id in predicted):
        raise Mismatch(f"{tags}: has no list of the predicted photos; give the lists of these photos")
    return lists.lists


def _join(
    ids: Sequence[str], listed: ImageList, file: Path, photos: Path, progress: Progress
) -> tuple[list[bytes | None], int]:
    """The path of every id, None if there is none, and how many photos have no id."""
    number_of = {image_id: number for number, image_id in enumerate(listed.ids)}
    forms = other_forms(ids, number_of, str(file))
    if forms:
        progress.note(said(forms))
    found = [number_of.get(forms.get(image_id, image_id)) for image_id in ids]
    known = [number for number in found if number is not None]
    if not known:
        raise Mismatch(f"{photos}: has none of the {len(ids):,} photos of {file}{_alike(ids[0], listed)}")
    return [None if number is None else listed.path(number) for number in found], len(listed) - len(known)


def _alike(image_id: str, listed: ImageList) -> str:
    """How their names differ, and what to do."""
    there = Ids(listed.ids).find(image_id, "stem")
    other = there[0] if there else listed.ids[0]
    return f": '{image_id}' is to be found, '{other}' is there; name the folder that the image ids are paths below"


def _thumbnails(
    ids: Sequence[str], paths: Sequence[bytes | None], folder: Path, config: BrowseConfig, progress: Progress
) -> tuple[list[str], dict[int, str]]:
    """Of every photo the image's place below the page, '' where there is none, and why there is none."""
    folder.mkdir(exist_ok=True)
    there = [(number, path) for number, path in enumerate(paths) if path is not None]
    names = [thumbnail_name(ids[number], path, config) for number, path in there]
    failed = {number: NOT_THERE for number, path in enumerate(paths) if path is None}
    for place, why in make_thumbnails([path for _, path in there], names, folder, config, progress).items():
        failed[there[place][0]] = why
    images = [""] * len(ids)
    for (number, _), name in zip(there, names):
        if number not in failed:
            images[number] = f"{THUMBNAILS}/{name}"
    return images, failed


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum((Path(below) / name).stat().st_size for below, _, names in os.walk(folder) for name in names)
