"""Breaks a good answer: one verified error, and the edit that made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from pipeline import spans
from pipeline.errors import ERROR_TYPES, base_cases, syntax_errors, unused_imports
from pipeline.errors.answers import code_of
from pipeline.errors.base import Case, ErrorType, Execute, Proposal, Verification
from pipeline.failures import UserError, nearest
from pipeline.records import CorruptionRecord, FunctionTest, QARecord, Reject
from pipeline.sandbox.run import Execution, execute, passed

Item = TypeVar("Item")

CANDIDATES = 6
"""Sites tried per record. Each costs one execution; most records are done after one or two."""

CANDIDATES_PER_TYPE = 3
"""Sites tried of one type before the next has its turn, so that one type's hard sites do not use up the record."""

COUNTS_AS = {base_cases.NAME: 0.25, syntax_errors.NAME: 3.0, unused_imports.NAME: 3.0}
"""Types whose number of sites says nothing about how rare they are, and the number that they are drawn with instead.

Syntax errors and unused imports fit everywhere; a base case has many ways of being wrong, but few rows have one. With
these numbers the types come out nearly even on the built-in corpus: of 200 rows 32 to 38 each, but for the base case,
which gets 21 of the 25 rows that have one.
"""


@dataclass(frozen=True)
class EmbedStage:
    """Breaks every record of a shard with the named error types, all of them where none is named."""

    error_types: tuple[str, ...]
    seed: int

    def __call__(self, records: Sequence[QARecord]) -> tuple[list[CorruptionRecord], list[Reject]]:
        kinds = self.error_types or tuple(ERROR_TYPES)
        results = [embed(record, kinds, self.seed) for record in records]
        kept = [result for result in results if isinstance(result, CorruptionRecord)]
        return kept, [result for result in results if isinstance(result, Reject)]


def embed(
    record: QARecord, error_types: Sequence[str], seed: int, execute: Execute = execute
) -> CorruptionRecord | Reject:
    """The record with its first confirmed error. Types and sites come in an order drawn from the seed and the id."""
    if code_of(record.response) is None:
        return Reject(record.id, "no-code", "the answer holds no Python that parses")
    run = _remembered(execute)
    failure = _good_answer_fails(record, run)
    if failure:
        return Reject(record.id, "good-answer-fails", failure)
    kinds = [error_type(name) for name in error_types]
    tried: list[str] = []
    for kind, edits in _candidates(record, kinds, seed):
        result = _corrupted(record, kind, edits, run)
        if isinstance(result, CorruptionRecord):
            return result
        tried.append(f"{kind.name}: {result.reason}")
    if not tried:
        return Reject(record.id, "no-site", f"no place for {', '.join(sorted(error_types))}")
    return Reject(record.id, "nothing-confirmed", "; ".join(dict.fromkeys(tried)))


def error_type(name: str) -> ErrorType:
    """The error type of this name."""
    if name not in ERROR_TYPES:
        raise UserError("config", f"there is no error type '{name}'.", hint=nearest(name, list(ERROR_TYPES)))
    return ERROR_TYPES[name]


def _candidates(record: QARecord, kinds: list[ErrorType], seed: int) -> Iterator[tuple[ErrorType, Proposal]]:
    """A few sites of each type in turn; what one type leaves of the budget, the next ones get."""
    left = CANDIDATES
    rest: list[tuple[ErrorType, Proposal]] = []
    for kind, sites in types_in_turn(record, kinds, seed):
        now = sites[: min(CANDIDATES_PER_TYPE, left)]
        rest += [(kind, edits) for edits in sites[len(now) :]]
        left -= len(now)
        yield from ((kind, edits) for edits in now)
    yield from rest[:left]


def types_in_turn(record: QARecord, kinds: list[ErrorType], seed: int) -> list[tuple[ErrorType, list[Proposal]]]:
    """The types in a random order with their sites in a random order. A type with few sites tends to come first.

    Off-by-one has sites almost everywhere, an import one at most: with equal chances it would take most of the rows. So
    a type of n sites has weight 1/n (weighted draw without replacement: Efraimidis and Spirakis 2006, key u^(1/w)),
    but for those of `COUNTS_AS`.
    """
    draw = Random(f"{seed}:{record.id}")
    keyed = []
    for kind in kinds:
        sites = _shuffled(kind.propose(record.response, record.prompt), f"{seed}:{record.id}:{kind.name}")
        keyed.append((draw.random() ** COUNTS_AS.get(kind.name, max(1, len(sites))), kind, sites))
    keyed.sort(key=lambda item: item[0], reverse=True)
    return [(kind, sites) for _, kind, sites in keyed]


def _corrupted(record: QARecord, kind: ErrorType, edits: Proposal, execute: Execute) -> CorruptionRecord | Verification:
    bad = spans.apply(edits, record.response)
    seen = kind.verify(Case(record.prompt, record.response, bad, edits, record.tests), execute)
    if not seen.confirmed:
        return seen
    return CorruptionRecord(
        id=record.id,
        prompt=record.prompt,
        response=record.response,
        rejected=bad,
        edits=tuple(replace(edit, level=seen.level, evidence=seen.reason) for edit in edits),
        source=record.source,
        tests=record.tests,
    )


def _good_answer_fails(record: QARecord, execute: Execute) -> str:
    """Why the good answer cannot serve, or nothing."""
    code = code_of(record.response)
    assert code is not None
    execution = execute(code.text, record.tests)
    if passed(execution, record.tests):
        return ""
    return f"{execution.status} {execution.detail}".strip()


def _remembered(execute: Execute) -> Execute:
    """`execute` that runs each program once: the good answer is compared with every candidate."""
    known: dict[str, Execution] = {}

    def run(code: str, tests: Sequence[FunctionTest]) -> Execution:
        if code not in known:
            known[code] = execute(code, tests)
        return known[code]

    return run


def _shuffled(items: Sequence[Item], seed: str) -> list[Item]:
    result = list(items)
    Random(seed).shuffle(result)
    return result
