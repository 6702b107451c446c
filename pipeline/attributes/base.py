"""The one protocol of all classifiers: texts in, a label of each out, or a reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.records import FunctionTest


@dataclass(frozen=True, slots=True)
class Item:
    """A text to be labelled, and what is known besides: the prompt, the good answer, and its tests."""

    text: str
    prompt: str = ""
    reference: str = ""
    source: str = ""
    tests: tuple[FunctionTest, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """What a classifier says of one text. `name` is None where it cannot tell, which is no label of its own.

    `score` is the figure that decided, where there is one.
    """

    name: str | None
    score: float | None
    explanation: str


class Classifier(Protocol):
    """A pure function of texts, many at a time since networks work in batches; one label for each, in order."""

    def __call__(self, items: Sequence[Item], /) -> list[Label]: ...


_UNFIT = re.compile(r"[^a-z0-9:_.+-]+")


def named(text: str) -> str:
    """A model's own name for a class as a label: lower case, hyphens for blanks."""
    return _UNFIT.sub("-", text.lower()).strip("-")
