"""Training curves for the page: the metrics of every arm, thinned so that the file stays small.

What is measured on held-out rows (`eval/...`) is the same measure for all arms, whatever their loss and mask, and is
known of some steps only. Of single error types the page shows two figures; metrics.jsonl has the others too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, TypedDict

from eval.report.evidence import Evidence

POINTS = 160
"""Points of a line at most; a longer run is averaged over equal stretches of steps."""
DIGITS = 4
ORDER = ("loss", "rewards/margins", "rewards/accuracies", "rewards/chosen", "rewards/rejected", "kl/chosen",
         "kl/rejected", "logps/chosen", "logps/rejected", "learning_rate", "grad_norm", "nll", "exact")  # fmt: skip
NOT_DRAWN = frozenset({"step", "total", "tokens", "workers", "seconds", "evaluation_seconds", "rows"})
STAGES = {"sft": "Supervised", "preference": "Preference"}
EVALUATED = "eval/"
BY_TYPE = re.compile(
    r"eval/(rewards/(accuracies|margins)|(rewards|kl|kl_per_token)/(chosen|rejected)/inside)/.+", re.DOTALL
)
"""Figures of single error types."""
DRAWN_BY_TYPE = ("eval/rewards/accuracies/", "eval/kl_per_token/rejected/inside/")
GROUPS = ("", "held-out rows", "held-out rows, by error type")


class Line(TypedDict):
    """One arm's figures: `arm` is its place among the arms; null where a figure is not finite."""

    arm: int
    steps: list[float]
    values: list[float | None]


class Chart(TypedDict):
    """One metric of one kind of training, whose figures can stand in one plot; `group` is its place in the choice."""

    stage: str
    group: str
    metric: str
    lines: list[Line]


def charts(arms: Sequence[Evidence]) -> list[Chart]:
    """One chart for each kind of training and metric.

    Preference training comes first; then figures of training before those on held-out rows, in the order of `ORDER`.
    """
    found: dict[tuple[str, str], list[Line]] = {}
    for place, arm in enumerate(arms):
        for metric in _names(arm):
            found.setdefault((arm.model.kind, metric), []).append(_line(place, arm, metric))
    return [
        Chart(stage=STAGES.get(kind, kind), group=_group(kind, metric), metric=metric, lines=found[kind, metric])
        for kind, metric in sorted(found, key=_rank)
    ]


def _rank(key: tuple[str, str]) -> tuple[Any, ...]:
    kind, metric = key
    plain = metric.removeprefix(EVALUATED)
    return kind != "preference", kind, _place(metric), ORDER.index(plain) if plain in ORDER else len(ORDER), metric


def _place(metric: str) -> int:
    """The place of its group among `GROUPS`."""
    return metric.startswith(EVALUATED) + bool(BY_TYPE.fullmatch(metric))


def _group(kind: str, metric: str) -> str:
    return ": ".join(filter(None, (STAGES.get(kind, kind), GROUPS[_place(metric)])))


def _names(arm: Evidence) -> list[str]:
    """The metrics to draw, in the order in which they come up."""
    names = dict.fromkeys(name for step in arm.metrics for name in step if name not in NOT_DRAWN)
    drawn = [name for name in names if name.startswith(DRAWN_BY_TYPE) or not BY_TYPE.fullmatch(name)]
    return [name for name in drawn if all(isinstance(step.get(name, 0), int | float) for step in arm.metrics)]


def _line(place: int, arm: Evidence, metric: str) -> Line:
    """The figures of the steps that have this metric."""
    steps = [float(step["step"]) for step in arm.metrics if metric in step]
    values = [float(step[metric]) for step in arm.metrics if metric in step]
    return Line(arm=place, steps=thinned(steps), values=[rounded(value) for value in thinned(values)])


def thinned(values: Sequence[float], points: int = POINTS) -> list[float]:
    """The means of at most `points` stretches of equal length, the last one perhaps shorter."""
    stride = math.ceil(len(values) / points)
    stretches = (values[start : start + stride] for start in range(0, len(values), max(stride, 1)))
    return [sum(stretch) / len(stretch) for stretch in stretches]


def rounded(value: float) -> float | None:
    """A figure as pages have it, to DIGITS significant digits; None where it is not finite."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
