"""Two rounds of preference collection for real: samples, collectors, pairs, adapters on adapters, and the report."""

import json
from pathlib import Path

import pytest
from small_run import ROOT, run_experiment

from pipeline.adapters import base_of
from pipeline.contract import DATA
from pipeline.llm.erring import errs
from pipeline.records import GenerationRecord, PreferenceRecord, ScoredRecord, VerdictRecord
from pipeline.shards import read_records
from training.stale import sampled_from

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run():
    return run_experiment(ROOT / "tests" / "assets" / "preferences.yaml")


def rows(run, node, record):
    return list(read_records(run.directory(node) / DATA, record))


def key(run, node):
    return run.graph.nodes[node].key


def test_each_round_samples_the_model_of_the_round_before_and_starts_from_it(run):
    for number, sampled in ((1, "reference"), (2, "mended/1")):
        pairs = rows(run, f"careful/{number}", PreferenceRecord)
        assert {sampled_from(row.provenance) for row in pairs} == {key(run, sampled)}
        inputs = {item.role: item.key for item in run.manifest(f"mended/{number}").inputs}
        assert inputs["init"] == key(run, sampled)
        assert inputs["data"] == key(run, f"careful/{number}")


def test_adapters_of_both_rounds_stand_on_the_same_base(run):
    bases = {Path(base_of(run.directory(f"mended/{number}"))).name for number in (1, 2)}
    assert bases == {key(run, "reference")}


def test_two_collectors_judge_the_same_samples_which_were_made_once(run):
    assert key(run, "tried/1/reference") == key(run, "said/1/reference")


def test_pairs_are_right_by_what_decided(run):
    values = {
        (row.id, row.sample): {score.metric: score.value for score in row.scores}
        for row in rows(run, "ran/1/reference", ScoredRecord)
    }
    answers = {(row.id, row.sample): row for row in rows(run, "tried/1/reference", GenerationRecord)}
    for pair in rows(run, "careful/1", PreferenceRecord):
        told = json.loads(pair.provenance)
        prompt = pair.id.rpartition("#")[0]
        chosen, rejected = ((prompt, told[side]["sample"]) for side in ("chosen", "rejected"))
        assert (values[chosen]["rubric/score"], values[rejected]["rubric/score"]) == (5, 1)
        assert (answers[chosen].response, answers[rejected].response) == (pair.chosen, pair.rejected)
        assert pair.chosen_spans or pair.rejected_spans


def test_the_judge_errs_as_its_draws_say_and_nowhere_else(run):
    from eval.scorers.rubric import asked_about

    answers = {(row.id, row.sample): row for row in rows(run, "said/1/reference", GenerationRecord)}
    ran = {(row.id, row.sample): row.scores for row in rows(run, "ran/1/reference", ScoredRecord)}
    graded = rows(run, "graded/1/reference", ScoredRecord)
    assert len(graded) == len(answers) == 120
    for row in graded:
        answer = answers[row.id, row.sample]
        passed = next(score.value for score in ran[row.id, row.sample] if score.metric == "passed")
        wrong = errs(0, asked_about(row.id, answer.response), 0.4)
        assert row.scores[0].value == (5.0 if bool(passed) != wrong else 1.0)


def test_every_two_samples_of_a_prompt_meet_in_both_orders(run):
    met = rows(run, "met", VerdictRecord)
    assert len(met) == 10 * 3
    assert {(one.a, one.b) for one in met} == {("0", "1"), ("0", "2"), ("1", "2")}
    assert run.manifest("met").facts["judge"]["asked"] == 60


def test_the_report_has_every_round_with_its_interval(run):
    folder = run.runs / "report"
    found = json.loads((folder / "results.json").read_text())
    rounds = {one["name"]: (one["round"], one["collector"]) for one in found["policies"]}
    assert rounds == {
        "reference": (0, ""),
        "mended/1": (1, "careful"),
        "mended/2": (2, "careful"),
        "policy/1": (1, "careless"),
    }
    assert all(one["ci"][0] <= one["rate"] <= one["ci"][1] for one in found["policies"])
    compared = {(one["a"], one["b"]) for one in found["agreement"]}
    assert compared == {("careful/1", "careless/1")}
    assert {path.name for path in folder.iterdir()} == {"results.json", "results.csv", "report.md", "index.html"}
