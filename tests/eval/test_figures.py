"""What the report says besides pass rates, every figure derived by hand."""

from __future__ import annotations

from typing import Any

import pytest

from eval.report.agreement import ANY, agreement
from eval.report.answers import collateral, efficiency, erring, passing_at, rate_and_interval
from eval.report.arms import ArmInput, Values, by_prompt, values_of
from eval.report.forgetting import Kept, forgetting
from eval.report.measures import measures
from eval.report.rewards import paths, rewards
from eval.report.wins import wins
from eval.statistics import wilson
from pipeline.failures import UserError
from pipeline.records import ScoredRecord, ScoreRecord, VerdictRecord

DRAWN = {"seed": 0, "resamples": 500}


def values(**metrics: list[Any]) -> Values:
    """Values of prompts p0, p1, ...; a list stands for several samples, double underscores for a slash."""
    return {
        name.replace("__", "/"): {
            f"p{n}": value if isinstance(value, list) else [value] for n, value in enumerate(found)
        }
        for name, found in metrics.items()
    }


def arm(name: str, one: Values, kind: Any = "mended", **more: Any) -> ArmInput:
    """An arm whose answers have these values."""
    prompts = dict.fromkeys(prompt for metric in one.values() for prompt in metric)
    rows = []
    for prompt in prompts:
        for sample in range(max(len(metric.get(prompt, ())) for metric in one.values())):
            scores = [
                ScoreRecord(prompt, name, metric[prompt][sample])
                for name, metric in one.items()
                if sample < len(metric.get(prompt, ()))
            ]
            rows.append(ScoredRecord(prompt, tuple(scores), sample))
    fields = {"loss": None, "mask": None, "seed": 0, "learning_rate": None, "train_seconds": None, "train_tokens": None}
    return ArmInput(name=name, node=name, family=name, kind=kind, scores=rows, **{**fields, **more})


def test_a_prompt_counts_once_however_many_samples_it_has():
    """1/2, 1 and 0, and a prompt that nobody could judge: 1/2. Over answers it would be 4 of 8."""
    rate, ends = rate_and_interval(values(passed=[[1, 0], [1], [0, 0, 0], [None]])["passed"], **DRAWN)
    assert rate == 0.5
    assert ends is not None and ends[0] < 0.5 < ends[1]
    assert rate_and_interval(values(passed=[1, 0, 1, None])["passed"], **DRAWN) == (2 / 3, list(wilson(2, 3)))
    assert rate_and_interval(values(passed=[None])["passed"], **DRAWN) == (None, None)


def test_pass_at_k_by_hand():
    """1 of 4 and 2 of 4 pass. k = 2: 1 - C(3,2)/C(4,2) = 1/2 and 1 - C(2,2)/C(4,2) = 5/6. k = 4: both 1."""
    found = passing_at(values(passed=[[1, 0, 0, 0], [1, 1, 0, 0]]), **DRAWN)
    assert [(one["k"], one["n"]) for one in found] == [(1, 2), (2, 2), (4, 2)]
    assert [one["rate"] for one in found] == [pytest.approx(3 / 8), pytest.approx((1 / 2 + 5 / 6) / 2), 1.0]
    assert passing_at(values(passed=[1, 0]), **DRAWN) == []


def test_pass_at_k_leaves_out_prompts_with_fewer_judged_samples():
    found = passing_at(values(passed=[[1, 0, None], [1, 1, 0]]), **DRAWN)
    assert [(one["k"], one["n"]) for one in found] == [(1, 2), (2, 2), (3, 1)]


def test_collateral_damage_is_what_was_right_and_is_wrong():
    """Right before: p0, p1, p2, p3; p3 cannot be judged after, p1 is wrong: 1 of 3."""
    before = values(passed=[1, 1, 1, 1, 0, None])
    found = collateral(values(passed=[1, 0, 1, None, 1, 0]), before)
    assert found == {"right": 3, "broken": 1, "rate": 1 / 3, "ci": list(wilson(1, 3))}
    assert collateral(values(passed=[0]), values(passed=[0])) == {"right": 0, "broken": 0, "rate": None, "ci": None}


def test_of_several_samples_more_than_half_make_a_prompt_right():
    before = values(passed=[[1, 1, 0], [1, 0], [1, 1]])
    found = collateral(values(passed=[[1, 0, 0], [0, 0], [1, 0]]), before)
    assert (found["right"], found["broken"]) == (2, 2)


def test_efficiency_by_hand():
    """Three tenths for half a million tokens in a minute and a half."""
    trained = arm("a", values(passed=[1]), train_tokens=500_000, train_seconds=90.0)
    found = efficiency(trained, 0.7, 0.4)
    assert found == {
        "gain": pytest.approx(0.3),
        "per_million_tokens": pytest.approx(0.6),
        "per_minute": pytest.approx(0.2),
    }
    assert efficiency(trained, 0.7, None) is None
    assert efficiency(arm("b", values(passed=[1])), 0.7, 0.4) is None
    assert efficiency(arm("c", values(passed=[1]), "corrupted", train_tokens=5), 0.4, 0.4) is None


def test_an_answer_errs_by_any_recogniser_and_is_unjudged_by_none():
    found = erring(values(errors__a=[1, 0, None, None], errors__b=[0, 0, 0, None]))
    assert list(found.values()) == [[1.0], [0.0], [0.0], [None]]


def test_measures_stand_beside_the_floor_and_are_corrected_over_arms():
    """Clarity: 3/4 and 1/4 less 0: won 3 and 1, lost none. McNemar 2 / 2**3 and 1, Holm doubles the smaller."""
    found = {
        "floor": values(passed=[0] * 4, clarity=[0, 0, 0, 0]),
        "a": values(passed=[0] * 4, clarity=[1, 1, 1, 0]),
        "b": values(passed=[0] * 4, clarity=[1, 0, 0, 0]),
    }
    made = measures([arm(name, one) for name, one in found.items()], found, dict.fromkeys(found, "floor"), **DRAWN)
    assert [(one["metric"], one["arm"], one["value"], one["difference"]) for one in made] == [
        ("clarity", "floor", 0.0, None),
        ("clarity", "a", 0.75, 0.75),
        ("clarity", "b", 0.25, 0.25),
    ]
    assert [(one["p_value"], one["p_holm"]) for one in made] == [(None, None), (0.25, 0.5), (1.0, 1.0)]


def test_the_perplexity_of_all_texts_stands_for_log_probabilities():
    """exp((2 log 3 + 6 log 3) / 8)."""
    found = {"a": values(logp__response=[-2.1972245773362196, -6.591673732008658], tokens__response=[2, 6],
                         perplexity__response=[3, 3])}  # fmt: skip
    made = measures([arm("a", found["a"])], found, {"a": None}, **DRAWN)
    assert [(one["metric"], one["value"], one["n"]) for one in made] == [("perplexity/response", pytest.approx(3), 2)]


def test_agreement_turns_errors_round_and_takes_all_arms_together():
    """Of 8 answers the recogniser is right about 6: it misses p3 of b and sees an error in the passing p0 of a."""
    found = {
        "a": values(passed=[1, 1, 0, 0], errors__x=[1, 0, 1, 1], clarity=[0.5, 1, 1, 1]),
        "b": values(passed=[1, 1, 0, 0], errors__x=[0, 0, 1, 0], clarity=[1, 1, 1, None]),
    }
    (rater,) = agreement(found, **DRAWN)
    assert (rater["rater"], rater["means"], rater["n"], rater["agree"]) == ("errors/x", "0", 8, 0.75)
    assert rater["kappa"] == pytest.approx(0.5)


def test_a_judge_and_all_recognisers_together_are_raters():
    found = {
        "a": values(passed=[1, 0, 1, None], judge__ok=[1, 0, None, 1], errors__x=[0, 0, 0, 0], errors__y=[0, 1, 0, 0])
    }
    made = {one["rater"]: one for one in agreement(found, **DRAWN)}
    assert list(made) == [ANY, "judge/ok", "errors/x", "errors/y"]
    assert [made[name]["n"] for name in made] == [3, 2, 3, 3]
    assert (made["judge/ok"]["means"], made["judge/ok"]["kappa"]) == ("1", 1.0)
    assert (made["errors/x"]["kappa"], made["errors/x"]["agree"]) == (None, pytest.approx(2 / 3))


def verdict(prompt: str, a: str, b: str, value: float | None, sample: int = 0) -> VerdictRecord:
    return VerdictRecord(prompt, sample, a, b, value)


def test_win_rates_by_hand():
    """a against b: 1, 1/2, 0 and the mean of 1 and 0 over two samples: 1/2 over four prompts; one is not judged."""
    rows = [
        *(verdict(f"p{n}", "a", "b", value) for n, value in enumerate((1.0, 0.5, 0.0, 1.0))),
        verdict("p3", "a", "b", 0.0, sample=1),
        verdict("p4", "a", "b", None),
        verdict("p0", "c", "b", 1.0),
        verdict("p0", "gone", "b", 1.0),
    ]
    found, notes = wins("judge", rows, {"a": "A", "b": "B", "c": "C"}, **DRAWN)
    first, second = found["pairs"]
    assert (first["a"], first["b"], first["n"], first["rate"]) == ("A", "B", 4, 0.5)
    assert [first[name] for name in ("won", "lost", "tied", "unjudged")] == [2, 2, 1, 1]
    assert (second["a"], second["b"], second["rate"]) == ("B", "C", 0.0)
    assert [(one["arm"], one["rate"]) for one in found["standings"]] == [
        ("C", 1.0),
        ("A", 0.5),
        ("B", pytest.approx((0 + 0.5 + 1 + 0.5) / 4 - (0 - 0.0) / 4)),
    ]
    assert notes == ["Verdicts by judge on gone are left out: no arms of this comparison."]


def test_a_prompt_of_many_opponents_counts_once_in_the_standings():
    """a beats b and c on p0 and loses to b on p1: (1 + 0) / 2, not 2 of 3."""
    rows = [verdict("p0", "a", "b", 1.0), verdict("p0", "a", "c", 1.0), verdict("p1", "a", "b", 0.0)]
    found, _ = wins("judge", rows, {name: name for name in "abc"}, **DRAWN)
    assert next(one for one in found["standings"] if one["arm"] == "a")["rate"] == 0.5


def test_who_was_never_judged_stands_last():
    rows = [verdict("p0", "a", "b", None), verdict("p0", "b", "c", 0.0)]
    found, _ = wins("judge", rows, {name: name for name in "abc"}, **DRAWN)
    assert [(one["arm"], one["rate"]) for one in found["standings"]] == [("c", 1.0), ("b", 0.0), ("a", None)]


def test_forgetting_is_measured_from_where_training_began():
    kept = [
        Kept("base", "families", None, values(passed=[1, 1, 1, 1])),
        Kept("a", "families", "base", values(passed=[1, 0, 0, 0])),
        Kept("a", "text", None, values(logp__response=[-2.0], tokens__response=[2])),
    ]
    made = forgetting(kept, **DRAWN)
    assert [(one["rows"], one["metric"], one["arm"], one["before_value"], one["change"]) for one in made] == [
        ("families", "pass rate", "base", None, None),
        ("families", "pass rate", "a", 1.0, -0.75),
        ("text", "perplexity/response", "a", None, None),
    ]
    assert (made[1]["p_value"], made[1]["p_holm"], made[2]["value"]) == (0.25, 0.25, pytest.approx(2.718281828))


def test_a_change_of_perplexity_is_in_nats_per_token():
    """Texts of 2 and 4 tokens: 1 and 1 nats a token before, 2 and 1.5 after: the mean change is 0.75."""
    kept = [
        Kept("base", "text", None, values(logp__response=[-2.0, -4.0], tokens__response=[2, 4])),
        Kept("a", "text", "base", values(logp__response=[-4.0, -6.0], tokens__response=[2, 4])),
    ]
    found = forgetting(kept, **DRAWN)[1]
    assert found["change"] == pytest.approx(0.75)
    assert (found["before_value"], found["value"]) == (pytest.approx(2.718281828), pytest.approx(5.294490050))


def test_the_way_of_an_arm_ends_on_its_last_figures_on_held_out_rows():
    class Arm:
        name = "a"
        metrics = tuple(
            {"step": n, "eval/kl/chosen": n, "eval/kl/rejected": 3 * n, "eval/rewards/margins": n / 2, "kl/chosen": 1.0}
            for n in range(5)
        )

        class model:
            kind = "preference"

    (path,) = paths([Arm()])
    assert (path["on"], path["kl"], path["margin"]) == ("held-out rows", [0, 2, 4, 6, 8], [0, 0.5, 1, 1.5, 2])
    assert rewards([Arm()]) == [{"arm": "a", "on": "held-out rows", "step": 4, "kl": 8.0, "margin": 2.0}]


def test_arms_with_other_numbers_of_samples_cannot_be_compared():
    with pytest.raises(UserError, match=r"'a' and 'b'.*same answers by 'passed': 1 are in one only"):
        values_of([arm("a", values(passed=[[1, 0]])), arm("b", values(passed=[[1]]))])


def test_values_of_an_arm_stand_by_sample():
    found, notes = values_of([arm("a", values(passed=[[1, 0], [None, 1]]))])
    assert found["a"] == values(passed=[[1, 0], [None, 1]])
    assert by_prompt(found["a"], "passed") == {"p0": 0.5, "p1": 1.0}
    assert notes == []
