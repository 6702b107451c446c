"""Rows and a model of one's own, from a file to a comparison, by the commands that a user would type."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from judged import RIGHT, preference, script
from small_run import CACHE, ROOT, Finished

from pipeline.sources.builtin import build
from pipeline.sources.exports import to_own

pytestmark = pytest.mark.slow

FOLDER = CACHE / "own"
"""Always the same, so that what is in the store from an earlier run of the suite is found."""


def kintsugi(*arguments: object, code: int = 0) -> str:
    """A command in a process of its own; what it printed."""
    environment = {**os.environ, "COLUMNS": "120", "KINTSUGI_STORE": str(CACHE / "store"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "kintsugi", *map(str, arguments)]
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def read(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def corrupted() -> str:
    """What `corrupt` prints over 24 rows in seed A's format."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    rows = [to_own(record) for record in build(24, 7)]
    seeds = [{"id": r["id"], "problem": r["prompt"], "solution": r["response"], "tests": r["tests"]} for r in rows]
    no_code = {"id": "prose", "problem": "Why?", "solution": "Because."}
    (FOLDER / "qa.json").write_text(json.dumps([*seeds, no_code]), encoding="utf-8")
    return kintsugi("corrupt", "-i", "qa.json", "-o", "broken.json")


@pytest.fixture(scope="module")
def annotated(corrupted: str) -> str:
    return kintsugi("annotate", "-i", "broken.json")


@pytest.fixture(scope="module")
def reference(small: Finished) -> Path:
    return small.directory("reference")


@pytest.fixture(scope="module")
def trained(annotated: str, reference: Path) -> str:
    options = ["--loss", "tdpo2", "--mask", "granular", "--lr", "1e-4", "--batch-size", "4", "-o", "model"]
    return kintsugi("train", reference, "--pairs", "broken-annotated.json", *options)


def test_corrupt_writes_the_seeds_format_and_says_what_it_left_out(corrupted: str) -> None:
    broken = read("broken.json")
    assert len(broken) >= 15
    for row in broken:
        broken_by_hand = good = row["correct_response"]
        for edit in reversed(row["edits"]):
            assert good[edit["start"] : edit["end"]] == edit["old"]
            broken_by_hand = broken_by_hand[: edit["start"]] + edit["new"] + broken_by_hand[edit["end"] :]
        assert broken_by_hand == row["incorrect_response"] != good
        assert row["error_types"] == [row["edits"][0]["error_type"]]
    assert f"({len(broken)} rows from 25)" in corrupted
    assert "no-code" in corrupted
    assert "prose: " in corrupted
    assert "Next: kintsugi annotate -i broken.json" in corrupted
    assert "prose" in kintsugi("view", "corrupt-broken:broken", "--rejected")


def test_annotate_marks_what_the_edits_say(annotated: str) -> None:
    broken, pairs = read("broken.json"), read("broken-annotated.json")
    assert len(pairs) == len(broken)
    for row, pair in zip(broken, pairs, strict=True):
        good, bad, grown = [], [], 0
        for edit in row["edits"]:
            start = edit["start"] + grown
            good.append([edit["start"], edit["end"], 1])
            bad.append([start, start + len(edit["new"]), -1])
            grown += len(edit["new"]) - len(edit["old"])
        assert pair["masked_regions"] == good + bad
        assert pair["correct_response"] == row["correct_response"]


def test_train_gives_a_hugging_face_directory(trained: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(FOLDER / "model", trust_remote_code=False)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(FOLDER / "model", trust_remote_code=False))
    assert not any(path.is_symlink() for path in (FOLDER / "model").rglob("*"))
    metrics = [json.loads(line) for line in (FOLDER / "model" / "metrics.jsonl").read_text().splitlines()]
    assert metrics[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert sum(step["rewards/margins"] for step in metrics[-3:]) > 0
    assert "Model: model" in trained
    assert "Next:  kintsugi eval model --prompts FILE" in trained


def test_the_same_training_again_is_in_the_store_and_another_one_replaces_nothing(
    trained: str, reference: Path
) -> None:
    before = (FOLDER / "model" / "model.safetensors").stat().st_mtime_ns
    command = ["train", reference, "--pairs", "broken-annotated.json", "--loss", "tdpo2", "--mask", "granular"]
    again = kintsugi(*command, "--lr", "1e-4", "--batch-size", "4", "-o", "model")
    assert again.count("in the store") == 3
    refused = kintsugi(*command, "--lr", "2e-4", "--batch-size", "4", "-o", "model", code=2)
    assert "model: this exists already." in refused
    assert (FOLDER / "model" / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.extensive
def test_an_adapter_is_trained_on_from_its_directory_and_answers(trained: str) -> None:
    options = ["--pairs", "broken-annotated.json", "--loss", "dpo", "--lora-rank", "2", "--batch-size", "8"]
    kintsugi("train", "model", *options, "-o", "adapter")
    settings = json.loads((FOLDER / "adapter" / "adapter_config.json").read_text())
    assert (settings["r"], settings["base_model_name_or_path"]) == (2, str(FOLDER / "model"))
    assert kintsugi("train", "model", *options, "-o", "adapter").count("in the store") == 3
    printed = kintsugi("eval", "adapter", "--prompts", "qa.json", "--max-tokens", "16", "--limit", "4")
    assert "adapter" in printed


@pytest.mark.extensive
def test_generate_writes_an_answer_for_each_prompt(trained: str) -> None:
    (FOLDER / "prompts.jsonl").write_text('{"id": "one", "prompt": "Write `f(x)`."}\n{"id": 2, "prompt": "Why?"}\n')
    printed = kintsugi("generate", "model", "--prompts", "prompts.jsonl", "-o", "answers.jsonl", "--max-tokens", "20")
    answers = read("answers.jsonl")
    assert [(row["id"], row["model"], row["prompt"]) for row in answers] == [
        ("2", "model", "Why?"),
        ("one", "model", "Write `f(x)`."),
    ]
    assert all(row["response"] for row in answers)
    assert "Answers: answers.jsonl (2 rows)" in printed
    assert "Why?" in kintsugi("view", "generate-answers:answers/model")


def test_eval_compares_models_that_the_store_did_not_make(trained: str, reference: Path) -> None:
    copy = FOLDER / "reference"
    shutil.copytree(reference, copy, dirs_exist_ok=True)
    printed = kintsugi("eval", "reference", "model", "--prompts", "qa.json", "-o", "report", "--max-tokens", "96")
    results = json.loads((FOLDER / "report" / "results.json").read_text())
    assert [(arm["name"], arm["kind"], arm["n"]) for arm in results["arms"]] == [
        ("reference", "model", 24),
        ("model", "model", 24),
    ]
    assert [(found["a"], found["b"]) for found in results["differences"]] == [("reference", "model")]
    assert results["n_prompts"] == 25
    assert "passed" in printed
    assert "gap" not in printed
    again = kintsugi("eval", "reference", "model", "--prompts", "qa.json", "-o", "report", "--max-tokens", "96")
    assert again.count("in the store") == 8
    viewed = kintsugi("view", "eval-report:scores/model", "-n", "1")
    assert "passed: " in viewed
    assert "errors/off-by-one-errors: " in viewed


def test_a_judge_has_its_say_beside_the_tests(trained: str, reference: Path) -> None:
    shutil.copytree(reference, FOLDER / "reference", dirs_exist_ok=True)
    script(FOLDER / "script.jsonl", ("Which is better: the text in", preference("first")), ("", RIGHT))
    (FOLDER / "judge.yaml").write_text("by: {backend: scripted, script: script.jsonl}\n")
    command = ["eval", "reference", "model", "--prompts", "qa.json", "-o", "judged", "--max-tokens", "96"]
    printed = kintsugi(*command, "--judge", "judge.yaml", "--force")
    assert "judged right" in printed
    results = json.loads((FOLDER / "judged" / "results.json").read_text())
    right = [one for one in results["measures"] if one["metric"] == "judge/correct"]
    assert [(one["arm"], one["value"], one["n"]) for one in right] == [("reference", 1.0, 25), ("model", 1.0, 25)]
    assert [(found["by"], [pair["rate"] for pair in found["pairs"]]) for found in results["wins"]] == [("duels", [0.5])]


def test_eval_of_one_model_is_a_table_of_one(trained: str) -> None:
    printed = kintsugi("eval", "model", "--prompts", "qa.json", "--max-tokens", "96")
    results = json.loads((FOLDER / "runs" / "eval-qa" / "report" / "results.json").read_text())
    assert [arm["name"] for arm in results["arms"]] == ["model"]
    assert results["differences"] == []
    assert printed.count("in the store") >= 4
