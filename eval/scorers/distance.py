"""How far an answer is from the good one: the edit distance of Levenshtein 1966, as a share of the longer text."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

from pipeline.errors.answers import program_of
from pipeline.errors.completions import program_for
from pipeline.records import GenerationRecord, ScoreRecord


def score_distance(record: GenerationRecord) -> list[ScoreRecord]:
    """`distance/code` and `distance/text`: 0 the same, 1 nothing in common.

    None where there is no good answer, or none with code. An answer without code is all of the way from one with code.
    """
    if not record.reference:
        why = "unscored: there is no good answer to compare with"
        return [ScoreRecord(record.id, f"distance/{what}", None, why) for what in ("code", "text")]
    return [_of_code(record), _distance(record.id, "text", record.response, record.reference)]


def _of_code(record: GenerationRecord) -> ScoreRecord:
    good = program_of(record.reference)
    if not good:
        return ScoreRecord(record.id, "distance/code", None, "unscored: the good answer has no Python code block")
    code = program_of(record.response) or program_for(record.prompt, record.response, record.source)
    return _distance(record.id, "code", code, good)


def _distance(record_id: str, what: str, text: str, good: str) -> ScoreRecord:
    edits, longest = Levenshtein.distance(text, good), max(len(text), len(good))
    explanation = f"{edits} of {longest} characters are inserted, deleted or replaced"
    return ScoreRecord(record_id, f"distance/{what}", edits / max(longest, 1), explanation)
