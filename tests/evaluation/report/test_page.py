"""The report page: what it shows, that hostile text stays text, and how a browser takes it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ranktag.config import EvaluationConfig
from ranktag.evaluation.compare import compare
from ranktag.evaluation.report.page import render
from ranktag.evaluation.report.text import p_text
from ranktag.evaluation.results import EvaluationReport
from ranktag.pages import TABLES, script_source
from ranktag.tags.lists import TagLists

HOSTILE = '<script>document.title="owned"</script>'
ARABIC = "شارع قديم"
LONG = "a-very-long-name-without-any-space-" * 6

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def example(people: int = 1, rows: int = 2, images: int = 30) -> EvaluationReport:
    """Rows of hostile names and tags on images with hostile ids."""
    tags = [HOSTILE, ARABIC, "x&y", 'quo"te', LONG, "dog", "\u202eevil", "bell\x07"]
    truth, predicted = {}, {}
    for n in range(images):
        image_id = f"{n:02d}<b>.jpg"
        truth[image_id] = [tuple((tags[n % 8 :] + tags)[: 1 + (n + person) % 6]) for person in range(people)]
        predicted[image_id] = [(tag, 0.5) for tag in (tags[(n + n % 2) % 8 :] + tags)[:4]]
    labels = [f"<i>row</i> {n} {LONG if n == 1 else ''}" for n in range(rows)]
    shorter = {i: list_[:2] for i, list_ in predicted.items()}
    return compare(
        {label: [shorter if n else predicted] for n, label in enumerate(labels)},
        TagLists(truth),
        EvaluationConfig(resamples=50),
    )


def photos(folder: Path, report: EvaluationReport) -> Path:
    folder.mkdir()
    for n, image_id in enumerate(report.image_ids):
        Image.new("RGB", (900 + 10 * n, 600), (8 * n, 90, 160)).save(folder / image_id)
    return folder


def test_every_name_and_tag_is_text_and_isolated() -> None:
    page = render(example(people=3))
    assert page.count("<script") == 1 and "<b>" not in page.replace("<p><b><bdi>", "") and "<i>" not in page
    assert f"<bdi>{html.escape(HOSTILE, quote=False)}</bdi>".replace('"', "&#34;") in page
    assert f"<bdi>{ARABIC}</bdi>" in page
    assert "<bdi>x&amp;y</bdi>" in page
    assert "\u202e" not in page and "<bdi>\ufffdevil</bdi>" in page
    assert "\x07" not in page and "<bdi>bell\ufffd</bdi>" in page


def test_nothing_is_fetched_and_nothing_but_its_script_runs(tmp_path: Path) -> None:
    report = example()
    page = render(report, photos(tmp_path / "photos", report))
    sources = re.findall(r'\b(?:src|href|srcset|action)="([^"]*)"|url\(([^)]*)\)', page)
    assert len(sources) == 43 and all((attribute or style).startswith("data:") for attribute, style in sources)
    assert "@import" not in page
    assert "default-src 'none'" in page
    script = page[page.index("<script>") + len("<script>") : page.index("</script>")]
    assert script == TABLES.read_text() and f"script-src '{script_source(script)}'" in page
    assert not re.search(r"<[^>]* on\w+=", page)


def test_scores_intervals_and_counts_are_shown() -> None:
    report = example(people=2)
    page = render(report)
    assert page.count('<tr class="people">') == 1 and page.count('class="most"') >= len(report.metrics.scores) - 2
    for row in report.table:
        for name in ("ndcg@1", "ndcg@3", "ndcg@5", "ndcg@10", "first_tag", "f1@5"):
            estimate = row.scores[name]
            assert f">{estimate.value:.3f}</span><small>{estimate.low:.3f}–{estimate.high:.3f}</small>" in page
    assert page.count("<svg") == 4 + len(report.rows) and page.count('class="whisker"') == 4 * len(report.table)
    change = report.differences[0].scores["ndcg@5"]
    assert p_text(change.p_holm) == "<1e-9" and "<small>p &lt; 1e-9</small>" in page
    assert "with several people’s lists" in html.unescape(page).replace("'", "’")


def test_one_row_one_image_no_intervals() -> None:
    page = render(compare({"row": [{"a": []}]}, TagLists({"a": [("x",)]}), EvaluationConfig(resamples=0)))
    assert "Paired differences" not in page and "no tag" in page


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("rows", [1, 7])
def test_a_browser_shows_it_without_errors_or_overflow(tmp_path: Path, width: int, rows: int) -> None:
    report = example(people=3, rows=rows)
    page = render(report, photos(tmp_path / "photos", report))
    # A window cannot be made as narrow as a phone: the page runs in a frame, and a script beside it measures.
    measured = tmp_path / "measured.html"
    measured.write_text(
        f"""<!DOCTYPE html><meta charset="utf-8"><body>
        <iframe style="border:0;width:{width}px;height:900px"></iframe><script>
        const frame = document.querySelector("iframe");
        frame.onload = () => {{
          const page = frame.contentDocument;
          for (const d of page.querySelectorAll("details")) d.open = true;
          document.body.dataset.result = [
            page.documentElement.clientWidth, page.documentElement.scrollWidth,
            [...page.images].filter(image => image.naturalWidth > 0).length, page.querySelectorAll("h2").length,
            page.scripts.length, page.title.startsWith("ranktag")].join(" ");
        }};
        frame.srcdoc = {html_as_script(page)};
        </script></body>""",
        encoding="utf-8",
    )
    alone = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    alone += " --disable-component-update --disable-sync"
    outputs = ["--enable-logging=stderr", f"--screenshot={tmp_path / 'page.png'}", "--dump-dom"]
    window = [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000"]
    command = [str(CHROMIUM), *alone.split(), *window, *outputs, measured.as_uri()]
    outcome = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    console = [line for line in outcome.stderr.splitlines() if ":CONSOLE" in line]
    assert console == []
    result = re.search(r'data-result="([^"]*)"', outcome.stdout)
    assert result is not None, outcome.stdout[-2000:]
    client, scroll, images, headings, scripts, titled = result[1].split()
    assert int(client) in range(width - 20, width + 1)
    assert int(scroll) <= int(client)
    # What is seen is a page with text and bars, not an empty window.
    seen = Image.open(tmp_path / "page.png").convert("RGB").crop((0, 0, width, 900))
    assert len(seen.getcolors(width * 900) or ()) > 50
    assert (int(images), int(headings), int(scripts), titled) == (
        36 if rows == 1 else 42,
        5 if rows == 1 else 6,
        1,
        "true",
    )


def html_as_script(page: str) -> str:
    """A JavaScript string literal that may stand inside a script element."""
    return json.dumps(page).replace("<", "\\u003c")
