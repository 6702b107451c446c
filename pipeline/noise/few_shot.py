"""Multiple choice as a prompt: solved examples, the context, numbered continuations; the answer is a number.

As in the study of label noise that this follows: chosen is the number of the right continuation, rejected a wrong one.
A prompt ends with the line break after "Best Continuation:", so that tokenizers make the same token of a number in an
example and in an answer; after a space they would not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Literal

from pipeline.noise.ring import Ring
from pipeline.records import ChoiceRecord, PreferenceRecord, Reject, kept_and_rejected

Give = Literal["pairs", "choices"]
TOO_FEW = "too-few-examples"
ASKED = "Best Continuation:\n"

Made = PreferenceRecord | ChoiceRecord


@dataclass(frozen=True)
class FewShotStage:
    """Choices of a shard to pairs, or to choices among numbers; every draw follows from the seed and the row's id."""

    examples: Ring[ChoiceRecord]
    shots: int
    seed: int
    give: Give = "pairs"

    def __call__(self, records: Sequence[ChoiceRecord]) -> tuple[list[Made], list[Reject]]:
        return kept_and_rejected(self._made(record) for record in records)

    def _made(self, record: ChoiceRecord) -> Made | Reject:
        others = (other for other in self.examples.after(record.id) if other.prompt != record.prompt)
        examples = list(islice(others, self.shots))
        if len(examples) < self.shots:
            return Reject(record.id, TOO_FEW, f"{self.shots} are wanted, and there are {len(examples)} others")
        prompt = "".join([*map(solved, examples), question(record)])
        if self.give == "choices":
            return ChoiceRecord(record.id, prompt, numbers(record), record.answer, record.source)
        provenance = {"source": record.source, "examples": [example.id for example in examples]}
        return PreferenceRecord(
            id=record.id,
            prompt=prompt,
            chosen=numbers(record)[record.answer],
            rejected=wrong(record, self.seed),
            provenance=json.dumps(provenance, ensure_ascii=False, sort_keys=True),
        )


def question(record: ChoiceRecord) -> str:
    """The context with its numbered continuations, up to where the number is to stand."""
    listed = "".join(f"{number}. {choice}\n" for number, choice in zip(numbers(record), record.choices, strict=True))
    return f"{record.prompt}\n{listed}{ASKED}"


def solved(record: ChoiceRecord) -> str:
    """An example: a question with its answer, and an empty line."""
    return f"{question(record)}{numbers(record)[record.answer]}\n\n"


def numbers(record: ChoiceRecord) -> tuple[str, ...]:
    """What the choices are called: 1, 2, 3 ..."""
    return tuple(str(number) for number in range(1, len(record.choices) + 1))


def wrong(record: ChoiceRecord, seed: int) -> str:
    """The number of a wrong choice, each as likely as the others."""
    others = [number for place, number in enumerate(numbers(record)) if place != record.answer]
    return Random(f"{seed}:{record.id}:wrong").choice(others)
