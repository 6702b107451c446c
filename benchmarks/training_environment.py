"""TRL's own environment: benchmarks/.trl-venv, which has TRL and borrows everything else from the one that runs this.

So that both sides use one torch, and nothing of it is downloaded twice. What is in there: requirements-trl.txt.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".trl-venv"
REQUIREMENTS = HERE / "requirements-trl.txt"
SECONDS = 600


def python() -> Path | None:
    """Its interpreter, made on first use; None, with a word on why, where that is impossible (no network)."""
    interpreter = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "installed.txt"
    wanted = f"{REQUIREMENTS.read_text(encoding='utf-8')}# beside {sysconfig.get_paths()['purelib']}\n"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return interpreter
    print(f"Making {ENVIRONMENT.relative_to(HERE.parent)} from {REQUIREMENTS.name}", flush=True)
    try:
        _make(interpreter)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"TRL is left out: its environment could not be made ({error}).", flush=True)
        return None
    stamp.write_text(wanted, encoding="utf-8")
    return interpreter


def _make(interpreter: Path) -> None:
    venv.create(ENVIRONMENT, clear=True, with_pip=False)
    own = _output([interpreter, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"])
    Path(own, "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", interpreter]
    _output([*pip, "install", "--quiet", "--no-deps", "-r", REQUIREMENTS])
    _output([interpreter, "-c", "from trl import DPOTrainer"])


def _output(command: list[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise subprocess.SubprocessError(last[0])
    return done.stdout.strip()
