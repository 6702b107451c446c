"""What an error type is: it can embed, be verified, and recognise.

An answer is prose with fenced Python. Error types see it as an `Answer`, which knows where its code stands, and propose
edits in code points of the whole answer, so that formatting survives and spans are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution
from pipeline.spans import Edit

Level = Literal["executed", "static", "by construction"]

Proposal = tuple[Edit, ...]
"""The edits that together embed one error, in order of position; they do not overlap."""


@dataclass(frozen=True, slots=True)
class Case:
    """What an embedded error is judged on: both answers, whole, the edits between them, and the good one's tests."""

    prompt: str
    good: str
    bad: str
    edits: Proposal
    tests: tuple[FunctionTest, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the error is really there, how that was established, and what was seen."""

    confirmed: bool
    level: Level
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A recogniser's verdict on one answer. `start`/`end` locate it (code points) where it is present and known."""

    present: bool
    explanation: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Unscored:
    """The recogniser could not tell, which is not the same as absent."""

    reason: str


Execute = Callable[[str, Sequence[FunctionTest]], Execution]
"""Runs a program's functions on the tests' arguments in the sandbox: ``execute(code, tests)``."""


class ErrorType(Protocol):
    """One module per type under `pipeline.errors` provides these."""

    name: str
    level: Level
    """The strongest level that the type reaches; `Verification.level` is the one that was reached."""

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        """Every way to embed the error, each to be taken alone, in order of position; no randomness."""
        ...

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Whether the bad answer really has the error and the good one does not; without `execute` nothing is run."""
        ...

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        """Whether this answer has the error, and where."""
        ...


def alone(edits: Iterable[Edit]) -> list[Proposal]:
    """Proposals of one edit each, in order; no edit twice."""
    return in_order((edit,) for edit in set(edits))


def in_order(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Proposals in the order in which `propose` gives them: by position, then by what is put there."""
    return sorted(proposals, key=lambda edits: [(edit.start, edit.end, edit.new) for edit in edits])
