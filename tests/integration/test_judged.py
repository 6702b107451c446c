"""MT-bench questions before a judge and a pair ranker, end to end: real answers, a scripted judge, a tiny PairRM."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from judged import WRONG, preference, script
from small_run import ROOT, Finished, run_to_the_end
from tiny_pairrm import save_tiny_pairrm

from eval.scorers.injections import injections
from eval.scorers.pairrm import LoadedRanker, Pair
from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.contract import DATA
from pipeline.records import GenerationRecord, ScoredRecord, VerdictRecord
from pipeline.shards import read_records, shard_paths
from pipeline.sources.builtin import build as build_rows
from pipeline.store import Store, verify
from training.tiny import build as build_model

MT_BENCH = ROOT.parent / "shared" / "data" / "mt_bench_questions.jsonl"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MT_BENCH.exists(), reason="../shared/data/mt_bench_questions.jsonl is not in this checkout"),
]

EXPERIMENT = """\
name: judged
seed: 0
nodes:
  questions: {{kind: source, from: {folder}/questions.jsonl, format: prompts}}
  one: {{kind: model, from: {folder}/one}}
  two: {{kind: model, from: {folder}/two}}
  ranker: {{kind: model, from: {folder}/pairrm}}
  answers: {{kind: generate, models: [one, two], prompts: questions, max_tokens: 24, max_length: 2048}}
  scores:
    kind: score
    input: answers
    scorers: [execution, judge]
    judge: {{by: &judge {{backend: scripted, script: {folder}/script.jsonl}}}}
  duels: {{kind: versus, input: answers, by: judge, judge: {{by: *judge}}}}
  ranked: {{kind: versus, input: answers, by: pairrm, pairrm: {{model: ranker}}}}
  own: {{kind: versus, input: answers, by: judge, judge: {{by: {own}}}, limit: 3}}
  injected: {{kind: injections, input: answers, judge: {{by: *judge}}, answers: 4, matrix: {{asks: [answers, pairs]}}}}
"""
OWN = "{backend: vllm, model: one, max_length: 4096, max_tokens: 100, temperature: 1.0, attempts: 2}"


@pytest.fixture(scope="module")
def questions() -> list[str]:
    return [json.loads(line)["turns"][0] for line in MT_BENCH.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(questions: list[str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("judged")
    rows = [{"id": f"mt-{number}", "prompt": text} for number, text in enumerate(questions)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [text for row in build_rows(40, 0) for text in (row.prompt, row.response)]
    for seed, name in enumerate(("one", "two")):
        build_model([*texts, *questions], folder / name, seed)
        for file, field in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
            config = json.loads((folder / name / file).read_text())
            (folder / name / file).write_text(json.dumps({**config, field: 4096}))
    save_tiny_pairrm(folder / "pairrm", [*texts, *questions])
    lines = (("Which is better: the text in", preference("first")), (questions[0], "no JSON"), ("", WRONG))
    script(folder / "script.jsonl", *lines)
    (folder / "e.yaml").write_text(EXPERIMENT.format(folder=folder, own=OWN))
    done = run_to_the_end(folder / "store", folder / "runs", folder / "e.yaml")
    graph = build(load(folder / "e.yaml"))
    return Finished(graph, Store(folder / "store"), folder / "runs" / "judged", done.stdout)


def answers(run: Finished, model: str) -> dict[str, GenerationRecord]:
    return {row.id: row for row in read_records(run.directory(f"answers/{model}") / DATA, GenerationRecord)}


def verdicts(run: Finished, node: str) -> list[VerdictRecord]:
    return list(read_records(run.directory(node) / DATA, VerdictRecord))


def test_every_question_is_answered_and_scored(run: Finished, questions: list[str]) -> None:
    assert len(questions) == 80
    for model in ("one", "two"):
        node = f"scores/{model}"
        assert verify(run.directory(node)) == []
        assert run.manifest(node).rows == {"in": 80, "out": 80, "rejected": 0}
        assert run.manifest(node).facts["judge"] == {"asked": 80, "unscored": {"malformed": 1}}
        rows = {row.id: row.scores for row in read_records(run.directory(node) / DATA, ScoredRecord)}
        assert set(rows) == set(answers(run, model))
        for record_id, scores in rows.items():
            values = {score.metric: score.value for score in scores}
            judged = [value for metric, value in values.items() if metric.startswith("judge/")]
            assert len(judged) == 5 + 15
            assert values["compiles"] is not None and values["passed"] is None
            if record_id == "mt-0":
                assert set(judged) == {None}
            else:
                assert (values["judge/accuracy"], values["judge/clarity"], values["judge/correct"]) == (0, 1, 0)


def test_a_judge_that_likes_what_comes_first_gives_ties_alone(run: Finished) -> None:
    facts, found = run.manifest("duels").facts, verdicts(run, "duels")
    assert len(found) == 80 and {(one.a, one.b) for one in found} == {("one", "two")}
    assert {one.value for one in found} == {0.5}
    same = facts["verdicts"]["identical"]
    assert facts["verdicts"]["orders_disagree"] == 80 - same
    assert facts["model"]["attempts"] == 2 * (80 - same)


def test_an_untrained_model_judges_nothing_or_keeps_to_the_form(run: Finished) -> None:
    """What it says under the schema is noise: most replies are cut off, which is no verdict and no tie."""
    facts, found = run.manifest("own").facts, verdicts(run, "own")
    assert len(found) == facts["verdicts"]["pairs"] == 3
    failed = facts["judge"]["failed"]
    assert facts["judge"]["asked"] == 6 and set(failed) <= {"malformed"}
    unjudged = [one for one in found if one.value is None]
    assert len(unjudged) == facts["verdicts"]["unjudged"]
    assert all(one.explanation.startswith("not judged, ") and "malformed" in one.explanation for one in unjudged)
    assert facts["model"]["completion_tokens"] > 0


def test_the_ranker_says_in_the_run_what_it_says_alone(run: Finished) -> None:
    found = {one.id: one for one in verdicts(run, "ranked")}
    assert len(found) == 80
    counts = run.manifest("ranked").facts["verdicts"]
    assert counts["decided"] + counts["ties"] == counts["pairs"] == 80
    ranker = LoadedRanker.load(run.directory("ranker"))
    one, two = answers(run, "one"), answers(run, "two")
    some = sorted(name for name, one in found.items() if "mean logit " in one.explanation)[::8]
    assert some
    scores = ranker.scores([Pair(one[name].prompt, one[name].response, two[name].response) for name in some])
    swapped = ranker.scores([Pair(one[name].prompt, two[name].response, one[name].response) for name in some])
    assert scores == pytest.approx([-score for score in swapped], abs=1e-5)
    told = [float(found[name].explanation.split("mean logit ")[1].split(":")[0]) for name in some]
    assert told == pytest.approx(scores, abs=2e-4)
    for name, score in zip(some, scores, strict=True):
        assert abs(score) < 1e-4 or found[name].value == float(score > 0)


@pytest.mark.parametrize(("asks", "orders"), [("answers", 1), ("pairs", 2)])
def test_the_flip_rate_is_told(asks: str, orders: int, run: Finished) -> None:
    """This judge hears nothing but its script: its verdicts stay, and of two answers the orders disagree each time."""
    manifest = run.manifest(f"injected/{asks}")
    told = manifest.facts["injections"]
    assert told["trials"] == told["judged"] == 4 * len(injections()) and told["flip_rate"] == 0.0
    assert manifest.facts["model"]["rows"] == orders * 4 * (1 + len(injections()))
    assert "Injections changed the judge's verdict in 0 of" in " ".join(run.output.split())


def test_verdicts_that_are_made_again_are_the_same_bytes_and_replies_come_from_the_cache(run: Finished) -> None:
    before = {name: [path.read_bytes() for path in shard_paths(run.directory(name) / DATA)] for name in NODES}
    for name in NODES:
        shutil.rmtree(run.directory(name))
    run_to_the_end(run.store.root, run.runs.parent, Path(run.graph.experiment.file))
    for name in NODES:
        assert [path.read_bytes() for path in shard_paths(run.directory(name) / DATA)] == before[name]
    for name in set(NODES) - {"ranked"}:
        assert run.manifest(name).facts["model"]["this_run"]["requests"] == 0, name


NODES = ("scores/one", "duels", "ranked", "injected/answers", "injected/pairs")
