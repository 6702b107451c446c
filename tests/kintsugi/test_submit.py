"""What submit checks and says before a cluster is asked, and how it knocks: the token goes only where it is wanted."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from kintsugi import jobs
from kintsugi.commands.cluster import remote_command, submit
from kintsugi.console import Screen
from kintsugi.execute import Place, execute, wants_gpus
from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline import cluster
from pipeline.failures import UserError
from pipeline.sandbox import UNSAFE_EXEC
from pipeline.store import Store, git_commit

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that what a test makes of it is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    experiment = "name: one\nnodes:\n  qa: {kind: source, from: builtin, rows: 4}\n"
    (folder / "one.yaml").write_text(experiment, encoding="utf-8")
    return folder


@contextmanager
def server(answer):
    """Answers as `answer(Authorization header)` says: (status, JSON). Gives its address and the headers it sees."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("Authorization"))
            status, body = answer(seen[-1])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", seen
    finally:
        listening.shutdown()
        listening.server_close()


def token_mode(header):
    """As Ray answers in token mode."""
    if header is None:
        return 401, {}
    return (200, {"ray_version": "2.60.0"}) if header == f"Bearer {TOKEN}" else (403, {})


def write_token(path, text=TOKEN, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(mode)
    return path


def refusal(call, *arguments, **options):
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert TOKEN not in str(caught.value)
    assert caught.value.where
    assert caught.value.hint
    return caught.value


# What runs there


def test_the_job_runs_the_same_experiment_by_its_path_in_the_folder(project):
    command = remote_command(project / "one.yaml", ["nodes.qa.rows=5"], "/mnt/k/store", None, project)
    assert " ".join(command) == (
        "python -m kintsugi run one.yaml --set nodes.qa.rows=5 --store /mnt/k/store --runs /mnt/k/runs"
    )
    assert remote_command(project / "one.yaml", [], None, None, project)[-1] == "one.yaml"


def test_what_may_run_unsafe_here_may_there(project, monkeypatch):
    monkeypatch.setenv(UNSAFE_EXEC, "1")
    assert remote_command(project / "one.yaml", [], None, None, project)[-2:] == ["one.yaml", "--unsafe-exec"]


def test_an_experiment_outside_of_the_folder_is_refused(project, tmp_path):
    error = refusal(remote_command, project / "one.yaml", [], None, None, tmp_path / "home")
    assert error.kind == "config"
    assert "--working-dir" in error.hint


@pytest.mark.parametrize("store", ["store", "./store", "../store", "~/store"])
def test_a_relative_store_is_refused(project, store):
    error = refusal(remote_command, project / "one.yaml", [], store, None, project)
    assert error.where == f"--store {store}"
    assert "absolute path on the cluster" in error.hint


def test_a_bucket_is_refused(project):
    assert "not a URI" in refusal(remote_command, project / "one.yaml", [], "s3://bucket/store", None, project).what


def test_the_experiment_is_checked_before_the_cluster_is_asked(project):
    (project / "one.yaml").write_text("name: one\nnodes:\n  qa: {kind: sauce}\n", encoding="utf-8")
    error = refusal(submit, project / "one.yaml", address="http://127.0.0.1:1", working_dir=project)
    assert "there is no kind 'sauce'" in error.what


def test_attempts_are_numbered():
    assert jobs.next_id("recovery", []) == "recovery-1"
    assert (
        jobs.next_id("recovery", ["recovery-1", "recovery-10", "recovery-2", "recovery-x", "other-77"]) == "recovery-11"
    )
    assert jobs.next_id("a-1", ["a-1", "a-1-3", "a-1-3-9"]) == "a-1-4"


# The door


@pytest.mark.parametrize(("text", "expected"), [
    ("head", "http://head:8265"),
    ("10.0.0.7:9000", "http://10.0.0.7:9000"),
    ("http://head", "http://head:8265"),
    ("http://head:8265/", "http://head:8265"),
    ("https://ray.example.org", "https://ray.example.org"),
    ("https://ray.example.org/one/", "https://ray.example.org/one"),
    ("http://[::1]:8265", "http://[::1]:8265"),
])  # fmt: skip
def test_addresses_are_read_as_people_write_them(text, expected):
    assert jobs.http_address(text) == expected


@pytest.mark.parametrize(
    "text", ["ray://head:10001", "http://", "http://head:port", "head:99999999", "http://a:b@head"]
)
def test_what_is_no_address_is_refused(text):
    assert refusal(jobs.http_address, text).kind == "config"


def test_an_address_where_nobody_listens_is_refused_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        started = time.monotonic()
        error = refusal(jobs.reach, address)
    assert time.monotonic() - started < 5
    assert (error.kind, error.where) == ("environment", address)
    assert "no cluster answers there" in error.what
    assert "ray dashboard" in error.hint


@pytest.mark.parametrize(
    "answer", [(200, {"hello": "world"}), (404, {}), (500, {}), (302, {})], ids=lambda a: str(a[0])
)
def test_a_server_that_is_not_ray_is_refused(answer):
    with server(lambda _: answer) as (address, _):
        assert "is not Ray's job server" in refusal(jobs.reach, address).what


def test_a_missing_token_is_explained(tmp_path):
    with server(token_mode) as (address, seen):
        error = refusal(jobs.reach, address)
    assert seen == [None]
    assert "asks for a token" in error.what
    assert "RAY_AUTH_TOKEN" in error.what
    assert str(tmp_path / "home" / ".ray" / "auth_token") in error.hint


def test_a_wrong_token_is_explained(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    with server(token_mode) as (address, seen):
        error = refusal(jobs.reach, address)
    assert seen == [None, f"Bearer {'f' * 64}"]
    assert "refused the token" in error.what
    assert "f" * 64 not in str(error)


def test_the_right_token_opens_and_is_never_shown(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with server(token_mode) as (address, _):
        found = jobs.reach(address)
    assert found.headers == {"Authorization": f"Bearer {TOKEN}"}
    assert TOKEN not in repr(found)
    assert not jobs.travels_openly(found)


def test_a_cluster_that_asks_for_no_token_is_told_none(tmp_path):
    """In a process of its own, like submit: one that has started a Ray itself sends that Ray's token everywhere."""
    write_token(tmp_path / "home" / ".ray" / "auth_token")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with server(lambda _: (200, {"ray_version": "2.60.0"})) as (address, seen):
        reached = f"from kintsugi import jobs; assert jobs.reach({address!r}).headers == {{}}"
        subprocess.run([sys.executable, "-c", reached], env=ours, check=True)
    assert set(seen) == {None}


def test_a_token_in_the_clear_is_noticed():
    headers = {"Authorization": "Bearer x"}
    assert jobs.travels_openly(jobs.Cluster("http://10.0.0.7:8265", None, headers))
    assert not jobs.travels_openly(jobs.Cluster("https://ray.example.org", None, headers))
    assert not jobs.travels_openly(jobs.Cluster("http://10.0.0.7:8265", None, {}))


def test_the_token_is_looked_for_in_the_order_of_ray(tmp_path, monkeypatch):
    write_token(tmp_path / "home" / ".ray" / "auth_token", "home")
    assert jobs.find_token("a") == "home"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(write_token(tmp_path / "named", "named")))
    assert jobs.find_token("a") == "named"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "said")
    assert jobs.find_token("a") == "said"


def test_a_named_token_file_that_is_empty_or_missing_is_not_passed_over(tmp_path, monkeypatch):
    write_token(tmp_path / "home" / ".ray" / "auth_token", "home")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(write_token(tmp_path / "named", "")))
    assert "named" in refusal(jobs.find_token, "a").what
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert "none" in refusal(jobs.find_token, "a").what


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_that_others_can_read_is_refused(tmp_path, mode):
    path = write_token(tmp_path / "home" / ".ray" / "auth_token", mode=mode)
    error = refusal(jobs.find_token, "a")
    assert f"{mode:o}" in error.what
    assert error.hint == f"chmod 600 {path}"


# In the job


@pytest.mark.parametrize("option", ["--store", "--runs"])
def test_a_folder_that_ray_removes_is_no_place_for_results(tmp_path, option):
    temporary = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1" / "kept"
    places = {"--store": tmp_path / "store", "--runs": tmp_path / "runs"} | {option: temporary}
    error = refusal(Place(Store(places["--store"]), places["--runs"]).check)
    assert error.kind == "config"
    assert f"{option} DIR or KINTSUGI_" in error.hint


def test_a_uri_is_no_directory(tmp_path):
    assert "not a URI" in refusal(Place(Store(tmp_path / "s3:" / "bucket"), tmp_path / "runs").check).what


def test_nothing_is_written_where_it_would_not_last(tmp_path, project):
    temporary = tmp_path / "working_dir_files" / "pkg"
    graph = build(load(project / "one.yaml"))
    refusal(execute, graph, Place(Store(temporary / "store"), temporary / "runs"), Screen())
    assert not temporary.exists()


def test_the_commit_is_known_without_a_repository(monkeypatch):
    monkeypatch.setenv("KINTSUGI_GIT_COMMIT", "abc123+changes")
    git_commit.cache_clear()
    assert git_commit() == "abc123+changes"
    git_commit.cache_clear()


def test_stages_with_gpus_take_turns_and_others_do_not():
    overrides = ["nodes.reference.resources={gpus: 1}", "nodes.answers.resources={gpus: 0.5}"]
    graph = build(load(ROOT / "configs" / "recovery.yaml", overrides))
    wanting = {node.origin for node in graph.nodes.values() if wants_gpus(node)}
    assert wanting == {"reference", "answers"}


def test_a_cluster_sets_the_number_of_tasks_itself(monkeypatch):
    assert cluster.width(None) == cluster.cores()
    assert cluster.width(3) == 3
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert cluster.width(None) is None
    assert cluster.width(3) == 3


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:8265", "[::1]:1"])
def test_a_cluster_that_cannot_be_joined_is_explained_at_once(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    for name in cluster.LOCAL_ENVIRONMENT:
        monkeypatch.setenv(name, os.environ.get(name, "0"))
    started = time.monotonic()
    error = refusal(cluster.connect)
    assert time.monotonic() - started < 10
    assert (error.kind, error.where) == ("environment", f"RAY_ADDRESS={address}")
    assert "cannot join the Ray cluster" in error.what
    assert "kintsugi submit CONFIG --address" in error.hint


def test_without_a_cluster_the_store_is_not_asked_about(tmp_path):
    cluster.SharedStore(tmp_path / "none").check()
    assert not (tmp_path / "none").exists()


def test_a_log_tells_of_progress_now_and_then(capfd, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    screen = Screen()
    tell = screen.progress_of("reference")
    tell(100, 858, "steps")
    monkeypatch.setattr("kintsugi.console.LOG_SECONDS", 0.0)
    tell(1200, 8580, "steps")
    assert screen.console.width == 120
    assert capfd.readouterr().out.split() == ["reference", "1,200", "of", "8,580", "steps"]
