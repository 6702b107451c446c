"""What judges said, among the measures: how many answers are right, their grades, and the errors that were named.

Also what a report can tell at all: prompts without tests have no pass rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from eval.report.measures import Measure, by_frequency
from eval.report.results import Results
from eval.scorers.judge import CORRECT, ERRORS
from eval.scorers.rubric import SCORE

RIGHT, GRADE, NAMED = CORRECT, SCORE, ERRORS

FIGURES = ("pass_rate", "error_rate", "compiles", "gap_closed", "collateral", "train_seconds")
"""Fields of an arm with columns of their own in the table of arms."""

Share = Measure | None


class NamedErrors(TypedDict):
    """The share of each arm's answers in which the judge names each type; types that it names nowhere are listed apart.

    The type named most comes first.
    """

    types: list[str]
    arms: dict[str, list[Share]]
    nowhere: list[str]


def of_arms(measures: Sequence[Measure], metric: str) -> dict[str, Measure]:
    """One metric, by arm."""
    return {one["arm"]: one for one in measures if one["metric"] == metric}


def is_judged(measures: Sequence[Measure]) -> bool:
    """Whether a judge's verdicts or grades are among them."""
    return any(one["metric"] in (RIGHT, GRADE) for one in measures)


def shown(results: Results) -> dict[str, bool]:
    """Whether any arm has each figure: it is told only then. Pass rates are missed unless a judge stands in."""
    known = {field for arm in results["arms"] for field, value in arm.items() if value is not None}
    found = {name: name in known for name in FIGURES}
    return {**found, "pass_rate": found["pass_rate"] or not is_judged(results["measures"])}


def named_errors(measures: Sequence[Measure]) -> NamedErrors:
    """What a judge's errors amount to; without types where no judge looked for any."""
    found: dict[str, dict[str, Measure]] = {}
    for one in measures:
        if one["metric"].startswith(NAMED):
            found.setdefault(one["metric"].removeprefix(NAMED), {})[one["arm"]] = one
    totals = {name: sum(one["value"] for one in arms.values()) for name, arms in found.items()}
    types = by_frequency(totals)
    arms = dict.fromkeys(arm for one in found.values() for arm in one)
    return NamedErrors(
        types=types,
        arms={arm: [found[name].get(arm) for name in types] for arm in arms},
        nowhere=sorted(name for name in found if not totals[name]),
    )


def told_in_lists(measures: Sequence[Measure]) -> list[Measure]:
    """The measures but the errors that a judge named, which have a table of their own."""
    return [one for one in measures if not one["metric"].startswith(NAMED)]
