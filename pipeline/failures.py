"""The one error class that users see: what went wrong, where, and what to do next."""

from __future__ import annotations

from typing import Literal

Kind = Literal["config", "environment", "data", "run"]

EXIT_CODES: dict[Kind, int] = {"config": 2, "environment": 3, "data": 4, "run": 5}


class UserError(ValueError):
    """Something the user can mend. Its kind decides the exit code of the command line.

    The arguments stay positional in ``args`` so that the error survives pickling through Ray.
    """

    def __init__(self, kind: Kind, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(kind, what, where, hint)
        self.kind = kind
        self.what = what
        self.where = where
        self.hint = hint

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.kind]

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


def nearest(word: str, known: list[str]) -> str:
    """A sentence naming the nearest known word, for 'unknown key' messages."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known here: {', '.join(sorted(known))}."
