"""The page in a real browser: nothing is fetched, nothing that was planted runs, and filters show what they say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from report_run import GUARDS, HOSTILE, LOOPS, MODELS, SOURCES, answer_of, make_report, prompt_of
from rich_report import make_rich_report
from small_run import Finished

pytestmark = pytest.mark.slow

SIZES = {"wide": (1440, 900), "narrow": (390, 844)}
REFERENCE, CORRUPTED, DPO, TDPO2 = MODELS
NAMES = {"reference": REFERENCE, "corrupted": CORRUPTED, "dpo / granular": DPO, "tdpo2 / response": TDPO2}

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("hostile"), taint=HOSTILE)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rich_report(tmp_path_factory.mktemp("rich"), mended=4, prompts=12, resamples=50)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rich_report(tmp_path_factory.mktemp("judged"), mended=1, prompts=6, tested=False, resamples=50)


@pytest.fixture
def watched(browser: Browser) -> Iterator[Open]:
    """Opens pages; at the end, whatever they said on the console or asked the network for is a failure."""
    trouble: list[str] = []
    contexts = []

    def open_page(directory: Path, address: str = "", size: str = "wide", allowed: str = "\0", **options: Any) -> Page:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: None if allowed in said.text else trouble.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        file = (directory / "index.html").as_uri()
        page.on(
            "request",
            lambda request: None if request.url.partition("#")[0] in (file, "data:,") else trouble.append(request.url),
        )
        page.goto(file + address)
        expect(page.locator(".list li").first).to_be_attached()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def shown(page: Page) -> list[str]:
    """The ids of the prompts in the list."""
    return [row.get_attribute("data-id") or "" for row in page.locator(".list li:not([hidden])").all()]


def those(meets: Callable[[int], bool]) -> list[str]:
    return [f"q{number}" for number in range(6) if meets(number)]


def add_condition(page: Page, arm: str, what: str) -> None:
    page.get_by_role("button", name="+ condition").click()
    condition = page.locator(".condition").last
    condition.get_by_label("Arm").select_option(label=arm)
    condition.get_by_label("What its answer does").select_option(label=what)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_screen_and_is_quiet(watched: Open, plain: Path, size: str, scheme: Any) -> None:
    page = watched(plain, size=size, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background.removeprefix("rgb(").rstrip(")").split(","))) < 200) == (scheme == "dark")
    for section in ("arms", "differences", "errors", "training", "prompts"):
        assert page.locator(f"#{section}").is_visible()
    assert page.locator("#curves path.strong").count() == 2


def test_one_condition_shows_the_prompts_that_meet_it(watched: Open, plain: Path) -> None:
    page = watched(plain)
    assert shown(page) == those(lambda number: True)
    for arm, model in NAMES.items():
        for what, verdict in (("passes", 1), ("fails", 0), ("unjudged", None)):
            add_condition(page, arm, what)
            meant = [number for number, found in enumerate(model.verdicts) if found == verdict]
            assert shown(page) == those(meant.__contains__), (arm, what)
            page.get_by_role("button", name="clear").click()


def test_conditions_source_type_and_search_go_together(watched: Open, plain: Path) -> None:
    page = watched(plain)
    add_condition(page, "reference", "passes")
    add_condition(page, "corrupted", "fails")
    broken = those(lambda n: REFERENCE.verdicts[n] == 1 and CORRUPTED.verdicts[n] == 0)
    assert shown(page) == broken == ["q0", "q1", "q2", "q4"]
    page.get_by_label("Source").select_option(SOURCES[0])
    assert shown(page) == [key for key in broken if int(key[1]) % 2 == 0]
    page.get_by_role("searchbox").fill("QUESTION 2")
    assert shown(page) == ["q2"]
    expect(page.locator(".found")).to_have_text("1 of 6 prompts")
    page.get_by_role("searchbox").fill("no such words")
    expect(page.locator(".detail")).to_have_text("No prompt is like this.")
    page.get_by_role("button", name="clear").click()
    assert shown(page) == those(lambda number: True)


@pytest.mark.parametrize(("arm", "models"), [("corrupted", [CORRUPTED]), ("any arm", list(MODELS))])
@pytest.mark.parametrize("error_type", [LOOPS, GUARDS])
def test_error_types_are_filtered_by_arm(watched: Open, plain: Path, arm: str, models: Any, error_type: str) -> None:
    page = watched(plain)
    add_condition(page, arm, error_type)
    assert shown(page) == those(lambda n: any(model.errors.get(n) == error_type for model in models))


def test_a_search_looks_into_the_answers(watched: Open, plain: Path) -> None:
    page = watched(plain)
    page.get_by_role("searchbox").fill("f4(x): return")
    assert shown(page) == ["q4"]


def test_a_figure_leads_to_the_prompts_that_it_counts(watched: Open, plain: Path) -> None:
    page = watched(plain)
    row = page.locator("#differences tr", has_text="dpo / granular less corrupted")
    link = row.get_by_role("link").first
    only = those(lambda n: DPO.verdicts[n] == 1 and CORRUPTED.verdicts[n] == 0)
    assert link.text_content() == str(len(only))
    link.click()
    expect(page.locator(".found")).to_have_text(f"{len(only)} of 6 prompts")
    assert shown(page) == only
    expect(page.locator("#prompts h2")).to_be_in_viewport()
    assert page.locator(".answer h4").all_text_contents() == ["dpo / granular", "corrupted"]


def test_the_address_keeps_what_is_shown(watched: Open, plain: Path) -> None:
    page = watched(plain)
    add_condition(page, "corrupted", "fails")
    page.get_by_role("searchbox").fill("question")
    page.locator(".list li[data-id=q2]").click()
    page.locator(".chip", has_text="good answer").click()
    page.get_by_label("Metric").select_option("Supervised: loss")
    columns = page.locator(".answer h4").all_text_contents()
    again = watched(plain, "#" + page.url.partition("#")[2])
    assert shown(again) == shown(page) == ["q0", "q1", "q2", "q4"]
    assert again.locator(".answer h4").all_text_contents() == columns
    expect(again.locator(".detail .prompt")).to_have_text(prompt_of(2))
    expect(again.get_by_label("Metric")).to_have_value("Supervised: loss")


@pytest.mark.parametrize(
    "address", ["#if=passes:nobody&arm=nobody&id=none", "#if=constructor:corrupted", "#if=&arm=%00&q=", "#=="]
)
def test_an_address_that_names_what_is_not_there_does_no_harm(watched: Open, plain: Path, address: str) -> None:
    assert shown(watched(plain, address)) == those(lambda number: True)


def test_bad_places_are_marked_and_failing_tests_shown(watched: Open, plain: Path) -> None:
    page = watched(plain, "#arm=corrupted&arm=reference&id=q0")
    bad, good = page.locator(".answer").all()
    expect(bad.locator("mark")).to_have_text("BAD")
    assert f"{LOOPS}: `x` is bad" in (bad.locator("mark").get_attribute("title") or "")
    expect(bad.locator(".tests .unmet").first).to_have_text('f0(1) gives "", expected ""')
    expect(bad.locator(".tests .unmet").last).to_contain_text("gives KeyError: no, expected KeyError")
    expect(good.locator("mark")).to_have_count(0)
    expect(good.locator("details summary")).to_have_text("2 of 2 tests pass")
    missing = watched(plain, "#arm=corrupted&id=q2").locator("mark.missing")
    expect(missing).to_have_count(1)
    assert missing.evaluate("mark => mark.nextSibling.textContent").startswith("BAD")


def test_columns_are_chosen_up_to_four(watched: Open, plain: Path) -> None:
    page = watched(plain, "#arm=reference&id=q3")
    for name in ("corrupted", "dpo / granular", "tdpo2 / response", "good answer"):
        page.locator(".detail .chip", has_text=name).click()
    columns = page.locator(".answer h4").all_text_contents()
    assert columns == ["corrupted", "dpo / granular", "tdpo2 / response", "good answer"]
    expect(page.locator(".answer").nth(1)).to_contain_text("same answer as corrupted")
    for name in columns:
        page.locator(".detail .chip", has_text=name).click()
    assert page.locator(".answer h4").all_text_contents() == ["good answer"]


def test_the_list_is_walked_by_keys(watched: Open, plain: Path) -> None:
    page = watched(plain)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.locator(".list li").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    chosen = page.locator(".list li[aria-selected=true]")
    expect(chosen).to_be_focused()
    assert chosen.get_attribute("data-id") == "q2"
    page.keyboard.press("End")
    expect(page.locator(".detail .prompt")).to_have_text(prompt_of(5))


def test_curves_can_be_chosen_and_hidden(watched: Open, plain: Path) -> None:
    page = watched(plain)
    expect(page.get_by_label("Metric")).to_have_value("Preference: rewards/margins")
    page.locator("#curves .chip", has_text="dpo / granular").first.click()
    expect(page.locator("#curves path.strong")).to_have_count(1)
    page.get_by_label("smoothed").uncheck()
    expect(page.locator("#curves path.faint")).to_have_count(0)
    page.locator("#curves svg").hover(position={"x": 1300, "y": 100})
    expect(page.locator(".readout")).to_contain_text("step 4")
    expect(page.locator(".readout em")).to_have_text("1")


@pytest.fixture(scope="module", params=[1, 2, 40])
def of_any_size(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    return request.param, make_rich_report(tmp_path_factory.mktemp("sizes"), request.param - 2, prompts=6, resamples=20)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_screen_for_any_number_of_arms(
    watched: Open, of_any_size: tuple[int, Path], size: str, scheme: Any
) -> None:
    arms, directory = of_any_size
    page = watched(directory, size=size, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    assert page.locator("#arms tbody tr").count() == arms
    for part in page.locator("main section").all():
        box = part.bounding_box()
        assert box and box["width"] <= SIZES[size][0]


def test_without_answers_the_rest_of_the_page_lives(browser: Browser, tmp_path: Path) -> None:
    """Models compared by log-probabilities alone, and no prompt to look at."""
    directory = make_rich_report(tmp_path, 2, prompts=4, resamples=20, answered=False)
    page = browser.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto((directory / "index.html").as_uri() + "#chart=Supervised:%20loss")
    expect(page.locator("#curves path.strong").first).to_be_attached()
    expect(page.locator("#rewards-plot circle")).to_have_count(2)
    assert page.locator("#prompts").count() == 0
    page.keyboard.press("/")
    page.close()
    assert trouble == []


def test_efficiency_is_drawn_against_tokens_and_seconds(watched: Open, rich: Path) -> None:
    page = watched(rich)
    plot = page.locator("#efficiency-plot")
    expect(plot.locator("circle")).to_have_count(4)
    expect(plot.locator(".level")).to_have_count(2)
    expect(plot.locator("svg")).to_have_attribute("aria-label", re.compile("pass rate against training tokens: .*"))
    places = [dot.get_attribute("cx") for dot in plot.locator("circle").all()]
    page.get_by_label("Cost").select_option("training seconds")
    assert [dot.get_attribute("cx") for dot in plot.locator("circle").all()] != places
    plot.locator(".chip").first.focus()
    page.keyboard.press("Enter")
    expect(plot.locator("circle")).to_have_count(3)
    expect(plot.locator(".chip").first).to_have_attribute("aria-pressed", "false")


def test_reward_is_drawn_against_kl_with_every_step(watched: Open, rich: Path) -> None:
    page = watched(rich)
    plot = page.locator("#rewards-plot")
    expect(plot.locator("g.line path")).to_have_count(4)
    assert (plot.locator("g.line path").first.get_attribute("d") or "").count("L") == 3
    page.get_by_label("Measured on").select_option("training")
    expect(plot.locator("g.line path")).to_have_count(2)
    expect(plot.locator("circle title").first).to_have_text(re.compile("step 40, KL"))


def test_wide_tables_are_moved_by_keys_and_keep_their_first_column(watched: Open, rich: Path) -> None:
    page = watched(rich, size="narrow")
    table = page.get_by_role("region", name="Win rates by duels")
    first = table.locator("tbody th").first
    before = first.bounding_box()
    table.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)  # scrolling by keys is smooth
    after = first.bounding_box()
    assert table.evaluate("table => table.scrollLeft") > 50
    assert before and after and abs(before["x"] - after["x"]) < 2


def test_a_count_of_the_heat_map_leads_to_its_prompts(watched: Open, rich: Path) -> None:
    page = watched(rich)
    link = page.locator("#errors .matrix td a").first
    count = link.text_content()
    link.click()
    expect(page.locator(".found strong")).to_have_text(count or "")


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["policy", "no-policy"])
def test_what_was_planted_in_any_section_does_nothing(watched: Open, tmp_path: Path, bypass_csp: bool) -> None:
    made = make_rich_report(tmp_path, 2, prompts=4, samples=2, taint=HOSTILE, resamples=20)
    page = watched(made, bypass_csp=bypass_csp)
    for choice in ("Cost", "Measured on"):
        for option in page.get_by_label(choice).locator("option").all():
            page.get_by_label(choice).select_option(option.get_attribute("value"))
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator("img, iframe, object, embed, base, form[action]").count() == 0


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["policy", "no-policy"])
def test_what_was_planted_does_nothing(watched: Open, hostile: Path, bypass_csp: bool) -> None:
    """Escaping alone must hold: once with the content security policy, once with the browser told to ignore it."""
    page = watched(hostile, bypass_csp=bypass_csp)
    for chip in page.locator(".detail .chip").all():
        chip.click()
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    page.locator(".list li").nth(1).click()
    page.get_by_role("searchbox").fill(HOSTILE[:30])
    assert len(shown(page)) == 6
    page.get_by_role("button", name="+ condition").click()
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator("img, iframe, object, embed, base, form[action]").count() == 0
    assert page.evaluate("[...document.links].filter((link) => !link.getAttribute('href').startsWith('#')).length") == 0
    expect(page.locator(".answer", has_text=answer_of(CORRUPTED, 1, HOSTILE).split("\n")[0][:60]).first).to_be_visible()


def test_the_policy_stops_what_escaping_would_let_through(watched: Open, plain: Path) -> None:
    """A string made markup by a fault in the script would be refused by the browser."""
    page = watched(plain, allowed="TrustedHTML")
    attempt = "try { document.body.innerHTML += '<b>x</b>'; 'made' } catch (error) { error.name }"
    assert page.evaluate(attempt) == "TypeError"


def test_the_report_of_a_real_run_opens(watched: Open, small: Finished) -> None:
    page = watched(small.runs / "report")
    assert len(shown(page)) == 40
    assert page.locator("#arms tbody tr").count() == 4
    assert page.locator("#curves path.strong").count() == 2
    assert "index.html" in small.output.splitlines()[-1]
    page.goto(page.url.partition("#")[0] + "#if=erring:corrupted&arm=corrupted")
    results = page.evaluate("DATA.prompts.filter((p) => DATA.answers[p.arms[1]].errors.length).length")
    expect(page.locator(".found strong")).to_have_text(str(results))


@pytest.mark.parametrize("size", SIZES)
def test_a_judge_alone_decides_what_an_answer_is_called(judged: Path, watched: Open, size: str) -> None:
    page = watched(judged, size=size)
    page.locator(".list li").nth(0).click()
    assert set(page.locator("#prompts .badge").all_inner_texts()) == {"? not judged"}
    expect(page.get_by_text("Not judged (judge): why").first).to_be_visible()
    page.locator(".list li").nth(1).click()
    page.get_by_role("button", name="+ condition").click()
    options = page.locator("#prompts option").all_inner_texts()
    assert {"judged right", "judged wrong"} <= set(options) and not {"passes", "fails"} & set(options)
    page.get_by_role("button", name="clear").click()
    page.locator(".list li").nth(1).click()
    badges = page.locator("#prompts .badge").all_inner_texts()
    assert badges and set(badges) <= {"✓ judged right", "✗ judged wrong"}
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
