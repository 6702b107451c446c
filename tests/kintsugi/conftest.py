"""The command line in this process, as a user meets it."""

import signal
import sys

import pytest

from kintsugi.cli import main


@pytest.fixture
def kintsugi(capfd, monkeypatch):
    """Run the command line in a folder, expect an exit code, and give (stdout, stderr).

    The streams write to file descriptors 1 and 2, as in a program of its own: a run redirects those.
    """
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("KINTSUGI_STORE", raising=False)
    monkeypatch.delenv("KINTSUGI_RUNS", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(folder, *arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["kintsugi", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdout", open(1, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        monkeypatch.setattr(sys, "stderr", open(2, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as stop:
            main()
        sys.stdout.flush()
        sys.stderr.flush()
        found = capfd.readouterr()
        assert (stop.value.code or 0) == code, found.out + found.err
        return found.out, found.err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def refusal(kintsugi):
    """What an expected failure says: one or two lines on stderr, no traceback anywhere."""

    def run(folder, *arguments, code):
        stdout, stderr = kintsugi(folder, *arguments, code=code)
        assert "Traceback" not in stdout + stderr
        assert stderr.startswith("error: ")
        assert len(stderr.splitlines()) in (1, 2)
        return stderr

    return run
