"""How commands end: exit codes, bugs, tracebacks on demand, the file system's refusals."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kintsugi import endings
from kintsugi.commands import experiment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broken(monkeypatch):
    """Makes `kintsugi validate` raise this."""

    def break_it(error):
        def load(*_):
            raise error

        monkeypatch.setattr(experiment, "load", load)

    return break_it


def test_a_bug_is_exit_code_1_and_its_traceback_is_in_a_file(tmp_path, kintsugi, broken, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(endings.tempfile, "tempdir", None)
    broken(KeyError("lost"))
    stdout, stderr = kintsugi(tmp_path, "validate", "some.yaml", code=1)
    assert stdout == ""
    assert stderr.splitlines()[0] == "error: this is a bug in Kintsugi: KeyError: 'lost'"
    file = Path(re.search(r"\S+/kintsugi-bug-\S+\.log", stderr)[0])
    assert file.parent == tmp_path
    text = file.read_text()
    assert "kintsugi validate some.yaml" in text
    assert "Traceback" in text
    assert "KeyError: 'lost'" in text


@pytest.mark.parametrize("arguments", [["--debug", "validate", "none.yaml"], ["validate", "none.yaml", "--debug"]])
def test_debug_shows_the_traceback_of_a_users_error_too(tmp_path, kintsugi, arguments):
    _, stderr = kintsugi(tmp_path, *arguments, code=2)
    assert "Traceback" in stderr
    assert "error: none.yaml: cannot read the experiment file" in stderr


def test_debug_shows_a_bug_in_place_and_saves_nothing(tmp_path, kintsugi, broken):
    broken(KeyError("lost"))
    _, stderr = kintsugi(tmp_path, "--debug", "validate", "some.yaml", code=1)
    assert "Traceback" in stderr
    assert "kintsugi-bug" not in stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_file_system_refuses_is_the_environment(tmp_path, kintsugi, broken, number):
    broken(OSError(number, os.strerror(number), "/some/store"))
    _, stderr = kintsugi(tmp_path, "validate", "some.yaml", code=3)
    assert stderr.startswith(f"error: /some/store: {os.strerror(number)}.")


@pytest.mark.parametrize(("arguments", "hint"), [
    (["validate", "--sett"], "--set"),
    (["validaet"], "Did you mean 'validate'?"),
    (["validate"], "Missing argument"),
])  # fmt: skip
def test_usage_errors_are_exit_code_2_and_name_the_nearest(tmp_path, kintsugi, arguments, hint):
    _, stderr = kintsugi(tmp_path, *arguments, code=2)
    assert hint in stderr
    assert "Traceback" not in stderr


PRESSED = """
import time
from kintsugi import endings
endings.catch_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopping", flush=True)
    input()
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pressing_ctrl_c_again_does_not_break_the_stopping(number):
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", PRESSED], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.stdout.readline() == "stopping\n"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert process.communicate("go on\n", timeout=30) == ("stopped\n", None)
    assert process.returncode == 0


def test_a_signal_that_was_ignored_from_the_start_stays_ignored():
    """A shell starts what runs in the background so."""
    program = "import signal; signal.signal(2, signal.SIG_IGN); from kintsugi import endings; endings.catch_signals()"
    check = "; assert signal.getsignal(2) is signal.SIG_IGN"
    assert subprocess.run([sys.executable, "-c", program + check], cwd=ROOT).returncode == 0


LOADING = """
import sys
sys.modules["kintsugi.cli"] = type(sys)("cli")
def interrupted():
    exec("raise KeyboardInterrupt")  # Python would end such a process by a signal, whatever its exit code
def told():
    sys.stdout.write("Stopped.")
    sys.exit(130)
sys.modules["kintsugi.cli"].main = {"interrupt": interrupted, "told": told, "error": lambda: sys.exit(4)}[sys.argv[1]]
from kintsugi.__main__ import main
main()
"""


@pytest.mark.parametrize(("case", "code"), [("interrupt", 130), ("told", 130), ("error", 4)])
def test_the_program_leaves_with_the_code_of_its_ending(case, code):
    done = subprocess.run([sys.executable, "-c", LOADING, case], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    assert ("Stopped." in done.stdout + done.stderr) == (code == 130)
    assert "Traceback" not in done.stderr
