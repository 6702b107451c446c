"""The page of samples in a real browser: nothing is fetched, nothing planted runs, nothing is wider than the screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from kintsugi.samples import draw, page
from pipeline.records import CorruptionRecord
from pipeline.sources.builtin import build
from pipeline.spans import Edit, apply
from pipeline.stages.embed import EmbedStage, Number

pytestmark = pytest.mark.slow

SIZES = {"wide": (1440, 900), "narrow": (390, 844)}
HOSTILE = (
    "<script>window.hit=1</script><img src='http://example.com/x.png' onerror='window.hit=2'>"
    "</style></code></pre><style>body{display:none}</style><a href='javascript:window.hit=3'>x</a>"
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = EmbedStage((), 0, Number(1, 3), "static")(build(60, 0))[0]
    target = tmp_path_factory.mktemp("plain") / "samples.html"
    target.write_text(page("recovery:broken", draw(made, 30)), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    good = f"{HOSTILE}\n\n```python\nx = 1  # {HOSTILE}\n```\n{'W' * 3000}\n"
    edit = Edit(0, 8, good[:8], HOSTILE, HOSTILE, 0, HOSTILE, HOSTILE)
    record = CorruptionRecord(HOSTILE, HOSTILE, good, apply([edit], good), (edit,), HOSTILE)
    target = tmp_path_factory.mktemp("hostile") / "samples.html"
    target.write_text(page(HOSTILE, draw([record], 5)), encoding="utf-8")
    return target


def opened(browser: Browser, file: Path, size: str, scheme: str = "light") -> tuple[Page, list[str]]:
    """The page, and what it asked the network for or said on its console."""
    width, height = SIZES[size]
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    shown = context.new_page()
    shown.on("console", lambda said: trouble.append(said.text))
    shown.on("pageerror", lambda error: trouble.append(str(error)))
    shown.on("request", lambda asked: None if asked.url.startswith("file:") else trouble.append(asked.url))
    shown.goto(file.as_uri())
    return shown, trouble


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_nothing_is_fetched_or_run_and_nothing_sticks_out(
    browser: Browser, size: str, which: str, request: pytest.FixtureRequest
) -> None:
    shown, trouble = opened(browser, request.getfixturevalue(which), size)
    expect(shown.locator("body")).to_be_visible()
    assert trouble == [] and shown.evaluate("window.hit") is None
    assert shown.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert shown.locator("script, img, iframe, form").count() == 0


def test_what_was_planted_is_shown_as_text(browser: Browser, hostile: Path) -> None:
    shown, _ = opened(browser, hostile, "wide")
    assert shown.locator("h1").inner_text() == HOSTILE
    assert HOSTILE in shown.locator(".answer.good").inner_text()
    assert shown.locator(".answer.bad mark").first.inner_text() == HOSTILE


def test_marks_are_green_and_red_in_both_schemes(browser: Browser, plain: Path) -> None:
    for scheme in ("light", "dark"):
        shown, _ = opened(browser, plain, "wide", scheme)
        colour = "element => getComputedStyle(element).backgroundColor"
        good = shown.locator(".answer.good mark:not(.missing)").first.evaluate(colour)
        bad = shown.locator(".answer.bad mark:not(.missing)").first.evaluate(colour)
        paper = shown.locator(".answer.good pre").first.evaluate(colour)
        assert len({good, bad, paper}) == 3, "three colours"


def test_a_type_leads_to_its_sample_and_answers_stand_side_by_side_where_there_is_room(
    browser: Browser, plain: Path
) -> None:
    shown, _ = opened(browser, plain, "wide")
    link = shown.locator(".types a").last
    link.click()
    number = str(link.get_attribute("href"))
    expect(shown.locator(number)).to_be_in_viewport()
    assert (link.inner_text().split()[0]) in shown.locator(number).locator(".errors").inner_text()
    left, right = (shown.locator(number).locator(f".answer.{side}").bounding_box() for side in ("good", "bad"))
    assert left is not None and right is not None and left["y"] == right["y"] and left["x"] < right["x"]
    narrow, _ = opened(browser, plain, "narrow")
    left, right = (narrow.locator(number).locator(f".answer.{side}").bounding_box() for side in ("good", "bad"))
    assert left is not None and right is not None and left["y"] < right["y"] and left["x"] == right["x"]
