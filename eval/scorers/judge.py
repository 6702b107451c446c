"""A language model judges an answer: four aspects, yes or no with a reason, and the error types it sees.

Answers are hostile: everything that a row says stands between fences (`eval.scorers.fences`). A reply that never took
the right form leaves the answer unscored, which is not 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

from pydantic import Field, create_model

from eval.scorers import SCORERS
from eval.scorers.fences import code_of, fenced
from pipeline.llm.asked import AskedRecord, ModelStage
from pipeline.llm.forms import Form, listed
from pipeline.records import GenerationRecord, Reject, Row, ScoredRecord, ScoreRecord

ASPECTS = ("accuracy", "completeness", "clarity", "logical_consistency")
CORRECT = "judge/correct"
PREFIX = "judge/"
ERRORS = "judge/errors/"


class Aspect(Form):
    """One aspect: the reason, then yes or no."""

    explanation: str = Field(description="The reason, in one or two sentences.")
    verdict: Literal["yes", "no"]


class Aspects(Form):
    """All four."""

    accuracy: Aspect
    completeness: Aspect
    clarity: Aspect
    logical_consistency: Aspect


class Claim(Form):
    """An error that the judge sees."""

    explanation: str = Field(description="Where it is and what is wrong.")


@lru_cache
def judgement(error_types: tuple[str, ...]) -> type[Form]:
    """The form of a reply: `Aspects`, and `errors` with one `Claim` for each of these types that is there."""
    return create_model("Judgement", __base__=(Aspects, listed("errors", Claim, error_types)))


@dataclass(frozen=True)
class JudgeStage:
    """What the judge is asked about a `GenerationRecord`, and the scores that follow."""

    seed: int
    error_types: tuple[str, ...]
    with_reference: bool = False
    prompt: str = "judge"

    def reply_type(self) -> type[Form]:
        return judgement(self.error_types)

    def facts(self, record: GenerationRecord) -> dict[str, Any]:
        code = code_of(self.seed, record.id)
        return {
            "code": code,
            "error_types": list(self.error_types),
            "with_reference": self.with_reference and bool(record.reference),
            "question": fenced("question", record.prompt, code),
            "reference": fenced("good-answer", record.reference, code),
            "answer": fenced("answer", record.response, code),
        }

    def problems(self, record: GenerationRecord, said: Any) -> list[str]:
        empty = [name for name in ASPECTS if not getattr(said, name).explanation.strip()]
        named = [one.error_type for one in said.errors]
        twice = sorted({name for name in named if named.count(name) > 1})
        return [
            *(f"{name}.explanation is empty" for name in empty),
            *(f"errors: {name} is there twice; give each type one entry" for name in twice),
        ]

    def conclude(self, record: GenerationRecord, said: Any) -> list[ScoreRecord]:
        """`judge/<aspect>`, `judge/correct` (1 where all four hold) and `judge/errors/<type>`, each 1 or 0."""
        verdicts = {name: getattr(said, name) for name in ASPECTS}
        missing = [name for name, aspect in verdicts.items() if aspect.verdict == "no"]
        claims = {one.error_type: one.explanation.strip() for one in reversed(said.errors)}
        scores = [
            ScoreRecord(record.id, PREFIX + name, float(aspect.verdict == "yes"), aspect.explanation.strip())
            for name, aspect in verdicts.items()
        ]
        why = f"no: {', '.join(missing)}" if missing else "yes to all four aspects"
        return [
            *scores,
            ScoreRecord(record.id, CORRECT, float(not missing), why),
            *(self._claimed(record.id, name, claims.get(name)) for name in self.error_types),
        ]

    def _claimed(self, record_id: str, name: str, claim: str | None) -> ScoreRecord:
        explanation = "absent: the judge does not name it" if claim is None else f"present: {claim}"
        return ScoreRecord(record_id, ERRORS + name, float(claim is not None), explanation)

    def unscored(self, record: GenerationRecord, reason: str) -> list[ScoreRecord]:
        """The same metrics where there is no verdict."""
        metrics = [*(PREFIX + name for name in ASPECTS), CORRECT, *(ERRORS + name for name in self.error_types)]
        return [ScoreRecord(record.id, metric, None, f"unscored: {reason}") for metric in metrics]

    def scores(self, record: GenerationRecord, asked: AskedRecord) -> list[ScoreRecord]:
        """The scores of an answer by what was said about it."""
        if asked.reason:
            return self.unscored(record, told(asked))
        return self.conclude(record, self.reply_type().model_validate_json(asked.reply))


def told(asked: AskedRecord) -> str:
    """Why there is no verdict, in a line."""
    return f"{asked.reason}: {asked.detail}" if asked.detail else asked.reason


class Judging(ModelStage, Protocol):
    """A stage that makes scores of what a model said of an answer."""

    def scores(self, record: GenerationRecord, asked: AskedRecord) -> list[ScoreRecord]: ...


@dataclass(frozen=True)
class JudgedStage:
    """The scores of all scorers, in their order; those of the judge from what it said. Nothing is ever rejected."""

    scorers: tuple[str, ...]
    judge: Judging

    def __call__(self, asked: Sequence[AskedRecord]) -> tuple[list[ScoredRecord], list[Reject]]:
        return [self._scored(one) for one in asked], []

    def _scored(self, asked: AskedRecord) -> ScoredRecord:
        record = GenerationRecord.from_row(row_of(asked))
        scores = [
            score
            for name in self.scorers
            for score in (SCORERS[name](record) if name in SCORERS else self.judge.scores(record, asked))
        ]
        return ScoredRecord(record.id, tuple(scores), record.sample)


def row_of(asked: AskedRecord) -> Row:
    """The row that was asked about."""
    row: Row = json.loads(asked.row)
    return row
