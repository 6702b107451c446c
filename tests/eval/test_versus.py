"""Models against each other: pairs, both orders, ties, what was not judged; and judges that are talked round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judged import RIGHT, WRONG, answer, preference, script, work_of
from pydantic import ValidationError

from eval.injected import measure_flips
from eval.scorers.injections import injections
from eval.versus import Duel, compare_answers, paired
from eval.versus_by_ranker import decide
from eval.versus_nodes import VersusConfig
from pipeline.contract import DATA, NOTES
from pipeline.failures import UserError
from pipeline.records import REJECTED, GenerationRecord, VerdictRecord
from pipeline.shards import read_records, shard_paths
from pipeline.store import read_manifest

GOOD, BAD = "A fine answer.", "A poor answer."


def by(path: str) -> dict[str, Any]:
    return {"by": {"backend": "scripted", "script": path}}


def verdicts(folder: Path, answers: dict[str, list[GenerationRecord]], *lines: tuple[str, Any], **config: Any) -> Any:
    """The verdicts of a scripted judge by (id, a, b), and the manifest."""
    judge = by(script(folder / "script.jsonl", *lines))
    work = work_of(folder, "versus", answers, by="judge", judge=judge, **config)
    compare_answers(work)
    found = list(read_records(work.directory / DATA, VerdictRecord))
    manifest = read_manifest(work.directory)
    assert manifest is not None
    return {(one.id, one.sample, one.a, one.b): one for one in found}, manifest


TWO = {"x": [answer("r1", GOOD)], "y": [answer("r1", BAD)]}
X_FIRST, Y_FIRST = f"{GOOD}\n</first-", f"{BAD}\n</first-"


@pytest.mark.parametrize(("with_x_first", "with_y_first", "value", "told"), [
    ("first", "second", 1.0, "x wins"),
    ("second", "first", 0.0, "y wins"),
    ("tie", "tie", 0.5, "tie"),
    ("first", "first", 0.5, "orders disagree"),
    ("second", "second", 0.5, "orders disagree"),
    ("first", "tie", 0.5, "orders disagree"),
])  # fmt: skip
def test_a_model_wins_only_where_both_orders_say_so(
    tmp_path: Path, with_x_first: str, with_y_first: str, value: float, told: str
) -> None:
    lines = ((X_FIRST, preference(with_x_first)), (Y_FIRST, preference(with_y_first)))
    found, manifest = verdicts(tmp_path, TWO, *lines)
    [one] = found.values()
    assert (one.a, one.b, one.value) == ("x", "y", value)
    assert told in one.explanation
    counts = manifest.facts["verdicts"]
    assert counts["orders_disagree"] == ("disagree" in told)
    assert (counts["decided"], counts["ties"]) == (int(value != 0.5), int(value == 0.5))
    assert manifest.facts["judge"] == {"asked": 2, "failed": {}}


def test_a_judge_that_always_prefers_the_first_decides_nothing(tmp_path: Path) -> None:
    answers = {name: [answer(f"r{n}", f"{name} says {n}") for n in range(5)] for name in "xyz"}
    found, manifest = verdicts(tmp_path, answers, ("", preference("first")))
    assert len(found) == 15 and {one.value for one in found.values()} == {0.5}
    assert manifest.facts["verdicts"] == {
        "pairs": 15,
        "decided": 0,
        "ties": 15,
        "identical": 0,
        "orders_disagree": 15,
        "unjudged": 0,
    }


def test_replies_that_cannot_be_read_are_no_ties_and_are_counted_apart(tmp_path: Path) -> None:
    answers = {"x": [answer("r1", GOOD), answer("r2", "Two.")], "y": [answer("r1", BAD), answer("r2", "Zwei.")]}
    lines = ((X_FIRST, preference("first")), (Y_FIRST, "no JSON"), ("Two.", preference("tie")))
    found, manifest = verdicts(tmp_path, answers, *lines)
    lost, tie = found["r1", 0, "x", "y"], found["r2", 0, "x", "y"]
    assert lost.value is None and lost.explanation.startswith("not judged, b first: malformed: after 3 attempts")
    assert tie.value == 0.5
    assert manifest.facts["verdicts"]["unjudged"] == 1
    assert manifest.facts["judge"] == {"asked": 4, "failed": {"malformed": 1}}


def test_answers_that_are_the_same_text_are_a_tie_and_nobody_is_asked(tmp_path: Path) -> None:
    answers = {"x": [answer("r1", GOOD)], "y": [answer("r1", GOOD + "\n")]}
    found, manifest = verdicts(tmp_path, answers)
    [one] = found.values()
    assert one.value == 0.5 and "same text" in one.explanation
    assert manifest.facts["model"]["this_run"]["requests"] == 0
    assert manifest.facts["verdicts"]["identical"] == 1


def test_samples_meet_their_like_and_what_has_no_partner_is_rejected_with_a_reason(tmp_path: Path) -> None:
    answers = {
        "x": [answer("r1", "x0"), answer("r1", "x1", sample=1), answer("r2", "x2")],
        "y": [answer("r1", "y0"), answer("r1", "y1", sample=1)],
    }
    found, manifest = verdicts(tmp_path, answers, ("", preference("tie")))
    assert list(found) == [("r1", 0, "x", "y"), ("r1", 1, "x", "y")]
    assert manifest.rows == {"in": 3, "out": 2, "rejected": 1}
    import pyarrow.parquet as pq

    rejected = pq.read_table(tmp_path / "store" / "verdicts" / "0123" / "rejected", schema=REJECTED).to_pylist()
    assert rejected == [{"id": "r2", "reason": "no-partner", "detail": "sample 0: x has an answer and y none"}]


def test_many_pairs_keep_their_order_over_shards_and_a_limit_takes_the_first_prompts(tmp_path: Path) -> None:
    answers = {name: [answer(f"r{n:03d}", f"{name}{n}.") for n in range(150)] for name in "xy"}
    lines = [(f"x{n}.\n</first-", preference("first" if n % 2 else "second")) for n in range(150)]
    lines += [(f"y{n}.\n</first-", preference("second" if n % 2 else "first")) for n in range(150)]
    found, _ = verdicts(tmp_path, answers, *lines, limit=140)
    assert [key[0] for key in found] == [f"r{n:03d}" for n in range(140)]
    assert [one.value for one in found.values()] == [float(n % 2) for n in range(140)]
    assert len(shard_paths(tmp_path / "store" / "verdicts" / "0123" / DATA)) == 2


def test_answers_to_other_prompts_or_of_nobody_else_are_refused(tmp_path: Path) -> None:
    other = {"x": [answer("r1", GOOD)], "y": [answer("r1", BAD, prompt="Another question?")]}
    with pytest.raises(UserError, match="different prompts of one id"):
        verdicts(tmp_path, other)
    with pytest.raises(UserError, match="answers of two models"):
        verdicts(tmp_path / "b", {"x": [answer("r1", GOOD)]}) if (tmp_path / "b").mkdir() is None else None


def test_by_decides_which_section_there_is() -> None:
    base = {"kind": "versus", "input": ["a", "b"]}
    published = VersusConfig.model_validate({**base, "by": "pairrm"})
    assert published.pairrm is not None and published.pairrm.model == "llm-blender/PairRM-hf"
    for wrong, match in (
        ({"by": "judge"}, "needs a section judge"),
        ({"by": "judge", "judge": by("s"), "pairrm": {}}, "does not go with by: judge"),
        ({"by": "pairrm", "judge": by("s")}, "does not go with by: pairrm"),
    ):
        with pytest.raises(ValidationError, match=match):
            VersusConfig.model_validate({**base, **wrong})


@pytest.mark.parametrize(("a_first", "b_first", "value", "outcome"), [
    (2.0, 1.0, 1.0, ""), (-2.0, -1.0, 0.0, ""), (2.0, -1.0, 1.0, "orders_disagree"),
    (1.0, -2.0, 0.0, "orders_disagree"), (1.0, -1.0, 0.5, "orders_disagree"), (0.0, 0.0, 0.5, ""),
])  # fmt: skip
def test_the_mean_of_both_orders_decides_for_a_ranker(
    a_first: float, b_first: float, value: float, outcome: str
) -> None:
    decided = decide(Duel("r1", 0, "x", "y", "p", "", GOOD, BAD), a_first, b_first)
    assert (decided.record.value, decided.outcome) == (value, outcome)


def test_every_two_models_meet_in_the_order_of_the_config() -> None:
    answers = {name: {("r1", 0): answer("r1", name)} for name in ("z", "a", "m")}
    assert [(duel.a, duel.b) for duel in paired(answers, None)[0]] == [("z", "a"), ("z", "m"), ("a", "m")]


# Injections

ANSWERS = {"x": [answer(f"r{n}", f"x{n}") for n in range(4)], "y": [answer(f"r{n}", f"y{n}") for n in range(4)]}


def flips(folder: Path, *lines: tuple[str, Any], answers: int = 5) -> Any:
    judge = by(script(folder / "script.jsonl", *lines))
    work = work_of(folder, "injections", ANSWERS, judge=judge, answers=answers)
    measure_flips(work)
    manifest = read_manifest(work.directory)
    assert manifest is not None
    told = manifest.facts["injections"]
    assert json.loads((work.directory / "injections.json").read_text()) == told
    assert manifest.rows["out"] == answers * len(injections()) == told["trials"]
    return told, manifest.facts


def marks() -> list[str]:
    """A line of each injection that stands in no other text and holds no code."""
    lines = [[line for line in one.text.splitlines() if "{code}" not in line] for one in injections()]
    return [max(each, key=len) for each in lines]


def test_a_gullible_judge_is_flipped_every_time(tmp_path: Path) -> None:
    told, facts = flips(tmp_path, *((mark, RIGHT) for mark in marks()), ("", WRONG))
    assert (told["flip_rate"], told["to_yes"], told["to_no"]) == (1.0, told["trials"], 0)
    assert {rates["flip_rate"] for rates in told["by_injection"].values()} == {1.0}
    assert set(told["by_injection"]) == {one.name for one in injections()}
    assert "100%" in facts[NOTES][0]


@pytest.mark.parametrize("verdict", [RIGHT, WRONG])
def test_a_steadfast_judge_never(tmp_path: Path, verdict: Any) -> None:
    told, facts = flips(tmp_path, ("", verdict))
    assert (told["flip_rate"], told["flips"], told["unjudged"]) == (0.0, 0, 0)
    assert "(0%)" in facts[NOTES][0]


def test_trials_without_a_verdict_are_no_flips(tmp_path: Path) -> None:
    told, _ = flips(tmp_path, (marks()[0], "no JSON"), (marks()[1], RIGHT), ("", WRONG))
    rates = told["by_injection"]
    first, second, *others = (rates[one.name] for one in injections())
    assert (first["judged"], first["unjudged"], first["flip_rate"]) == (0, 5, None)
    assert second["flip_rate"] == 1.0
    assert {one["flip_rate"] for one in others} == {0.0}
    assert told["flip_rate"] == pytest.approx(5 / (5 * (len(injections()) - 1)))


def test_answers_are_drawn_by_the_seed_from_all_models(tmp_path: Path) -> None:
    from eval.injected import drawn

    sources = work_of(tmp_path, "injections", ANSWERS, judge=by("s")).all_sources("input")
    first = [(model, row.id) for model, row in drawn(sources, 6, 0)]
    assert first == [(model, row.id) for model, row in drawn(list(reversed(sources)), 6, 0)]
    assert {model for model, _ in first} == {"x", "y"}
    assert first != [(model, row.id) for model, row in drawn(sources, 6, 1)]
    assert len(drawn(sources, 100, 0)) == 8


# Samples of one model


def test_samples_of_one_model_meet_as_models_do(tmp_path: Path) -> None:
    samples = {"x": [answer("r1", GOOD), answer("r1", BAD, 1), answer("r1", GOOD, 2), answer("r2", GOOD)]}
    lines = ((X_FIRST, preference("first")), (Y_FIRST, preference("second")))
    found, manifest = verdicts(tmp_path, samples, *lines, among="samples")
    assert {key[2:]: one.value for key, one in found.items()} == {("0", "1"): 1.0, ("0", "2"): 0.5, ("1", "2"): 0.0}
    assert {one.id for one in found.values()} == {"r1"}
    assert manifest.rows == {"in": 5, "out": 3, "rejected": 2}  # r2 has one sample, which lacks two others


def test_samples_are_those_of_one_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="samples are those of one model"):
        verdicts(tmp_path, TWO, ("", preference("first")), among="samples")
