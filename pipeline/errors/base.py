"""What an error type is: it can embed, be verified, and recognise.

An answer is prose with fenced Python. Error types see it as an `Answer`, which knows where its code stands, and propose
edits in code points of the whole answer, so that formatting survives and spans are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution
from pipeline.spans import Edit

Level = Literal["executed", "static", "by construction"]


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

    def propose(self, response: str) -> list[Edit]:
        """Every edit that may embed the error, each to be made alone, in order of position; no randomness."""
        ...

    def verify(self, good: str, bad: str, edit: Edit, tests: Sequence[FunctionTest], execute: Execute) -> Verification:
        """Whether `bad` really has the error and `good` does not. Both are whole answers."""
        ...

    def recognise(
        self, response: str, *, reference: str | None = None, tests: Sequence[FunctionTest] = ()
    ) -> Finding | Unscored:
        """Whether this answer has the error, and where."""
        ...
