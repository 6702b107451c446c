"""results.json, results.csv, report.md and index.html say the same, for any number of arms."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from report_run import HOSTILE, MODELS, make_report
from rich_report import make_rich_report

from eval.report.cells import interval, p_text, percent, points
from eval.report.sheet import Line
from eval.report.tables import kept_cells, rater_cells, win_cells
from eval.report.tables import numbers as numbers_of

SIZES = {"one": (-1, 1), "two": (0, 1), "few": (3, 1), "sampled": (3, 3), "forty": (38, 1)}


@pytest.fixture(scope="module", params=SIZES)
def report(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mended, samples = SIZES[request.param]
    return make_rich_report(tmp_path_factory.mktemp(request.param), mended, prompts=8, samples=samples, resamples=50)


def results_of(directory: Path) -> Any:
    return json.loads((directory / "results.json").read_text(encoding="utf-8"))


def sheet_of(directory: Path) -> list[Line]:
    """The lines of results.csv, numbers read back."""
    with (directory / "results.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(Line._fields)
    return [Line(*row[:4], *(float(cell) if cell else None for cell in row[4:])) for row in rows]


def markdown_rows(directory: Path) -> set[tuple[str, ...]]:
    """The cells of every row of every table of report.md, as a Markdown parser reads them."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse((directory / "report.md").read_text(encoding="utf-8"))
    rows: list[list[str]] = []
    for place, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "td_open":
            rows[-1].append("".join(child.content for child in tokens[place + 1].children or []))
    return {tuple(row) for row in rows if row}


def markdown_arms(directory: Path) -> dict[str, dict[str, str]]:
    """The first table of report.md with arms by kind: the cells of each arm by their column."""
    lines = (directory / "report.md").read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("| arm | kind |"))
    end = next(place for place in range(start, len(lines)) if not lines[place].startswith("|"))
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[start:end]]
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def page_rows(directory: Path) -> list[str]:
    """The text of every table row of the page, with single spaces."""
    html = (directory / "index.html").read_text(encoding="utf-8")
    body = html[html.index("<main>") : html.index("</main>")]
    rows = re.findall(r"<tr[ >].*?</tr>", body, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in rows]


def in_page(rows: list[str], *texts: str) -> bool:
    """Whether a row of the page has all these texts in this order; dashes are not looked for."""
    pattern = ".*".join(re.escape(" ".join(text.split())) for text in texts if text not in ("-", ""))
    return any(re.search(pattern, row) for row in rows)


def line_of(sheet: list[Line], section: str, arm: str, figure: str, other: str = "") -> Line:
    (found,) = [one for one in sheet if (one.section, one.arm, one.figure, one.other) == (section, arm, figure, other)]
    return found


def test_every_figure_of_json_is_in_the_sheet_and_no_other(report: Path):
    """Each number under its section, however deep; what says how it was drawn, and ids of seeds, are no figures."""
    results, sheet = results_of(report), sheet_of(report)
    in_sheet = [cell for line in sheet for cell in line[4:] if cell is not None]
    sections = ("arms", "differences", "pooled", "measures", "wins", "rewards", "forgetting", "agreement")
    missing = {value for name in sections for value in numbers(results[name])} - set(in_sheet)
    assert missing == set()
    known = {value for name in (*sections, "training") for value in numbers(results[name], every=True)}
    judged = {arm["answers"] - count for arm in results["arms"] for count in arm["unscored_by_type"].values()}
    assert set(in_sheet) <= known | judged


SKIPPED = ("seed", "seeds", "k", "step", "samples", "answers", "passed", "n", "right", "broken", "before_value",
           "unscored_by_type", "pass_rates")  # fmt: skip
"""Counts that follow from others, and what names a figure rather than being one."""


def numbers(value: Any, every: bool = False) -> list[float]:
    if isinstance(value, dict):
        return [n for key, one in value.items() if every or key not in SKIPPED for n in numbers(one, every)]
    if isinstance(value, list):
        return [n for one in value for n in numbers(one, every)]
    return [value] if isinstance(value, int | float) else []


def test_arms_are_the_same_everywhere(report: Path):
    results, sheet, table, page = results_of(report), sheet_of(report), markdown_rows(report), page_rows(report)
    arms = markdown_arms(report)
    for arm in results["arms"]:
        cells = arms[arm["name"]]
        line = line_of(sheet, "arms", arm["name"], "pass rate")
        assert (line.n, line.value, [line.low, line.high]) == (arm["n"], arm["pass_rate"], arm["pass_rate_ci"])
        shown = [percent(arm["pass_rate"]), interval(arm["pass_rate_ci"])]
        assert [cells["pass rate"].strip("*"), cells["95% interval"]] == shown
        assert in_page(page, arm["name"], *shown, percent(arm["gap_closed"]))
        gap = line_of(sheet, "arms", arm["name"], "gap closed")
        assert gap.value == arm["gap_closed"]
        if arm["gap_closed_ci"]:
            assert [gap.low, gap.high] == arm["gap_closed_ci"]
            assert in_page(page, arm["name"], percent(arm["gap_closed"]), interval(arm["gap_closed_ci"]))
            assert interval(arm["gap_closed_ci"]) in cells["gap closed"]
        if arm["collateral"] and arm["collateral"]["ci"]:
            found = arm["collateral"]
            assert line_of(sheet, "arms", arm["name"], "collateral damage").value == found["rate"]
            assert in_page(page, arm["name"], str(found["broken"]), f"of {found['right']}", interval(found["ci"]))
            text = f"{found['broken']} of {found['right']} ({interval(found['ci'])})"
            assert cells["broken"] == text
        for at in arm["pass_at"]:
            assert line_of(sheet, "arms", arm["name"], f"pass@{at['k']}").value == at["rate"]
            assert in_page(page, arm["name"], percent(at["rate"]), interval(at["ci"]))
            text = f"{percent(at['rate'])} ({interval(at['ci'])})"
            assert any(row[0] == arm["name"] and text in row for row in table)
        if bought := arm["efficiency"]:
            assert line_of(sheet, "arms", arm["name"], "gain").value == bought["gain"]
            texts = [points(bought["gain"]), f"{arm['train_tokens']:,}", points(bought["per_million_tokens"])]
            assert in_page(page, arm["name"], *texts, points(bought["per_minute"]))
            assert any(list(row[:4]) == [arm["name"], *texts] for row in table)


def test_differences_are_the_same_everywhere(report: Path):
    results, sheet, table, page = results_of(report), sheet_of(report), markdown_rows(report), page_rows(report)
    held = {frozenset(row[:2]): row for row in table if len(row) == 6 and re.fullmatch(r"[+-][\d.]+", row[2])}
    for found in results["differences"]:
        line = line_of(sheet, "differences", found["a"], "pass rate", found["b"])
        assert (line.value, [line.low, line.high], line.p_value) == (found["difference"], found["ci"], found["p_value"])
        size = points(abs(found["difference"]))[1:]
        assert any(found["a"] in row and found["b"] in row and size in row for row in page)
        if row := held.get(frozenset((found["a"], found["b"]))):
            assert (row[2][1:], row[4]) == (size, p_text(found["p_value"]))


def test_win_rates_are_the_same_everywhere(report: Path):
    results, sheet, table, page = results_of(report), sheet_of(report), markdown_rows(report), page_rows(report)
    for judge in results["wins"]:
        section = f"wins by {judge['by']}"
        for win in judge["pairs"]:
            line = line_of(sheet, section, win["a"], "win rate", win["b"])
            assert (line.n, line.value, [line.low, line.high]) == (win["n"], win["rate"], win["ci"])
            assert (win["a"], win["b"], *win_cells(win)) in table
            assert in_page(page, win["a"], "against", win["b"], percent(win["rate"]), interval(win["ci"]))
        for one in judge["standings"]:
            assert line_of(sheet, section, one["arm"], "win rate", "all others").value == one["rate"]
            assert (one["arm"], percent(one["rate"]), interval(one["ci"]), str(one["n"])) in table
            assert in_page(page, one["arm"], percent(one["rate"]), interval(one["ci"]))


def test_the_other_tables_are_the_same_everywhere(report: Path):
    results, sheet, table, page = results_of(report), sheet_of(report), markdown_rows(report), page_rows(report)
    for one in results["measures"]:
        assert line_of(sheet, "measures", one["arm"], one["metric"]).value == one["value"]
        if one["metric"].startswith("judge/errors/"):
            continue
        assert any(row[:4] == (one["metric"], one["arm"], str(one["n"]), f"{one['value']:.4g}") for row in table)
        assert in_page(page, one["arm"], f"{one['value']:.4g}", f"{one['ci'][0]:.4g} to {one['ci'][1]:.4g}")
    for one in results["forgetting"]:
        assert line_of(sheet, f"forgetting on {one['rows']}", one["arm"], one["metric"]).value == one["value"]
        assert (one["metric"], one["arm"], str(one["n"]), *kept_cells(one)) in table
        assert in_page(page, one["arm"], *kept_cells(one)[:3])
    for one in results["agreement"]:
        assert line_of(sheet, "agreement", one["rater"], "kappa", "execution").value == one["kappa"]
        assert (one["rater"], *rater_cells(one)) in table
        assert in_page(page, one["rater"], rater_cells(one)[2], percent(one["agree"]))
    for one in results["rewards"]:
        assert line_of(sheet, "rewards", one["arm"], "kl", one["on"]).value == one["kl"]
        assert (one["arm"], one["on"], str(one["step"]), f"{one['kl']:.4g}", f"{one['margin']:.4g}") in table
        assert in_page(page, one["arm"], one["on"], f"{one['kl']:.4g}", f"{one['margin']:.4g}")


def test_the_heat_map_has_every_count(report: Path):
    arms, page = results_of(report)["arms"], page_rows(report)
    totals = {name: sum(arm["errors_by_type"][name] for arm in arms) for name in arms[0]["errors_by_type"]}
    types = sorted((name for name in totals if totals[name]), key=lambda name: (-totals[name], name))
    for arm in arms if types else []:
        assert " ".join([arm["name"], *(str(arm["errors_by_type"][name]) for name in types)]) in page


def test_what_a_judge_says_is_the_same_everywhere(report: Path):
    """Its verdicts and grades beside the pass rates, and the errors it names as shares, but those named nowhere."""
    results, page, rows = results_of(report), page_rows(report), markdown_rows(report)
    arms, kinds = markdown_arms(report), {arm["name"]: arm["kind"] for arm in results["arms"]}
    said = {(one["metric"], one["arm"]): one for one in results["measures"]}
    types = [metric.removeprefix("judge/errors/") for metric, arm in said if metric.startswith("judge/errors/")]
    totals = {name: sum(said[f"judge/errors/{name}", arm]["value"] for arm in arms) for name in types}
    named = sorted((name for name in totals if totals[name]), key=lambda name: (-totals[name], name))
    for arm in arms:
        right, grade = said["judge/correct", arm], said["rubric/score", arm]
        cells = [percent(right["value"]), interval(right["ci"]), f"{grade['value']:.4g}", numbers_of(grade["ci"])]
        assert (arm, *cells) in rows
        assert in_page(page, arm, kinds[arm], *cells)
        shares = [said[f"judge/errors/{name}", arm]["value"] for name in named]
        assert (arm, *map(percent, shares)) in rows or not named
        assert not named or " ".join([arm, *(f"{100 * share:.0f}" for share in shares)]) in page
    nowhere = sorted(set(totals) - set(named))
    for file in ("report.md", "index.html"):
        assert f"names nowhere: {', '.join(nowhere)}." in (report / file).read_text() or not nowhere


ADDED = ("passing", "efficiency", "wins", "measures", "forgetting", "agreement", "rewards")


def test_only_sections_with_something_to_show_appear(tmp_path: Path):
    plain = (make_report(tmp_path / "plain", MODELS[:2]) / "index.html").read_text()
    rich = (make_rich_report(tmp_path / "rich", samples=2, prompts=6, resamples=50) / "index.html").read_text()
    sections = [re.findall(r'<section id="(\w+)">', html) for html in (plain, rich)]
    assert [name for name in ADDED if name in sections[0]] == ["agreement"]
    assert [name for name in sections[1] if name in ADDED] == [
        "passing", "efficiency", "wins", "measures", "forgetting", "agreement", "rewards",
    ]  # fmt: skip
    for html, found in zip((plain, rich), sections, strict=True):
        assert re.findall(r'<a href="#(\w+)">', html[html.index("<nav") : html.index("</nav>")]) == found


def test_planted_markup_makes_no_element_in_any_section(tmp_path: Path):
    taints = {"clean": "", "tainted": HOSTILE}
    made = [make_rich_report(tmp_path / name, 2, 6, taint=taint, resamples=50) for name, taint in taints.items()]
    clean, tainted = ((directory / "index.html").read_text().partition("<script")[0] for directory in made)
    tags = re.compile(r"<(/?[a-zA-Z]\w*)")
    assert tags.findall(clean) == tags.findall(tainted)
    assert "<svg/onload" not in tainted and "&lt;script&gt;" in tainted
