"""Arms over several seeds: which are taken together, and what is compared with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from eval.report.arms import ArmInput
from eval.report.build import told_apart
from eval.report.pooled import pool
from eval.statistics import crossed_mean


@dataclass(frozen=True)
class Model:
    name: str
    family: str
    kind: str
    seed: int = 0
    loss: str | None = None
    mask: str | None = None


def verdicts(*values: float | None) -> dict[str, float | None]:
    return {f"p{number}": value for number, value in enumerate(values)}


MODELS = [
    Model("floor", "floor", "corrupted"),
    Model("a, seed 0", "a", "mended", 0, "dpo", "granular"),
    Model("a, seed 1", "a", "mended", 1, "dpo", "granular"),
    Model("b, seed 1", "b", "mended", 1, "dpo", "random"),
    Model("b, seed 0", "b", "mended", 0, "dpo", "random"),
    Model("once", "once", "control"),
]
PASSED = {
    "floor": verdicts(0, 0, 0, 1),
    "a, seed 0": verdicts(1, 1, 0, 1),
    "a, seed 1": verdicts(1, 0, 1, 1),
    "b, seed 1": verdicts(0, 0, 0, None),
    "b, seed 0": verdicts(1, 0, 0, 1),
    "once": verdicts(1, 1, 1, 1),
}


def test_arms_of_one_family_are_taken_together():
    arms = {arm["name"]: arm for arm in pool(MODELS, PASSED, {"a": (0.25, 1.0), "b": (0.25, 1.0)})["arms"]}
    assert list(arms) == ["a", "b"]
    assert (arms["a"]["seeds"], arms["a"]["pass_rates"], arms["a"]["pass_rate"]) == ([0, 1], [0.75, 0.75], 0.75)
    assert arms["a"]["gap_closed"] == pytest.approx(2 / 3)
    assert (arms["b"]["seeds"], arms["b"]["n"]) == ([1, 0], 3)  # p3 could not be judged for one seed


def test_differences_are_taken_seed_by_seed_and_prompt_by_prompt():
    found = {(d["a"], d["b"]): d for d in pool(MODELS, PASSED)["differences"]}
    assert list(found) == [("a", "b"), ("a", "floor"), ("b", "floor")]
    by_hand = crossed_mean([[0, 1, 0], [1, 0, 1]])  # seed 0: 110 - 100, seed 1: 101 - 000
    assert found["a", "b"]["difference"] == by_hand.mean
    assert found["a", "b"]["ci"] == [by_hand.low, by_hand.high]
    assert (found["a", "floor"]["seeds"], found["a", "floor"]["n"]) == (2, 4)
    assert all(d["p_holm"] >= d["p_value"] for d in found.values())


def test_nothing_is_pooled_where_every_arm_was_trained_once():
    assert pool([MODELS[0], MODELS[1], MODELS[5]], PASSED) == {"arms": [], "differences": []}


def model(node: str, family: str, seed: int, kind: Any = "mended", mask: str = "granular") -> ArmInput:
    return ArmInput(node, node, family, kind, "dpo", mask, seed, 1e-4, 1.0, 1, [])


def test_names_say_what_tells_arms_apart():
    arms = [
        model("reference", "r", 0, "reference"),
        model("mended/dpo-granular-0", "g", 0),
        model("mended/dpo-granular-1", "g", 1),
        model("mended/fast-0", "fast", 0, mask="random"),
        model("mended/slow-0", "slow", 0, mask="random"),
        model("sft_good/0", "s", 0, "control"),
        model("sft_good/1", "s", 1, "control"),
    ]
    assert [(arm.name, arm.family) for arm in told_apart(arms)] == [
        ("reference", "reference"),
        ("dpo / granular, seed 0", "dpo / granular"),
        ("dpo / granular, seed 1", "dpo / granular"),
        ("dpo / random (fast-0)", "dpo / random (fast-0)"),
        ("dpo / random (slow-0)", "dpo / random (slow-0)"),
        ("sft_good, seed 0", "sft_good"),
        ("sft_good, seed 1", "sft_good"),
    ]


def test_one_artifact_under_two_names_is_shown_under_both():
    names = [arm.name for arm in told_apart([model("a/x", "g", 0), model("b/x", "g", 0)])]
    assert names == ["dpo / granular, seed 0 (a/x)", "dpo / granular, seed 0 (b/x)"]
