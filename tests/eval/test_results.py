"""The results of a tiny comparison, every figure derived by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from eval.report.arms import ArmInput
from eval.report.files import to_json
from eval.report.results import build_results
from pipeline.failures import UserError
from pipeline.records import ScoredRecord, ScoreRecord

Z2 = 1.959963984540054**2


def scored(**metrics: list[float | None]) -> list[ScoredRecord]:
    """Scores of prompts p0, p1, ...; a metric name's double underscore stands for a slash."""
    return [
        ScoredRecord(
            f"p{number}",
            tuple(
                ScoreRecord(f"p{number}", name.replace("__", "/"), values[number], "why")
                for name, values in metrics.items()
                if number < len(values)
            ),
        )
        for number in range(max(map(len, metrics.values())))
    ]


def constant(rows: list[ScoredRecord], value: float) -> list[ScoredRecord]:
    return [replace(row, scores=tuple(replace(score, value=value) for score in row.scores)) for row in rows]


def arm(name: str, kind: Any, passed: list[float | None], mask: str | None = None, **more: Any) -> ArmInput:
    values: dict[str, Any] = {
        "loss": "dpo" if mask else None,
        "seed": 0,
        "learning_rate": 1e-4 if mask else None,
        "train_seconds": 2.5,
        "train_tokens": 640,
        "scores": scored(passed=passed),
    }
    return ArmInput(name=name, node=name, family=more.pop("family", name), kind=kind, mask=mask, **(values | more))


def four_arms() -> list[ArmInput]:
    return [
        arm("reference", "reference", [1, 1, 1, 1]),
        arm("corrupted", "corrupted", [0, 0, 0, 0]),
        arm("spans", "mended", [1, 1, 1, 0], "granular"),
        arm("whole", "mended", [1, 0, 0, 0], "response"),
    ]


def build(arms: list[ArmInput], **more: Any) -> Any:
    return build_results(arms, experiment="tiny", resamples=2000, **more)


def test_one_arm_by_hand():
    """Two of four pass. Wilson at 1/2: 1/2 -+ z/(n + z^2) * sqrt(n/4 + z^2/4), n = 4.

    p0 has an error of one type, p1 of none, p2 could not be judged by one, p3 by neither: 1 of the 3 judged.
    """
    scores = scored(
        passed=[1, 0, 0, 1],
        compiles=[1, 1, 0, 1],
        errors__loops=[1, 0, 0, None],
        errors__imports=[0, 0, None, None],
    )
    results = build(
        [
            arm("broken", "corrupted", [0] * 4, scores=constant(scores, 0.0)),
            arm("good", "reference", [1] * 4, scores=constant(scores, 1.0)),
            arm("mended", "mended", [], "random", seed=3, scores=scores),
        ],
        floor="broken",
        ceiling="good",
    )
    half_width = Z2**0.5 / (4 + Z2) * (1 + Z2 / 4) ** 0.5
    middle, half = (1 + Z2 / 2) / (3 + Z2), (Z2 * (2 / 3 + Z2 / 4)) ** 0.5 / (3 + Z2)
    assert results["arms"][2] == {
        "name": "mended",
        "family": "mended",
        "kind": "mended",
        "loss": "dpo",
        "mask": "random",
        "seed": 3,
        "samples": 1,
        "answers": 4,
        "n": 4,
        "passed": 2,
        "pass_rate": 0.5,
        "pass_rate_ci": [pytest.approx(0.5 - half_width), pytest.approx(0.5 + half_width)],
        "pass_at": [],
        "compiles": 3,
        "error_rate": pytest.approx(1 / 3),
        "error_rate_ci": [pytest.approx(middle - half), pytest.approx(middle + half)],
        "errors_by_type": {"imports": 0, "loops": 1},
        "unscored_by_type": {"imports": 2, "loops": 1},
        "train_seconds": 2.5,
        "train_tokens": 640,
        "gap_closed": 0.5,
        "gap_closed_ci": [0.0, 1.0],
        "collateral": {"right": 0, "broken": 0, "rate": None, "ci": None},
        "efficiency": {"gain": 0.5, "per_million_tokens": pytest.approx(781.25), "per_minute": 12.0},
    }


def test_differences_by_hand():
    """McNemar with k prompts won and none lost: 2 / 2**k. Holm: .125*5, then .25*4 and upwards, never above 1."""
    results = build(four_arms())
    found = [(d["a"], d["b"], d["difference"], d["p_value"], d["p_holm"]) for d in results["differences"]]
    assert found == [
        ("spans", "whole", 0.5, 0.5, 1.0),
        ("spans", "corrupted", 0.75, 0.25, 1.0),
        ("spans", "reference", -0.25, 1.0, 1.0),
        ("whole", "corrupted", 0.25, 1.0, 1.0),
        ("whole", "reference", -0.75, 0.25, 1.0),
    ]


def test_prompts_that_one_arm_passes_alone_are_counted():
    """spans 1110 against reference 1111 and corrupted 0000; whole 1000."""
    found = {(d["a"], d["b"]): (d["only_a"], d["only_b"]) for d in build(four_arms())["differences"]}
    assert found["spans", "reference"] == (0, 1)
    assert found["spans", "whole"] == (2, 0)
    assert found["whole", "reference"] == (0, 3)


def test_the_interval_of_a_difference_by_hand():
    """Differences 1, 1, 1, 0: a resampled mean is 0 with chance 4**-4 = 0.4 % and 1 with 32 %; 1/4 with 4.7 %."""
    spans = next(d for d in build(four_arms())["differences"] if (d["a"], d["b"]) == ("spans", "corrupted"))
    assert spans["ci"] == [0.25, 1.0]


def test_controls_are_compared_like_mended_arms():
    results = build([*four_arms(), arm("sft_good", "control", [1, 1, 1, 1])])
    against = [(d["a"], d["b"]) for d in results["differences"] if "sft_good" in (d["a"], d["b"])]
    assert against == [
        ("spans", "sft_good"),
        ("whole", "sft_good"),
        ("sft_good", "corrupted"),
        ("sft_good", "reference"),
    ]


def test_top_level_keys_and_provenance():
    results = build(four_arms(), seed=7, notes=["one learning rate"])
    assert list(results) == [
        "experiment",
        "n_prompts",
        "arms",
        "differences",
        "pooled",
        "measures",
        "wins",
        "rewards",
        "forgetting",
        "agreement",
        "training",
        "bootstrap",
        "notes",
    ]
    assert (results["experiment"], results["n_prompts"], results["notes"]) == ("tiny", 4, ["one learning rate"])
    assert results["training"]["spans"] == {"node": "spans", "learning_rate": 1e-4}
    assert results["bootstrap"] == {"seed": 7, "resamples": 2000}


def test_the_same_input_gives_the_same_text_in_the_order_of_the_arms():
    text = to_json(build(four_arms()))
    assert text == to_json(build(four_arms()))
    assert [found["name"] for found in json.loads(text)["arms"]] == ["reference", "corrupted", "spans", "whole"]


def test_the_order_of_scores_does_not_matter():
    shuffled = [replace(one, scores=list(reversed(one.scores))) for one in four_arms()]
    assert to_json(build(shuffled)) == to_json(build(four_arms()))


def test_unscored_prompts_leave_the_rate_but_not_the_count_of_prompts():
    results = build([arm("a", "mended", [1, None, 0, 1]), arm("b", "mended", [0, None, 0, 1])])
    assert results["n_prompts"] == 4
    assert (results["arms"][0]["n"], results["arms"][0]["pass_rate"]) == (3, pytest.approx(2 / 3))
    assert results["differences"][0]["difference"] == pytest.approx(1 / 3)


def test_where_nothing_could_be_judged_figures_are_null_and_not_zero():
    results = build([arm("a", "mended", [None]), arm("b", "corrupted", [None])], floor="b", ceiling="a")
    first = results["arms"][0]
    assert [first[key] for key in ("n", "pass_rate", "pass_rate_ci", "error_rate", "gap_closed")] == [0, *[None] * 4]
    assert results["differences"] == []


def test_gap_closed_is_null_without_floor_and_ceiling_or_without_a_gap():
    assert {found["gap_closed"] for found in build(four_arms())["arms"]} == {None}
    assert {found["gap_closed"] for found in build(four_arms(), floor="whole", ceiling="whole")["arms"]} == {None}


def test_other_prompts_are_a_data_error_that_names_the_arms():
    with pytest.raises(UserError, match=r"'reference' and 'spans'.*prompts: 1 .*'p4'") as caught:
        build([*four_arms()[:2], arm("spans", "mended", [1] * 5)])
    assert caught.value.exit_code == 4


def test_metrics_that_not_every_arm_has_are_left_out_and_noted():
    scores = scored(passed=[1] * 4, compiles=[1] * 4)
    results = build([four_arms()[0], arm("spans", "mended", [], scores=scores)])
    assert [found["compiles"] for found in results["arms"]] == [None, None]
    assert results["notes"] == ["Not compared, because not every arm has it: compiles (missing in reference)."]
    other = arm("other", "mended", [], scores=scored(compiles=[1] * 4))
    with pytest.raises(UserError, match="no metric was measured in every arm"):
        build([four_arms()[0], other])


def test_two_scores_of_one_prompt_are_a_data_error():
    with pytest.raises(UserError, match="arm 'twice': prompt 'p0' has more than one score 'passed'"):
        build([arm("twice", "mended", [], scores=scored(passed=[1]) * 2)])


@pytest.mark.parametrize("arms", [[], [arm("empty", "mended", [])]])
def test_no_scores_are_a_data_error(arms):
    with pytest.raises(UserError, match="no scores to compare"):
        build(arms)


def test_two_arms_of_one_name_are_a_data_error():
    with pytest.raises(UserError, match="same name"):
        build([four_arms()[0]] * 2)


def test_an_unknown_floor_is_a_config_error_with_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean 'corrupted'") as caught:
        build(four_arms(), floor="corupted")
    assert caught.value.kind == "config"
