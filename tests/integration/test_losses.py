"""Every preference loss trains for real, from where it should start, on rows that have weights."""

from __future__ import annotations

import json
from math import log
from typing import Any

import pytest
from small_run import ROOT, Finished, run_experiment

from training.batches import sample_order
from training.objectives import OBJECTIVES

pytestmark = pytest.mark.slow

PAIRS = ROOT / "tests" / "assets" / "weighted_pairs.jsonl"
STEPS, BATCH = 12, 8


@pytest.fixture(scope="module")
def run() -> Finished:
    return run_experiment(ROOT / "tests" / "assets" / "losses.yaml")


def metrics(run: Finished, node: str) -> list[dict[str, Any]]:
    lines = (run.directory(node) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(run: Finished, node: str) -> list[float]:
    return [line["loss"] for line in metrics(run, node)]


def mean_weights() -> list[float]:
    """The mean weight of the rows of each step."""
    weights = [json.loads(line).get("weight", 1.0) for line in PAIRS.read_text().splitlines()]
    return [sum(weights[row] for row in step) / BATCH for step in sample_order(len(weights), BATCH, 4, 0)]


AT_THE_START = {name: log(2) for name in OBJECTIVES} | {"ipo": (1 / (2 * 0.1)) ** 2}


@pytest.mark.parametrize("loss", [name for name in OBJECTIVES if OBJECTIVES[name].reference])
def test_the_first_step_is_the_mean_over_rows_of_their_weight_times_the_loss_at_the_start(
    loss: str, run: Finished
) -> None:
    first = metrics(run, f"arm/{loss}")[0]
    assert first["loss"] == pytest.approx(mean_weights()[0] * AT_THE_START[loss], abs=1e-5, rel=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    "node", [*(f"arm/{loss}" for loss in OBJECTIVES), "other/simpo-granular", "other/simpo-lora-rank4"]
)
def test_every_loss_widens_the_margin(node: str, run: Finished) -> None:
    found = [line["rewards/margins"] for line in metrics(run, node)]
    assert len(found) == STEPS
    assert sum(found[-3:]) / 3 > sum(found[:3]) / 3


def test_a_loss_without_reference_reads_none(run: Finished) -> None:
    """At the start its rewards are beta times the mean log-probability of a token, and not 0."""
    first = metrics(run, "arm/simpo")[0]
    assert first["rewards/chosen"] < -0.01
    assert not any(name.startswith("kl/") for name in first)


def test_an_sft_term_keeps_the_chosen_answers_likely(run: Finished) -> None:
    strong, weak = metrics(run, "other/dpo-0.5"), metrics(run, "other/dpo-0.001")
    assert strong[0]["nll/chosen"] == pytest.approx(weak[0]["nll/chosen"], rel=1e-4)
    assert strong[0]["loss"] > weak[0]["loss"]
    last = [sum(line["nll/chosen"] for line in lines[-3:]) for lines in (strong, weak)]
    assert last[0] < last[1]


@pytest.mark.parametrize(
    ("node", "other"),
    [("arm/dpo", "other/dpo-2"), ("arm/dpo", "other/dpo-1"), ("learned/1", "learned/2")],
)
def test_the_mean_is_the_same_over_micro_batches_and_workers(node: str, other: str, run: Finished) -> None:
    assert losses(run, other) == pytest.approx(losses(run, node), rel=1e-4)
