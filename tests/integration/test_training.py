"""Every ZeRO stage takes the same steps with one worker and two, every loss and mask runs, long rows are cut."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from small_run import CACHE, ROOT, Finished, command, run_experiment
from transformers import AutoTokenizer

from kintsugi.execute import work_of
from training.examples import prepare

pytestmark = pytest.mark.slow

STEPS = 20
ROUNDING = 1e-5
"""Relative difference of losses where stages and workers add up the same numbers in other orders, in fp32."""

STAGES = ROOT / "tests" / "assets" / "stages.yaml"
POLICIES = "cut/dpo-mask-chosen-none-rejected-tokens-spans-scale2-eos"


@pytest.fixture(scope="module")
def stages() -> Finished:
    return run_experiment(STAGES)


def lines(run: Finished, node: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory(node) / "metrics.jsonl").read_text().splitlines()]


def figures(run: Finished, node: str, name: str = "loss") -> list[float]:
    return [line[name] for line in lines(run, node)]


def members(run: Finished, origin: str) -> list[str]:
    return [name for name, node in run.graph.nodes.items() if node.origin == origin]


def test_every_stage_takes_the_same_steps_with_one_worker_and_with_two(stages: Finished) -> None:
    """Whatever the split of a step, and whatever waits on the CPU or is computed again."""
    expected = figures(stages, "stage/0")
    assert len(expected) == STEPS
    assert expected[-1] < expected[0]
    others = [*members(stages, "stage"), *members(stages, "saving"), *members(stages, "alone")]
    exact = [name for name in others if stages.graph.nodes[name].config.dtype == "fp32"]
    assert len(exact) == 13
    norms = figures(stages, "stage/0", "grad_norm")
    for name in exact:
        assert figures(stages, name) == pytest.approx(expected, rel=ROUNDING), name
        assert figures(stages, name, "grad_norm") == pytest.approx(norms, rel=1e-3), name


def test_every_one_of_them_takes_the_same_rows(stages: Finished) -> None:
    expected = [line["rows"] for line in lines(stages, "stage/0")]
    assert len(set(expected)) == STEPS
    for name in [*members(stages, "saving"), *members(stages, "alone")]:
        assert [line["rows"] for line in lines(stages, name)] == expected


def test_bf16_follows_roughly_and_its_stages_closely(stages: Finished) -> None:
    found = figures(stages, "stage/0-bf16")
    assert found == pytest.approx(figures(stages, "stage/0"), rel=0.02)
    assert found != figures(stages, "stage/0")
    for name in ("stage/1-bf16", "stage/3-bf16"):
        assert figures(stages, name) == pytest.approx(found, rel=2e-3)


@pytest.mark.parametrize("node", ["arm/tdpo1-granular-one-sided", "arm/tdpo2-random-3-400", "arm/tdpo2-random-0"])
def test_preference_runs_start_at_their_reference(node: str, stages: Finished) -> None:
    first = lines(stages, node)[0]
    assert first["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert first["kl/chosen"] == pytest.approx(0, abs=1e-3)
    assert first["kl/rejected"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("node", "other"), [
    ("arm/tdpo2-random-3-400", "arm/tdpo2-random-0"),
    ("lone-arm/tdpo2-random-2", "arm/tdpo2-random-0"),
    ("lone-arm/dpo-3", "arm/dpo-1"),
])  # fmt: skip
def test_preference_runs_agree(node: str, other: str, stages: Finished) -> None:
    expected = figures(stages, other)
    assert len(expected) == STEPS
    assert expected[-1] < expected[0]
    assert figures(stages, node) == pytest.approx(expected, rel=ROUNDING)


def test_the_reference_of_an_arm_is_the_model_it_starts_from(stages: Finished) -> None:
    inputs = {item.role: item.key for item in stages.manifest("arm/tdpo2-random-0").inputs}
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
    assert figures(stages, POLICIES)[0] == pytest.approx(0.693147, abs=1e-4)


def test_too_many_lost_spans_stop_the_run_before_a_model_is_loaded(stages: Finished) -> None:
    changed = [*command(CACHE / "store", CACHE / "runs", STAGES), "--set", "nodes.cut.max_lost_spans=0.001"]
    done = subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"node {POLICIES}, rows of pairs: cut to max_length 64" in done.stderr
    assert "max_lost_spans is 0.1%" in done.stderr
