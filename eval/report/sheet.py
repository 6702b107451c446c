"""results.csv: every figure of the results on a line of its own, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import NamedTuple

from eval.report.forgetting import Forgotten
from eval.report.measures import Measure
from eval.report.pooled import Pooled
from eval.report.results import Arm, Results
from eval.report.wins import Wins


class Line(NamedTuple):
    """One figure. `other` is what it is held against, or measured on; empty cells are what a figure does not have."""

    section: str
    arm: str
    other: str
    figure: str
    n: int | None
    value: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None


def to_csv(results: Results) -> str:
    """The lines under a header, as RFC 4180 but with plain newlines. Floats are exact: they read back the same."""
    return as_csv(lines(results))


def as_csv(found: Iterable[Line]) -> str:
    """Lines under a header, as RFC 4180 but with plain newlines."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Line._fields)
    writer.writerows(found)
    return text.getvalue()


def lines(results: Results) -> Iterator[Line]:
    """Section by section, in the order of results.json."""
    for arm in results["arms"]:
        yield from _arm(arm, results["training"][arm["name"]]["learning_rate"])
    for found in results["differences"]:
        both = ("differences", found["a"], found["b"])
        tests = found["p_value"], found["p_holm"]
        yield Line(*both, "pass rate", None, found["difference"], *_ends(found["ci"]), *tests)
        yield Line(*both, "only first", None, found["only_a"])
        yield Line(*both, "only second", None, found["only_b"])
    yield from _pooled(results["pooled"])
    yield from _measures(results["measures"])
    for judge in results["wins"]:
        yield from _wins(judge)
    for reward in results["rewards"]:
        yield Line("rewards", reward["arm"], reward["on"], "kl", None, reward["kl"])
        yield Line("rewards", reward["arm"], reward["on"], "reward margin", None, reward["margin"])
    yield from _forgetting(results["forgetting"])
    for rater in results["agreement"]:
        both = ("agreement", rater["rater"], "execution")
        yield Line(*both, "kappa", rater["n"], rater["kappa"], *_ends(rater["ci"]))
        yield Line(*both, "agree", rater["n"], rater["agree"])


def _arm(arm: Arm, learning_rate: float | None) -> Iterator[Line]:
    who = ("arms", arm["name"], "")
    yield Line(*who, "pass rate", arm["n"], arm["pass_rate"], *_ends(arm["pass_rate_ci"]))
    for at in arm["pass_at"]:
        yield Line(*who, f"pass@{at['k']}", at["n"], at["rate"], *at["ci"])
    yield Line(*who, "error rate", None, arm["error_rate"], *_ends(arm["error_rate_ci"]))
    yield Line(*who, "compiles", arm["answers"], arm["compiles"])
    yield Line(*who, "gap closed", None, arm["gap_closed"], *_ends(arm["gap_closed_ci"]))
    for name, count in arm["errors_by_type"].items():
        yield Line(*who, f"errors/{name}", arm["answers"] - arm["unscored_by_type"][name], count)
    if damage := arm["collateral"]:
        yield Line(*who, "collateral damage", damage["right"], damage["rate"], *_ends(damage["ci"]))
    if bought := arm["efficiency"]:
        yield Line(*who, "gain", None, bought["gain"])
        yield Line(*who, "gain per million tokens", None, bought["per_million_tokens"])
        yield Line(*who, "gain per minute", None, bought["per_minute"])
    yield Line(*who, "training tokens", None, arm["train_tokens"])
    yield Line(*who, "training seconds", None, arm["train_seconds"])
    yield Line(*who, "learning rate", None, learning_rate)


def _pooled(pooled: Pooled) -> Iterator[Line]:
    for arm in pooled["arms"]:
        seeds = f"{len(arm['seeds'])} seeds"
        yield Line(
            "over seeds", arm["name"], seeds, "pass rate", arm["n"], arm["pass_rate"], *_ends(arm["pass_rate_ci"])
        )
        yield Line("over seeds", arm["name"], seeds, "gap closed", None, arm["gap_closed"])
    for found in pooled["differences"]:
        tests = found["p_value"], found["p_holm"]
        both = ("over seeds", found["a"], found["b"])
        yield Line(*both, "pass rate", found["n"], found["difference"], *_ends(found["ci"]), *tests)


def _measures(found: Sequence[Measure]) -> Iterator[Line]:
    for one in found:
        yield Line("measures", one["arm"], "", one["metric"], one["n"], one["value"], *one["ci"])
        if one["difference"] is not None:
            ends, tests = _ends(one["difference_ci"]), (one["p_value"], one["p_holm"])
            yield Line("measures", one["arm"], "floor", one["metric"], None, one["difference"], *ends, *tests)


def _wins(judge: Wins) -> Iterator[Line]:
    by = f"wins by {judge['by']}"
    for win in judge["pairs"]:
        both = (by, win["a"], win["b"])
        yield Line(*both, "win rate", win["n"], win["rate"], *_ends(win["ci"]))
        counts = {"won": win["won"], "lost": win["lost"], "tied": win["tied"], "unjudged": win["unjudged"]}
        for name, count in counts.items():
            yield Line(*both, name, None, count)
    for one in judge["standings"]:
        yield Line(by, one["arm"], "all others", "win rate", one["n"], one["rate"], *_ends(one["ci"]))


def _forgetting(kept: Sequence[Forgotten]) -> Iterator[Line]:
    for one in kept:
        section = f"forgetting on {one['rows']}"
        yield Line(section, one["arm"], "", one["metric"], one["n"], one["value"], *one["ci"])
        if one["change"] is not None:
            ends, tests = _ends(one["change_ci"]), (one["p_value"], one["p_holm"])
            name = f"change of {one['metric']}"
            yield Line(section, one["arm"], one["before"] or "", name, None, one["change"], *ends, *tests)


def _ends(ci: Sequence[float] | None) -> tuple[float | None, float | None]:
    return (ci[0], ci[1]) if ci else (None, None)
