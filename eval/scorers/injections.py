"""The planted injections: texts that try to sway a judge, to be appended to answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from eval.scorers.fences import code_of

FILE = Path(__file__).with_suffix(".jsonl")
CODE = "{code}"
"""Stands for the code of the row's own fences: what somebody could write who had seen it."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One text, under a name."""

    name: str
    text: str

    def into(self, response: str, seed: int, record_id: str) -> str:
        """The answer with the injection at its end."""
        return f"{response}\n\n{self.text.replace(CODE, code_of(seed, record_id))}"


def injections() -> list[Injection]:
    """All of them, in the order of the file."""
    return [Injection(**json.loads(line)) for line in FILE.read_text(encoding="utf-8").splitlines()]
