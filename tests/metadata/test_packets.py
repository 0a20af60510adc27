"""XMP packets: what stands in them, however their XML is written."""

from __future__ import annotations

import pytest
from xmp_files import packet

from ranktag.metadata.exiv2 import Damaged
from ranktag.metadata.packets import Packet, text_of, values

pytest.importorskip("exiv2")
DC, XMP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/xap/1.0/"


def test_values_do_not_depend_on_how_they_are_written() -> None:
    expected = {(f"{DC}subject", "a"): 2, (f"{DC}subject", "b"): 1, (f"{XMP}Rating", "3"): 1}
    lists = {"dc:subject": ["a", "b", "a"]}
    assert values(packet(lists, 'xmp:Rating="3"')) == expected
    assert values(packet(lists, more="<xmp:Rating>3</xmp:Rating>")) == expected
    assert values(packet({"dc:subject": []})) == {}
    # exiv2 writes exiftool's namespaces with a slash at their end.
    microsoft = 'xmlns:M="http://ns.microsoft.com/photo/1.0{}" M:Rating="75"'
    assert values(packet({}, microsoft.format("/"))) == values(packet({}, microsoft.format(""))) != {}
    with pytest.raises(Damaged, match="damaged"):
        values(packet(lists)[:300])
    with pytest.raises(Damaged, match="document type"):
        values('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')


def test_what_is_put_reads_back_and_a_kind_that_is_there_stays() -> None:
    found = Packet.parse(packet({"digiKam:TagsList": ["z", "a"]}, kinds={"digiKam:TagsList": "Bag"}))
    found.put("Xmp.dc.subject", ["y", 'type="Bag"', "a, b"], ordered=False)
    found.put("Xmp.digiKam.TagsList", ["x"], ordered=True)
    text = text_of(found.encode())
    assert Packet.parse(text).lists() == {"subject": ["y", 'type="Bag"', "a, b"], "tagslist": ["x"]}
    assert text.count("<rdf:Bag>") == 2
    found.put("Xmp.dc.subject", [], ordered=False)
    assert "subject" not in text_of(found.encode())


@pytest.mark.parametrize(
    "data", [b"", b"\0\0", b"<?xml version='1.0' encoding='klingon'?><a/>", b"\xff\xfe\0", b"\xe4"]
)
def test_what_is_no_text_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        text_of(data)


@pytest.mark.parametrize("text", ["hello", "<html/>", packet({"dc:subject": ["x"]})[:-80]])
def test_what_is_no_xmp_is_damaged(text: str) -> None:
    with pytest.raises(Damaged):
        Packet.parse(text)
