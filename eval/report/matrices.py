"""What the page shows besides the first tables: which sections there are, heat maps, win rates, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.curves import rounded
from eval.report.evidence import Evidence
from eval.report.judged import NamedErrors, is_judged, named_errors, shown, told_in_lists
from eval.report.measures import Measure, by_frequency
from eval.report.results import Arm, Results
from eval.report.rewards import paths
from eval.report.wins import Win, Wins

LEVELS = 6
"""Shades of a heat map but the empty one."""

SECTIONS = (
    ("seeds", "Over seeds"), ("arms", "Arms"), ("judged", "Judged"), ("passing", "pass@k"),
    ("efficiency", "Efficiency"), ("wins", "Wins"), ("differences", "Differences"), ("errors", "Errors"),
    ("measures", "Measures"), ("forgetting", "Forgetting"), ("agreement", "Agreement"), ("rewards", "KL and reward"),
    ("training", "Training"), ("prompts", "Prompts"),
)  # fmt: skip
"""In the order of the page."""


def present(results: Results, charts: bool, prompts: bool) -> dict[str, bool]:
    """Whether there is something to show in each section."""
    arms, figures = results["arms"], shown(results)
    found: Mapping[str, object] = {
        "seeds": results["pooled"]["arms"],
        "arms": any(figures.values()),
        "judged": is_judged(results["measures"]),
        "differences": figures["pass_rate"],
        "errors": any(arm["errors_by_type"] for arm in arms) or named_errors(results["measures"])["arms"],
        "training": charts,
        "passing": any(arm["pass_at"] for arm in arms),
        "efficiency": any(arm["efficiency"] for arm in arms),
        "wins": results["wins"],
        "measures": told_in_lists(results["measures"]),
        "forgetting": results["forgetting"],
        "agreement": results["agreement"],
        "rewards": results["rewards"],
        "prompts": prompts,
    }
    return {id: bool(found[id]) for id, _ in SECTIONS}


def named_sections(has: Mapping[str, bool]) -> list[tuple[str, str]]:
    """The links at the top of the page."""
    return [(id, name) for id, name in SECTIONS if has[id]]


def heat_map(arms: Sequence[Arm]) -> dict[str, Any]:
    """Arms by error types, for the types that occur, the most frequent first; each count with its shade."""
    totals = {name: sum(arm["errors_by_type"][name] for arm in arms) for name in arms[0]["errors_by_type"]}
    types = by_frequency(totals)
    most = max((arm["errors_by_type"][name] for arm in arms for name in types), default=0)
    return {
        "types": types,
        "most": most,
        "rows": [{"arm": arm, "cells": [_heat(arm, name, most) for name in types]} for arm in arms],
    }


def _heat(arm: Arm, name: str, most: int) -> dict[str, Any]:
    count = arm["errors_by_type"][name]
    return {"type": name, "count": count, "unjudged": arm["unscored_by_type"][name], "level": _level(count, most)}


def shaded(found: NamedErrors) -> dict[str, Any]:
    """The errors that a judge names, as a heat map of shares."""
    most = max((one["value"] for shares in found["arms"].values() for one in shares if one), default=0.0)
    rows = [
        {"arm": arm, "cells": [_share(name, one, most) for name, one in zip(found["types"], shares, strict=True)]}
        for arm, shares in found["arms"].items()
    ]
    return {**found, "most": most, "rows": rows}


def _share(name: str, one: Measure | None, most: float) -> dict[str, Any]:
    return {"type": name, "one": one, "level": _level(one["value"], most) if one else 0}


def _level(value: float, most: float) -> int:
    """The shade of a cell of a heat map: whatever is not 0 has one."""
    return max(round(LEVELS * value / most), 1) if value else 0


def win_table(judge: Wins) -> dict[str, Any]:
    """The standings of a judge, and each cell of its matrix: a pair read from both sides."""
    cells: dict[tuple[str, str], dict[str, Any] | None] = {
        (one["arm"], other["arm"]): None for one in judge["standings"] for other in judge["standings"]
    }
    for win in judge["pairs"]:
        for found in (win, mirrored(win)):
            cells[found["a"], found["b"]] = {**found, "style": _style(found["rate"])}
    return {**judge, "cells": cells}


def mirrored(win: Win) -> Win:
    """The same pair read from b to a."""
    ci = [1 - win["ci"][1], 1 - win["ci"][0]] if win["ci"] else None
    rate = None if win["rate"] is None else 1 - win["rate"]
    return Win(**{**win, "a": win["b"], "b": win["a"], "won": win["lost"], "lost": win["won"], "rate": rate, "ci": ci})


def _style(rate: float | None) -> str:
    """The shade of a win rate: none at a half, the deepest at 0 and 1."""
    if rate is None:
        return "self"
    level = round(2 * LEVELS * abs(rate - 0.5))
    return f"h{level} wins" if rate > 0.5 else f"h{level}"


def bought(arms: Sequence[Arm], floor: float | None, ceiling: float | None) -> dict[str, Any]:
    """What each arm's training cost and gave, by the arm's place."""
    points = [
        {
            "arm": place,
            "rate": arm["pass_rate"],
            "ci": arm["pass_rate_ci"],
            "tokens": arm["train_tokens"],
            "seconds": arm["train_seconds"],
        }
        for place, arm in enumerate(arms)
        if arm["efficiency"]
    ]
    return {"arms": points, "floor": floor, "ceiling": ceiling}


def numbered(arms: Sequence[Evidence]) -> list[dict[str, Any]]:
    """The ways of all arms in KL and reward, by the arm's place, rounded for the page."""
    places = {arm.name: place for place, arm in enumerate(arms)}
    return [
        {
            "arm": places[path["arm"]],
            "on": path["on"],
            "steps": [rounded(step) for step in path["steps"]],
            "kl": [rounded(kl) for kl in path["kl"]],
            "margin": [rounded(margin) for margin in path["margin"]],
        }
        for path in paths(arms)
    ]
