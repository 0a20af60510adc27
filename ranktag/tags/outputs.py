"""An output: a format, where it is written, and what could not be.

Files appear whole or not at all. No image id leads out of the folder that was named.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ranktag.config import Config
from ranktag.errors import Outage, RanktagError
from ranktag.files.atomic import atomic_path, atomic_text
from ranktag.files.locations import is_file
from ranktag.files.replacement import replaced_together
from ranktag.tags.formats import Format
from ranktag.tags.predictions import PredictedImage, RankedTag

# What the operating system says of one path, and not of the disk or the machine.
OF_ONE_PATH = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
)


class TaggedPhoto(PredictedImage):
    """One whose photo is known. photo: where it is. name: what it is called below another folder."""

    photo: Path
    name: str

    def __new__(cls, image_id: str, tags: Sequence[RankedTag], photo: Path, name: str) -> TaggedPhoto:
        """The pair, and the photo beside it: writers that do not look for it are given pairs."""
        image = super().__new__(cls, image_id, tags)
        image.photo, image.name = photo, name
        return image


class Output:
    """Where predictions are written, and in which format.

    path: the file or folder to write; of files beside photos, the folder below which they go instead of
    beside the photos. photos: the folder that image ids are paths below; not needed where images are
    ``TaggedPhoto``. failures: image id and reason of every image that could not be written. notes: what else
    the user should know, a sentence each.
    """

    def __init__(
        self,
        format: str,
        path: Path | None = None,
        *,
        photos: Path | None = None,
        settings: Config | None = None,
        overwrite: bool = False,
        update: bool = False,
    ) -> None:
        """settings: the format's; None are its defaults. update: what is there is brought up to date.

        Raises ValueError for an unknown format, and RanktagError for settings of another one, an output that
        exists unless ``overwrite`` or ``update``, a path or photos that the format needs or has no use for, and
        what its ``check`` finds.
        """
        self.format, self.path, self.photos = Format.of(format), path, photos
        self.overwrite, self.update = overwrite, update
        self.settings = settings if settings is not None or self.format.settings is None else self.format.settings()
        if self.settings is not None and not isinstance(self.settings, self.format.settings or ()):
            raise RanktagError(f"--format {format}: {type(self.settings).__name__} are settings of another format")
        self.failures: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._written: set[Path] = set()
        self.format.refuse_place(path, photos, overwrite, update)
        if self.format.check is not None:
            self.format.check(*self._settings())

    def _settings(self) -> tuple[Config, ...]:
        return () if self.settings is None else (self.settings,)

    @property
    def beside_photos(self) -> bool:
        """Whether the format writes a file beside each photo."""
        return self.format.kind == "write_beside"

    @property
    def prints(self) -> bool:
        """Whether it is text without a file of its own."""
        return self.format.kind == "write" and self.path is None

    @property
    def place(self) -> Path:
        """The file or folder that was named; the photos' own if none was."""
        return self.path or self.photos or Path()

    def refuse_no_place(self) -> None:
        """Raise RanktagError if nothing says where to write images of which only the ids are known."""
        if self.path is None and self.photos is None:
            photos = ", or the folder of the photos with --photos" if self.beside_photos else ""
            raise RanktagError(f"--format {self.format.name}: nothing says where to write; name it with -o{photos}")

    def write(self, images: Iterable[PredictedImage], file: TextIO | None = None) -> None:
        """Write the images as they come. file: an open text file, where a format of text has no path.

        Raises RanktagError for what the format cannot hold; what it can hold of no more than one image is in
        ``failures``.
        """
        settings, kind, function, path = self._settings(), self.format.kind, self.format.function, self.path
        if kind == "write_beside":
            function(images, self, *settings)
        elif path is None:
            if file is None:
                raise ValueError(f"--format {self.format.name} needs a path")
            function(images, file, *settings)
        elif kind == "write":
            with atomic_text(path) as text:
                function(images, text, *settings)
        elif kind == "write_file":
            with atomic_path(path) as temporary:
                function(images, temporary, self, *settings)
        else:
            with replaced_together(path, self.format.files) as folder:
                function(images, folder, self, *settings)

    def fail(self, image_id: str, reason: str) -> None:
        """An image is not written, or not as it should be."""
        self.failures.append((image_id, reason))

    @contextmanager
    def image(self, image: PredictedImage) -> Iterator[None]:
        """Within, one image is written: a RanktagError, or a path that cannot be written, is that image's failure.

        The next image then follows. Errors that say nothing of the image, as a full disk, are raised.
        """
        try:
            yield
        except Outage:
            raise
        except RanktagError as error:
            self.fail(image.image_id, str(error))
        except OSError as error:
            if error.errno not in OF_ONE_PATH:
                raise
            self.fail(image.image_id, f"{os.fsdecode(error.filename or '')}: {error.strerror}")

    def knows_photo(self, image: PredictedImage) -> bool:
        """Whether it was said where the photos are."""
        return isinstance(image, TaggedPhoto) or self.photos is not None

    def photo(self, image: PredictedImage) -> Path:
        """The image's photo, which is there. Raises RanktagError."""
        if isinstance(image, TaggedPhoto):
            if not is_file(os.fsencode(image.photo)):
                raise RanktagError("is in a tar, beside which nothing is written; name a folder with -o")
            return image.photo
        if self.photos is None:
            raise RanktagError("nobody knows where its photo is; name the folder of the photos with --photos")
        photo = self.photos / _below(image.image_id)
        if not photo.is_file():
            raise RanktagError(f"there is no photo {photo}; name the folder that its id is a path below with --photos")
        return photo

    def beside(self, image: PredictedImage, suffix: str) -> Path:
        """Where the file goes that belongs beside the image's photo: photo.jpg and '.txt' give photo.jpg.txt.

        Raises RanktagError for a photo that is not there, an id that leads out of the folder, and a second
        file of one name.
        """
        if self.path is None:
            photo = self.photo(image)
        else:
            photo = self.path / _below(name_of(image))
            if self.photos is not None:
                self.photo(image)
        path = photo.with_name(photo.name + suffix)
        if path in self._written:
            raise RanktagError(f"{path}: was written for another image of that name already")
        self._written.add(path)
        return path


def name_of(image: PredictedImage) -> str:
    """What an image is called in a file: its path below the folder of photos."""
    return image.name if isinstance(image, TaggedPhoto) else image.image_id


def _below(image_id: str) -> Path:
    """The path below a folder that an image id is. Raises RanktagError for one that leads out of it."""
    parts = image_id.replace("\\", "/").split("/")
    if os.path.isabs(image_id) or ".." in parts or "\0" in image_id or not Path(image_id).name:
        raise RanktagError("its id is no path below a folder, so that nothing is written for it")
    return Path(image_id)
