"""What judges one answer. Every score carries an explanation; None is unscored, which is not 0."""

from __future__ import annotations

from typing import Protocol

from eval.scorers.distance import score_distance
from eval.scorers.errors import score_errors
from eval.scorers.execution import score_execution
from pipeline.records import GenerationRecord, ScoreRecord


class Scorer(Protocol):
    """One way of judging an answer: a pure function of the record, with one score per metric."""

    def __call__(self, record: GenerationRecord, /) -> list[ScoreRecord]: ...


SCORERS: dict[str, Scorer] = {"execution": score_execution, "errors": score_errors, "distance": score_distance}
