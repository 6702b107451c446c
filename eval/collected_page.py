"""The figures about collected preferences as a sheet, as Markdown, and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.collected_figures import Figures, Policy
from eval.report.arms import COMPILES, PASSED
from eval.report.cells import MISSING, interval, number, p_text, percent, points
from eval.report.sections import Section, marks
from eval.report.sections import to_html as sections_to_html
from eval.report.sections import to_markdown as sections_to_markdown
from eval.report.sheet import Line, as_csv
from eval.scorers.judge import PREFIX

LEDE = "What collected preferences were worth."


def sections(figures: Figures) -> list[Section]:
    """The tables of a report."""
    return [_rounds(figures), _wins(figures), _collectors(figures), _agreement(figures), _lengths(figures)]


def _rounds(figures: Figures) -> Section:
    return Section(
        "rounds",
        "After each round",
        f"Mean of {figures['metric']} over {figures['n_prompts']} held-out prompts with its 95% interval (Wilson's "
        "for one 0/1 value a prompt, else bootstrap over prompts). Change: against the model the round began with, "
        "in points, paired bootstrap over prompts; p by sign-flip test, Holm-adjusted over all rounds. Intervals cover "
        "the choice of prompts, not the chance in training.",
        [("model", "left"), ("collector", "left"), ("round", "right"), ("pairs", "right"), ("rate", "right"),
         ("95% interval", "right"), ("change", "right"), ("95% interval", "right"), ("p", "right"),
         ("characters", "right")],
        [_policy(one, is_share(figures["metric"])) for one in figures["policies"]],
        [marks((one["rate"], one["ci"], "model")) for one in figures["policies"] if is_share(figures["metric"])],
    )  # fmt: skip


def _policy(one: Policy, share: bool) -> list[str]:
    """Shares in percent and their changes in points, other means as they are."""
    signed = points if share else "{:+.3g}".format
    change = MISSING if one["change"] is None else signed(one["change"])
    ends = MISSING if one["change_ci"] is None else " to ".join(signed(end) for end in one["change_ci"])
    ci = MISSING if one["ci"] is None else " to ".join((percent if share else number)(end) for end in one["ci"])
    return [
        one["name"],
        one["collector"] or MISSING,
        MISSING if one["round"] is None else str(one["round"]),
        MISSING if one["pairs"] is None else str(one["pairs"]),
        percent(one["rate"]) if share else number(one["rate"]),
        ci,
        change,
        ends,
        MISSING if one["p_holm"] is None else p_text(one["p_holm"]),
        f"{one['length']:.0f}",
    ]


def is_share(metric: str) -> bool:
    """Whether a metric is 1 or 0 of an answer, so that its mean is a share of answers."""
    return metric in (PASSED, COMPILES) or metric.startswith(PREFIX)


def _wins(figures: Figures) -> Section:
    return Section(
        "wins",
        "Who wins",
        "Win rate against all others, a tie as half a win, mean over prompts with its bootstrap interval.",
        [("judge", "left"), ("model", "left"), ("prompts", "right"), ("win rate", "right"), ("95% interval", "right")],
        [
            [judge["by"], one["arm"], str(one["n"]), percent(one["rate"]), interval(one["ci"])]
            for judge in figures["wins"]
            for one in judge["standings"]
        ],
        [marks((one["rate"], one["ci"], "model")) for judge in figures["wins"] for one in judge["standings"]],
    )


def _collectors(figures: Figures) -> Section:
    return Section(
        "collectors",
        "What the collectors made",
        "Pairs of each collector and why others are none. Lengths are mean characters.",
        [("pairs of", "left"), ("decided by", "left"), ("samples of", "left"), ("pairs", "right"), ("none", "left"),
         ("chosen length", "right"), ("rejected length", "right")],
        [
            [
                one["name"],
                one["by"],
                one["model"],
                str(one["pairs"]),
                ", ".join(f"{reason} {count}" for reason, count in one["rejected"].items()) or MISSING,
                f"{one['chosen_length']:.0f}",
                f"{one['rejected_length']:.0f}",
            ]
            for one in figures["collectors"]
        ],
    )  # fmt: skip


def _agreement(figures: Figures) -> Section:
    return Section(
        "agreement",
        "Do the collectors agree",
        "Every two answers to a prompt that both collectors saw: Cohen's kappa over those of which both say that one "
        "is better. Pairs of one prompt go together in the bootstrap behind the interval.",
        [("collectors", "left"), ("both decide", "right"), ("agree", "right"), ("kappa", "right"),
         ("95% interval", "right"), ("only the first", "right"), ("only the second", "right"), ("neither", "right")],
        [
            [
                f"{one['a']} and {one['b']}",
                str(one["n"]),
                percent(one["agree"]),
                number(one["kappa"]),
                MISSING if one["ci"] is None else f"{one['ci'][0]:.3f} to {one['ci'][1]:.3f}",
                str(one["only_a"]),
                str(one["only_b"]),
                str(one["neither"]),
            ]
            for one in figures["agreement"]
        ],
        [marks((one["kappa"], one["ci"], "model")) for one in figures["agreement"]],
        low=-1.0,
    )  # fmt: skip


def _lengths(figures: Figures) -> Section:
    return Section(
        "length",
        "Who likes length",
        "How often the longer of two answers of different length was preferred, with the Wilson interval. Where right "
        "answers are the longer ones, execution prefers them too: a bias is what a collector has beyond that.",
        [("choices of", "left"), ("choices", "right"), ("the longer one", "right"), ("95% interval", "right")],
        [[one["name"], str(one["n"]), percent(one["rate"]), interval(one["ci"])] for one in figures["lengths"]],
        [marks((one["rate"], one["ci"], "model")) for one in figures["lengths"]],
    )


def to_markdown(figures: Figures) -> str:
    """report.md."""
    return sections_to_markdown(f"{figures['experiment']}: collected preferences", figures["notes"], sections(figures))


def to_html(figures: Figures) -> str:
    """index.html."""
    return sections_to_html(figures["experiment"], LEDE, figures["notes"], sections(figures))


def to_csv(figures: Figures) -> str:
    """Every figure on a line of its own, with the columns of a comparison's results.csv."""
    return as_csv(lines(figures))


def lines(figures: Figures) -> Iterator[Line]:
    for one in figures["policies"]:
        name = one["name"]
        yield Line("models", name, one["collector"], figures["metric"], one["n"], one["rate"], *_ends(one["ci"]))
        yield Line("models", name, one["collector"], "round", None, one["round"])
        yield Line("models", name, one["collector"], "pairs", None, one["pairs"])
        yield Line("models", name, one["collector"], "characters", one["n"], one["length"])
        if one["change"] is not None:
            tests = one["p_value"], one["p_holm"]
            yield Line(
                "change", name, one["before"], figures["metric"], None, one["change"], *_ends(one["change_ci"]), *tests
            )
    for judge in figures["wins"]:
        for standing in judge["standings"]:
            yield Line(
                "wins",
                standing["arm"],
                judge["by"],
                "win rate",
                standing["n"],
                standing["rate"],
                *_ends(standing["ci"]),
            )
        for win in judge["pairs"]:
            yield Line("wins", win["a"], win["b"], "win rate", win["n"], win["rate"], *_ends(win["ci"]))
    for made in figures["collectors"]:
        yield Line("collectors", made["name"], made["model"], "pairs", None, made["pairs"])
        for reason, count in made["rejected"].items():
            yield Line("collectors", made["name"], made["model"], f"rejected: {reason}", None, count)
    for agreed in figures["agreement"]:
        yield Line("agreement", agreed["a"], agreed["b"], "kappa", agreed["n"], agreed["kappa"], *_ends(agreed["ci"]))
        yield Line("agreement", agreed["a"], agreed["b"], "agree", agreed["n"], agreed["agree"])
    for length in figures["lengths"]:
        yield Line("length", length["name"], "", "longer preferred", length["n"], length["rate"], *_ends(length["ci"]))


def _ends(ci: Sequence[float] | None) -> tuple[float | None, float | None]:
    return (None, None) if ci is None else (ci[0], ci[1])
