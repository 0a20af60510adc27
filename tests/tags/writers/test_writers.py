"""Every output format that is one file of text, as it stands in the file; they stream, and say what they are."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ranktag import registry
from ranktag.tags.formats import Format
from ranktag.tags.predictions import WRITERS, PredictedImage, write_predictions

IMAGES = [
    PredictedImage("b\t1.jpg", [("dog", 0.75), ("=grass\n", 1 / 3)]),
    PredictedImage("a.jpg", []),
    PredictedImage('"é".jpg', [("a, b", math.nan)]),
]
LONG = """image_id,rank,tag,probability
b\t1.jpg,1,dog,0.75
b\t1.jpg,2,"'=grass
",0.333333
a.jpg,,,
\"""é"".jpg",1,"a, b",
"""
FILES = {
    "long": LONG,
    "csv": LONG,
    "wide": """image_id,tags,probabilities
b\t1.jpg,"dog|=grass
",0.75|0.333333
a.jpg,,
\"""é"".jpg","a, b",
""",
    "table": """b\\t1.jpg
   1  dog                       75.0%
   2  =grass\\n                  33.3%
a.jpg
"é".jpg
   1  a, b
""",
    "lines": """b\\t1.jpg\tdog|=grass\\n
a.jpg\t
"é".jpg\ta, b
""",
    "json": """[
  {
    "image": "b\\t1.jpg",
    "tags": [
      {
        "tag": "dog",
        "probability": 0.75
      },
      {
        "tag": "=grass\\n",
        "probability": 0.333333
      }
    ]
  },
  {
    "image": "a.jpg",
    "tags": []
  },
  {
    "image": "\\"é\\".jpg",
    "tags": [
      {
        "tag": "a, b",
        "probability": null
      }
    ]
  }
]
""",
    "jsonl": """{"file_name": "b\\t1.jpg", "tags": ["dog", "=grass\\n"], "probabilities": [0.75, 0.333333]}
{"file_name": "a.jpg", "tags": [], "probabilities": []}
{"file_name": "\\"é\\".jpg", "tags": ["a, b"], "probabilities": [null]}
""",
}
EMPTY = {
    "long": "image_id,rank,tag,probability\n",
    "csv": "image_id,rank,tag,probability\n",
    "wide": "image_id,tags,probabilities\n",
    "table": "",
    "lines": "",
    "json": "[]\n",
    "jsonl": "",
}


def written(name: str, images: list[PredictedImage]) -> str:
    file = io.StringIO(newline="")
    registry.load(WRITERS, name).write(iter(images), file)
    return file.getvalue()


def test_every_format_of_text_is_here() -> None:
    text = {name for name in registry.names(WRITERS) if Format.of(name).kind == "write"}
    assert text == set(FILES) == set(EMPTY)


@pytest.mark.parametrize("name", FILES)
def test_a_format_looks_like_this(name: str) -> None:
    assert written(name, IMAGES) == FILES[name]
    assert written(name, []) == EMPTY[name]


def test_json_is_what_one_dump_would_be() -> None:
    text = written("json", IMAGES)
    assert json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n" == text


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_written_before_the_next_one_is_asked_for(name: str) -> None:
    file = io.StringIO()

    def images() -> Iterator[PredictedImage]:
        for number in range(3):
            assert number == 0 or f"{number - 1}.jpg" in file.getvalue()
            yield PredictedImage(f"{number}.jpg", [("dog", 0.5)])

    registry.load(WRITERS, name).write(images(), file)


class Failing(dict[str, Any]):
    """Predictions of which there are no more after the first."""

    def items(self) -> Any:
        yield next(iter(super().items()))
        raise RuntimeError("the model fails")


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_written_whole_or_not_at_all(name: str, tmp_path: Path) -> None:
    path = tmp_path / "p"
    write_predictions(path, dict(IMAGES), name)
    assert path.read_text(encoding="utf-8") == FILES[name]
    with pytest.raises(RuntimeError, match="the model fails"):
        write_predictions(path, Failing(IMAGES), name)
    assert path.read_text(encoding="utf-8") == FILES[name] and list(tmp_path.iterdir()) == [path]


def test_a_format_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'xml' is not one of .*csv, .*json, .*lines, .*long, .*table, .*wide"):
        write_predictions(tmp_path / "p", {}, "xml")
    assert not any(tmp_path.iterdir())
