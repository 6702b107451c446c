"""The first minutes: init, --dry-run and what the shell completes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kintsugi import completion
from kintsugi.experiment import load
from kintsugi.graph import build

ROOT = Path(__file__).parents[2]
RECOVERY = ROOT / "configs" / "recovery.yaml"

QA = {"prompt": "Add one to 1.", "response": "2"}
TESTED = {**QA, "tests": [{"function": "add", "arguments": [1], "expected": 2}]}
PAIR = {"prompt": "Add one to 1.", "chosen": "It is 2.", "rejected": "It is 3."}
SPANNED = {**PAIR, "rejected_spans": [{"start": 6, "end": 7, "error_type": "sum"}]}


def rows(folder, row, count=30):
    path = folder / "my rows.jsonl"
    lines = [json.dumps({**row, "prompt": f"{row['prompt']} ({number})"}) for number in range(count)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


# init


def test_init_writes_an_experiment_that_is_valid_and_says_what_next(tmp_path, kintsugi):
    stdout, stderr = kintsugi(tmp_path, "init")
    assert stderr == ""
    assert "kintsugi run experiment.yaml --dry-run" in stdout
    graph = build(load(tmp_path / "experiment.yaml"))
    assert {"reference", "corrupted", "mended/tdpo2-granular", "report"} <= set(graph.nodes)
    stdout, _ = kintsugi(tmp_path, "run", "experiment.yaml", "--dry-run")
    assert stdout.rstrip().endswith("nodes to make.")


@pytest.mark.parametrize(("target", "file", "name"), [
    (".", "experiment.yaml", "experiment"),
    ("deep/folder", "deep/folder/experiment.yaml", "experiment"),
    ("my first.yaml", "my first.yaml", "my-first"),
    ("2026.yml", "2026.yml", "2026"),
])  # fmt: skip
def test_init_takes_a_folder_or_a_file_and_names_the_experiment_after_it(tmp_path, kintsugi, target, file, name):
    kintsugi(tmp_path, "init", target)
    assert build(load(tmp_path / file)).experiment.name == name


def test_init_never_overwrites(tmp_path, refusal):
    (tmp_path / "experiment.yaml").write_text("mine", encoding="utf-8")
    assert "this is there already" in refusal(tmp_path, "init", code=2)
    assert (tmp_path / "experiment.yaml").read_text() == "mine"


@pytest.mark.parametrize(("row", "nodes"), [
    (QA, {"qa", "tuned", "answers/tuned"}),
    (TESTED, {"qa", "broken", "reference", "report"}),
    (PAIR, {"pairs", "reference", "preferred/response"}),
    (SPANNED, {"pairs", "reference", "preferred/response", "preferred/granular", "preferred/random"}),
])  # fmt: skip
def test_init_from_own_rows_fits_what_they_are(tmp_path, kintsugi, row, nodes):
    path = rows(tmp_path, row)
    kintsugi(tmp_path, "init", "--from", path.name)
    graph = build(load(tmp_path / "experiment.yaml"))
    assert nodes <= set(graph.nodes)
    source = graph.nodes[next(iter(graph.nodes))].config
    assert source.origin == path.name
    assert source.splits == {"test": 3}
    assert ("preferred/granular" in graph.nodes) == (row is SPANNED)


def test_init_from_rows_that_cannot_be_used_is_a_data_error_and_writes_nothing(tmp_path, refusal):
    (tmp_path / "bad.jsonl").write_text('{"prompt": "Hello", "response": 5}\n', encoding="utf-8")
    assert "bad.jsonl" in refusal(tmp_path, "init", "--from", "bad.jsonl", code=4)
    refusal(tmp_path, "init", "--from", "none.jsonl", code=4)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


def test_rows_that_cannot_be_used_are_allowed_for(tmp_path, kintsugi):
    path = rows(tmp_path, QA)
    with path.open("a", encoding="utf-8") as file:
        file.write("\nno json\n")
    kintsugi(tmp_path, "init", "--from", path)
    kintsugi(tmp_path, "run", "experiment.yaml", "--dry-run")
    (source, *_) = build(load(tmp_path / "experiment.yaml")).nodes.values()
    assert 1 / 31 < source.config.max_rejected < 0.1


# --dry-run


def test_a_dry_run_shows_what_plan_shows_and_makes_nothing(tmp_path, kintsugi):
    planned, _ = kintsugi(tmp_path, "plan", RECOVERY)
    shown, stderr = kintsugi(tmp_path, "run", RECOVERY, "--dry-run", "--set", "nodes.qa.rows=2700")
    assert (shown, stderr) == (planned, "")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_finds_inputs_that_are_missing(tmp_path, refusal):
    (tmp_path / "bad.yaml").write_text("name: b\nnodes:\n  a: {kind: source, from: none.jsonl}\n", encoding="utf-8")
    assert "none.jsonl: there is no such file" in refusal(tmp_path, "run", "bad.yaml", "--dry-run", code=4)


# Completion


def completed(folder, *words, shell="bash"):
    """What a shell is told for the last word."""
    program = "import sys; sys.argv[0] = 'kintsugi'; from kintsugi.__main__ import main; main()"
    environment = {
        **os.environ,
        "_KINTSUGI_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(["kintsugi", *words]),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_files_and_keys(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "recovery.yaml").write_text(RECOVERY.read_text(), encoding="utf-8")
    (tmp_path / "configs" / "notes.txt").touch()
    (tmp_path / "cook.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert completion.experiment_files("co") == ["configs/", "cook.yaml"]
    assert completion.experiment_files("con") == ["configs/recovery.yaml"]
    assert completion.experiment_files("no/such") == []
    assert completed(tmp_path, "run", "coo") == ["cook.yaml"]
    keys = completed(tmp_path, "run", "configs/recovery.yaml", "--set", "nodes.mended.l")
    assert keys == ["nodes.mended.limit=320", "nodes.mended.learning_rate=1e-4"]
    monkeypatch.setenv("COMP_WORDS", "kintsugi run cook.yaml --set nodes.")
    assert completion.override_keys("nodes.") == []
