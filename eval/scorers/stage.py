"""Scoring as a stage: generations in, every score of each answer out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.scorers import SCORERS
from pipeline.records import GenerationRecord, Reject, ScoredRecord


@dataclass(frozen=True)
class ScoreStage:
    """Applies the named scorers to each answer of a shard. Nothing is ever rejected: what cannot be judged is None."""

    scorers: tuple[str, ...]

    def __call__(self, records: Sequence[GenerationRecord]) -> tuple[list[ScoredRecord], list[Reject]]:
        return [self._scored(record) for record in records], []

    def _scored(self, record: GenerationRecord) -> ScoredRecord:
        scores = tuple(score for name in self.scorers for score in SCORERS[name](record))
        return ScoredRecord(record.id, scores, record.sample)
