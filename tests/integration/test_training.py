"""Training for real: every ZeRO stage takes the same steps, and every loss and mask runs."""

from __future__ import annotations

import json

import pytest
from small_run import ROOT, Finished, run_experiment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stages() -> Finished:
    return run_experiment(ROOT / "tests" / "assets" / "stages.yaml")


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
