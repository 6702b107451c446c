"""Models that are measured while they train: the weights are those of a run without, and a kill leaves no trace."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_run import ROOT, Finished, command, last_log, run_to_the_end

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.contract import DATA
from pipeline.store import DRAFTS, LEASES, Store, verify

pytestmark = pytest.mark.slow

EXPERIMENT = ROOT / "tests" / "assets" / "evaluated.yaml"
ARMS = ("arm/dpo-response", "arm/tdpo2-granular-0.5-3-lora-rank4-dropout0.2")
PATIENCE_SECONDS = 300


def run(small: Finished, folder: Path, text: str, kill: bool = False) -> Finished:
    """Run an experiment on a copy of the small run's store, with a SIGKILL of the driver in the last arm or without."""
    shutil.copytree(small.store.root, folder / "store", ignore=shutil.ignore_patterns(LEASES, DRAFTS))
    file = folder / "evaluated.yaml"
    file.write_text(text)
    graph = build(load(file))
    store = Store(folder / "store")
    if kill:
        _killed(store.directory("models", graph.nodes[ARMS[1]].key), command(store.root, folder / "runs", file), folder)
    done = run_to_the_end(store.root, folder / "runs", file)
    return Finished(graph, store, folder / "runs" / "evaluated", done.stdout)


def _killed(directory: Path, words: list[str], folder: Path) -> None:
    """Start the command, and kill it once the model in `directory` has been measured after a checkpoint."""
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (directory / "metrics.jsonl").exists() or len(lines_of(directory)) < 4:
        assert process.poll() is None, f"over before the kill\n{last_log(folder)}"
        assert time.monotonic() < deadline, last_log(folder)
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (directory / "manifest.json").exists()


def lines_of(directory: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The lines of a log, without times."""
    lines = [json.loads(line) for line in (directory / name).read_text().splitlines(keepends=True) if line[-1] == "\n"]
    return [{key: value for key, value in line.items() if not key.endswith("seconds")} for line in lines]


def measured(run: Finished, node: str) -> dict[int, dict[str, float]]:
    """The figures on held-out rows by step."""
    lines = {line["step"]: line for line in lines_of(run.directory(node))}
    found = {step: {key: line[key] for key in line if key.startswith("eval/")} for step, line in lines.items()}
    return {step: figures for step, figures in found.items() if figures}


@pytest.fixture(scope="module")
def evaluated(small: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(small, tmp_path_factory.mktemp("evaluated"), EXPERIMENT.read_text())


@pytest.fixture(scope="module")
def plain(small: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same models, not measured."""
    text = "".join(line for line in EXPERIMENT.read_text().splitlines(keepends=True) if "    evaluate:" not in line)
    return run(small, tmp_path_factory.mktemp("plain"), text.split("  supervised:")[0])


@pytest.mark.parametrize(("node", "weights"), [
    (ARMS[0], "model.safetensors"),
    (ARMS[1], "adapter_model.safetensors"),  # with dropout, whose random numbers an evaluation could use up
])  # fmt: skip
def test_weights_are_bit_for_bit_those_of_a_run_that_was_not_measured(
    node: str, weights: str, evaluated: Finished, plain: Finished
) -> None:
    assert evaluated.directory(node).name == plain.directory(node).name
    assert (evaluated.directory(node) / weights).read_bytes() == (plain.directory(node) / weights).read_bytes()
    steps = [line for line in lines_of(evaluated.directory(node)) if "loss" in line]
    trained = [{key: value for key, value in line.items() if not key.startswith("eval/")} for line in steps]
    assert trained == lines_of(plain.directory(node))
    assert not measured(plain, node)
    assert "evaluation" not in plain.manifest(node).facts


def test_every_arm_starts_at_the_same_figures_and_moves(evaluated: Finished) -> None:
    first, second = (measured(evaluated, node) for node in ARMS)
    assert list(first) == list(second) == [0, 2, 4, 6]
    # Where every reward is zero, rounding decides whose is the larger.
    starts = [{name: value for name, value in arm[0].items() if "accuracies" not in name} for arm in (first, second)]
    assert starts[0] == pytest.approx(starts[1], abs=1e-5)
    for figures in (first[0], second[0]):
        assert figures["eval/loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert figures["eval/rewards/margins"] == pytest.approx(0, abs=1e-6)
        assert all(abs(value) < 1e-6 for name, value in figures.items() if name.startswith("eval/kl"))
    for figures in (first[6], second[6]):
        assert figures["eval/loss"] < math.log(2)
        assert figures["eval/kl/chosen"] > 1e-4
        assert figures["eval/rewards/accuracies"] > 0.5
    assert first[6] != second[6]


@pytest.mark.parametrize("node", ARMS)
def test_parts_add_up(node: str, evaluated: Finished) -> None:
    for figures in measured(evaluated, node).values():
        for name in ("eval/kl/chosen", "eval/kl/rejected", "eval/rewards/chosen", "eval/rewards/rejected"):
            assert figures[f"{name}/inside"] + figures[f"{name}/outside"] == pytest.approx(figures[name], abs=1e-9)
            types = [value for other, value in figures.items() if other.startswith(f"{name}/inside/")]
            assert len(types) >= 2
            assert sum(types) == pytest.approx(figures[f"{name}/inside"], abs=1e-9)


@pytest.mark.parametrize("node", ARMS)
def test_manifests_tell_the_last_figures_and_files_hold(node: str, evaluated: Finished) -> None:
    directory, told = evaluated.directory(node), evaluated.manifest(node).facts["evaluation"]
    assert told["figures"] == measured(evaluated, node)[6]
    assert (told["rows"], told["left_out"]) == (13, 0)
    assert sum(told["by_type"].values()) == 13
    assert told["seconds"] > 0
    assert verify(directory) == []
    samples = lines_of(directory, "samples.jsonl")
    assert [line["step"] for line in samples] == [0, 0, 2, 2, 4, 4, 6, 6]
    rows = pq.read_table(evaluated.directory("pairs_validation") / DATA).to_pylist()[:2]
    assert [(line["id"], line["prompt"]) for line in samples[:2]] == [(row["id"], row["prompt"]) for row in rows]


def test_supervised_models_are_measured_on_pairs_and_on_good_answers(evaluated: Finished) -> None:
    nodes = [node.name for node in evaluated.graph.nodes.values() if node.origin == "supervised"]
    pairs, answers = (measured(evaluated, node) for node in nodes)
    assert set(pairs[0]) == {"eval/nll", "eval/exact", "eval/nll_rejected"}
    assert set(answers[0]) == {"eval/nll", "eval/exact"}
    assert list(pairs) == list(answers) == [0, 2]
    first = measured(evaluated, ARMS[0])[0]
    assert pairs[0] == pytest.approx({name: first[name] for name in pairs[0]}, rel=1e-6)
    assert pairs[2]["eval/nll"] < pairs[0]["eval/nll"]
    assert [line["step"] for line in lines_of(evaluated.directory(nodes[1]), "samples.jsonl")] == [0, 2]


def test_nothing_that_is_learnt_or_tested_is_measured_on(evaluated: Finished) -> None:
    def prompts(node: str, split: str = "") -> set[str]:
        return set(pq.read_table(evaluated.directory(node) / split / DATA)["prompt"].to_pylist())

    held_out = prompts("pairs_validation")
    assert held_out <= prompts("qa", "validation")
    assert not held_out & (prompts("qa", "test") | prompts("qa", "train") | prompts("pairs"))


def test_a_run_that_was_killed_leaves_the_lines_and_samples_of_one_that_was_not(
    small: Finished, evaluated: Finished, tmp_path: Path
) -> None:
    killed = run(small, tmp_path, EXPERIMENT.read_text().split("  supervised:")[0], kill=True)
    for node in ARMS:
        for name in ("metrics.jsonl", "samples.jsonl"):
            assert lines_of(killed.directory(node), name) == lines_of(evaluated.directory(node), name)
        weights = "adapter_model.safetensors" if node == ARMS[1] else "model.safetensors"
        assert (killed.directory(node) / weights).read_bytes() == (evaluated.directory(node) / weights).read_bytes()
