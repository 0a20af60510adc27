"""Label Studio's JSON export.

SOURCE is the file that Export > JSON gives (not JSON-MIN).

An annotation is one person's list (completed_by, in the column person); cancelled ones and predictions
are left out, and of several that one person made of an image the last counts.

\b
Ranker            the order that people made; of buckets the ranked one
Textarea          the order of entry; an entry with commas is several tags
Rectangles, ellipses, polygons, brush
                  by area, in shares of the image, the largest first
Choices, Taxonomy the order of the labelling configuration: Label Studio does
                  not keep the order of clicks, so there is none to learn

image_id is the image's path: that of local storage (/data/local-files/?d=), the name
of an uploaded file without what Label Studio put before it, else the path of
the URL. Two images that would be called alike are skipped.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import urllib.parse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, is_image_name, number, read_json
from ranktag.tags.annotations.image_names import image_path
from ranktag.tags.annotations.objects import AnnotatedObject, add_objects, area_inside, polygon_area
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.readers._brush import painted_share

REMEDY = "name the file of Label Studio's export as JSON"
REGIONS = ("rectanglelabels", "ellipselabels", "polygonlabels", "brushlabels", "keypointlabels", "labels")
LISTS = ("ranker", "textarea", "choices", "taxonomy")
UNTOUCHED = "_"


@dataclass(frozen=True)
class LabelStudioConfig(ReaderConfig):
    """Settings of tag lists from Label Studio."""

    control: str | None = setting(
        None,
        "the control whose results are the tags, by its name in the labelling configuration",
        when_none="the ranker if there is one, else the only control, or all that draw regions",
    )
    bucket: str | None = setting(
        None, "the bucket of a ranker that holds the ranked tags", when_none=f"the only one beside '{UNTOUCHED}'"
    )
    image_key: str | None = setting(
        None, "what names the image in a task's data", when_none="image, else the only one that names an image"
    )


@dataclass(frozen=True)
class _Annotation:
    """One person's annotation of a task. where: for the list of what was skipped. person: '' if not known."""

    where: str
    image_id: str
    person: str
    results: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]


def read(source: Path, config: LabelStudioConfig) -> TagListBuilder:
    """Tag lists of Label Studio's JSON export, one an annotation.

    Results of the one control that ``config.control`` names, or that the file suggests,
    are read; annotations with others only are counted and left out, those without any
    result are of images without tags.

    Raises RanktagError: no such export, several controls or buckets of which none is named, no tag.
    """
    source = Path(source)
    builder = TagListBuilder(config.prefix)
    annotations = _annotations(_tasks(source), config, builder)
    controls = _controls(source, annotations, config)
    for annotation in annotations:
        results = [result for result in annotation.results if str(result.get("from_name")) in controls]
        if annotation.results and not results:
            builder.drop(f"annotations without a result of {', '.join(sorted(controls))}")
            continue
        try:
            if all(result.get("type") in REGIONS for result in results):
                objects = [thing for result in results for thing in _objects(result, builder)]
                add_objects(builder, annotation.image_id, objects, "largest", person=annotation.person)
            else:
                tags = [tag for result in results for tag in _tags(result, annotation, config, builder)]
                builder.add(annotation.image_id, tags, person=annotation.person)
        except BrokenFile as error:
            builder.skip(annotation.where, error)
    return builder.checked(source, "result of Label Studio's form")


def _tasks(source: Path) -> list[Any]:
    try:
        content = read_json(source)
    except BrokenFile as error:
        raise RanktagError(f"{source}: {error}; {REMEDY}") from None
    tasks = content if isinstance(content, list) else [content]
    known = [task for task in tasks if isinstance(task, dict) and isinstance(task.get("data"), dict)]
    if not known:
        raise RanktagError(f"{source}: has no task with 'data', as Label Studio's JSON (not JSON-MIN) has; {REMEDY}")
    return tasks


def _annotations(tasks: Sequence[Any], config: LabelStudioConfig, builder: TagListBuilder) -> list[_Annotation]:
    """The annotations that count, of tasks whose image can be told."""
    images: dict[int, str] = {}
    raw: dict[str, set[str]] = defaultdict(set)
    # (image, person) -> when, and the last of that person's annotations, of one task or of several of the image.
    latest: dict[tuple[str, str], tuple[str, _Annotation]] = {}
    for index, task in enumerate(tasks):
        try:
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise BrokenFile("is no task (it has no 'data')")
            name = _image_name(task["data"], config.image_key)
            images[index] = image_id_of(name)
            raw[images[index]].add(name)
        except BrokenFile as error:
            builder.skip(_where(task, index), error)
    for index, image_id in images.items():
        task = tasks[index]
        if len(raw[image_id]) > 1:
            builder.skip(
                _where(task, index), f"would be of '{image_id}', as another; they may be different photos of one name"
            )
            continue
        found = task.get("annotations", task.get("completions"))
        predictions = task.get("predictions")
        builder.drop("predictions, which nobody made", len(predictions) if isinstance(predictions, list) else 0)
        _of_task(task, _where(task, index), image_id, found if isinstance(found, list) else [], latest, builder)
    return [annotation for _, annotation in latest.values()]


def _where(task: Any, index: int) -> str:
    return f"task {task['id'] if isinstance(task, dict) and isinstance(task.get('id'), (int, str)) else f'[{index}]'}"


def _of_task(
    task: Mapping[str, Any],
    where: str,
    image_id: str,
    annotations: Sequence[Any],
    latest: dict[tuple[str, str], tuple[str, _Annotation]],
    builder: TagListBuilder,
) -> None:
    """Note the annotations of a task in ``latest``; of each person the last is kept."""
    for index, annotation in enumerate(annotations):
        results = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(results, list):
            builder.skip(f"{where}: annotations[{index}]", "has no list 'result'")
        elif annotation.get("was_cancelled") or annotation.get("skipped"):
            builder.drop("annotations that were cancelled (skipped tasks)")
        else:
            person = _person(annotation.get("completed_by"))
            at = str(annotation.get("updated_at") or annotation.get("created_at") or "")
            known = [result for result in results if isinstance(result, dict)]
            this = _Annotation(f"{where}: annotations[{index}]", image_id, person, known, task["data"])
            # One that does not say who made it is some person's; a copy of it is not another's.
            key = (image_id, person or f"annotation {annotation.get('id', this.where)}")
            if key in latest:
                builder.drop("annotations that the same person made anew")
            if key not in latest or at >= latest[key][0]:
                latest[key] = (at, this)
    if not annotations:
        builder.drop("tasks without an annotation")


def _person(completed_by: Any) -> str:
    """Who made an annotation: a number, or the e-mail address or number in an object; '' if that is not said."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return str(completed_by) if isinstance(completed_by, (int, str)) else ""


def _image_name(data: Mapping[str, Any], key: str | None) -> str:
    """What names the image in a task's data. Raises BrokenFile."""
    if key is None and "image" not in data:
        pictures = [name for name, value in data.items() if isinstance(value, str) and _names_image(value)]
        if len(pictures) != 1:
            raise BrokenFile(
                f"has no 'image' in its data, but {', '.join(map(repr, data)) or 'nothing'}; name one with --image-key"
            )
        (key,) = pictures
    value = data.get(key or "image")
    if not isinstance(value, str):
        raise BrokenFile(f"names no image, or several, in '{key or 'image'}'")
    return value


def _names_image(value: str) -> bool:
    try:
        return is_image_name(image_id_of(value))
    except BrokenFile:
        return False


def image_id_of(name: str) -> str:
    """The image_id of an image as Label Studio names it. Raises BrokenFile if there is none.

    ``/data/local-files/?d=trip/a.jpg`` and ``s3://bucket/trip/a.jpg`` are ``trip/a.jpg``,
    ``/data/upload/3/0a1b2c3d-a.jpg`` is ``a.jpg``; a server's name before them is of no account.
    """
    try:
        url = urllib.parse.urlsplit(name.strip())
        query = urllib.parse.parse_qs(url.query)
    except ValueError as error:
        raise BrokenFile(f"names no image ('{name[:60]}': {error})") from None
    if url.path.rstrip("/").endswith("/data/local-files"):
        return image_path(query.get("d", [""])[0])
    if "fileuri" in query:
        # What Label Studio shows of cloud storage goes through itself.
        try:
            return image_path(base64.b64decode(query["fileuri"][0] + "==", altchars=b"-_").decode("utf-8"))
        except (binascii.Error, UnicodeDecodeError):
            raise BrokenFile(f"names no image ('{name[:60]}')") from None
    uploaded = re.search(r"/data/upload/(?:.*/)?(?:[0-9a-f]{8}-)?([^/]+)$", url.path)
    return image_path(urllib.parse.unquote(uploaded[1]) if uploaded else name)


def _controls(source: Path, annotations: Sequence[_Annotation], config: LabelStudioConfig) -> set[str]:
    """The names of the controls whose results are read."""
    kinds: dict[str, str] = {}
    for annotation in annotations:
        for result in annotation.results:
            name, kind = result.get("from_name"), result.get("type")
            if isinstance(name, str) and kind in (*REGIONS, *LISTS):
                kinds.setdefault(name, kind)
    if config.control is not None:
        if config.control not in kinds:
            raise RanktagError(
                f"{source}: has no result of a control '{config.control}'; those there are: {_named(kinds)}"
            )
        return {config.control}
    rankers = {name for name, kind in kinds.items() if kind == "ranker"}
    chosen = rankers or set(kinds)
    if len(chosen) > 1 and not all(kinds[name] in REGIONS for name in chosen):
        raise RanktagError(f"{source}: has results of several controls, {_named(kinds)}; name one with --control")
    return chosen


def _named(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"


def _tags(
    result: Mapping[str, Any], annotation: _Annotation, config: LabelStudioConfig, builder: TagListBuilder
) -> list[str]:
    """The tags of a result that is no region, in its order. Raises BrokenFile."""
    kind = str(result.get("type"))
    value = result.get("value")
    content = value.get("text" if kind == "textarea" else kind) if isinstance(value, dict) else None
    if kind == "ranker":
        return _ranked(content, annotation, config, builder)
    if kind == "textarea":
        entries = [content] if isinstance(content, str) else content
        tags = [tag for entry in _texts(entries, kind) for tag in re.split(r"[,\n]", entry)]
        if len(tags) > len(_texts(entries, kind)):
            builder.note("entries of several tags, split at commas and line ends", annotation.where)
        return tags
    if kind not in LISTS:
        builder.drop(f"results of the kind {kind[:40]}")
        return []
    builder.note("choices and taxonomies, in the order of the configuration: that of the clicks is lost", kind)
    # A path of nested choices, of which the last is the tag.
    paths = [path if isinstance(path, list) and path else [path] for path in content or ()] if content else []
    return _texts([path[-1] for path in paths], kind)


def _texts(values: Any, kind: str) -> list[str]:
    """The texts in a list; numbers are written out. Raises BrokenFile."""
    if not isinstance(values, list) or not all(isinstance(value, (str, int)) for value in values):
        raise BrokenFile(f"has a result of the kind {kind} that is no list of texts")
    return [str(value) for value in values]


def _ranked(content: Any, annotation: _Annotation, config: LabelStudioConfig, builder: TagListBuilder) -> list[str]:
    """The tags of a ranker: a list, a list under the ranker's name, or buckets. Raises BrokenFile."""
    ids = content
    if isinstance(content, dict):
        buckets = [name for name in content if name != UNTOUCHED]
        if config.bucket is not None:
            ids = content.get(config.bucket, [])
        elif len(buckets) > 1:
            raise RanktagError(
                f"{annotation.where} has the buckets {', '.join(buckets)}; name that of the tags with --bucket"
            )
        else:
            ids = content[buckets[0]] if buckets else []
    names = _texts(ids, "ranker")
    titles: dict[str, str] = {}
    for value in annotation.data.values():
        items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
        titles |= {str(item.get("id")): item["title"] for item in items if isinstance(item.get("title"), str)}
        if len(names) > 1 and UNTOUCHED not in (content or ()) and [str(item.get("id")) for item in items] == names:
            builder.note("rankings in the order in which the tags were shown; was none moved?", annotation.where)
    return [titles.get(name) or name for name in names]


def _objects(result: Mapping[str, Any], builder: TagListBuilder) -> list[AnnotatedObject]:
    """A region's labels, with its size in percent of percent of the image."""
    value = result.get("value")
    labels = value.get(result.get("type")) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(labels, list):
        builder.drop("regions without a label")
        return []
    size = _size(value)
    return [AnnotatedObject(label, size) for label in labels if isinstance(label, str) and label.strip()]


def _size(value: Mapping[str, Any]) -> float | None:
    """Area of a region, in percent of the image's width times percent of its height; None if it has none."""
    if "rle" in value:
        share = painted_share(value["rle"])
        return share * 10_000 if share is not None else None
    x, y, width, height, across, down = (
        number(value.get(key)) for key in ("x", "y", "width", "height", "radiusX", "radiusY")
    )
    if across is not None and down is not None:
        return math.pi * across * down if across > 0 and down > 0 else None
    if width is not None and height is not None:
        if width <= 0 or height <= 0:
            return None
        if x is None or y is None or number(value.get("rotation")):
            return width * height
        return area_inside((x, y), (x + width, y + height), (100.0, 100.0))
    points = value.get("points")
    pairs = [
        (number(point[0]), number(point[1]))
        for point in (points if isinstance(points, list) else ())
        if isinstance(point, list) and len(point) == 2
    ]
    return polygon_area([(a, b) for a, b in pairs if a is not None and b is not None])
