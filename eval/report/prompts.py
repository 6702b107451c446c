"""What the page's browser of prompts shows: each prompt once, each different answer once.

Long texts are cut, and of very many prompts a random part is taken; the page says so in both cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.arms import COMPILES, ERRORS, PASSED
from eval.report.evidence import Evidence, Key
from eval.report.judged import NAMED, RIGHT
from eval.report.markup import Mark, prose, segments
from eval.scorers.execution import call_text, expected_text
from pipeline.records import CallResult, GenerationRecord, ScoreRecord
from pipeline.store import canonical, content_key

LONGEST = 8_000
"""Characters of one text that are shown."""

Answer = dict[str, Any]


class Pool:
    """Answers by number; equal ones have the same."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._numbers: dict[str, int] = {}

    def number(self, answer: Answer) -> int:
        number = self._numbers.setdefault(canonical(answer), len(self.answers))
        if number == len(self.answers):
            self.answers.append(answer)
        return number


def browser_data(arms: Sequence[Evidence], limit: int, seed: int) -> dict[str, Any]:
    """The prompts, at most `limit`, with the answer of every arm and the good one, and the answers themselves."""
    every: dict[str, list[int]] = {}
    for key, sample in sorted(set().union(*(arm.answers for arm in arms))):
        every.setdefault(key, []).append(sample)
    pool = Pool()
    types, verdict = error_types(arms), verdict_of(arms)
    drawn = chosen(list(every), limit, seed)
    return {
        "arms": [arm.name for arm in arms],
        "types": types,
        "judged": verdict == RIGHT,
        "total": len(every),
        "samples": max(map(len, every.values()), default=0),
        "prompts": [_prompt((key, sample), arms, types, verdict, pool) for key in drawn for sample in every[key]],
        "answers": pool.answers,
    }


def chosen(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """At most `limit` ids, drawn from the seed alone, sorted."""
    return sorted(sorted(ids, key=lambda key: content_key([seed, key]))[:limit])


def error_types(arms: Sequence[Evidence]) -> list[str]:
    """Every error type that was looked for."""
    metrics = {score.metric for arm in arms for row in arm.scores.values() for score in row.scores}
    return sorted(metric.removeprefix(ERRORS) for metric in metrics if metric.startswith(ERRORS))


def verdict_of(arms: Sequence[Evidence]) -> str:
    """The metric that says whether an answer is good: the tests', or a judge's where no answer was tested."""
    scores = [score for arm in arms for row in arm.scores.values() for score in row.scores]
    tested = any(score.metric == PASSED and score.value is not None for score in scores)
    return RIGHT if not tested and any(score.metric == RIGHT for score in scores) else PASSED


def _prompt(key: Key, arms: Sequence[Evidence], types: Sequence[str], verdict: str, pool: Pool) -> dict[str, Any]:
    first = next(arm.answers[key] for arm in arms if key in arm.answers)
    return {
        "id": key[0] if key[1] == 0 else f"{key[0]} #{key[1] + 1}",
        "source": first.source,
        "prompt": prose(first.prompt[:LONGEST]),
        "tests": [[call_text(test), expected_text(test)] for test in first.tests],
        "good": pool.number(_body(first.reference, ())) if first.reference else None,
        "arms": [pool.number(_answer(arm.answers.get(key), _scores(arm, key), types, verdict)) for arm in arms],
    }


def _scores(arm: Evidence, key: Key) -> Sequence[ScoreRecord]:
    return arm.scores[key].scores if key in arm.scores else ()


def _answer(
    record: GenerationRecord | None, scores: Sequence[ScoreRecord], types: Sequence[str], verdict: str
) -> Answer:
    """One answer: its text with the bad places marked, its verdicts, and what each test gave."""
    found = {score.metric: score for score in scores}
    passed, compiles = found.pop(verdict, None), found.pop(COMPILES, None)
    judged = [(types.index(name.removeprefix(ERRORS)), found.pop(name)) for name in list(found) if _is_error(name)]
    present = [(number, score) for number, score in judged if score.value]
    marked = [(number, score) for number, score in present if _place(score)]
    errors = [*marked, *(pair for pair in present if pair not in marked)]
    return {
        **_body(record.response if record else "", [place for _, score in marked if (place := _place(score))]),
        "passed": passed.value if passed else None,
        "compiles": compiles.value if compiles else None,
        "why": passed.explanation if passed and (verdict == PASSED or passed.value is not None) else "",
        "results": [[result.met, got_text(result)] for result in (passed.results if passed else ())],
        "errors": [[number, _said(score)] for number, score in errors],
        "unjudged": [[number, _said(score)] for number, score in judged if score.value is None],
        "others": [[name, score.value, score.explanation] for name, score in sorted(found.items()) if _is_told(score)],
        "open": _unscored(found),
        "finish": record.finish_reason if record else "none",
    }


def _body(text: str, marks: Sequence[Mark]) -> Answer:
    """The text as segments; the n-th mark belongs to the n-th error. `cut` counts the characters left out."""
    return {"body": segments(text[:LONGEST], marks), "cut": max(len(text) - LONGEST, 0)}


def _is_error(metric: str) -> bool:
    return metric.startswith(ERRORS)


def _is_told(score: ScoreRecord) -> bool:
    """Whether a score of another kind says something: not where it is open, nor of errors that a judge did not name."""
    return score.value is not None and not (score.metric.startswith(NAMED) and score.value == 0)


def _unscored(found: Mapping[str, ScoreRecord]) -> list[list[str]]:
    """Who left something open, and why; many metrics of one judge are one case."""
    cases = {(name.partition("/")[0], _said(score)): None for name, score in found.items() if score.value is None}
    return [[by, why] for by, why in sorted(cases)]


def _place(score: ScoreRecord) -> Mark | None:
    return None if score.start is None or score.end is None else (score.start, score.end)


def _said(score: ScoreRecord) -> str:
    """The explanation without the verdict in front, which the page shows in its own way."""
    return score.explanation.removeprefix("present: ").removeprefix("unscored: ")


def got_text(result: CallResult) -> str:
    """What a call gave, as one line."""
    if result.value is not None:
        return result.value
    return f"{result.raised}: {result.message}" if result.message else result.raised
