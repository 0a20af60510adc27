"""YOLO label files, Ultralytics' and Darknet's.

SOURCE is the folder of the data set, searched recursively: labels/x.txt for
images/x.jpg (in each of them folders such as train, or the other way about), or
x.txt beside x.jpg. Its class names are in data.yaml, classes.txt or obj.names.

The tags of an image are the classes of its boxes and outlines, the largest first.
An empty label file is an image without tags; photos without a label file are
counted and left out. Boxes are shares of the image (0 to 1); a file with one that
lies outside is skipped.

image_id is the path of the photo below SOURCE/images, or below SOURCE where there
is no such folder. The splits are those of data.yaml, else those of the folders'
names. It needs the extra datasets.
"""

from __future__ import annotations

import os.path
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, files_below, need, number
from ranktag.tags.annotations.image_names import Photos
from ranktag.tags.annotations.objects import AnnotatedObject, add_objects, area_inside, polygon_area
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.splits import SPLIT_NAMES, SPLITS

# Text files that hold no boxes.
NAME_FILES = ("classes.txt", "obj.names")
OTHER_FILES = {*NAME_FILES, "predefined_classes.txt", *(f"{name}.txt" for name in SPLIT_NAMES)}
# How far outside of the image rounding may put a box.
TOLERANCE = 0.01


@dataclass(frozen=True)
class YoloConfig(ReaderConfig):
    """Settings of tag lists from YOLO's label files."""

    order: str = setting(
        "largest",
        "what ranks the classes: the area of the largest object (largest), or their order in the file (annotation)",
        choices=("largest", "annotation"),
    )
    names: Path | None = setting(
        None,
        "the file of the class names: a YAML file with names, or a text file, one a line",
        when_none="data.yaml, another YAML file with names, classes.txt or obj.names in SOURCE",
    )


def read(source: Path, config: YoloConfig) -> TagListBuilder:
    """Tag lists of a folder of label files.

    A label file is of the photo at the same place, ``images`` for ``labels``. Where
    there are photos, one without a photo is skipped. Where there is none at all,
    ``image_id`` is the path without extension, which is noted.

    Raises RanktagError: no such folder, no class names, no label file, no usable box.
    """
    source = Path(source)
    if not source.is_dir():
        raise RanktagError(f"{source}: is no folder; name the folder of the data set, that of data.yaml and labels")
    settings = _data_yaml(source, config.names)
    classes = _class_names(source, config.names, settings)
    files = _label_files(source)
    photos = Photos.below(source)
    builder = TagListBuilder(config.prefix)
    labelled: dict[str, Path] = {}
    for path in files:
        where = path.relative_to(source).as_posix()
        try:
            stem = _photo_stem(where)
            image = photos.named(stem) if photos.paths else stem
            if image in labelled:
                raise BrokenFile(f"is for '{image}', as {labelled[image].relative_to(source).as_posix()} is; keep one")
            labelled[image] = path
        except BrokenFile as error:
            builder.skip(where, error)
    if not photos.paths:
        builder.note("no photo is there, so image_id has no extension; --images PHOTOS --match stem", str(source))
    builder.drop("photos without a label file", len(photos.paths - labelled.keys()))
    split = _splits(source, settings, labelled, builder)
    below = "images/" if all(image.startswith("images/") for image in labelled) else ""
    pose = "kpt_shape" in settings
    for image, path in labelled.items():
        if split and image not in split:
            builder.drop("images that are in no split of data.yaml")
            continue
        try:
            objects = _objects(path, classes, pose)
            add_objects(builder, image.removeprefix(below), objects, config.order, split.get(image))
        except BrokenFile as error:
            builder.skip(path.relative_to(source).as_posix(), error)
    return builder.checked(source, "box of YOLO's form")


def _label_files(source: Path) -> list[Path]:
    """The label files: those in folders called labels, else all text files but those that hold names."""
    _, found, _ = files_below(source, ".txt")
    files = [path for path in found if not any(part.startswith(".") for part in path.relative_to(source).parts)]
    inside = [path for path in files if "labels" in path.relative_to(source).parts[:-1]]
    files = [path for path in inside or files if path.name.lower() not in OTHER_FILES]
    if not files:
        raise RanktagError(f"{source}: holds no label file (labels/x.txt); name the folder of the data set")
    return files


def _photo_stem(where: str) -> str:
    """The photo's path without extension, of the label file's path: the last folder ``labels`` becomes ``images``."""
    parts = posixpath.splitext(where)[0].split("/")
    if "labels" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("labels")] = "images"
    return "/".join(parts)


def _text(path: Path) -> str:
    """A text file. Raises BrokenFile."""
    try:
        data = path.read_bytes()
        if b"\0" in data:
            raise BrokenFile("holds NUL bytes; it is damaged, or no text")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BrokenFile(f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BrokenFile("is not UTF-8 text") from None


def _data_yaml(source: Path, named: Path | None) -> Mapping[str, Any]:
    """The settings in data.yaml, or in another YAML file that has names, every value as text; {} without one."""
    files = sorted((*source.glob("*.yaml"), *source.glob("*.yml")), key=lambda path: (path.stem != "data", path.name))
    if named is not None:
        files = [named] if named.suffix.lower() in (".yaml", ".yml") else files
    found = {path: content for path in files if "names" in (content := _read_yaml(path))}
    others = [path for path in found if path.stem != "data"]
    if len(found) == len(others) > 1:
        raise RanktagError(f"{source}: holds {', '.join(path.name for path in others)}; name one of them with --names")
    return next(iter(found.values()), {})


def _read_yaml(path: Path) -> Mapping[str, Any]:
    yaml = need("yaml", "reading YAML")
    try:
        # As text, a class called no is not False.
        content = yaml.load(_text(path), Loader=yaml.BaseLoader)
    except (BrokenFile, yaml.YAMLError, RecursionError) as error:
        raise RanktagError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]}); mend it there") from None
    return content if isinstance(content, dict) else {}


def _class_names(source: Path, named: Path | None, settings: Mapping[str, Any]) -> Mapping[int, str]:
    """Number -> name of the classes. Raises RanktagError without any."""
    names = settings.get("names")
    if isinstance(names, str) or names is None:
        path = named or next((p for n in NAME_FILES for p in (source / n, source / "labels" / n) if p.is_file()), None)
        if path is None:
            raise RanktagError(
                f"{source}: holds no data.yaml with names, nor {' or '.join(NAME_FILES)}; name the file with --names"
            )
        try:
            names = _text(path).rstrip().splitlines()
        except BrokenFile as error:
            raise RanktagError(f"{path}: {error}; write one class name a line") from None
    pairs: Iterable[tuple[Any, Any]] = names.items() if isinstance(names, dict) else enumerate(names)
    classes = {
        int(key): str(name).strip() for key, name in pairs if str(key).isdecimal() and not isinstance(name, dict)
    }
    if not any(classes.values()):
        raise RanktagError(f"{named or source}: has no class name; write one a line, or names: in data.yaml")
    return classes


def _splits(
    source: Path, settings: Mapping[str, Any], images: Iterable[str], builder: TagListBuilder
) -> Mapping[str, str]:
    """Image -> split, as data.yaml says, else by folders called train, val, valid and so on; {} if neither tells."""
    images = list(images)
    split: dict[str, str] = {}
    for part in SPLITS:
        given = settings.get(part) or (settings.get("valid") if part == "val" else None)
        for entry in given if isinstance(given, list) else [given] if isinstance(given, str) else []:
            for image in _images_of(source, str(settings.get("path", "")), str(entry), images):
                if split.setdefault(image, part) != part:
                    builder.note("train and val name the same images, so no split is written", image)
                    return {}
    if not split:
        found = {image: {SPLIT_NAMES[p] for p in image.lower().split("/")[:-1] if p in SPLIT_NAMES} for image in images}
        if images and all(len(parts) == 1 for parts in found.values()):
            split = {image: parts.pop() for image, parts in found.items()}
    return split


def _images_of(source: Path, root: str, entry: str, images: Sequence[str]) -> Iterator[str]:
    """The images that an entry of data.yaml names: those of a folder, or of a list in a text file.

    Paths may be another machine's, or relative to another folder: their ends are compared.
    """
    path = posixpath.normpath(posixpath.join(root, entry.strip()).replace("\\", "/"))
    parts = [part for part in path.split("/") if part not in ("", "..")]
    endings = ["/".join(parts[start:]) for start in range(len(parts))] or ["."]
    if path.lower().endswith(".txt"):
        file = next((source / end for end in endings if (source / end).is_file()), None)
        lines = _text(file).splitlines() if file is not None else []
        stems = {form: image for image in images for form in (image, os.path.splitext(image)[0])}
        for line in lines:
            words = posixpath.splitext(line.strip().replace("\\", "/"))[0].split("/")
            ends = ("/".join(words[start:]) for start in range(len(words)))
            yield from [stems[end] for end in ends if end in stems][:1]
        return
    folder = next((end for end in endings if (source / end).is_dir()), endings[-1])
    yield from (image for image in images if image.startswith(folder + "/") or folder == ".")


def _objects(path: Path, classes: Mapping[int, str], pose: bool) -> list[AnnotatedObject]:
    """The objects of a label file, sizes in shares of the image. Raises BrokenFile."""
    objects = []
    for line, text in enumerate(_text(path).splitlines(), 1):
        if not text.strip():
            continue
        values = [number(word) for word in text.split()]
        known = [value for value in values if value is not None]
        if len(known) != len(values) or len(values) < 5 or not known[0].is_integer():
            raise BrokenFile(f"line {line} is not of the form 'class x y width height': '{text.strip()[:40]}'")
        name = classes.get(int(known[0]))
        if not name:
            raise BrokenFile(f"line {line} is of class {int(known[0])}, which has no name")
        # Behind a box there may be its confidence, or a pose's points.
        box = pose or len(known) <= 6
        shares = known[1:5] if box else known[1:]
        if not box and len(shares) % 2:
            raise BrokenFile(f"line {line} holds an outline with an odd number of values")
        if any(not -TOLERANCE <= value <= 1 + TOLERANCE for value in shares):
            raise BrokenFile(f"line {line} lies outside of the image; its values must be shares of it, 0 to 1")
        objects.append(AnnotatedObject(name, _area(shares) if box else polygon_area(_pairs(shares))))
    return objects


def _area(box: Sequence[float]) -> float | None:
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return None
    return area_inside((x - width / 2, y - height / 2), (x + width / 2, y + height / 2), (1.0, 1.0))


def _pairs(values: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(values[::2], values[1::2], strict=True))
