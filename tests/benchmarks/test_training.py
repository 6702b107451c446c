"""The benchmark of training on tiny shapes, without TRL, and what its figures are made of."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import training, training_gpu, training_workload
from benchmarks.training_cases import TARGETS, TRL_SETTINGS, comparisons
from benchmarks.training_kintsugi import collated
from benchmarks.training_workload import Case
from training.scoring import Scorer

ROOT = Path(__file__).parents[2]
TINY = Case("kintsugi", "dpo", vocabulary=64, prompt=6, response=20, pairs=2, hidden=32, layers=2, heads=2)


def test_it_runs_and_the_losses_of_the_sides_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.training", "--quick", "--out", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    without_trl = {target.key for target in TARGETS if "trl" not in target.key}
    assert all(figures[key] > 0 for key in without_trl)
    agreed = figures["losses_apart_at_most"]
    assert len(agreed) == 2 and all(apart < 1e-5 for apart in agreed.values())
    losses = [row["losses"] for row in figures["measurements"]]
    assert all(row[0] == pytest.approx(0.693147, abs=1e-6) and row[-1] < 0.6931 for row in losses)


def test_one_comparison_can_be_measured_again(tmp_path: Path) -> None:
    """The figures of the others stay in the file, and what is not measured again keeps its row."""
    case, other = (json.loads(replace(TINY, steps=steps).to_json()) for steps in (2, 3))
    before = {"a": 1, "b": 2, "gpu": {"mfu": 0.3}, "losses_apart_at_most": {"x": 1e-7}}
    now = {"b": 3, "gpu": None, "losses_apart_at_most": {"y": 1e-8}, "measurements": [{**case, "seconds": 0.5}]}
    found = training.laid_over({**before, "measurements": [{**case, "seconds": 1.0}, {**other, "seconds": 2.0}]}, now)
    assert found == {
        "a": 1,
        "b": 3,
        "gpu": {"mfu": 0.3},
        "losses_apart_at_most": {"x": 1e-7, "y": 1e-8},
        "measurements": [{**other, "seconds": 2.0}, {**case, "seconds": 0.5}],
    }
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.training", "--quick", "--only", "response_tdpo2_vs_naive_memory"]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, check=True, timeout=300)
    figures = json.loads(out.read_text(encoding="utf-8"))
    measured = {target.key for target in TARGETS} & figures.keys()
    assert measured == {"response_tdpo2_vs_naive_speed", "response_tdpo2_vs_naive_memory"}


def test_every_target_has_its_comparison() -> None:
    keys = {key for one in comparisons(TRL_SETTINGS[0]) for key in (one.speed, one.memory)}
    assert {target.key for target in TARGETS} <= keys | {"memory_growth_512_to_4096_tokens"}


@pytest.mark.parametrize(("shared", "common"), [(0.0, 6), (0.75, 21)])
def test_answers_part_where_they_should_and_end_alike(shared: float, common: int) -> None:
    for chosen, rejected in training_workload.pairs(replace(TINY, shared=shared)):
        assert chosen.input_ids[:common] == rejected.input_ids[:common]
        assert chosen.input_ids[common] != rejected.input_ids[common]
        assert len(chosen.input_ids) == len(rejected.input_ids) == len(chosen.weights) == 26
        assert chosen.weights == [0.0] * 6 + [1.0] * 20


@pytest.mark.parametrize("weights", ["granular", "scattered"])
def test_a_twentieth_of_the_tokens_carries_weight(weights: Any) -> None:
    case = replace(TINY, weights=weights, response=100)
    answers = [answer for pair in training_workload.pairs(case) for answer in pair]
    places = [[place for place, weight in enumerate(answer.weights) if weight] for answer in answers]
    assert all(len(found) == 5 and found[0] >= case.prompt for found in places)
    assert len(set(map(tuple, places))) == 4, "at places of their own"
    assert all(found[-1] - found[0] == 4 for found in places) == (weights == "granular")


def test_sides_that_disagree_give_no_figures() -> None:
    bench = training.Bench(trl=None, in_process=True)
    comparison = comparisons(TRL_SETTINGS[0])[0]
    for case, loss in ((comparison.ours, 0.5), (comparison.theirs, 0.50006)):
        measurement = bench.found.setdefault(case.to_json(), training.Measurement(case))
        measurement.runs.append({"losses": [0.6931, loss]})
    with pytest.raises(SystemExit, match="disagree"):
        training.agreement(bench, comparison)


def test_model_flops_are_those_that_torch_counts() -> None:
    """Of the matrix products of one forward pass; attention, which torch counts without its mask, by hand."""
    shape = training_gpu.Shape(hidden=32, layers=2, heads=2, key_heads=1, inner=48, vocabulary=64)
    llama = training_gpu.model(shape, torch.device("cpu")).float()
    batch = collated(replace(TINY, settings={"share": False}))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Scorer(llama)(batch)
    products = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    answers = 2 * TINY.pairs
    length = batch.tokens // answers
    # In the last layer those of the prompt ask nothing but its last.
    unread = TINY.prompt - 1
    attention = 4 * (2 * 16) * answers * (length * (length + 1) - unread * (unread + 1) // 2)
    assert training_gpu.model_flops(llama, batch) == 3 * (products + attention)


def test_the_run_on_a_gpu_runs_on_a_cpu_too() -> None:
    shape = training_gpu.Shape(hidden=32, layers=2, heads=2, key_heads=1, inner=48, vocabulary=64)
    found = training_gpu.run(replace(TINY, shared=0.75), shape, torch.device("cpu"), peak=1e12)
    assert 0 < found["mfu"] == pytest.approx(found["model_tflops_per_second"], rel=1e-6)
    assert found["tokens"] < 2 * 2 * 26, "what answers share is run once"
