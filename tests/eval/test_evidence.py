"""Which scores make one arm, and what a comparison is without answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich_report import make_rich_report

from eval.nodes import CompareConfig
from eval.report.build import compared, write_files
from eval.report.evidence import evidence_of, merged_scores, rows_of
from pipeline.contract import DATA, Source
from pipeline.failures import UserError
from pipeline.records import ScoredRecord, table_of
from pipeline.shards import read_records, shard_name
from pipeline.store import Store, commit, read_manifest, write_table

NODES = ("corrupted", "reference", "mended-0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    make_rich_report(tmp_path, 1, prompts=4, samples=2, resamples=20)
    return Store(tmp_path / "store")


def sources(store: Store, name: str) -> list[Source]:
    keys = [f"{name}-{node}" for node in NODES]
    nodes = [node.replace("-", "/") for node in NODES]
    return [
        Source("input", f"{name}/{node}", "scores", key, "", store.directory("scores", key))
        for node, key in zip(nodes, keys, strict=True)
    ]


def test_all_scores_of_a_models_answers_are_one_arm(store: Store):
    """Log-probabilities are of the prompt, and go with its first sample."""
    arms = evidence_of([*sources(store, "likely"), *sources(store, "scores")])
    assert [arm.name for arm in arms] == ["corrupted", "reference", "mended/0"]
    first, second = ({score.metric for score in arms[2].scores["q0", sample].scores} for sample in (0, 1))
    assert first - second == {"logp/response", "tokens/response", "perplexity/response"}
    assert "passed" in second


def test_two_nodes_may_say_the_same_but_not_another(store: Store):
    plain = sources(store, "scores")[0]
    twice = merged_scores([plain, plain])
    assert twice == merged_scores([plain])
    other = store.directory("scores", "other")
    rows = list(read_records(plain.data, ScoredRecord))
    score = replace(rows[0].scores[1], value=1 - (rows[0].scores[1].value or 0))
    rows[0] = replace(rows[0], scores=(rows[0].scores[0], score))
    manifest = read_manifest(plain.root)
    assert manifest is not None
    write_table(other / DATA / shard_name(0), table_of(rows, ScoredRecord.SCHEMA))
    commit(other, replace(manifest, key="other"))
    with pytest.raises(UserError, match=r"again/corrupted: the score 'passed' of 'q0' is [01]\.0 and [01]\.0"):
        merged_scores([plain, replace(plain, name="again/corrupted", key="other", root=other)])


def test_what_was_scored_has_a_name(store: Store):
    assert rows_of(sources(store, "scores")[0]) == rows_of(sources(store, "likely")[0]) == "qa.test"
    assert rows_of(sources(store, "kept")[0]) == "prose.test"


def test_models_can_be_compared_by_log_probabilities_alone(store: Store, tmp_path: Path):
    made = compared(sources(store, "likely"), "corrupted", "reference")
    write_files(tmp_path / "out", "likely", made, CompareConfig(kind="compare", input="likely", resamples=20))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(one["arm"], one["metric"]) for one in results["measures"]] == [
        (arm["name"], "perplexity/response") for arm in results["arms"]
    ]
    assert {arm["pass_rate"] for arm in results["arms"]} == {None}
    assert 'id="prompts"' not in (tmp_path / "out" / "index.html").read_text()


def test_what_is_forgotten_of_models_that_are_no_arms_is_noted(store: Store):
    kept = [replace(source, role="forgetting") for source in sources(store, "kept")]
    made = compared(sources(store, "scores")[:2], "corrupted", "reference", forgetting=kept)
    assert [(one.arm, one.before) for one in made.kept] == [("corrupted", None), ("reference", None)]
    assert "Forgetting of mended/0 is left out: no arms of this comparison." in made.notes
