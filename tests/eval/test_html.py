"""index.html as text: its figures are those of results.json, and nothing that a model wrote is markup in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from hypothesis import given
from hypothesis import strategies as st
from report_run import HOSTILE, LOOPS, MODELS, answer_of, make_report, prompt_of
from rich_report import make_rich_report

from eval.report.cells import p_text, percent, points
from eval.report.curves import charts, thinned
from eval.report.html import SCRIPTS, STYLES, axis, comparison_groups, embedded, where
from eval.report.markup import segments
from eval.report.prompts import chosen

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """What a parser sees: tags with their attributes, the texts of table rows, the contents of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: list[str] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append("")
        if tag in self.inside:
            self.inside[tag].append("")
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in self.inside:
            self.inside[self._open][-1] += data
        elif self.rows:
            self.rows[-1] += " " + data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def row(self, *texts: str) -> bool:
        """Whether a row has all these texts in this order."""
        return any(re.search(".*?".join(map(re.escape, texts)), row, re.DOTALL) for row in self.rows)

    def data(self) -> Any:
        return json.loads(self.inside["script"][0])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("hostile"), taint=HOSTILE)


@cache
def html_of(directory: Path) -> str:
    return (directory / "index.html").read_text(encoding="utf-8")


def page_of(directory: Path) -> Page:
    return Page(html_of(directory))


def results_of(directory: Path) -> Any:
    return json.loads((directory / "results.json").read_text(encoding="utf-8"))


# Figures


def test_every_arm_has_the_figures_of_results_json(report: Path):
    page, results = page_of(report), results_of(report)
    assert [arm["name"] for arm in results["arms"]] == ["reference", "corrupted", "dpo / granular", "tdpo2 / response"]
    for arm in results["arms"]:
        passing, erring = arm["pass_rate_ci"], arm["error_rate_ci"]
        assert page.row(
            arm["name"], arm["kind"], percent(arm["pass_rate"]), f"{percent(passing[0])} to {percent(passing[1])}",
            percent(arm["gap_closed"]), percent(arm["error_rate"]), f"{percent(erring[0])} to {percent(erring[1])}",
            str(arm["compiles"]), "of 6", "1 m 15 s",
        ), arm["name"]  # fmt: skip


def test_every_difference_is_there_with_its_interval_counts_and_p_values(report: Path):
    page, results = page_of(report), results_of(report)
    shown = [found for group in comparison_groups(results) for found in group["rows"]]
    assert len(shown) == len(results["differences"]) == 5
    assert {frozenset((found["a"], found["b"])) for found in shown} == {
        frozenset((found["a"], found["b"])) for found in results["differences"]
    }
    for found in shown:
        figures = [points(value) for value in (found["difference"], *found["ci"])]
        counts = [str(found["only_a"]), "/", str(found["only_b"])]
        tests = [p_text(found["p_value"]), p_text(found["p_holm"])]
        assert page.row(found["a"], "less", found["b"], *figures, *counts, *tests), found


def test_arms_over_several_seeds_stand_first_with_their_figures(report: Path, tmp_path: Path):
    assert not re.search('id="seeds"', html_of(report))
    twins = [
        replace(MODELS[2], node="mended/dpo-1", verdicts=[1, 1, 1, 0, 0, 0], config={**MODELS[2].config, "seed": 1})
    ]
    directory = make_report(tmp_path, [*MODELS[:3], *twins])
    page, pooled = page_of(directory), results_of(directory)["pooled"]
    (arm,) = pooled["arms"]
    assert (arm["name"], arm["seeds"]) == ("dpo / granular", [0, 1])
    low, high = arm["pass_rate_ci"]
    assert page.row(arm["name"], percent(arm["pass_rate"]), percent(low), percent(high), "2", "50.0% to 50.0%")
    assert [(tag, found["class"]) for tag, found in page.tags if found.get("class") == "seed"] == [("line", "seed")] * 2
    for found in pooled["differences"]:
        assert page.row(found["a"], "less", found["b"], points(found["difference"]), p_text(found["p_holm"]))
    assert html_of(directory).index('id="seeds"') < html_of(directory).index('id="arms"')


def test_errors_by_type_are_counted_per_arm(report: Path):
    rows = [" ".join(row.split()) for row in page_of(report).rows]
    assert ["corrupted 2" in rows, "corrupted 1" in rows, "dpo / granular 1" in rows] == [True, True, True]


def test_positions_of_an_interval_plot_by_hand(report: Path):
    """The reference passes 5 of 6; its dot stands at 83.33 % of the width, the floor's line at 1 of 5."""
    circles = [attrs["cx"] for tag, attrs in page_of(report).tags if tag == "circle"]
    assert circles[0] == "83.33%"
    assert 'class="floor" x1="20.00%"' in html_of(report)


def test_the_axis_of_differences_ends_at_whole_steps_and_holds_zero():
    made = axis([{"ci": [0.12, 0.43]}, {"ci": [0.2, 0.5]}])
    assert (round(made["low"], 9), round(made["high"], 9)) == (-0.1, 0.5)
    assert any(abs(tick) < 1e-9 for tick in made["ticks"])
    assert axis([])["low"] < 0 < axis([])["high"]


def test_the_same_inputs_give_the_same_page(report: Path, tmp_path: Path):
    first = (report / "index.html").read_bytes()
    again = make_report(tmp_path)
    strip = re.compile(rb"<dt>(Scored|Commit)</dt><dd>[^<]*</dd>")
    assert strip.sub(b"", (again / "index.html").read_bytes()) == strip.sub(b"", first)


# What is hostile stays text


def test_planted_markup_makes_no_element_and_no_attribute(report: Path, hostile: Path):
    clean, tainted = page_of(report), page_of(hostile)
    assert [tag for tag, _ in tainted.tags] == [tag for tag, _ in clean.tags]
    assert [set(attrs) for _, attrs in tainted.tags] == [set(attrs) for _, attrs in clean.tags]
    assert not any(name.startswith("on") for _, attrs in tainted.tags for name in attrs)
    links = [attrs["href"] for _, attrs in tainted.tags if "href" in attrs]
    assert {link[0] for link in links if link != "data:,"} == {"#"}


def test_hostile_text_is_shown_and_not_lost(hostile: Path):
    page = page_of(hostile)
    data = page.data()
    assert page.row(f"dpo{HOSTILE} / granular{HOSTILE}")
    assert data["prompts"][0]["prompt"][-1].endswith(HOSTILE) or HOSTILE in joined(data["prompts"][0]["prompt"])
    texts = {"".join(joined(pieces) for _, pieces in answer["body"]) for answer in data["answers"]}
    assert {answer_of(model, 0, HOSTILE) for model in MODELS} <= texts
    assert data["prompts"][0]["tests"][1] == [f'f0("{HOSTILE}")'.replace("\u2028", " ")[:97] + "...", "KeyError"]


def joined(pieces: list[Any]) -> str:
    return "".join(piece if isinstance(piece, str) else piece[1] for piece in pieces)


def test_embedded_json_holds_no_character_that_html_reads():
    value = ["</script>", "<!--<script", "]]>", "&lt;", "\u2028", "🎻"]
    text = embedded(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_the_policy_names_the_one_script_and_the_one_style(hostile: Path):
    page = page_of(hostile)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    (_, script), (style,) = page.inside["script"], page.inside["style"]
    for name, text in (("script-src", script), ("style-src", style)):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert (rules["default-src"], rules["require-trusted-types-for"]) == ("'none'", "'script'")


def test_the_script_knows_no_way_from_text_to_markup_or_network():
    sinks = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|fetch\(|XMLHttpRequest|import\("
    )
    for name in SCRIPTS:
        assert not re.search(sinks, (ROOT / "eval/report/templates" / name).read_text()), name


def test_links_into_the_browser_are_quoted():
    assert (
        where(("passes", "a / b"), ("fails", "x&y"))
        == "#if=passes%3Aa%20%2F%20b&if=fails%3Ax%26y&arm=a%20%2F%20b&arm=x%26y"
    )


# Prompts and answers


def test_answers_carry_verdicts_tests_and_marks(report: Path):
    data = page_of(report).data()
    first = data["prompts"][0]
    assert joined(first["prompt"]) == prompt_of(0)
    corrupted = data["answers"][first["arms"][1]]
    assert (corrupted["passed"], corrupted["compiles"], corrupted["results"]) == (
        0.0,
        1.0,
        [[False, '""'], [False, "KeyError: no"]],
    )
    assert [data["types"][number] for number, _ in corrupted["errors"]] == [LOOPS]
    marked = [piece for _, pieces in corrupted["body"] for piece in pieces if len(piece) == 3 and piece[2:] == [0]]
    assert [piece[1] for piece in marked] == ["BAD"]


def test_a_place_where_something_is_missing_is_an_empty_mark(report: Path):
    data = page_of(report).data()
    answer = data["answers"][data["prompts"][2]["arms"][1]]
    pieces = [piece for _, segment in answer["body"] for piece in segment]
    assert pieces.count(["", "", 0]) == 1
    assert joined(pieces[pieces.index(["", "", 0]) :]).startswith("BAD")


def test_equal_answers_are_written_once(report: Path):
    data = page_of(report).data()
    fourth = data["prompts"][3]
    assert len(set(fourth["arms"])) == 1
    assert len(data["answers"]) < len(MODELS) * 6


def test_of_many_prompts_a_part_is_drawn_and_said(tmp_path: Path):
    data = page_of(make_report(tmp_path, prompts=4)).data()
    assert (len(data["prompts"]), data["total"]) == (4, 6)
    ids = [f"p{number:02}" for number in range(50)]
    drawn = chosen(ids, 10, seed=1)
    assert drawn == sorted(drawn) == chosen(ids[::-1], 10, seed=1) != chosen(ids, 10, seed=2)
    assert chosen(ids, 100, seed=1) == ids


CODE = "It is:\n\n```python\ndef f(x):\n    return 'é🎻'  # no\n```\nand `x` ends"


def test_python_is_highlighted_and_fences_are_apart():
    kinds = [(kind, joined(pieces)) for kind, pieces in segments(CODE)]
    assert [kind for kind, _ in kinds] == ["prose", "code", "prose"]
    assert "".join(text for _, text in kinds) == CODE
    styled = [piece for _, pieces in segments(CODE) for piece in pieces if not isinstance(piece, str)]
    assert [(style, text) for style, text in styled if style in "kfci"] == [
        ("k", "def"),
        ("f", "f"),
        ("k", "return"),
        ("c", "# no"),
        ("i", "`x`"),
    ]


def test_other_languages_and_empty_blocks_are_left_alone():
    text = "```sql\nselect def\n```\n```python\n```\n"
    assert "".join(joined(pieces) for _, pieces in segments(text)) == text
    assert ["k", "def"] not in [piece for _, pieces in segments(text) for piece in pieces]


TEXT = st.text(st.sampled_from("ab`~ \n\r\t\"'#(🎻é\u2028py"), max_size=60).map(
    lambda text: f"```py\n{text}\n```\n{text}"
)


@given(TEXT, st.data())
def test_pieces_make_the_text_again_and_marks_cover_their_characters(text: str, data: Any):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    marks = [(cuts[0], cuts[1]), (cuts[2], cuts[3])]
    found = [piece for _, pieces in segments(text, marks) for piece in pieces]
    assert joined(found) == text
    for number, (start, end) in enumerate(marks):
        covered = [piece[1] for piece in found if not isinstance(piece, str) and piece[2:] == [number]]
        assert "".join(covered) == text[start:end]
        assert covered


# Curves


def test_long_runs_are_averaged_over_equal_stretches():
    assert thinned([1, 2, 3, 4, 5], points=3) == [1.5, 3.5, 5]
    assert thinned([1, 2], points=3) == [1, 2]
    assert thinned([], points=3) == []
    assert len(thinned(range(10_001))) <= 160


def test_charts_part_kinds_of_training_and_metrics(report: Path):
    data = page_of(report).data()
    found = [(chart["stage"], chart["metric"], [line["arm"] for line in chart["lines"]]) for chart in data["charts"]]
    assert found == [
        ("Preference", "loss", [2, 3]),
        ("Preference", "rewards/margins", [2, 3]),
        ("Supervised", "loss", [0, 1]),
        ("Supervised", "rewards/margins", [0, 1]),
    ]
    assert data["charts"][0]["lines"][0] == {"arm": 2, "steps": [1, 2, 3, 4], "values": [1, 0.5, 0.3333, 0.25]}


def test_figures_on_held_out_rows_are_drawn_at_the_steps_that_have_them():
    """Also before the first step; and of single error types those two that a reader wants first."""
    measured = {
        "eval/loss": 0.5,
        "eval/rewards/accuracies": 1.0,
        "eval/rewards/accuracies/loops": 1.0,
        "eval/kl/rejected/inside": 0.25,
        "eval/kl/rejected/inside/loops": 0.25,
        "eval/kl_per_token/rejected/inside/loops": 0.125,
        "evaluation_seconds": 3.0,
    }

    class Arm:
        class model:
            kind = "preference"

        metrics = ({"step": 0, "total": 2, **measured}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, **measured})

    found = charts([Arm()])
    assert [(chart["group"], chart["metric"]) for chart in found] == [
        ("Preference", "loss"),
        ("Preference: held-out rows", "eval/loss"),
        ("Preference: held-out rows", "eval/rewards/accuracies"),
        ("Preference: held-out rows", "eval/kl/rejected/inside"),
        ("Preference: held-out rows, by error type", "eval/kl_per_token/rejected/inside/loops"),
        ("Preference: held-out rows, by error type", "eval/rewards/accuracies/loops"),
    ]
    assert [chart["lines"][0]["steps"] for chart in found[:2]] == [[1, 2], [0, 2]]
    assert found[1]["lines"][0]["values"] == [0.5, 0.5]
    assert {chart["stage"] for chart in found} == {"Preference"}


def test_what_is_not_finite_is_a_gap():
    class Arm:
        class model:
            kind = "sft"

        metrics = ({"step": 1, "loss": float("nan")}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": float("inf")})

    assert charts([Arm()])[0]["lines"][0]["values"] == [None, 1.0, None]


# Package data


def test_the_wheel_has_every_template():
    files = {Path(found.distribution_path) for found in WheelBuilder(str(ROOT)).recurse_included_files()}
    templates = ROOT / "eval" / "report" / "templates"
    names = {path.name for path in templates.iterdir()}
    pages = {f"{name}.html.jinja" for name in ("index", "plots", "sections", "tables", "worth")}
    assert {*SCRIPTS, *STYLES, "sections.css"} | pages == names
    assert {Path("eval/report/templates") / name for name in names} <= files


def test_no_template_is_too_long():
    for path in (ROOT / "eval" / "report" / "templates").iterdir():
        assert len(path.read_text().splitlines()) <= 400, path.name


def test_a_judge_alone_has_its_figures_in_the_place_of_the_tests(tmp_path):
    """Nothing is said of passing, compiling or damage; the first prompt was left open, and each answer says so once."""
    directory = make_rich_report(tmp_path, mended=1, prompts=6, tested=False, resamples=50)
    text = (directory / "report.md").read_text()
    assert "## As judges see them" in text and "## Errors that the judge names" in text
    assert not [
        words for words in ("## Differences", "ass rate", "compiles") if words in text.partition("## Forgetting")[0]
    ]
    html = (directory / "index.html").read_text()
    main = html[html.index("<main>") : html.index("</main>")]
    assert not {"Pass rate", "Compiles", "Broken", "Gap closed"} & set(re.findall(r"<th[^>]*>([^<]+)</th>", main))
    assert "Judged right" in main and 'id="differences"' not in main and 'id="wins"' in main
    data = json.loads(Page(html).inside["script"][0])
    assert data["judged"] is True
    first, second = ([data["answers"][number] for number in prompt["arms"]] for prompt in data["prompts"][:2])
    assert [(answer["passed"], answer["why"], answer["open"]) for answer in first] == [
        (None, "", [["judge", "why"]])
    ] * 3
    assert all(answer["passed"] in (0, 1) and answer["open"] == [] for answer in second)
    others = {name for answer in second for name, _, _ in answer["others"]}
    assert "judge/correct" not in others and {"judge/accuracy", "judge/clarity"} <= others
    named = [
        value for answer in data["answers"] for name, value, _ in answer.get("others", ()) if "judge/errors/" in name
    ]
    assert set(named) == {1.0}


def test_where_there_are_tests_they_are_the_verdict(tmp_path):
    html = (make_rich_report(tmp_path, mended=1, prompts=6, resamples=50) / "index.html").read_text()
    assert json.loads(Page(html).inside["script"][0])["judged"] is False
