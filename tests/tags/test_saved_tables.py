"""Tables as spreadsheets save them, wherever one is read: by one mechanism, so what one reads all read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ranktag.images.listing import list_images
from ranktag.tags.annotations.names import read_aliases
from ranktag.tags.chosen import read_tags
from ranktag.tags.image_ids import read_image_ids
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions

CAFE = "caf\u00e9"
# What is read -> its header, two rows, and what comes of them.
READ: dict[str, tuple[Callable[[Path], Any], list[str], Any]] = {
    "tag lists": (
        lambda path: read_tag_lists(path).lists,
        ["image_id,tags", f"a.jpg,{CAFE}|dog", "b.jpg,"],
        {"a.jpg": [(CAFE, "dog")], "b.jpg": [()]},
    ),
    "predictions": (
        lambda path: {i: [tag for tag, _ in tags] for i, tags in read_predictions(path).items()},
        ["image_id,rank,tag,probability", f"a.jpg,1,{CAFE},", "b.jpg,1,dog,"],
        {"a.jpg": [CAFE], "b.jpg": ["dog"]},
    ),
    "wide predictions": (
        lambda path: {i: [tag for tag, _ in tags] for i, tags in read_predictions(path).items()},
        ["image_id,tags,probabilities", f"a.jpg,{CAFE},", "b.jpg,dog,"],
        {"a.jpg": [CAFE], "b.jpg": ["dog"]},
    ),
    "ids": (read_image_ids, ["note,image_id", f"x,{CAFE}.jpg", "y,b.jpg"], [f"{CAFE}.jpg", "b.jpg"]),
    "photos": (
        lambda path: list(list_images(path).ids),
        ["image_id,path", f"{CAFE}.jpg,", "b.jpg,"],
        [f"{CAFE}.jpg", "b.jpg"],
    ),
    "aliases": (read_aliases, ["name,tag", f"cafe,{CAFE}", "hound,dog"], {"cafe": CAFE, "hound": "dog"}),
    "tags": (lambda path: sorted(read_tags(path).values()), ["n,tag", f"1,{CAFE}", "2,dog"], [CAFE, "dog"]),
}
SAVED: dict[str, Callable[[list[str]], bytes]] = {
    "Windows-1252, semicolons": lambda rows: "\r\n".join(rows).replace(",", ";").encode("cp1252"),
    "UTF-16, tabs": lambda rows: "\r\n".join(rows).replace(",", "\t").encode("utf-16"),
    "sep=;": lambda rows: ("sep=;\r\n" + "\r\n".join(rows).replace(",", ";")).encode("utf-8-sig"),
    "empty rows and columns": lambda rows: "".join(
        f"{row},,\r\n" for row in (*rows, "," * rows[0].count(","))
    ).encode(),
}


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("what", READ)
def test_a_saved_table_is_read(tmp_path: Path, what: str, saved: str) -> None:
    read, rows, expected = READ[what]
    path = tmp_path / "table.csv"
    path.write_bytes(SAVED[saved](rows))
    assert read(path) == expected


@pytest.mark.parametrize("read", [read_image_ids, lambda path: list(read_tags(path).values())])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_list_is_read(tmp_path: Path, read: Callable[[Path], list[str]], encoding: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(f"{CAFE}\r\n\r\ndog\r\n".encode(encoding))
    assert read(path) == [CAFE, "dog"]
