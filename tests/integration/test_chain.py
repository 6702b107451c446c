"""The small chain from end to end: what it leaves behind, and that nothing leaks."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from small_run import Finished, run_to_the_end

from eval.scorers.execution import score_execution
from pipeline.contract import DATA
from pipeline.records import CorruptionRecord, GenerationRecord, PreferenceRecord, QARecord, ScoredRecord
from pipeline.shards import read_records
from pipeline.store import verify

pytestmark = pytest.mark.slow


def test_every_node_has_a_manifest_whose_hashes_hold(small: Finished) -> None:
    for name in small.graph.nodes:
        assert verify(small.directory(name)) == [], name


def test_rows_in_are_rows_out_and_rejected(small: Finished) -> None:
    for name in ("broken", "pairs", "answers/reference", "scores/reference", "reference"):
        rows = small.manifest(name).rows
        assert rows["in"] == rows["out"] + rows["rejected"], name
    rejected = pq.read_table(small.directory("broken") / "rejected")
    assert rejected.num_rows == small.manifest("broken").rows["rejected"]
    assert all(rejected["reason"].to_pylist())


def test_manifests_say_what_held_the_code(small: Finished) -> None:
    for name in ("broken", "scores/reference"):
        assert small.manifest(name).facts["sandbox"] == ["namespaces"], name
    assert "sandbox" not in small.manifest("pairs").facts


def test_spans_of_all_pairs_are_exact(small: Finished) -> None:
    broken = {row.id: row for row in read_records(small.directory("broken") / DATA, CorruptionRecord)}
    pairs = list(read_records(small.directory("pairs") / DATA, PreferenceRecord))
    assert len(pairs) == len(broken) > 150
    for pair in pairs:
        assert pair.chosen == broken[pair.id].response != pair.rejected == broken[pair.id].rejected
        for text, spans in ((pair.chosen, pair.chosen_spans), (pair.rejected, pair.rejected_spans)):
            assert spans
            assert all(text[span.start : span.end] == span.text for span in spans)


def test_no_test_prompt_is_upstream_of_a_model(small: Finished) -> None:
    qa = small.directory("qa")
    held_out = [row for split in ("test", "validation") for row in read_records(qa / split / DATA, QARecord)]
    ids = {row.id for row in held_out}
    prompts = {row.prompt for row in held_out}
    answers = {row.response for row in held_out}
    for name, node in small.graph.nodes.items():
        if node.kind.product != "models":
            continue
        for above in small.graph.upstream(name):
            other = small.graph.nodes[above]
            if other.kind.product != "rows" or above == "qa":
                continue
            for path in (small.directory(above) / DATA).glob("*.parquet"):
                rows = pq.read_table(path).to_pylist()
                assert not ids & {row["id"] for row in rows}
                assert not prompts & {row["prompt"] for row in rows}
                good = "response" if "response" in rows[0] else "chosen"
                assert not answers & {row[good] for row in rows}
        splits = {edge.split for edge in node.inputs if edge.node == "qa"}
        assert splits <= {"train"}


def test_every_verdict_can_be_made_again_from_the_saved_answers(small: Finished) -> None:
    for arm in ("reference", "corrupted"):
        answers = list(read_records(small.directory(f"answers/{arm}") / DATA, GenerationRecord))
        scores = {row.id: row for row in read_records(small.directory(f"scores/{arm}") / DATA, ScoredRecord)}
        for answer in answers[:12]:
            saved = {score.metric: score.value for score in scores[answer.id].scores}
            again = {score.metric: score.value for score in score_execution(answer)}
            assert again == {metric: saved[metric] for metric in again}


def test_results_tell_of_every_arm(small: Finished) -> None:
    results = json.loads((small.runs / "report" / "results.json").read_text())
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert [arm["kind"] for arm in results["arms"]] == ["reference", "corrupted", "mended", "mended"]
    assert set(arms) == {"reference", "corrupted", "dpo / granular", "tdpo2 / granular"}
    for arm in results["arms"]:
        assert arm["n"] == 40
        assert arm["pass_rate"] == arm["passed"] / 40
        assert arm["pass_rate_ci"][0] <= arm["pass_rate"] <= arm["pass_rate_ci"][1]
        assert arm["train_tokens"] > 0
        assert arm["train_seconds"] > 0
    assert "untuned learning rate" in (small.runs / "report" / "report.md").read_text()
    assert results["differences"]


def test_metrics_have_the_names_of_the_field(small: Finished) -> None:
    lines = (small.directory("mended/tdpo2-granular") / "metrics.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert first["kl/chosen"] == pytest.approx(0.0, abs=1e-4)
    named = {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"}
    assert named | {"logps/chosen", "logps/rejected", "kl/rejected", "learning_rate"} <= set(first)
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert list((small.directory("reference") / "tensorboard").iterdir())


def test_models_are_ordinary_safetensors_directories(small: Finished) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name in ("reference", "mended/dpo-granular"):
        directory = small.directory(name)
        assert (directory / "model.safetensors").exists()
        assert not list(directory.rglob("*.bin"))
        assert not list(directory.rglob("*.pt"))
        model = AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        assert model.config.vocab_size == len(tokenizer)


def test_training_moves_the_weights_of_each_arm_apart(small: Finished) -> None:
    hashes = {
        small.manifest(name).files["model.safetensors"]["sha256"]
        for name in ("reference", "corrupted", "mended/dpo-granular", "mended/tdpo2-granular")
    }
    assert len(hashes) == 4


def test_a_second_run_makes_nothing(small: Finished) -> None:
    before = {name: (small.directory(name) / "manifest.json").stat().st_mtime_ns for name in small.graph.nodes}
    run_to_the_end(small.store.root, small.runs.parent)
    after = {name: (small.directory(name) / "manifest.json").stat().st_mtime_ns for name in small.graph.nodes}
    assert before == after


def test_libraries_keep_to_the_logs(small: Finished) -> None:
    assert "INFO" not in small.output
    assert "WARNING" not in small.output
    assert "passed" in small.output
    logs = [path for path in (small.runs / "logs").rglob("*.log") if path.stat().st_size]
    assert logs
