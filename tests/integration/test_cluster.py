"""Jobs on a real Ray cluster of two nodes in token mode: stopped in the middle and resumed, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kills import hold_a_save
from ray_head import RAY, Head, ray_head, worker_node
from small_run import ROOT, SMALL, Finished, run_experiment

from pipeline.cluster import GPU_LOCK
from pipeline.store import DRAFTS, LEASES, file_hash

pytestmark = pytest.mark.slow

SECRET = "PLANTED=do-not-send-this"
SLOWLY = ["--set", "nodes.broken.resources.concurrency=1"]
"""One shard at a time, so that there is a middle to stop in. It changes no key."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head(cpus=4, resources=f'{{"{GPU_LOCK}": 1}}') as found, worker_node(found, cpus=4):
        yield found


@dataclass(frozen=True)
class Project:
    """A checkout with things in it that must stay at home, and a store of the cluster's elsewhere."""

    folder: Path
    store: Path
    small: Finished

    def directory(self, node: str) -> Path:
        return self.store / self.small.directory(node).relative_to(self.small.store.root)

    def files(self, node: str) -> dict[str, tuple[str, int]]:
        """Hash and time of every data file of a node."""
        found = sorted(self.directory(node).rglob("*.parquet"))
        return {path.name: (file_hash(path), path.stat().st_mtime_ns) for path in found if path.parent.name == "data"}


@pytest.fixture
def project(small: Finished, tmp_path: Path) -> Project:
    """The small experiment with everything made but its corrupted rows and its pairs."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("pipeline", "training", "eval", "kintsugi"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(SMALL, folder / "small.yaml")
    for name in (".env", ".git/config", "store/rows/part", "runs/log", "kintsugi/.env", "configs/.env.local"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRET)
    store = tmp_path / "cluster" / "store"
    shutil.copytree(small.store.root, store, ignore=shutil.ignore_patterns(LEASES, DRAFTS))
    made = Project(folder, store, small)
    for node in ("broken", "pairs"):
        shutil.rmtree(made.directory(node))
    return made


def submit(
    head: Head, project: Project, *options: str, file: str = "small.yaml", **environment: str
) -> subprocess.Popen[str]:
    """`kintsugi submit` from the project's folder."""
    command = [sys.executable, "-m", "kintsugi", "submit", file, "--address", head.address, *options]
    return subprocess.Popen(
        command,
        cwd=project.folder,
        env={**head.environment, "PYTHONPATH": str(project.folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int, patience: float = 180) -> str:
    output, _ = process.communicate(timeout=patience)
    assert process.returncode == code, output
    assert "Traceback" not in output
    return output


def ray_job(head: Head, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ray's own `ray job`."""
    command = [str(RAY), "job", arguments[0], "--address", head.address, *arguments[1:]]
    return subprocess.run(command, cwd=folder, env=head.environment, capture_output=True, text=True, timeout=180)


def wait_until(reached: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopped_job_goes_on_when_it_is_submitted_again(head: Head, project: Project) -> None:
    """Also: Ctrl-C leaves the job running, and the same command finds it again."""
    options = ["--store", str(project.store), *SLOWLY]
    first = submit(head, project, *options)
    wait_until(lambda: project.files("broken"), first)
    first.send_signal(signal.SIGINT)
    assert "Detached. small-1 goes on" in ended(first, code=130)

    again = submit(head, project, *options)
    before = project.files("broken")
    assert before
    stopped = ray_job(head, project.folder, "stop", "small-1")
    assert stopped.returncode == 0, stopped.stdout
    output = ended(again, code=5)
    assert "small-1 runs this experiment already" in output
    assert "small-1 was stopped" in output
    assert "submit again and it goes on" in output
    assert not (project.directory("broken") / "manifest.json").exists()

    output = ended(submit(head, project, *options), code=0)
    assert output.startswith("✓ small-2 is on its way")
    assert "small-2 succeeded" in output
    lines = [line for line in output.splitlines() if line.startswith(("✓", "•"))]
    assert [line.split()[1] for line in lines if line.startswith("•") and "in the store" in line][:1] == ["qa"]
    assert {line.split()[1] for line in lines if line.startswith("✓")} >= {"broken", "pairs"}
    assert max(map(len, lines)) <= 120
    now = project.files("broken")
    assert all(now[name] == facts for name, facts in before.items()), "a shard was made twice"
    for node in ("broken", "pairs"):
        expected = {path.name: file_hash(path) for path in (project.small.directory(node) / "data").iterdir()}
        assert {name: facts[0] for name, facts in project.files(node).items()} == expected
    assert (project.store.parent / "runs" / "small" / "report" / "results.json").exists()
    check_uploads(head, project)


def check_uploads(head: Head, project: Project) -> None:
    """What was planted stayed at home, and the token is in nothing that a job writes, reads, or tells."""
    packages = head.uploaded()
    assert packages
    for package in packages:
        assert (package / "small.yaml").exists()
        assert (package / "kintsugi" / "cli.py").exists()
        texts = {path: path.read_text(errors="replace") for path in package.rglob("*") if path.is_file()}
        assert not [path for path, text in texts.items() if SECRET in text]
        assert not [name for name in (".env", ".git", "store", "runs") if (package / name).exists()]
    told = ray_job(head, project.folder, "list")
    assert "small-2" in told.stdout + told.stderr
    assert head.token not in told.stdout + told.stderr
    written = [*packages, project.store, project.store.parent / "runs", *head.directory.glob("session_2*/logs")]
    for path in (path for place in written for path in place.rglob("*") if path.is_file()):
        assert head.token.encode() not in path.read_bytes(), path


@pytest.mark.extensive
def test_rays_own_submit_works_too(head: Head, project: Project) -> None:
    shutil.copytree(project.small.directory("broken"), project.directory("broken"))
    places = ["--store", str(project.store), "--runs", str(project.store.parent / "runs")]
    run = ["python", "-m", "kintsugi", "run", "small.yaml"]
    done = ray_job(head, project.folder, "submit", "--working-dir", ".", "--", *run, *places)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ pairs" in done.stdout
    done = ray_job(head, project.folder, "submit", "--working-dir", ".", "--", *run)
    assert done.returncode != 0
    assert "--store lies in the job's own files, which Ray removes" in done.stdout
    assert "KINTSUGI_STORE=DIR on the cluster" in done.stdout


@pytest.mark.parametrize(("token", "told"), [("f" * 64, "refused the token"), ("", "asks for a token")])
def test_a_wrong_or_missing_token_is_refused(
    token: str, told: str, head: Head, project: Project, tmp_path: Path
) -> None:
    output = ended(submit(head, project, RAY_AUTH_TOKEN=token, HOME=str(tmp_path)), code=3)
    assert told in output
    assert "~/.ray/auth_token" in output
    assert len(output.strip().splitlines()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a node a disk of its own")
def test_a_store_that_one_node_does_not_see_is_refused(head: Head, project: Project) -> None:
    """The third node has an empty disk where the store is."""
    hide = f'mount -t tmpfs tmpfs {project.store} && exec "$@"'
    with worker_node(head, cpus=2, prefix=["unshare", "--mount", "sh", "-c", hide, "sh"]):
        output = ended(submit(head, project, "--store", str(project.store)), code=3)
    assert f"{project.store}: the store is not shared" in output
    assert "mount NFS, EFS or a ReadWriteMany volume at one path everywhere" in output
    assert not project.directory("broken").exists()
    assert not list(project.store.glob(".probe-*"))


TURNS = """
import threading, time
from pipeline import cluster

events = []
def second():
    with cluster.gpu_turn(lambda: events.append("second waits")):
        events.append("second has it")

with cluster.gpu_turn(lambda: events.append("first waits")):
    thread = threading.Thread(target=second)
    thread.start()
    while "second waits" not in events:
        time.sleep(0.1)
    events.append("first ends")
thread.join()
print(events)
"""


def test_stages_with_gpus_take_turns_where_there_is_a_lock(head: Head) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TURNS)],
        env={**head.environment, "RAY_ADDRESS": head.gcs, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1:] == ["['second waits', 'first ends', 'second has it']"], done.stderr[-2000:]


@pytest.mark.extensive
def test_training_and_generation_on_two_nodes_give_the_same_bytes(project: Project) -> None:
    """Each node has one CPU, and so room for one training worker: both must take part."""
    shutil.rmtree(project.store)
    with ray_head(cpus=1) as head, worker_node(head, cpus=1):
        output = ended(submit(head, project, "--store", str(project.store)), code=0, patience=900)
    assert "in the store" not in output
    for node in ("broken", "pairs", "answers/reference", "answers/corrupted"):
        expected = {path.name: file_hash(path) for path in (project.small.directory(node) / "data").iterdir()}
        assert {name: facts[0] for name, facts in project.files(node).items()} == expected
    for node in ("reference", "corrupted", "mended/dpo-granular"):
        weights = "model.safetensors"
        assert file_hash(project.directory(node) / weights) == file_hash(project.small.directory(node) / weights)


ELASTIC = """
name: elastic
nodes:
  qa: {kind: source, from: builtin, rows: 160, splits: {test: 40}}
  model:
    kind: sft
    init: tiny
    data: qa.train
    limit: 80
    batch_size: 4
    learning_rate: 1e-3
    zero: 3
    checkpoint_every: 5
    min_workers: 1
"""


@pytest.mark.extensive
def test_a_run_that_loses_a_node_goes_on_with_the_worker_that_is_left(project: Project) -> None:
    """The node is lost while a checkpoint is half written; before it and after it rows and losses are the same."""
    (project.folder / "elastic.yaml").write_text(ELASTIC)
    expected = run_experiment(project.folder / "elastic.yaml")
    directory = project.store / expected.directory("model").relative_to(expected.store.root)
    with ray_head(cpus=1) as head:
        with worker_node(head, cpus=1):
            going = submit(head, project, "--store", str(project.store), file="elastic.yaml")
            wait_until((directory / ".work" / "checkpoint.json").exists, going)
            assert hold_a_save(directory, 5, lambda: going.poll() is None)
        output = ended(going, code=0, patience=400)
    assert "elastic-1 succeeded" in output

    def lines(place: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]

    found, whole = lines(directory), lines(expected.directory("model"))
    workers = [line["workers"] for line in found]
    assert sorted(workers, reverse=True) == workers
    assert set(workers) == {1, 2}
    assert workers.count(2) % 5 == 0
    assert [line["rows"] for line in found] == [line["rows"] for line in whole]
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in whole], rel=1e-5)
    assert json.loads((directory / "manifest.json").read_text())["facts"]["world_size"] == 1
