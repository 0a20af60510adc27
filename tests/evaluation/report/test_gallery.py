"""The page's galleries: which images they hold, hits in words, and photos."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image

from ranktag.config import EvaluationConfig
from ranktag.evaluation.compare import compare
from ranktag.evaluation.report.page import render
from ranktag.tags.lists import TagLists


def test_hits_are_marked_in_words_and_with_their_rank() -> None:
    truth = TagLists({"a": [("dog", "cat")]})
    page = render(compare({"row": [{"a": [("cat", 0.5), ("fox", 0.5), ("cat", 0.5)]}]}, truth))
    # cat stands first, its rank is 2; fox is no hit and the second cat none either.
    card = page[page.index("<article") : page.index("</article>")]
    assert card.count("✓") == 1 and '<li class="hit">✓ <bdi>cat</bdi><sub>2</sub></li>' in card
    assert "<li><bdi>fox</bdi></li><li><bdi>cat</bdi></li>" in card


def test_the_gallery_holds_the_best_the_worst_and_a_seeded_dozen() -> None:
    truth = TagLists({f"{n:02d}": [("a", "b", "c", "d")] for n in range(20)})
    # Image n lists the first right tag at place n // 4 + 1: the lower the number, the better.
    predictions = {f"{n:02d}": [*((f"no{j}", 0.5) for j in range(n // 4)), ("a", 0.5)] for n in range(20)}
    pages = [
        render(compare({"row": [predictions]}, truth, EvaluationConfig(resamples=0, seed=seed))) for seed in (0, 0, 1)
    ]
    ids = [re.findall(r'class="id"><bdi>(\d\d)<', page) for page in pages]
    assert ids[0][:12] == [f"{n:02d}" for n in range(12)]
    assert sorted(ids[0][12:16]) == ["16", "17", "18", "19"]
    assert len(set(ids[0][24:])) == 12
    assert ids[0] == ids[1] and ids[0][24:] != ids[2][24:]
    assert pages[0] == pages[1]


def test_the_gallery_begins_where_two_rows_differ_most() -> None:
    truth = TagLists({f"{n:02d}": [("a",)] for n in range(12)})
    right, wrong, late = [("a", 0.5)], [("b", 0.5)], [("b", 0.5), ("a", 0.5)]
    one = {i: wrong if i in ("03", "05") else right for i in truth.lists}
    two = {i: late if i == "07" else wrong if i == "08" else right for i in truth.lists}
    three = dict.fromkeys(truth.lists, wrong)
    shown = {}
    for reference in (None, "three"):
        report = compare({"one": [one], "two": [two], "three": [three]}, truth, EvaluationConfig(reference=reference))
        page = render(report)
        parts = re.split(r"<h3><bdi>", page)[1:]
        shown[reference] = {part.split("<")[0]: re.findall(r'class="id"><bdi>(\d\d)<', part) for part in parts}
    # 'two' is best by its late 'a', 'one' second; with a reference that is compared with the best.
    ahead = shown[None]["Where two is ahead of one"], shown[None]["Where one is ahead of two"]
    assert ahead == (["03", "05"], ["08", "07"])
    assert (
        list(shown["three"])[0] == "Where two is ahead of three" and "Where three is ahead of two" not in shown["three"]
    )
    assert len(shown["three"]["Where two is ahead of three"]) == 6


def test_photos_are_small_upright_and_inside(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (1600, 800), "red").save(folder / "turned.jpg", exif=exif)
    Image.new("LA", (40, 40)).save(folder / "grey.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    Image.new("RGB", (40, 40)).save(tmp_path / "outside.jpg")
    ids = ["turned.jpg", "grey.png", "broken.jpg", "../outside.jpg", "absent.jpg", "a" * 300, "nul\0"]
    truth = TagLists({i: [("x",)] for i in ids})
    page = render(compare({"row": [{i: [("x", 0.5)] for i in ids}]}, truth), folder)
    # Best, worst and random each show the three files of the folder, of which one cannot be read.
    assert page.count("<img") == 6 and page.count("the photo cannot be read") == 3
    assert "outside.jpg" not in page and "3 of 7" in page
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(data))).size
        for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    }
    assert sizes == {(210, 420), (40, 40)}
