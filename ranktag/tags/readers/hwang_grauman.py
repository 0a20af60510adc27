"""Hwang and Grauman's tag lists (MATLAB files).

Ordered lists of words that people gave the photos of PASCAL VOC 2007. SOURCE
is train.mat and test.mat, or the folder that holds them. Each holds the
struct arrays D1 and D2 with the fields filename and taglist (an ordered row of
1-based numbers of words).

image_id is filename without folders: the path below VOC's JPEGImages. The split
is the train, val or test in the MATLAB file's name. A repeated word keeps its
first place; an empty list is kept as an image without tags.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from ranktag.config import setting
from ranktag.errors import Damaged, RanktagError, unreadable
from ranktag.files.isolation import EndedBadly, run_apart
from ranktag.files.text import read_text_lines
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, files_below, is_image_name, need, split_in_name
from ranktag.tags.annotations.settings import ReaderConfig

# The struct arrays of a file, to be concatenated: as a public re-implementation reads the release.
PARTS = ("D1", "D2")


@dataclass(frozen=True, kw_only=True)
class HwangGraumanConfig(ReaderConfig):
    """Settings of Hwang and Grauman's tag lists."""

    words: Path = setting(MISSING, "the words: voc.mat, or a text file, one word a line")


def read(sources: Sequence[Path], config: HwangGraumanConfig) -> TagListBuilder:
    """Tag lists of ``train.mat`` and ``test.mat``, given as files or as the folder that holds them.

    ``config.words`` is ``voc.mat`` (a cell array ``voc``) or a text file, one word a line.
    ``image_id`` is ``filename`` without folders, '.jpg' added where it has no image's
    extension: the image's path below VOC's ``JPEGImages``. The split is the 'train',
    'val' or 'test' in the MATLAB file's name, if every file has one. Repeated words
    keep their first place and empty lists are kept. Entries of one ``image_id`` are skipped.

    Raises RanktagError: unreadable files, files of another layout, a number without a word.
    """
    words = Path(config.words)
    vocabulary = read_words(words)
    builder = TagListBuilder(config.prefix)
    files = [path for source in sources for path in _files(Path(source), words)]
    splits = [split_in_name(path) for path in files]
    for path, split in zip(files, splits, strict=True):
        for where, image_id, numbers in _apart(_lists, path):
            tags = [_word(number, vocabulary, f"{path}: image '{image_id}'", words) for number in numbers]
            try:
                # An image has one list: two entries of one name are of photos in different folders, or a mistake.
                builder.add(image_id, tags, split if None not in splits else None, file=f"{path.name}: {where}")
            except BrokenFile as error:
                raise RanktagError(f"{path}: {error}; mend it there") from None
    return builder.checked(", ".join(map(str, sources)), "tag list of Hwang and Grauman's form")


def _files(source: Path, words: Path) -> list[Path]:
    if source.is_file():
        return [source]
    _, files, _ = files_below(source, ".mat")
    return [path for path in files if path.resolve() != words.resolve() and path.name != "voc.mat"]


def _word(number: float, vocabulary: Sequence[str], where: str, words: Path) -> str:
    if not (1 <= number <= len(vocabulary) and number == int(number)):
        raise RanktagError(
            f"{where} lists word number {number}, {words} has the words 1 to {len(vocabulary)}; "
            "are they of one release?"
        )
    return vocabulary[int(number) - 1]


def read_words(path: Path) -> list[str]:
    """The words in order: from the cell array ``voc`` of a .mat file, or the lines of a text file.

    Raises RanktagError: unreadable, no word, an empty word or one twice.
    """
    if path.suffix.lower() == ".mat":
        words = _apart(_words, path)
    else:
        try:
            words = [line for _, line in read_text_lines(path)]
        except RanktagError as error:
            if type(error) is not RanktagError:
                raise
            raise RanktagError(
                f"{path}: cannot be read as UTF-8 text, one word a line; name the release's voc.mat or such a list"
            ) from None
    words = [word.strip() for word in words]
    if not any(words):
        raise RanktagError(f"{path}: holds no word; name the release's voc.mat or a list of words")
    if "" in words:
        raise RanktagError(f"{path}: word {words.index('') + 1} is empty; the lists go by the words' numbers")
    twice = [word for word, count in Counter(words).items() if count > 1]
    if twice:
        raise RanktagError(f"{path}: has the word '{twice[0]}' twice; each has one number: remove the other")
    return words


def _apart(function: Callable[[str], Any], path: Path) -> Any:
    """``_words`` or ``_lists`` of a MATLAB file, read in a process of its own: scipy crashes on some damaged files."""
    try:
        return run_apart(function, str(path))
    except EndedBadly as end:
        raise Damaged(
            f"{path}: is no readable MATLAB file (scipy {end.how} on it, it ended with {end.code}); is it whole?"
        ) from None


def _words(path: str) -> list[str]:
    """The texts of the cell array ``voc``."""
    cells = _load(path, ("voc",)).get("voc")
    if cells is None or cells.dtype != object:
        raise RanktagError(f"{path}: holds no cell array 'voc'; name the release's voc.mat")
    return [_text(cell) for cell in cells.ravel()]


def _lists(path: str) -> list[tuple[str, str, list[float]]]:
    """(place in the file, image id, 1-based word numbers) of every image in one file."""
    parts = _load(path, PARTS)
    if not parts:
        raise RanktagError(
            f"{path}: holds neither D1 nor D2, the struct arrays of Hwang and Grauman's release; "
            "name their train.mat or test.mat"
        )
    return [
        (f"{part}({index})", *entry)
        for part in PARTS
        if part in parts
        for index, entry in enumerate(_entries(parts[part], f"{path}: {part}"), 1)
    ]


def _entries(array: Any, where: str) -> Iterator[tuple[str, list[float]]]:
    if array.dtype.names is None or not {"filename", "taglist"} <= set(array.dtype.names):
        raise RanktagError(
            f"{where} is no struct array with the fields filename and taglist; name the release's train.mat or test.mat"
        )
    for index, record in enumerate(array.ravel(), 1):
        name = re.split(r"[/\\]", _text(record["filename"]))[-1].strip()
        if not name:
            raise RanktagError(f"{where}({index}) has no filename; fill it in or take the entry out")
        numbers = record["taglist"]
        if getattr(getattr(numbers, "dtype", None), "kind", "") not in tuple("uif"):
            raise RanktagError(
                f"{where}({index}), '{name}', has a taglist that is no row of numbers; mend it or empty it"
            )
        yield name if is_image_name(name) else f"{name}.jpg", [float(number) for number in numbers.ravel()]


def _text(cell: Any) -> str:
    """Text of a MATLAB char array; '' for anything else."""
    is_text = getattr(getattr(cell, "dtype", None), "kind", "") == "U"
    return str(cell.ravel()[0]) if is_text and cell.size == 1 else ""


def _load(path: str, names: Sequence[str]) -> dict[str, Any]:
    """The variables of those names in a MATLAB file. Raises RanktagError if it cannot be read."""
    loadmat = need("scipy.io", "reading MATLAB files").loadmat
    try:
        with open(path, "rb") as file:
            content = loadmat(file, variable_names=list(names))
    except OSError as error:
        raise unreadable(path, error, "is it whole?") from None
    except NotImplementedError:
        raise RanktagError(f"{path}: is a MATLAB 7.3 file; save it in MATLAB with save(..., '-v7')") from None
    except Exception as error:  # noqa: BLE001 - scipy raises whatever the damage leads to
        raise Damaged(f"{path}: is no readable MATLAB file ({type(error).__name__}: {error}); is it whole?") from None
    return {name: content[name] for name in names if name in content}
