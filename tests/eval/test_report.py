"""The Markdown report and the terminal table, from results written by hand."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from eval.report.cells import plain, points
from eval.report.markdown import mask_comparisons, to_markdown
from eval.report.terminal import table


def arm(name: str, kind: str = "mended", mask: str | None = None, **more: Any) -> Any:
    values = {
        "name": name,
        "family": name,
        "kind": kind,
        "loss": "dpo" if mask else None,
        "mask": mask,
        "seed": 0,
        "samples": 1,
        "answers": 8,
        "n": 8,
        "passed": 6,
        "pass_rate": 0.75,
        "pass_rate_ci": [0.4093, 0.9285],
        "pass_at": [],
        "compiles": 7,
        "error_rate": 0.125,
        "error_rate_ci": [0.0224, 0.4709],
        "errors_by_type": {"infinite-loops": 1, "unused-imports": 0},
        "unscored_by_type": {"infinite-loops": 2, "unused-imports": 0},
        "train_seconds": 75.0,
        "train_tokens": 100,
        "gap_closed": -0.0625,
        "gap_closed_ci": [-0.25, 0.125],
        "collateral": {"right": 4, "broken": 1, "rate": 0.25, "ci": [0.0456, 0.6994]},
        "efficiency": None,
    }
    return values | more


def comparison(a: str, b: str, difference: float = 0.125, p_holm: float = 0.5) -> Any:
    ci = [difference - 0.25, difference + 0.5]
    return {
        "a": a,
        "b": b,
        "difference": difference,
        "ci": ci,
        "only_a": 2,
        "only_b": 1,
        "p_value": p_holm / 4,
        "p_holm": p_holm,
    }


def results_of(arms: list[Any], differences: list[Any] | None = None, notes: list[str] | None = None) -> Any:
    return {
        "experiment": "recovery",
        "n_prompts": 8,
        "arms": arms,
        "differences": differences or [],
        "pooled": {"arms": [], "differences": []},
        **{section: [] for section in ("measures", "wins", "rewards", "forgetting", "agreement")},
        "training": {one["name"]: {"node": "mended", "learning_rate": 1e-4} for one in arms},
        "bootstrap": {"seed": 0, "resamples": 10},
        "notes": notes or [],
    }


def three_masks() -> list[Any]:
    return [arm("r", mask="response"), arm("g", mask="granular"), arm("x", mask="random")]


def rows_of(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("|")]


def rendered(results: Any, width: int = 100) -> str:
    paper = StringIO()
    Console(width=width, file=paper).print(table(results))
    return paper.getvalue()


def test_a_row_of_the_table_of_arms():
    row = "| g | mended | 0.0001 | **75.0%** | 40.9% to 92.8% | 12.5% | 7 of 8 | "
    row += "-6.2% (-25.0% to 12.5%) | 1 of 4 (4.6% to 69.9%) | 75 s |"
    assert row in rows_of(to_markdown(results_of([arm("g")])))


def test_what_is_unknown_is_a_dash():
    unknown = dict.fromkeys(
        ("pass_rate", "pass_rate_ci", "error_rate", "gap_closed", "gap_closed_ci", "collateral", "train_seconds")
    )
    known = arm("k", "reference")
    row = "| g | reference | 0.0001 | - | - | - | 7 of 8 | - | - | - |"
    assert row in rows_of(to_markdown(results_of([arm("g", "reference", **unknown), known])))


def test_columns_without_a_figure_are_left_out():
    unknown = dict.fromkeys(("pass_rate", "pass_rate_ci", "error_rate", "compiles", "train_seconds", "collateral"))
    rows = rows_of(to_markdown(results_of([arm("g", "model", **unknown, gap_closed=None, gap_closed_ci=None)])))
    assert rows[:3] == ["| arm | kind | learning rate |", "| --- | --- | ---: |", "| g | model | 0.0001 |"]


def test_errors_are_listed_for_types_that_occur_with_the_unjudged_in_brackets():
    text = to_markdown(results_of([arm("g")]))
    assert "| g | 1 (2) |" in rows_of(text)
    assert "unused-imports" not in text


def test_differences_of_the_mask_are_read_from_granular_to_random():
    differences = [comparison("r", "g"), comparison("r", "x"), comparison("g", "x")]
    found = mask_comparisons(results_of(three_masks(), differences))
    assert [(d["a"], d["b"]) for d in found] == [("g", "r"), ("g", "x"), ("r", "x")]
    assert (found[0]["difference"], found[0]["ci"]) == (-0.125, [-0.625, 0.125])
    assert (found[0]["only_a"], found[0]["only_b"]) == (1, 2)


@pytest.mark.parametrize("change", [{"seed": 1}, {"loss": "tdpo2"}, {"mask": "response"}, {"mask": None}])
def test_arms_of_another_loss_or_seed_or_of_no_other_mask_are_no_mask_comparison(change):
    arms = [arm("r", mask="response"), arm("g", mask="granular") | change]
    assert mask_comparisons(results_of(arms, [comparison("r", "g")])) == []


def test_other_differences_stand_only_where_they_hold_after_holm_the_largest_first():
    arms = [*three_masks(), arm("c", "corrupted"), arm("s", "control")]
    differences = [comparison("r", "g", 0.1), comparison("r", "c", 0.2, 0.01), comparison("g", "c", -0.3, 0.0004)]
    rows = rows_of(to_markdown(results_of(arms, [*differences, comparison("s", "c", 0.9, 0.05)])))
    assert rows[-2:] == [
        "| g | c | -30.0 | -55.0 to +20.0 | < 0.001 | < 0.001 |",
        "| r | c | +20.0 | -5.0 to +70.0 | 0.003 | 0.010 |",
    ]
    assert "| g | r | -10.0 | -60.0 to +15.0 | 0.125 | 0.500 |" in rows
    assert not any(row.startswith("| s | c |") for row in rows)


def test_a_long_list_is_cut_and_says_so():
    names = [f"m{number}" for number in range(15)]
    differences = [comparison(name, "c", 0.5, 0.001) for name in names]
    text = to_markdown(results_of([arm(name) for name in [*names, "c"]], differences))
    assert "3 more hold; `results.json` has them." in text


def test_notes_are_listed():
    assert "## Notes\n\n- All arms share one untuned rate.\n" in to_markdown(
        results_of([arm("g")], notes=["All arms share one untuned rate."])
    )


HOSTILE = [
    "a|b",
    "<script>alert(1)</script>",
    "`code`",
    "*x* _y_ [z](http://q)",
    "line\nbreak",
    "back\\slash|",
    "&amp;",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are(name):
    """A real Markdown parser finds one table of two rows and, in its cell, the very name."""
    text = to_markdown(results_of([arm(name, errors_by_type={}), arm("g", errors_by_type={})]))
    tokens = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(text)
    cells = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 2 * 10
    assert [child.type for child in cells[0].children or []] == ["text"] * len(cells[0].children or [])
    assert "".join(child.content for child in cells[0].children or []) == " ".join(name.split())


def test_underscores_within_words_stay_readable():
    assert plain("sft_good _x_") == r"sft_good \_x\_"


def test_points_carry_their_sign():
    assert (points(0.125), points(-0.5), points(0)) == ("+12.5", "-50.0", "+0.0")


def test_the_terminal_table_shows_every_arm_in_order():
    text = rendered(results_of([arm("reference", "reference"), arm("mended [b]x[/b]"), arm("sft", "control")]))
    assert text.index("reference") < text.index("mended [b]x[/b]") < text.index("sft")
    assert "75.0%" in text and "87.5%" in text and "12.5%" in text and "-6.2%" in text and "1m 15s" in text


def judged(arms: list[Any], value: float = 0.5) -> Any:
    one = {"metric": "judge/correct", "n": 8, "value": value, "ci": [0.25, 0.75]}
    return {**results_of(arms), "measures": [{**one, "arm": found["name"]} for found in arms]}


def test_a_judge_stands_beside_the_tests_and_takes_the_bar_where_there_are_none():
    both = rendered(judged([arm("g", compiles=4, answers=16)]))
    assert both.index("passed") < both.index("judged right") < both.index("compiles")
    assert "75.0%" in both and "50.0%" in both and "25.0%" in both
    unknown = dict.fromkeys(("pass_rate", "pass_rate_ci", "error_rate", "compiles", "gap_closed", "train_seconds"))
    alone = rendered(judged([arm("g", "model", **unknown)]))
    assert "passed" not in alone and "compiles" not in alone
    assert "50.0%" in alone and "━" * 4 + "░" * 4 + "█" + "░" * 4 + "─" in alone


def test_the_terminal_names_who_wins_before_each_judge():
    standings = [{"arm": name, "rate": rate} for name, rate in (("b", 0.75), ("a", 0.5), ("c", 0.25), ("d", None))]
    results = {**results_of([arm("a")]), "wins": [{"by": "duels", "standings": standings}]}
    assert "Wins by duels: b 75.0%, a 50.0%, c 25.0% and 1 more." in rendered(results)


def test_the_bar_by_hand():
    """Sixteen cells: 40.93 % lies in cell 6, 75 % in cell 12, 92.85 % in cell 14."""
    assert "━" * 6 + "░" * 6 + "█" + "░" * 2 + "─" in rendered(results_of([arm("g")]))


def test_the_terminal_table_fits_in_100_columns_and_cuts_no_figure():
    long = arm("mended[tdpo2/granular-one-sided/seed=10]", pass_rate=1.0, pass_rate_ci=[0.9, 1.0], train_seconds=5999.0)
    for results in (results_of([long, arm("g")]), judged([long, arm("g")], 1.0)):
        text = rendered(results)
        assert max(map(len, text.splitlines())) <= 100
        assert "…" not in text and "99m 59s" in text


def test_an_arm_that_could_not_be_judged_has_no_bar():
    text = rendered(results_of([arm("g", pass_rate=None, pass_rate_ci=None)]))
    assert "not judged" in text and "█" not in text


def test_what_is_known_over_seeds_stands_first():
    pooled = {
        "name": "dpo / granular",
        "kind": "mended",
        "loss": "dpo",
        "mask": "granular",
        "seeds": [0, 1],
        "n": 8,
        "pass_rates": [0.5, 0.75],
        "pass_rate": 0.625,
        "pass_rate_ci": [0.25, 1.0],
        "gap_closed": 0.5,
    }
    whole = {**pooled, "name": "dpo / response", "mask": "response"}
    found = {**comparison("dpo / response", "dpo / granular", -0.125), "seeds": 2, "n": 8}
    results = results_of([arm("c")])
    assert "seeds" not in to_markdown(results)
    results["pooled"] = {"arms": [pooled, whole], "differences": [found]}
    text = to_markdown(results)
    assert text.index("## Over seeds") < text.index("## Arms")
    assert "| dpo / granular | 2 | **62.5%** | 25.0% to 100.0% | 50.0% to 75.0% | 50.0% |" in text
    assert "| dpo / granular | dpo / response | +12.5 | -37.5 to +37.5 |" in text


def test_the_terminal_shows_a_family_once_with_its_mean():
    results = results_of([arm("c"), *(arm(f"dpo / granular, seed {n}", family="dpo / granular") for n in range(2))])
    results["pooled"]["arms"] = [
        {"name": "dpo / granular", "seeds": [0, 1], "pass_rate": 0.625, "pass_rate_ci": [0.25, 1.0], "gap_closed": 0.5}
    ]
    lines = [line for line in rendered(results).splitlines() if "%" in line and "Shaded" not in line]
    assert [line.split("  ")[0].strip() for line in lines] == ["c", "dpo / granular, 2 seeds"]
    assert "62.5%" in lines[1] and "50.0%" in lines[1]


def test_models_from_outside_are_compared_with_each_other():
    """Whether or not a difference holds: with two models it is what was asked."""
    arms = [arm(name, kind="model", gap_closed=None, train_seconds=None) for name in ("mine", "yours")]
    text = to_markdown(results_of(arms, [comparison("mine", "yours")]))
    assert "### Between the models" in text
    assert "| mine | yours | +12.5 |" in text
    assert "mask" not in text
    assert "There is one model." in to_markdown(results_of(arms[:1]))
    shown = rendered(results_of(arms))
    assert "compiles" in shown
    assert "gap" not in shown.lower()
    assert "time" not in shown
