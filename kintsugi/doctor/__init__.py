"""What this machine can do: one finding for each thing that a run stands on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from kintsugi.doctor import libraries, machine, storage
from kintsugi.doctor.finding import FAIL, OK, WARN, Finding, Verdict, fail, ok, warn

__all__ = ["FAIL", "OK", "WARN", "Finding", "Verdict", "as_json", "examine", "fail", "ok", "warn", "works"]


def examine(store: Path, *, imports: bool = True) -> list[Finding]:
    """Every check, in the order of the table. `imports` loads the libraries in processes of their own: seconds."""
    checks: list[Callable[[], Finding]] = [
        libraries.python,
        libraries.packages,
        libraries.lock,
        libraries.compiler,
        machine.cores,
        machine.memory,
        machine.shared_memory,
        lambda: storage.space(store),
        lambda: storage.behaviour(store),
        machine.sandbox,
        machine.loopback,
        machine.ray,
        machine.gpu,
        libraries.browser,
    ]
    findings = [_safely(check) for check in checks]
    return findings + (libraries.imports() if imports else [])


def works(findings: Sequence[Finding]) -> bool:
    """Whether `kintsugi run` will work: nothing failed."""
    return all(finding.verdict != FAIL for finding in findings)


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps({"works": works(findings), "checks": [asdict(finding) for finding in findings]}, indent=2)


def _safely(check: Callable[[], Finding]) -> Finding:
    """A check that breaks says so, and the others still speak."""
    try:
        return check()
    except Exception as error:
        name = getattr(check, "__name__", "check").replace("<lambda>", "store").replace("_", " ")
        return warn(name, f"could not be checked: {type(error).__name__}: {error}")
