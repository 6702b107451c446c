"""Which known errors an answer has: one score per registered error type."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import ErrorType, Finding, Unscored
from pipeline.records import GenerationRecord, ScoreRecord


def score_errors(record: GenerationRecord, *, error_types: Mapping[str, ErrorType] = ERROR_TYPES) -> list[ScoreRecord]:
    """`errors/<type>` for every type: 1 where it is recognised, 0 where it is absent, None where nobody can tell."""
    return [_score(record, name, error_type) for name, error_type in error_types.items()]


def _score(record: GenerationRecord, name: str, error_type: ErrorType) -> ScoreRecord:
    found = error_type.recognise(
        record.response, reference=record.reference or None, tests=record.tests, prompt=record.prompt
    )
    value = None if isinstance(found, Unscored) else float(found.present)
    start, end = (found.start, found.end) if isinstance(found, Finding) else (None, None)
    return ScoreRecord(record.id, f"errors/{name}", value, _explanation(found), start, end)


def _explanation(found: Finding | Unscored) -> str:
    if isinstance(found, Unscored):
        return f"unscored: {found.reason}"
    return f"{'present' if found.present else 'absent'}: {found.explanation}"
