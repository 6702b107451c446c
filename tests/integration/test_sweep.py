"""A tiny sweep for real: Ray Tune over Ray Train, killed and started again, judged, and served by TensorBoard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_run import ROOT, SMALL, Finished, last_log

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.contract import DATA
from pipeline.records import QARecord
from pipeline.shards import read_records
from pipeline.store import DRAFTS, LEASES, Store

pytestmark = [pytest.mark.slow, pytest.mark.extensive]

PATIENCE_SECONDS = 300

SWEEP = f"""
name: tiny
experiment: {SMALL}
arms:
  node: mended
  matrix: {{loss: [dpo], mask: [granular]}}
  set: {{workers: 1}}
space:
  learning_rate: [1e-4, 2e-4, 4e-2]
search: grid
trials: 3
grace: 1
max_concurrent: 2
seeds: [0, 1]
evaluation: {{data: qa.validation, times: 3, max_tokens: 160}}
"""

OPTUNA = (
    SWEEP.replace("name: tiny", "name: learnt")
    .replace("[1e-4, 2e-4, 4e-2]", "{log_uniform: [1e-5, 1e-3]}")
    .replace("search: grid\ntrials: 3", "search: optuna\ntrials: 4\nscheduler: none\njudge: metric")
)


@dataclass(frozen=True)
class Swept:
    """A sweep that was killed once and then came to its end."""

    store: Store
    run: Path
    at_kill: dict[str, Any]
    trials: list[dict[str, Any]]
    output: str


@pytest.fixture(scope="module")
def swept(small: Finished, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Run the sweep on a copy of the small run's store; SIGKILL it when the first trial has ended, and run it again."""
    folder = tmp_path_factory.mktemp("sweep")
    shutil.copytree(small.store.root, folder / "store", ignore=shutil.ignore_patterns(LEASES, DRAFTS))
    (folder / "sweep.yaml").write_text(SWEEP)
    ledger = folder / "runs" / "tiny" / "trials.json"
    process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ended(ledger):
        assert process.poll() is None, f"the sweep ended before the kill\n{last_log(folder)}"
        assert time.monotonic() < deadline, f"no trial ended\n{last_log(folder)}"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    at_kill = {trial["key"]: trial for trial in ended(ledger)}
    environment = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run(command(folder), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{last_log(folder)}"
    trials = json.loads(ledger.read_text())["trials"]
    return Swept(Store(folder / "store"), folder / "runs" / "tiny", at_kill, trials, done.stdout)


def command(folder: Path, file: str = "sweep.yaml") -> list[str]:
    places = ["--store", str(folder / "store"), "--runs", str(folder / "runs")]
    return [sys.executable, "-m", "kintsugi", "sweep", str(folder / file), *places]


def ended(ledger: Path) -> list[dict[str, Any]]:
    trials = json.loads(ledger.read_text())["trials"] if ledger.exists() else []
    return [trial for trial in trials if trial["state"] in ("finished", "stopped")]


def test_every_trial_ends_and_keeps_its_curve(swept: Swept) -> None:
    assert len(swept.trials) == 3
    assert {trial["state"] for trial in swept.trials} <= {"finished", "stopped"}
    for trial in swept.trials:
        steps = [evaluated["step"] for evaluated in trial["evaluations"]]
        assert steps == [2, 4, 6][: len(steps)]
        assert all(evaluated["figures"]["eval/nll"] > 0 for evaluated in trial["evaluations"])


def test_a_learning_rate_far_too_high_is_seen_as_bad(swept: Swept) -> None:
    first = {trial["setting"]["learning_rate"]: trial["evaluations"][0]["figures"] for trial in swept.trials}
    assert first[4e-2]["eval/nll"] > 2 * first[1e-4]["eval/nll"]


def test_what_had_ended_at_the_kill_was_not_run_again(swept: Swept) -> None:
    assert swept.at_kill
    now = {trial["key"]: trial for trial in swept.trials}
    for key, trial in swept.at_kill.items():
        for field in ("state", "seconds", "evaluations", "setting"):
            assert now[key][field] == trial[field]


def test_finished_trials_are_models_in_the_store_and_have_a_pass_rate(swept: Swept) -> None:
    finished = [trial for trial in swept.trials if trial["state"] == "finished"]
    assert finished
    assert all(swept.store.manifest("models", trial["key"]) for trial in finished)
    assert {trial["judged"] for trial in finished} == {20}


def test_no_test_row_is_upstream_of_a_trial_or_its_figures(swept: Swept, small: Finished) -> None:
    held_out = list(read_records(small.directory("qa") / "test" / DATA, QARecord))
    ids, answers = {row.id for row in held_out}, {row.response for row in held_out}
    open_artifacts = [("models", trial["key"]) for trial in swept.trials if trial["state"] == "finished"]
    scores = json.loads((swept.run / "nodes.json").read_text())
    open_artifacts += [tuple(place.split("/")) for name, place in scores.items() if name.startswith("validation_")]
    assert len(open_artifacts) >= 3
    seen: set[tuple[str, str]] = set()
    while open_artifacts:
        place = open_artifacts.pop()
        if place in seen:
            continue
        seen.add(place)
        manifest = swept.store.require(*place)
        for source in manifest.inputs:
            assert source.split != "test"
            open_artifacts.append((source.product, source.key))
        if manifest.kind == "source" or manifest.product == "models":
            continue
        for path in swept.store.directory(*place).glob("data/*.parquet"):
            for row in pq.read_table(path).to_pylist():
                assert row["id"] not in ids
                assert not answers & {row.get(field) for field in ("response", "chosen", "reference")} - {""}
    assert {product for product, _ in seen} == {"models", "rows", "generations", "scores"}


def test_best_is_an_experiment_whose_first_seed_is_in_the_store(swept: Swept) -> None:
    graph = build(load(swept.run / "best.yaml"))
    mended = [node for node in graph.nodes.values() if node.origin == "mended"]
    assert [node.config.seed for node in mended] == [0, 1]
    assert swept.store.manifest("models", mended[0].key) is not None
    assert swept.store.manifest("models", mended[1].key) is None
    best = next(trial for trial in swept.trials if trial["key"] == mended[0].key)
    rates = [trial["passed"] for trial in swept.trials if trial["state"] == "finished"]
    assert best["passed"] == max(rates)


def test_the_page_is_over_and_the_terminal_free_of_chatter(swept: Swept) -> None:
    page = (swept.run / "index.html").read_text()
    assert "the sweep is over" in page
    assert "http-equiv" not in page
    assert all(f"{trial['arm']}/{trial['number']}" in page for trial in swept.trials)
    assert "best of each arm" in swept.output
    assert not [word for word in ("Traceback", "INFO", "WARNING") if word in swept.output]
    assert not list(swept.store.root.glob(f"{DRAFTS}/*"))


def test_optuna_chooses_each_setting_from_the_trials_before(swept: Swept) -> None:
    folder = swept.run.parents[1]
    (folder / "learnt.yaml").write_text(OPTUNA)
    environment = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run(command(folder, "learnt.yaml"), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{last_log(folder)}"
    trials = json.loads((folder / "runs" / "learnt" / "trials.json").read_text())["trials"]
    rates = [trial["setting"]["learning_rate"] for trial in trials]
    assert len(set(rates)) == 4 and all(1e-5 <= rate <= 1e-3 for rate in rates)
    best = build(load(folder / "runs" / "learnt" / "best.yaml")).nodes
    lowest = min(trials, key=lambda trial: trial["evaluations"][-1]["figures"]["eval/nll"])
    mended = next(node for node in best.values() if node.origin == "mended")
    assert mended.config.learning_rate == pytest.approx(lowest["setting"]["learning_rate"], rel=1e-3)


@pytest.fixture
def dashboard(swept: Swept) -> Iterator[str]:
    """`kintsugi dashboard` on a free port; it must end cleanly on Ctrl-C."""
    places = ["--store", str(swept.store.root), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "kintsugi", "dashboard", str(swept.run), *places],
        cwd=ROOT, env={**os.environ, "COLUMNS": "160"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("TensorBoard: http://127.0.0.1:")
    yield line.split()[1]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0


def test_the_dashboard_shows_every_trial_with_its_hyperparameters(swept: Swept, dashboard: str) -> None:
    statuses = ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"]
    body = {"experimentName": "", "allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 10}
    request = urllib.request.Request(
        f"{dashboard}data/plugin/hparams/session_groups",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 60
    groups: list[dict[str, Any]] = []
    while len(groups) < 3 and time.monotonic() < deadline:
        with urllib.request.urlopen(request, timeout=30) as answer:
            groups = json.load(answer)["sessionGroups"]
        time.sleep(0.5)
    assert {group["hparams"]["learning_rate"] for group in groups} == {1e-4, 2e-4, 4e-2}
    measured = {metric["name"]["tag"] for group in groups for metric in group["metricValues"]}
    assert measured == {"eval/nll", "pass_rate"}


def test_a_port_in_use_is_named(swept: Swept) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "kintsugi", "dashboard", str(swept.run), "--port", port],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 3
    assert f"port {port} is in use" in done.stderr
