"""How far preference training moved each arm from its reference, against the reward margin that this bought.

The plot of Gao et al. 2023 (arXiv:2210.10760), with DPO's implicit reward. On held-out rows all arms are measured
alike, over whole answers; in training, KL and rewards are the loss's own, which counts the tokens that the mask weighs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from eval.report.curves import thinned
from eval.report.evidence import Evidence

SOURCES = {"held-out rows": "eval/", "training": ""}
LAST = 0.1
"""Share of the steps at the end over which the figures of training are averaged: single batches are noisy."""


class Path(TypedDict):
    """One arm's way: mean KL of chosen and rejected answers in nats, and reward margin, by step."""

    arm: str
    on: str
    steps: list[float]
    kl: list[float]
    margin: list[float]


class Reward(TypedDict):
    """Where an arm's way ends: on held-out rows the last figures, in training their means over the last steps."""

    arm: str
    on: str
    step: int
    kl: float
    margin: float


def paths(arms: Sequence[Evidence]) -> list[Path]:
    """The ways of all arms that were trained on pairs, where KL was measured."""
    found = [_path(arm, on, prefix) for on, prefix in SOURCES.items() for arm in arms if arm.model.kind == "preference"]
    return [one for one in found if one["steps"]]


def rewards(arms: Sequence[Evidence]) -> list[Reward]:
    """Where these ways end."""
    return [_end(path) for path in paths(arms)]


def _path(arm: Evidence, on: str, prefix: str) -> Path:
    rows = [(float(row["step"]), *point) for row in arm.metrics if (point := _point(row, prefix)) is not None]
    steps, kl, margin = (thinned([row[place] for row in rows]) for place in (0, 1, 2))
    return Path(arm=arm.name, on=on, steps=steps, kl=kl, margin=margin)


def _point(row: Mapping[str, Any], prefix: str) -> tuple[float, float] | None:
    names = (f"{prefix}kl/chosen", f"{prefix}kl/rejected", f"{prefix}rewards/margins")
    if not all(isinstance(row.get(name), int | float) and math.isfinite(row[name]) for name in names):
        return None
    chosen, rejected, margin = (float(row[name]) for name in names)
    return (chosen + rejected) / 2, margin


def _end(path: Path) -> Reward:
    last = max(round(LAST * len(path["steps"])), 1) if path["on"] == "training" else 1
    kl, margin = (sum(values[-last:]) / last for values in (path["kl"], path["margin"]))
    return Reward(arm=path["arm"], on=path["on"], step=round(path["steps"][-1]), kl=kl, margin=margin)
