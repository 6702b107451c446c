"""One line of the doctor's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]
OK: Verdict = "ok"
WARN: Verdict = "warn"
FAIL: Verdict = "fail"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what it means.

    `fail`: a run will not work; `warn`: something else will not, or not well.
    """

    check: str
    found: str
    verdict: Verdict
    advice: str = ""


def ok(check: str, found: str, advice: str = "") -> Finding:
    return Finding(check, found, OK, advice)


def warn(check: str, found: str, advice: str = "") -> Finding:
    return Finding(check, found, WARN, advice)


def fail(check: str, found: str, advice: str = "") -> Finding:
    return Finding(check, found, FAIL, advice)
