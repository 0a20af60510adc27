"""The page in a real browser: search, completion, the way back, the keyboard, narrow screens, hostile tags."""

from __future__ import annotations

import functools
import random
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browse_pages import made_up, write_made_up

from ranktag.search.index import TagIndex
from ranktag.search.query import parse
from ranktag.search.relevance import tag_relevance
from ranktag.search.search import find
from ranktag.tags.predictions import Predictions

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = '<img src=x onerror="document.title=1">'
TURNED = "\u202eevil"
QUOTES = 'a "quoted" tag'


class Visit:
    """A page opened from the disk, and all that the browser complained of."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page, self.file, self.complaints = page, file, []
        self.requested: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    def open(self, address: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(self.file.as_uri() + address)
        self.page.wait_for_function("document.title !== ''")

    def search(self, text: str) -> None:
        self.page.fill("#query", text)
        self.page.press("#query", "Enter")

    def wait_for_status(self, text: str) -> None:
        self.page.wait_for_function("text => document.querySelector('#status').textContent.includes(text)", arg=text)

    def photos(self, count: int) -> list[str]:
        """The ids of the first photos in the grid."""
        there = "[...document.querySelectorAll('.grid > div')].slice(0, n)"
        self.page.wait_for_function(f"n => {there}.every(one => one.querySelector('.cell[title]'))", arg=count)
        titles = self.page.eval_on_selector_all(".grid > div .cell", "all => all.map(one => one.title)")
        return [str(title) for title in titles[:count]]

    def columns(self) -> int:
        """How many photos stand beside one another."""
        places = "[...document.querySelectorAll('.grid > div')].map(one => one.style.transform.split(',')[0])"
        return int(self.page.evaluate(f"new Set({places}).size"))


@pytest.fixture
def visit(browser: Browser, many_page: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    width, height = getattr(request, "param", (1280, 860))
    context = browser.new_context(viewport={"width": width, "height": height})
    opened = Visit(context.new_page(), many_page)
    yield opened
    assert opened.complaints == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in opened.requested)
    context.close()


def expected(predictions: Predictions, query: str, by: str = "importance") -> list[int]:
    return [int(n) for n in find(parse(query), TagIndex.of(predictions), by).images]


def test_a_search_finds_what_the_command_finds_to_the_last_bit(visit: Visit, many: Predictions) -> None:
    visit.open()
    index = TagIndex.of(many)
    queries = [
        "dog",
        "dog beach",
        '"FIRE  truck" person -dog',
        "strasse",
        "-person",
        "dog -dog",
        "tag59",
        "tag7 tag8 tag9",
    ]
    for query in queries:
        for by in ("importance", "presence"):
            there = visit.page.evaluate("([query, by]) => ranktagSearch(query, by)", [query, by])
            here = find(parse(query), index, by)
            assert there["photos"] == here.images.tolist(), query
            assert there["relevance"] == here.relevance.tolist(), query


def test_queries_are_read_and_tags_folded_as_by_the_command(visit: Visit) -> None:
    visit.open()
    rng = random.Random(0)
    signs = [
        '"',
        "-",
        " ",
        "\u3000",
        "\t",
        "a",
        "Ab",
        "ß",
        "ΣΑΣ",
        "ﬁ",
        "İ",
        "ŉ",
        "Ⅷ",
        "é",
        "\u0301",
        "犬",
        "\u00a0",
        "\u2003",
        "1",
    ]
    texts = ["".join(rng.choices(signs, k=rng.randint(0, 9))) for _ in range(150)]
    for text, there in zip(texts, visit.page.evaluate("texts => Promise.all(texts.map(t => ranktagSearch(t)))", texts)):
        here = parse(text)
        assert (there["wanted"], there["unwanted"]) == (list(here.wanted), list(here.unwanted)), ascii(text)
    # Every letter of Unicode's first plane; a browser may not know the newest of the others yet.
    letters = [chr(c) for c in range(0x21, 0x10000) if chr(c).isalpha()]
    query = " ".join(letters)
    assert visit.page.evaluate("text => ranktagSearch(text)", query)["wanted"] == list(parse(query).wanted)


def test_searching_completing_and_going_back(visit: Visit, many: Predictions) -> None:
    visit.open()
    visit.wait_for_status("10,000 photos")
    ids = list(many)
    assert visit.photos(10) == ids[:10]
    visit.page.click("#query")
    visit.page.keyboard.type("dog fir")
    options = visit.page.locator("#choices li")
    count = len(expected(many, '"fire truck"'))
    assert options.all_text_contents() == [f"fire truck{count:,} photos"]
    visit.page.keyboard.press("ArrowDown")
    assert visit.page.get_attribute("#query", "aria-activedescendant") == "choice-0"
    visit.page.keyboard.press("Enter")
    both = expected(many, 'dog "fire truck"')
    visit.wait_for_status(f"{len(both):,} photos with dog and fire truck, those in which they matter most first")
    assert visit.page.input_value("#query").strip() == 'dog "fire truck"'
    assert visit.photos(5) == [ids[n] for n in both[:5]]

    visit.page.check("#by input[value=presence]")
    visit.wait_for_status("the most likely to have them first")
    assert "by=presence" in visit.page.url
    assert visit.photos(5) == [ids[n] for n in expected(many, 'dog "fire truck"', "presence")[:5]]

    visit.search("dgo")
    visit.wait_for_status("No photo has the tag dgo")
    visit.page.go_back()
    visit.wait_for_status("the most likely to have them first")
    assert visit.page.is_checked("#by input[value=presence]")
    visit.page.go_back()
    visit.wait_for_status("those in which they matter most first")
    visit.page.go_back()
    visit.wait_for_status("10,000 photos")
    visit.page.go_forward()
    visit.wait_for_status(f"{len(both):,} photos with dog and fire truck")
    # An address that was sent shows the same.
    visit.open("#q=dog+-person&by=presence")
    visit.wait_for_status("photos with dog without person")
    assert visit.photos(4) == [ids[n] for n in expected(many, "dog -person", "presence")[:4]]


def test_only_what_is_seen_is_there_and_the_place_is_kept(visit: Visit, many: Predictions) -> None:
    visit.open()
    visit.photos(1)
    visit.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    last = list(many)[-1]
    visit.page.wait_for_selector(f'.cell[title="{last}"]')
    assert visit.page.locator(".grid > div").count() < 80
    assert visit.page.get_attribute(".grid > div:last-child", "aria-posinset") == "10000"
    at = visit.page.evaluate("scrollY")
    visit.page.click(f'.cell[title="{last}"]')
    visit.page.wait_for_selector("figure img")
    assert visit.page.inner_text("figcaption") == last
    assert visit.page.evaluate("scrollY") == 0
    visit.page.go_back()
    visit.page.wait_for_selector(f'.cell[title="{last}"]')
    assert visit.page.evaluate("scrollY") == at


def test_by_keyboard_alone(visit: Visit, many: Predictions) -> None:
    visit.open()
    visit.photos(1)
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("dog")
    visit.page.keyboard.press("Enter")
    visit.wait_for_status("photos with dog")
    found = [list(many)[n] for n in expected(many, "dog")]
    visit.photos(8)
    assert visit.page.locator(".cell .text b").first.inner_text() == "dog"
    visit.page.focus("#skip")
    visit.page.keyboard.press("Enter")
    focused = "() => document.activeElement.title"
    assert visit.page.evaluate(focused) == found[0]
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.evaluate(focused) == found[1]
    visit.page.keyboard.press("ArrowDown")
    columns = visit.columns()
    assert visit.page.evaluate(focused) == found[1 + columns]
    visit.page.keyboard.press("End")
    visit.page.wait_for_function("id => document.activeElement.title === id", arg=found[-1])
    visit.page.keyboard.press("Home")
    visit.page.wait_for_function("id => document.activeElement.title === id", arg=found[0])
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("figure img")
    visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_function("id => document.querySelector('figcaption')?.textContent === id", arg=found[1])
    visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_function("id => document.querySelector('figcaption')?.textContent === id", arg=found[2])
    visit.page.keyboard.press("ArrowLeft")
    visit.page.wait_for_function("id => document.querySelector('figcaption')?.textContent === id", arg=found[1])
    assert visit.page.inner_text(".where").startswith("2 of ")
    assert visit.page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(f"{found[1]}: ")
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_function("id => document.activeElement.title === id", arg=found[1])
    # One stop of the tab key for all photos.
    assert visit.page.locator('.grid .cell[tabindex="0"]').count() == 1


def test_the_photos_most_alike_are_those_of_the_greatest_cosine(visit: Visit, many: Predictions) -> None:
    index = TagIndex.of(many)
    vectors = np.zeros((len(many), len(index.tags)), np.float64)
    for number in range(len(index.tags)):
        listed = index.of_tag(number)
        vectors[listed.images, number] = tag_relevance(listed.ranks, listed.probabilities, "importance")
    cosine = vectors @ vectors[123] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[123])
    cosine[123] = -1
    ids = list(many)
    # By its id alone: the number in the address may be that of an older page.
    visit.open(f"#photo={ids[123]}&n=7")
    visit.page.wait_for_selector(".strip .cell")
    assert visit.page.inner_text("figcaption") == ids[123]
    there = visit.page.eval_on_selector_all(".strip .cell", "all => all.map(one => one.title)")
    assert [cosine[ids.index(one)] for one in there] == pytest.approx(sorted(cosine, reverse=True)[:12], abs=1e-6)


def test_a_tag_that_matters_little_is_shown_with_its_place(visit: Visit, many: Predictions) -> None:
    number = next(n for n, tags in enumerate(many.values()) if tags[4][0] == "dog")
    visit.open(f"#q=dog&photo={list(many)[number]}&n={number}")
    visit.page.wait_for_selector("figure img")
    visit.page.press("body", "Escape")
    text = visit.page.locator(f'.cell[title="{list(many)[number]}"] .text')
    tags = [tag for tag, _ in many[list(many)[number]]]
    assert text.inner_text() == ", ".join(["5. dog", *tags[:4]])


def test_the_page_of_all_tags(visit: Visit, many: Predictions) -> None:
    visit.open("#tags=")
    visit.page.wait_for_selector("table.all tbody tr")
    ranks: dict[str, list[int]] = {}
    for tags in many.values():
        for rank, (tag, _) in enumerate(tags, 1):
            ranks.setdefault(tag, []).append(rank)
    by_count = sorted(ranks, key=lambda tag: (-len(ranks[tag]), tag))
    rows = visit.page.locator("table.all tbody tr")
    assert rows.count() == len(ranks)
    first = rows.nth(0).locator("th, td").all_inner_texts()
    assert first[0] == by_count[0]
    assert first[1].split()[0] == f"{len(ranks[by_count[0]]):,}"
    assert first[2] == f"{np.mean(ranks[by_count[0]]):.1f}"
    best = [list(many)[n] for n in expected(many, by_count[0])[:5]]
    assert rows.nth(0).locator(".typical a").evaluate_all("all => all.map(one => one.title)") == best
    visit.page.click("th button:has-text('Mean rank')")
    assert visit.page.get_attribute("th:has(button:has-text('Mean rank'))", "aria-sort") == "ascending"
    lowest = min(ranks, key=lambda tag: round(float(np.mean(ranks[tag])), 2))
    assert rows.nth(0).locator("th").inner_text() == lowest
    visit.page.fill(".tools input", "fire")
    assert rows.count() == 1
    rows.nth(0).locator("th a").click()
    visit.wait_for_status("photos with fire truck")


@pytest.mark.parametrize("visit", [(320, 640), (1280, 860)], indirect=True)
@pytest.mark.parametrize("address", ["#q=dog", "#tags=", "#photo=album+0%2F00007.jpg&n=7"])
def test_nothing_sticks_out_of_the_screen(visit: Visit, address: str) -> None:
    visit.open(address)
    visit.page.wait_for_selector(".cell[title], table.all")
    assert visit.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    if address == "#q=dog":
        columns = visit.columns()
        assert columns == (2 if visit.page.viewport_size["width"] < 400 else 5)


def test_hostile_tags_ids_and_reasons_are_text(browser: Browser, tmp_path: Path) -> None:
    predictions: Predictions = {
        f"{HOSTILE}.jpg": [(HOSTILE, 0.9), (TURNED, 0.8), (QUOTES, 0.7), ("bell\x07", 0.5), ("-minus", float("nan"))],
        "plain.jpg": [("dog", 0.9), ("</script>", 0.1), ("\u2028", 0.1), ("constructor", 0.1), ("__proto__", 0.1)],
    }
    people = {f"{HOSTILE}.jpg": [(HOSTILE, "cat"), (TURNED.upper(),)]}
    file = write_made_up(tmp_path / "site", predictions, people=people, others={HOSTILE: {"plain.jpg": []}})
    visit = Visit(browser.new_context().new_page(), file)
    visit.open()
    assert visit.photos(2) == [f"{HOSTILE}.jpg", "plain.jpg"]
    for tag in (HOSTILE, TURNED, QUOTES, "-minus", "__proto__", "constructor"):
        visit.page.fill("#query", "")
        visit.search('"' + tag.replace('"', '""') + '"')
        # Of the tag, and not what was said of the one before.
        shown = tag.replace("\u202e", "\ufffd")
        visit.page.wait_for_function("tag => document.querySelector('#status b bdi')?.innerText === tag", arg=shown)
        visit.wait_for_status("1 photo with ")
    visit.open(f"#photo={HOSTILE}.jpg&n=0".replace('"', "%22"))
    visit.page.wait_for_selector("figure img")
    links = visit.page.locator("ol.bars a")
    assert [text.strip() for text in links.all_inner_texts()] == [HOSTILE, "\ufffdevil", QUOTES, "bell\ufffd", "-minus"]
    assert visit.page.locator("ol.bars li.hit").count() == 2
    assert visit.page.locator("ol.tags li.hit").all_inner_texts() == [f"✓ {HOSTILE}", "✓ \ufffdEVIL"]
    assert "This file has no list of the photo." in visit.page.inner_text(".files")
    for number in range(5):
        links.nth(number).click()
        visit.wait_for_status("1 photo with ")
        visit.page.go_back()
        visit.page.wait_for_selector("ol.bars a")
    visit.open("#tags=")
    visit.page.wait_for_selector("table.all tbody tr")
    assert HOSTILE in visit.page.inner_text("table.all")
    assert visit.page.locator('img[src="x"]').count() == 0
    assert visit.page.title() != "1" and visit.complaints == []
    assert not any(url.endswith("/x") for url in visit.requested)


def test_the_policy_stops_what_a_tag_would_start(visit: Visit) -> None:
    visit.open()
    visit.photos(1)
    visit.page.evaluate(
        """() => { for (const [name, key, value] of [["script", "textContent", "document.title = 'owned'"],
             ["img", "src", "https://example.invalid/a.png"], ["script", "src", "https://example.invalid/a.js"]]) {
             const made = document.createElement(name); made[key] = value; document.body.append(made); } }"""
    )
    visit.page.wait_for_timeout(100)
    assert visit.page.title() != "owned"
    assert len(visit.complaints) == 3 and all("Content Security Policy" in text for text in visit.complaints)
    visit.complaints.clear()
    visit.requested = [url for url in visit.requested if not url.startswith("https://example.invalid/")]


def test_any_web_server_will_do(browser: Browser, many_page: Path, many: Predictions) -> None:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=many_page.parent)
    handler.func.log_message = lambda *arguments: None  # type: ignore[method-assign]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        visit = Visit(browser.new_context().new_page(), many_page)
        visit.page.goto(f"http://127.0.0.1:{server.server_port}/#q=dog+beach")
        assert visit.photos(3) == [list(many)[n] for n in expected(many, "dog beach")[:3]]
        visit.page.wait_for_function("document.querySelector('.cell img').naturalWidth === 64")
        server.shutdown()
    assert visit.complaints == []


def test_a_missing_part_is_said(browser: Browser, tmp_path: Path) -> None:
    file = write_made_up(tmp_path / "site", made_up(300))
    (tmp_path / "site" / "data" / "photos-0.js").write_text("ranktagPart(")
    (tmp_path / "site" / "data" / "lengths.js").unlink()
    visit = Visit(browser.new_context().new_page(), file)
    visit.open()
    visit.wait_for_status("data/photos-0.js is missing or damaged")
    visit.open("#photo=album+2%2F00299.jpg&n=299")
    visit.wait_for_status("data/lengths.js is missing or damaged")


def test_old_parts_that_a_browser_kept_are_not_mixed_with_new_ones(browser: Browser, tmp_path: Path) -> None:
    file, other = (write_made_up(tmp_path / name, made_up(300, seed)) for seed, name in enumerate(("site", "other")))
    shutil.copyfile(other.parent / "data" / "photos-0.js", file.parent / "data" / "photos-0.js")
    visit = Visit(browser.new_context().new_page(), file)
    visit.open()
    visit.wait_for_status("data/photos-0.js is of another version: the page was made anew, load it again")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser: Browser, many_page: Path, scheme: str) -> None:
    """Contrast of at least 4.5, as WCAG asks for."""
    visit = Visit(browser.new_context(color_scheme=scheme).new_page(), many_page)  # type: ignore[arg-type]
    visit.open("#q=dog")
    visit.photos(1)
    for selector in ("#status", ".cell .text", ".cell .text b", ".top nav a", "#query"):
        colours = visit.page.eval_on_selector(
            selector, "e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]"
        )
        light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def luminance(colour: str) -> float:
    """Relative luminance of 'rgb(r, g, b)', as WCAG defines it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))
