"""Lists of image ids, as people keep them: an id a line, or a table with the column image_id."""

from __future__ import annotations

from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.tables import read_header, read_table
from ranktag.files.text import read_text_lines


def read_image_ids(path: str | Path) -> list[str]:
    """The ids in a file, each once, in order.

    Raises RanktagError for a file that cannot be read, and one without ids.
    """
    path = Path(path)
    header = read_header(path)
    if "image_id" in header:
        ids = [image_id for _, (image_id,) in read_table(path, ("image_id",))]
    else:
        ids = [line for _, line in read_text_lines(path)]
    found = list(dict.fromkeys(image_id for image_id in ids if image_id))
    if not found:
        raise RanktagError(f"{path}: holds no image id; write one a line, or a CSV with the column image_id")
    return found
