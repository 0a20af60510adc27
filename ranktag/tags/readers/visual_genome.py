"""Visual Genome's objects (objects.json).

SOURCE is objects.json, or the folder that holds it; image_data.json, which says
where the photos are and how large, is found beside it.

The tags of an image are the names of its objects, the largest box first, in pixels
inside the image. Names are put in lower case, in Unicode normal form C, with single
spaces; people typed tens of thousands: mend them with --aliases, leave rare ones
out with --min-count, or take --names synset.

image_id is the folder and file in the photo's URL, VG_100K_2/1.jpg, as the two
archives of photos unpack; without image_data.json it is 1.jpg.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, number, read_json
from ranktag.tags.annotations.image_names import image_path
from ranktag.tags.annotations.names import normal_name, read_aliases
from ranktag.tags.annotations.objects import AnnotatedObject, Point, add_objects, area_inside, image_size
from ranktag.tags.annotations.settings import ReaderConfig

REMEDY = "name Visual Genome's objects.json"


@dataclass(frozen=True)
class VisualGenomeConfig(ReaderConfig):
    """Settings of tag lists from Visual Genome."""

    order: str = setting(
        "largest",
        "what ranks the names: the area of the largest box (largest), or their order in the file (annotation)",
        choices=("largest", "annotation"),
    )
    names: str = setting(
        "name",
        "what an object is called: the name that people typed (name), or the word of its WordNet synset, where it "
        "has one (synset)",
        choices=("name", "synset"),
    )
    image_data: Path | None = setting(None, "the file image_data.json", when_none="that beside objects.json")
    min_count: int = setting(1, "names in fewer lists are left out; 100 is usual", unit="lists", low=1)
    aliases: Path | None = setting(
        None,
        "a CSV file with the columns name,tag: names to be written as another tag, or left out where tag is empty",
        when_none="none",
    )


class _Photo(NamedTuple):
    image_id: str
    size: Point | None


def read(source: Path, config: VisualGenomeConfig) -> TagListBuilder:
    """Tag lists of Visual Genome's objects.json, one an image.

    Images that are listed twice, or that image_data.json lacks, are skipped.

    Raises RanktagError: no such file, another form, no object.
    """
    path = Path(source) / "objects.json" if Path(source).is_dir() else Path(source)
    aliases = read_aliases(config.aliases)
    builder = TagListBuilder(config.prefix)
    images = _list_of(path, REMEDY)
    beside = config.image_data or path.with_name("image_data.json")
    photos = _photos(beside, builder) if config.image_data or beside.is_file() else None
    if photos is None:
        builder.note("image_data.json is not there, so image_id is the image's number and .jpg", path.name)
    keys = Counter(_key(image) for image in images)
    for index, image in enumerate(images):
        key = _key(image)
        where = f"image {index if key is None else key}"
        try:
            if key is None or not isinstance(image.get("objects"), list):
                raise BrokenFile("has no image_id, or no list 'objects'")
            if keys[key] > 1:
                raise BrokenFile("is listed twice; keep one")
            if photos is not None and key not in photos:
                raise BrokenFile(f"is not in {beside.name} with a photo of its own")
            photo = _Photo(f"{key}.jpg", None) if photos is None else photos[key]
            objects = [_object(thing, photo.size, config, aliases, builder) for thing in image["objects"]]
            add_objects(builder, photo.image_id, [thing for thing in objects if thing is not None], config.order)
        except BrokenFile as error:
            builder.skip(where, error)
    builder.drop_rare(config.min_count)
    return builder.checked(path, "object of Visual Genome's form")


def _list_of(path: Path, remedy: str) -> list[Any]:
    try:
        content = read_json(path)
        if not isinstance(content, list):
            raise BrokenFile("is no list of images")
    except BrokenFile as error:
        raise RanktagError(f"{path}: {error}; {remedy}") from None
    return content


def _key(image: Any) -> int | None:
    """The number of an image; older files call it id."""
    value = image.get("image_id", image.get("id")) if isinstance(image, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _photos(path: Path, builder: TagListBuilder) -> Mapping[int, _Photo]:
    """Number -> photo, from image_data.json; not of what is listed twice in different ways, or shares its photo."""
    photos: dict[int, _Photo] = {}
    bad: set[int] = set()
    for index, image in enumerate(_list_of(path, "name Visual Genome's image_data.json")):
        key = _key(image)
        try:
            if key is None:
                raise BrokenFile("has no image_id")
            url = image_path(image.get("url"))
            photo = _Photo("/".join(url.split("/")[-2:]), image_size(image.get("width"), image.get("height")))
            if photos.setdefault(key, photo) != photo:
                bad.add(key)
        except BrokenFile as error:
            builder.skip(f"{path.name}: [{index}]", error)
    named = Counter(photo.image_id for photo in photos.values())
    return {key: photo for key, photo in photos.items() if key not in bad and named[photo.image_id] == 1}


def _object(
    thing: Any,
    size: Point | None,
    config: VisualGenomeConfig,
    aliases: Mapping[str, str],
    builder: TagListBuilder,
) -> AnnotatedObject | None:
    """An object with its area in pixels; None, counted, if it has no name."""
    thing = thing if isinstance(thing, dict) else {}
    name = normal_name(_name(thing, config.names))
    tag = aliases.get(name, name)
    if not tag:
        builder.drop("objects left out by the aliases" if name else "objects without a name")
        return None
    x, y, width, height = (number(thing.get(key)) for key in ("x", "y", "w", "h"))
    if x is None or y is None or width is None or height is None or width <= 0 or height <= 0:
        return AnnotatedObject(tag, None)
    return AnnotatedObject(tag, area_inside((x, y), (x + width, y + height), size))


def _name(thing: Mapping[str, Any], kind: str) -> str:
    """The first name, or the word of the first synset: ``street_light.n.01`` is street light."""
    synsets, names = thing.get("synsets"), thing.get("names", thing.get("name"))
    if kind == "synset" and isinstance(synsets, list) and synsets and isinstance(synsets[0], str):
        return synsets[0].rsplit(".", 2)[0].replace("_", " ")
    first = names[0] if isinstance(names, list) and names else names
    return first if isinstance(first, str) else ""
