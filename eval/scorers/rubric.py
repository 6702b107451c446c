"""A language model grades an answer from 1 to 5 by a rubric, with a reason: the scorer `rubric`.

Answers are hostile: everything that a row says stands between fences (`eval.scorers.fences`). A reply that never took
the right form leaves the answer unscored; it is no 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from eval.scorers.execution import score_execution
from eval.scorers.fences import code_of, fenced
from eval.scorers.judge import told
from pipeline.llm.asked import AskedRecord
from pipeline.llm.erring import Hidden
from pipeline.llm.forms import Form
from pipeline.records import GenerationRecord, ScoreRecord
from pipeline.store import content_key

SCORE = "rubric/score"


class Grade(Form):
    """The reason, then the grade."""

    explanation: str = Field(description="The reason, in one to three sentences.")
    score: Literal[1, 2, 3, 4, 5]


RIGHT = Grade(explanation="Its code passes the tests.", score=5)
WRONG = Grade(explanation="Its code fails the tests.", score=1)


@dataclass(frozen=True)
class RubricStage:
    """What the judge is asked about a `GenerationRecord`, and the score that follows."""

    seed: int
    criteria: str = ""
    with_reference: bool = False
    prompt: str = "rubric"

    def reply_type(self) -> type[Grade]:
        return Grade

    def facts(self, record: GenerationRecord) -> dict[str, Any]:
        code = code_of(self.seed, record.id)
        return {
            "code": code,
            "criteria": self.criteria,
            "with_reference": self.with_reference and bool(record.reference),
            "question": fenced("question", record.prompt, code),
            "reference": fenced("good-answer", record.reference, code),
            "answer": fenced("answer", record.response, code),
        }

    def problems(self, record: GenerationRecord, said: Grade) -> list[str]:
        return [] if said.explanation.strip() else ["explanation is empty"]

    def conclude(self, record: GenerationRecord, said: Grade) -> list[ScoreRecord]:
        return [ScoreRecord(record.id, SCORE, float(said.score), said.explanation.strip())]

    def scores(self, record: GenerationRecord, asked: AskedRecord) -> list[ScoreRecord]:
        """The score of an answer by what was said about it; None where nothing was."""
        if asked.reason:
            return [ScoreRecord(record.id, SCORE, None, f"unscored: {told(asked)}")]
        return self.conclude(record, Grade.model_validate_json(asked.reply))

    def hidden(self, record: GenerationRecord) -> Hidden:
        """5 for an answer that passes its tests and 1 for another; a mistaken judge has it the other way round."""
        passed = next(score for score in score_execution(record) if score.metric == "passed")
        named = asked_about(record.id, record.response)
        if passed.value is None:
            return Hidden(named, why=passed.explanation)
        return Hidden.of(named, *((RIGHT, WRONG) if passed.value else (WRONG, RIGHT)))


def asked_about(record_id: str, *texts: str) -> str:
    """What one question to a judge is called: the prompt's id with the texts, so that one text gets one verdict."""
    return f"{record_id} {content_key(list(texts))}"
