"""An XMP sidecar beside each photo, photo.jpg.xmp, or XMP in the photo, for photo managers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ranktag.config import Config, setting
from ranktag.errors import Outage, RanktagError
from ranktag.files.isolation import Apart, EndedBadly
from ranktag.metadata.exiv2 import need_exiv2
from ranktag.metadata.fields import FIELDS
from ranktag.metadata.ranked import PREFIX
from ranktag.metadata.sidecars import SUFFIX
from ranktag.metadata.write import Change, write_tags
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import PredictedImage


@dataclass(frozen=True)
class XmpConfig(Config):
    """Settings of XMP."""

    prefix: str = setting(
        PREFIX + "/",
        "what the tags stand below in digiKam:TagsList and lr:hierarchicalSubject; dc:subject has them bare",
    )
    embed: bool = setting(
        False, "write into the photos themselves, never into a camera's RAW, instead of into sidecars"
    )
    dry_run: bool = setting(False, "say what would be written, and write nothing")
    undo: bool = setting(False, "take out what ranktag wrote, and nothing else; a sidecar that held nothing else goes")


def check(config: XmpConfig) -> None:
    """Raise RanktagError if exiv2 is not installed."""
    need_exiv2()


def write_beside(images: Iterable[PredictedImage], output: Output, config: XmpConfig) -> None:
    """The tags in rank order in the three fields that photo managers read, among what is there.

    People's keywords, ratings and all else stay; what an earlier run wrote is replaced (see
    ``ranktag.metadata.ranked``). Files are left as they are where nothing changes.

    Raises RanktagError for embedding into another folder.
    """
    if config.embed and output.path is not None:
        raise RanktagError("--embed writes into the photos themselves; leave out -o, or write sidecars without --embed")
    prefix = "/".join(part.strip() for part in config.prefix.split("/") if part.strip())
    outcomes: Counter[str] = Counter()
    with Apart(write_tags) as apart:
        for image in images:
            with output.image(image):
                path = output.photo(image) if config.embed else output.beside(image, SUFFIX)
                tags = [] if config.undo else [tag for tag, _ in image.tags]
                change = _changed(apart, path, tags, prefix, config)
                outcomes[change["outcome"]] += 1
                if change["outcome"] == "failed":
                    raise RanktagError(f"{path} {change['reason']}")
                if config.dry_run and change["outcome"] != "unchanged":
                    output.notes.append(f"{path}: {_said(change)}")
    would = "would be " if config.dry_run else ""
    what = "photos" if config.embed else "sidecars"
    output.notes.append(
        f"{outcomes['written']:,} {what} {would}written, {outcomes['unchanged']:,} unchanged"
        + (f", {outcomes['removed']:,} {would}removed" if outcomes["removed"] else "")
    )


def _changed(apart: Apart, path: Path, tags: list[str], prefix: str, config: XmpConfig) -> Change:
    """Write one file in a process apart. Raises RanktagError, and Outage if the disk fails."""
    try:
        change: Change = apart(str(path), tags, prefix, config.embed, config.dry_run)
    except EndedBadly as error:
        if error.killed:
            raise Outage(f"{path}: writing it was stopped from outside; is there enough memory?") from None
        raise RanktagError(f"{path} is left as it is: exiv2 {error.how} on it") from None
    except OSError as error:
        raise Outage(
            f"{error.filename or path}: cannot be written ({error.strerror}); what is done is kept: "
            "mend that and run the same command again"
        ) from None
    return change


def _said(change: Change) -> str:
    """What changes in the fields: + what comes, - what goes."""
    said = []
    for name, field in FIELDS.items():
        before, after = change["before"].get(name, []), change["after"].get(name, [])
        signed = [f"-{entry}" for entry in before if entry not in after]
        signed += [f"+{entry}" for entry in after if entry not in before]
        if signed or before != after:
            said.append(f"{field.title} {', '.join(signed) or 'in another order'}")
    return ("the sidecar goes; " if change["outcome"] == "removed" else "") + "; ".join(said)
