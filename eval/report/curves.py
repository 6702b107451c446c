"""Training curves for the page: every metric of every arm, thinned so that the file stays small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict

from eval.report.evidence import Evidence

POINTS = 160
"""Points of a line at most; a longer run is averaged over equal stretches of steps."""
DIGITS = 4
ORDER = ("loss", "rewards/margins", "rewards/accuracies", "rewards/chosen", "rewards/rejected", "kl/chosen",
         "kl/rejected", "logps/chosen", "logps/rejected", "learning_rate", "grad_norm")  # fmt: skip
NOT_DRAWN = frozenset({"step", "total", "tokens", "workers", "seconds"})
STAGES = {"sft": "Supervised", "preference": "Preference"}


class Line(TypedDict):
    """One arm's figures: `arm` is its place among the arms; null where a figure is not finite."""

    arm: int
    steps: list[float]
    values: list[float | None]


class Chart(TypedDict):
    """One metric of one kind of training, whose figures can stand in one plot."""

    stage: str
    metric: str
    lines: list[Line]


def charts(arms: Sequence[Evidence]) -> list[Chart]:
    """One chart for each kind of training and metric, preference training first, metrics in the order of `ORDER`."""
    found: dict[tuple[str, str], list[Line]] = {}
    for place, arm in enumerate(arms):
        for metric in _names(arm):
            found.setdefault((arm.model.kind, metric), []).append(_line(place, arm, metric))
    return [
        Chart(stage=STAGES.get(kind, kind), metric=metric, lines=found[kind, metric])
        for kind, metric in sorted(found, key=_rank)
    ]


def _rank(key: tuple[str, str]) -> tuple[Any, ...]:
    kind, metric = key
    return kind != "preference", kind, ORDER.index(metric) if metric in ORDER else len(ORDER), metric


def _names(arm: Evidence) -> list[str]:
    """The metrics that are numbers in every step."""
    names = [name for name in (arm.metrics[0] if arm.metrics else {}) if name not in NOT_DRAWN]
    return [name for name in names if all(isinstance(step.get(name), int | float) for step in arm.metrics)]


def _line(place: int, arm: Evidence, metric: str) -> Line:
    steps = [float(step["step"]) for step in arm.metrics]
    values = [float(step[metric]) for step in arm.metrics]
    return Line(arm=place, steps=thinned(steps), values=[_shown(value) for value in thinned(values)])


def thinned(values: Sequence[float], points: int = POINTS) -> list[float]:
    """The means of at most `points` stretches of equal length, the last one perhaps shorter."""
    stride = math.ceil(len(values) / points)
    stretches = (values[start : start + stride] for start in range(0, len(values), max(stride, 1)))
    return [sum(stretch) / len(stretch) for stretch in stretches]


def _shown(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
