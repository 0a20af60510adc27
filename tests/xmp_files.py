"""Photos and sidecars with metadata as photo programs write it, made by exiv2 or by hand; exiftool, where it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool (Debian: libimage-exiftool-perl) is not here")

KINDS = {
    "digiKam:TagsList": "Seq",
    "lr:hierarchicalSubject": "Bag",
    "dc:subject": "Bag",
}


def photo(path: Path, **options: Any) -> Path:
    """A photo of 24 x 16 pixels, all different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (24, 16))
    image.putdata([(7 * n % 256, 3 * n % 256, n % 256) for n in range(24 * 16)])
    image.save(path, **options)
    return path


def packet(
    lists: Mapping[str, Sequence[str]], attributes: str = "", more: str = "", kinds: Mapping[str, str] = KINDS
) -> str:
    """An XMP packet as Adobe's programs write it: with the lists, and what else is given as XML."""
    properties = "".join(
        f"<{name}><rdf:{kinds[name]}>{''.join(f'<rdf:li>{e}</rdf:li>' for e in entries)}</rdf:{kinds[name]}></{name}>\n"
        for name, entries in lists.items()
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000">\n'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"\n'
        ' xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/"\n'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"\n'
        ' xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:foo="http://foo.example/ns/"\n'
        f" {attributes}>\n{properties}{more}"
        '</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
    )


def sidecar(path: Path, lists: Mapping[str, Sequence[str]], attributes: str = "", more: str = "") -> Path:
    """A sidecar as Adobe's programs write it."""
    path.write_text(packet(lists, attributes, more), encoding="utf-8")
    return path


def embed(
    path: Path, lists: Mapping[str, Sequence[str]] | None = None, iptc: Sequence[bytes] = (), mark: bytes = b""
) -> None:
    """Write XMP lists and IPTC keywords (bytes, and the mark of their character set) into a photo."""
    from ranktag.metadata.exiv2 import exiv2

    library = exiv2()
    image = library.ImageFactory.open(str(path))
    image.readMetadata()
    if lists is not None:
        image.setXmpPacket(packet(lists))
    data = image.iptcData()
    if mark:
        data.add(library.Iptcdatum(library.IptcKey("Iptc.Envelope.CharacterSet"), library.StringValue(mark.decode())))
    for word in iptc:
        value = library.StringValue()
        with warnings.catch_warnings():
            # Only bytes can be of an old character set.
            warnings.simplefilter("ignore", DeprecationWarning)
            value.read(word, library.ByteOrder.bigEndian)
        data.add(library.IptcKey("Iptc.Application2.Keywords"), value)
    image.writeMetadata()


def exiftool(path: Path) -> dict[str, Any]:
    """What exiftool reads in a file, by group and name; a list of one is a text."""
    assert EXIFTOOL is not None
    done = subprocess.run(
        [EXIFTOOL, "-json", "-G1", "-struct", "-validate", "-warning", "-a", "-all:all", str(path)],
        capture_output=True,
        check=True,
    )
    (found,) = json.loads(done.stdout)
    return dict(found)


def listed(value: Any) -> list[str]:
    """A list of texts as exiftool means it."""
    return [str(entry) for entry in (value if isinstance(value, list) else [] if value is None else [value])]


class Here:
    """Stands for ``ranktag.files.isolation.Apart``: calls the function in this process."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass
