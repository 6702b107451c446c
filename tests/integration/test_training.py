"""Training for real: every ZeRO stage takes the same steps, every mask runs, and rows that are too long are cut."""

from __future__ import annotations

import json
import subprocess

import pytest
from small_run import CACHE, ROOT, Finished, command, run_experiment
from transformers import AutoTokenizer

from kintsugi.execute import work_of
from training.examples import prepare

pytestmark = pytest.mark.slow

STAGES = ROOT / "tests" / "assets" / "stages.yaml"
POLICIES = "cut/dpo-mask-chosen-none-rejected-tokens-spans-scale2-eos"


@pytest.fixture(scope="module")
def stages() -> Finished:
    return run_experiment(STAGES)


def losses(run: Finished, node: str) -> list[float]:
    lines = (run.directory(node) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize("node", ["stage/1", "stage/2", "stage/3", "stage/1-2"])
def test_every_stage_and_accumulation_takes_the_steps_of_stage_0(node: str, stages: Finished) -> None:
    expected = losses(stages, "stage/0")
    assert len(expected) == 6
    assert expected[-1] < expected[0]
    assert losses(stages, node) == pytest.approx(expected, rel=1e-4)


def test_bf16_follows_roughly(stages: Finished) -> None:
    found = losses(stages, "stage/1-bf16")
    assert found == pytest.approx(losses(stages, "stage/0"), rel=0.05)
    assert found != losses(stages, "stage/1")


@pytest.mark.parametrize("node", ["arm/tdpo1-granular-one-sided", "arm/tdpo2-random-3", "arm/tdpo2-random-0"])
def test_preference_runs_start_at_their_reference(node: str, stages: Finished) -> None:
    first = json.loads((stages.directory(node) / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert first["kl/chosen"] == pytest.approx(0, abs=1e-3)
    assert first["kl/rejected"] == pytest.approx(0, abs=1e-3)


def test_preference_stages_agree(stages: Finished) -> None:
    assert losses(stages, "arm/tdpo2-random-3") == pytest.approx(losses(stages, "arm/tdpo2-random-0"), rel=1e-4)


def test_the_reference_of_an_arm_is_the_model_it_starts_from(stages: Finished) -> None:
    inputs = {item.role: item.key for item in stages.manifest("arm/tdpo2-random-3").inputs}
    assert inputs["init"] == stages.graph.nodes["stage/1"].key


@pytest.mark.parametrize("node", [POLICIES, "cut/tdpo2-outside", "marked"])
def test_the_manifest_says_what_became_of_every_row(node: str, stages: Finished) -> None:
    """The rows again through tokenizer, truncation and mask, in this process."""
    tokenizer = AutoTokenizer.from_pretrained(stages.directory(node))
    again = prepare(tokenizer, work_of(stages.graph, stages.graph.nodes[node], stages.store))
    manifest = stages.manifest(node)
    assert {name: manifest.facts[name] for name in again.facts} == again.facts
    assert manifest.rows == {"in": 24, "out": len(again.examples), "rejected": len(again.skipped)}
    assert manifest.facts["audit"]["truncation"]["rows"] > 12
    assert all(line["loss"] > 0 for line in map(json.loads, (stages.directory(node) / "metrics.jsonl").open()))


def test_arms_are_cut_alike_and_start_at_their_reference(stages: Finished) -> None:
    audits = [stages.manifest(node).facts["audit"] for node in (POLICIES, "cut/tdpo2-outside")]
    assert audits[0]["truncation"] == audits[1]["truncation"]
    assert audits[0]["spans"]["cut_off"] == audits[1]["spans"]["cut_off"]
    assert audits[0]["sides"]["chosen"]["weighted_tokens"] == 0
    assert losses(stages, POLICIES)[0] == pytest.approx(0.693147, abs=1e-4)


def test_too_many_lost_spans_stop_the_run_before_a_model_is_loaded(stages: Finished) -> None:
    changed = [*command(CACHE / "store", CACHE / "runs", STAGES), "--set", "nodes.cut.max_lost_spans=0.001"]
    done = subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"node {POLICIES}, rows of pairs: cut to max_length 80" in done.stderr
    assert "max_lost_spans is 0.1%" in done.stderr
