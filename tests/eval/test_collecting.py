"""From judged samples to pairs on disk, and the report about them, over a store that is written by hand."""

import csv
import json
from io import StringIO

import pyarrow.parquet as pq
import pytest
from collected_run import TEXT, HandMade
from graphs import graph
from report_run import HOSTILE

from pipeline.contract import DATA, REJECTS
from pipeline.failures import UserError
from pipeline.records import PreferenceRecord
from pipeline.shards import read_records
from pipeline.store import read_manifest
from training.stale import refuse_stale, sampled_from


def pairs(directory):
    return {row.id: row for row in read_records(directory / DATA, PreferenceRecord)}


def rejects(directory):
    rows = pq.read_table(directory / REJECTS).to_pylist()
    return sorted((row["id"].partition("#")[0], row["reason"]) for row in rows)


def test_scores_become_the_best_answer_over_the_worst(tmp_path):
    directory = HandMade(tmp_path).make("execution")
    found = pairs(directory)
    assert len(found) == 2
    assert {(row.prompt, row.chosen) for row in found.values()} == {("Question p1?", "good"), ("Question p2?", "fine")}
    assert rejects(directory) == [("p3", "tie")]
    assert read_manifest(directory).rows == {"in": 3, "out": 2, "rejected": 1}


def test_a_pair_tells_which_model_was_sampled_and_what_decided(tmp_path):
    run = HandMade(tmp_path)
    row = next(iter(pairs(run.make("execution")).values()))
    told = json.loads(row.provenance)
    assert told["model"] == run.graph.nodes["base"].key == sampled_from(row.provenance)
    assert told["answers"] == run.graph.nodes["samples/base"].key
    assert (told["by"], told["chosen"]) == ("passed", {"sample": 0, "value": 1.0})
    assert told["rejected"]["value"] == 0.0


def test_grades_that_are_missing_are_told_and_spans_are_marked(tmp_path):
    directory = HandMade(tmp_path).make("judge")
    found = pairs(directory)
    assert {(row.chosen, row.rejected) for row in found.values()} >= {("c", "a"), ("no", "fine")}
    assert rejects(directory) == [("p3", "unscored")]
    assert all(row.chosen_spans or row.rejected_spans for row in found.values())


def test_verdicts_become_pairs_by_the_share_of_meetings_that_a_sample_wins(tmp_path):
    directory = HandMade(tmp_path).make("duels")
    found = sorted((row.chosen, row.rejected) for row in pairs(directory).values())
    assert found == [("c", "a"), ("fine", "no"), ("good", "bad"), ("good", "worse")]
    # p1: bad and worse tie; p2: both are "fine", and the second of them over "no" is the same pair; p3: b never met.
    assert rejects(directory) == [("p1", "tie"), ("p2", "identical"), ("p2", "repeated"), ("p3", "unscored")]


@pytest.mark.parametrize(("old", "new", "node", "what"), [
    ("ran, metric: passed", "ran", "execution", "`metric` says which one decides"),
    ("ran, metric: passed", "ran, metric: pased", "execution", "there is no score 'pased'"),
    ("met, choose: all", "met, metric: passed", "duels", "verdicts have no metric"),
    ("ran, metric: passed", "ran, metric: passed, margin: 2", "execution", "no pair comes of these answers"),
])  # fmt: skip
def test_what_gives_no_pairs_is_refused(tmp_path, old, new, node, what):
    with pytest.raises(UserError, match=what):
        HandMade(tmp_path, TEXT.replace(old, new)).make(node)


def test_training_refuses_pairs_of_another_model_from_a_file_too(tmp_path):
    from kintsugi.execute import work_of

    text = TEXT + "  other: {kind: preference, init: executed, data: judge, stale: allow, learning_rate: 1e-4}\n"
    run = HandMade(tmp_path, text)
    run.make("execution")
    run.make("judge")
    made = run.graph.nodes
    for name in ("base", "judged"):
        refuse_stale(work_of(run.graph, made[name], run.store))
    work = work_of(run.graph, made["other"], run.store)
    refuse_stale(work)
    work.config = work.config.model_copy(update={"stale": "refuse"})
    with pytest.raises(UserError, match="sampled from another model"):
        refuse_stale(work)


@pytest.mark.parametrize("text", ["", "plain", "[1]", '{"source": "x"}', '{"model": 3}'])
def test_rows_that_were_not_sampled_here_are_never_stale(text):
    assert sampled_from(text) == ""


def test_pairs_that_a_model_marked_still_say_whose_samples_they_are():
    sampled = json.dumps({"source": "x", "model": "abc"})
    marked = json.dumps({"provenance": sampled, "regions": []})
    assert sampled_from(marked) == sampled_from(json.dumps({"provenance": marked, "regions": []})) == "abc"
    assert sampled_from(json.dumps({"provenance": 3})) == ""


def test_the_report_says_what_each_round_brought(tmp_path):
    directory = HandMade(tmp_path).report()
    found = json.loads((directory / "results.json").read_text())
    models = {one["name"]: one for one in found["policies"]}
    assert [models[name]["rate"] for name in ("base", "executed", "judged")] == [0.25, 0.75, 0.5]
    assert [models[name]["round"] for name in ("base", "executed", "judged")] == [0, 1, 1]
    assert [models[name]["collector"] for name in ("base", "executed", "judged")] == ["", "execution", "judge"]
    assert [models[name]["pairs"] for name in ("base", "executed", "judged")] == [None, 1, 3]
    assert models["executed"]["change"] == 0.5 and models["executed"]["before"] == "base"
    assert models["base"]["change"] is None
    # Two of four differences are 1, the others 0: of the 4 sign patterns one has a sum of 2 and one of -2.
    assert models["executed"]["p_value"] == pytest.approx(0.5)
    assert models["executed"]["ci"] == pytest.approx([0.3006, 0.9544], abs=1e-4)  # Wilson, 3 of 4


def test_agreement_is_over_the_pairs_that_both_decide(tmp_path):
    directory = HandMade(tmp_path).report()
    found = json.loads((directory / "results.json").read_text())["agreement"]
    (one,) = (one for one in found if (one["a"], one["b"]) == ("execution", "judge"))
    # p1: 0>1 and 0>2 by both, 1=2 by both. p2: execution 0>2, 1>2, the judge the other way round; 0=1 by both.
    # p3: execution none; the judge 2>0; of sample 1 it said nothing, so those two pairs are not common.
    assert (one["n"], one["only_a"], one["only_b"], one["neither"]) == (4, 0, 1, 2)
    assert one["agree"] == 0.5
    assert one["kappa"] is None  # execution puts all four into one category: the first is better
    (other,) = (one for one in found if (one["a"], one["b"]) == ("judge", "duels"))
    # Both decide p1 0>1, 0>2; p2 0>2, 1>2 (against each other); p3 0<2.
    assert other["n"] == 5
    assert other["agree"] == pytest.approx(3 / 5)
    # Judge: first better twice, second thrice; duels: first four times, second once; both say second once.
    assert other["kappa"] == pytest.approx((0.6 - (0.4 * 0.8 + 0.6 * 0.2)) / (1 - 0.44))


def test_length_is_counted_where_it_differs(tmp_path):
    directory = HandMade(tmp_path).report()
    lengths = {one["name"]: one for one in json.loads((directory / "results.json").read_text())["lengths"]}
    # good over bad or worse; fine over no: the rejected "worse" is longer than "good", "bad" is not.
    assert lengths["execution"]["n"] == 2
    # executed beats base twice, with the longer name alone and with "much" each time: always the longer.
    assert (lengths["versus"]["n"], lengths["versus"]["longer"]) == (2, 2)


def test_all_four_files_say_the_same(tmp_path):
    directory = HandMade(tmp_path).report()
    rows = list(csv.DictReader(StringIO((directory / "results.csv").read_text())))
    (rate,) = (row for row in rows if (row["section"], row["arm"], row["figure"]) == ("models", "executed", "passed"))
    assert (rate["value"], rate["n"], rate["other"]) == ("0.75", "4", "execution")
    for name in ("report.md", "index.html"):
        text = (directory / name).read_text()
        assert "75.0%" in text and "30.1% to 95.4%" in text and "+50.0" in text
        assert "Do the collectors agree" in text and "Who wins" in text


def test_hostile_names_stay_text(tmp_path):
    from eval.collected_page import to_html, to_markdown

    figures = json.loads((HandMade(tmp_path).report() / "results.json").read_text())
    figures["experiment"] = HOSTILE
    figures["policies"][0]["name"] = HOSTILE
    figures["collectors"][0]["rejected"] = {HOSTILE: 1}
    figures["notes"] = [HOSTILE]
    for text in (to_html(figures), to_markdown(figures)):
        assert "<script" not in text and "<img" not in text and "<svg/" not in text
        assert "window.pwned=1" in text


def test_models_and_collectors_are_called_as_this_experiment_calls_them(tmp_path):
    """What another experiment made under other names is found by its key, and told by ours."""
    run = HandMade(tmp_path)
    run.report()
    other = TEXT.replace("judge: {kind: pair", "grades: {kind: pair").replace("data: judge", "data: grades")
    run.graph = graph(tmp_path, other.replace("execution, judge", "execution, grades"))
    found = json.loads((run.make("report") / "results.json").read_text())
    assert {one["collector"] for one in found["policies"]} == {"", "execution", "grades"}
    assert {one["model"] for one in found["collectors"]} == {"base"}
