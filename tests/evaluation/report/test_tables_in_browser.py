"""The page's table of tags in a browser: sorted and searched by mouse and keyboard, whole without its script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ranktag.config import EvaluationConfig
from ranktag.evaluation.compare import compare
from ranktag.evaluation.report.page import SHOWN_TAG_ROWS, render
from ranktag.tags.lists import TagLists

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<img src=x onerror=document.title='owned'>"
TABLE = "table[data-rows]"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tags t00, t01, ... of which tNN stands in NN + 1 lists; the row predicts those with an even number alone."""
    names = [f"t{n:02}" if n != 7 else HOSTILE for n in range(40)]
    truth = {str(image): [tuple(name for n, name in enumerate(names) if n >= image)] for image in range(40)}
    predicted = {i: [(tag, 0.5) for tag in people[0] if names.index(tag) % 2 == 0] for i, people in truth.items()}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(compare({"row": [predicted]}, TagLists(truth), EvaluationConfig(resamples=0))), "utf-8")
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    opened = browser.new_page()
    faults: list[object] = []
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(error))
    opened.goto(file.as_uri())
    yield opened
    assert not faults and opened.title().startswith("ranktag")
    opened.close()


def tags(page: Page) -> list[str]:
    return page.locator(f"{TABLE} tbody tr:visible th").all_inner_texts()


def test_the_most_frequent_are_seen_until_all_are_asked_for(page: Page) -> None:
    assert tags(page) == [f"t{n:02}" for n in range(39, 39 - SHOWN_TAG_ROWS, -1)]
    page.get_by_role("button", name="Show all 40").click()
    assert len(tags(page)) == 40 and HOSTILE in tags(page)


def test_it_is_searched(page: Page) -> None:
    page.get_by_role("searchbox", name="Search in Tag by tag").fill("T1")
    assert tags(page) == [f"t{n}" for n in range(19, 9, -1)]
    assert page.get_by_text("10 of 10 found").is_visible()
    page.get_by_role("searchbox").fill("<IMG")
    assert tags(page) == [HOSTILE]


def test_it_is_sorted_by_any_column_and_back(page: Page) -> None:
    head = page.get_by_role("columnheader", name="Recall")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    recalls = [float(t) for t in page.locator(f"{TABLE} tbody tr td:nth-child(4)").all_inner_texts() if t]
    assert recalls == sorted(recalls, reverse=True) and recalls[0] == 1.0
    page.get_by_role("columnheader", name="Tag").get_by_role("button").click()
    assert tags(page)[:2] == [HOSTILE, "t00"] and head.get_attribute("aria-sort") is None
    # Unknown numbers stand last, whichever end is first.
    for _ in range(2):
        page.get_by_role("columnheader", name="Precision").get_by_role("button").click()
        assert "–" not in page.locator(f"{TABLE} tbody tr:visible td:nth-child(3)").all_inner_texts()[:20]


def test_without_its_script_all_of_it_is_there(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(file.as_uri())
    assert len(tags(opened)) == 40 and not opened.get_by_role("searchbox").count()
    context.close()
