"""Breaks a good answer: verified errors, one or several, and the edits that made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, TypeVar

from pipeline import spans
from pipeline.errors import ERROR_TYPES, base_cases, error_type
from pipeline.errors.answers import code_of, compiles
from pipeline.errors.base import Case, ErrorType, Execute, Proposal
from pipeline.errors.inputs import made_tests
from pipeline.records import CorruptionRecord, FunctionTest, QARecord, Reject, kept_and_rejected
from pipeline.sandbox.run import Execution, execute, passed
from pipeline.sandbox.values import wants_types, why_unscored
from pipeline.stages.together import Embedded, alone, numbered, refused

Item = TypeVar("Item")

CANDIDATES = 6
"""Sites tried for each error wanted. Each costs one execution; most records are done after one or two."""

CANDIDATES_PER_TYPE = 3
"""Sites tried of one type before the next has its turn, so that one type's hard sites do not use up the record."""

COUNTS_AS = {base_cases.NAME: 0.25}
UNRUN_COUNTS_AS = 3.0
"""What types are drawn with whose number of sites says nothing about how rare they are.

A base case has many ways of being wrong, but few rows have one; what shows without running (syntax errors, unused
imports, prose) fits nearly everywhere. With these numbers the types come out nearly even on the built-in corpus: of 200
rows 32 to 38 each of the first six, but for the base case, which gets 21 of the 25 rows that have one.
"""


NO_CODE = "the answer holds no Python that parses"


@dataclass(frozen=True, slots=True)
class Number:
    """How many errors an answer gets: at least and at most. In between the seed and the row's id decide."""

    least: int = 1
    most: int = 1

    def drawn(self, seed: int, record_id: str) -> int:
        return Random(f"{seed}:{record_id}:errors").randint(self.least, self.most)


ONE = Number()


@dataclass(frozen=True)
class EmbedStage:
    """Breaks every record of a shard with the named error types, all of them where none is named."""

    error_types: tuple[str, ...]
    seed: int
    errors: Number = ONE
    verify: Literal["executed", "static"] = "executed"

    def __call__(self, records: Sequence[QARecord]) -> tuple[list[CorruptionRecord], list[Reject]]:
        error_types = self.error_types or tuple(ERROR_TYPES)
        return kept_and_rejected(self.embed(record, error_types) for record in records)

    def embed(self, record: QARecord, error_types: Sequence[str]) -> CorruptionRecord | Reject:
        run = execute if self.verify == "executed" else None
        return embed(record, error_types, self.seed, run, self.errors)


def embed(
    record: QARecord, error_types: Sequence[str], seed: int, execute: Execute | None = execute, errors: Number = ONE
) -> CorruptionRecord | Reject:
    """The record with its first confirmed errors. Types and sites come in an order drawn from the seed and the id.

    Without `execute` nothing is run: errors are confirmed by what can be read. A row without tests gets tests made from
    what its functions give; where its program cannot be run here, errors that show only by running are left out.
    """
    kinds = [error_type(name) for name in error_types]
    judged = judged_on(record, remembered(execute) if execute else None, seed)
    if isinstance(judged, Reject):
        return judged
    case, run = judged
    if execute and not run:
        kinds = [kind for kind in kinds if kind.level != "executed"]
    found, tried = _errors(record, kinds, seed, case, run, errors.drawn(seed, record.id))
    if len(found) >= errors.least:
        return corrupted(record, found, case.tests)
    if not found and not tried:
        return Reject(record.id, "no-site", f"no place for {', '.join(sorted(error_types))}")
    why = "; ".join(dict.fromkeys(tried))
    if not found:
        return Reject(record.id, "nothing-confirmed", why)
    return Reject(record.id, "too-few-errors", f"{len(found)} of at least {errors.least}; {why}")


def judged_on(record: QARecord, run: Execute | None, seed: int) -> tuple[Case, Execute | None] | Reject:
    """The good answer as errors are judged on, with tests, and what runs it; a reject where it cannot serve."""
    code = code_of(record.response)
    if code is None:
        return Reject(record.id, "no-code", NO_CODE)
    tests = tuple(test for test in record.tests if not why_unscored(test))
    case = Case(record.prompt, record.response, record.response, (), tests)
    if run is None:
        fails = "" if compiles(code) else "the Python does not compile"
        return Reject(record.id, "good-answer-fails", fails) if fails else (case, None)
    execution = run(code.text, tests)
    if passed(execution, tests):
        return (case if tests else replace(case, tests=made_tests(record.response, run, seed))), run
    if tests or not compiles(code):
        return Reject(record.id, "good-answer-fails", f"{execution.status} {execution.detail}".strip())
    return case, None


def _errors(
    record: QARecord, kinds: list[ErrorType], seed: int, case: Case, run: Execute | None, wanted: int
) -> tuple[list[Embedded], list[str]]:
    """The first errors that are confirmed and go together, and why others do not.

    Each is of another type, unless more errors are wanted than there are types to choose from.
    """
    found: list[Embedded] = []
    tried: list[str] = []
    for kind, edits in _candidates(record, kinds, seed, CANDIDATES * wanted):
        if len(found) == wanted:
            break
        if len(kinds) >= wanted and any(one.kind is kind for one in found):
            continue
        new = alone(kind, edits, case, run)
        why = new if isinstance(new, str) else refused(new, found, case, run)
        if isinstance(new, Embedded) and not why:
            found.append(new)
        else:
            tried.append(f"{kind.name}: {why}")
    return found, tried


def _candidates(record: QARecord, kinds: list[ErrorType], seed: int, left: int) -> Iterator[tuple[ErrorType, Proposal]]:
    """A few sites of each type in turn; what one type leaves of the budget, the next ones get."""
    rest: list[tuple[ErrorType, Proposal]] = []
    for kind, sites in types_in_turn(record, kinds, seed):
        now = sites[: min(CANDIDATES_PER_TYPE, left)]
        rest += [(kind, edits) for edits in sites[len(now) :]]
        left -= len(now)
        yield from ((kind, edits) for edits in now)
    yield from rest[:left]


def types_in_turn(record: QARecord, kinds: list[ErrorType], seed: int) -> Iterator[tuple[ErrorType, list[Proposal]]]:
    """The types in a random order with their sites in a random order. A type with few sites tends to come first.

    Off-by-one has sites almost everywhere, an import one at most: with equal chances it would take most of the rows. So
    a type of n sites has weight 1/n (weighted draw without replacement: Efraimidis and Spirakis 2006, key u^(1/w)),
    but for those that count as something else: their sites are looked for once it is their turn.
    """

    def sites_of(kind: ErrorType) -> list[Proposal]:
        return _shuffled(kind.propose(record.response, record.prompt), f"{seed}:{record.id}:{kind.name}")

    draw = Random(f"{seed}:{record.id}")
    keyed: list[tuple[float, ErrorType, list[Proposal] | None]] = []
    for kind in kinds:
        number, sites = counts_as(kind), None
        if number is None:
            sites = sites_of(kind)
            number = max(1, len(sites))
        keyed.append((draw.random() ** number, kind, sites))
    keyed.sort(key=lambda item: item[0], reverse=True)
    for _, kind, sites in keyed:
        yield kind, sites_of(kind) if sites is None else sites


def counts_as(kind: ErrorType) -> float | None:
    """What a type is drawn with in place of its number of sites, where that says nothing."""
    return COUNTS_AS.get(kind.name, None if kind.level == "executed" else UNRUN_COUNTS_AS)


def corrupted(record: QARecord, found: Sequence[Embedded], tests: tuple[FunctionTest, ...]) -> CorruptionRecord:
    edits = numbered(found)
    return CorruptionRecord(
        id=record.id,
        prompt=record.prompt,
        response=record.response,
        rejected=spans.apply(edits, record.response),
        edits=edits,
        source=record.source,
        tests=tests,
    )


def remembered(execute: Execute) -> Execute:
    """`execute` that runs each program once on the same calls: the good answer is compared with every candidate."""
    known: dict[tuple[str, tuple[tuple[str, str, bool], ...]], Execution] = {}

    def run(code: str, tests: Sequence[FunctionTest]) -> Execution:
        key = code, tuple((test.function, test.arguments, wants_types(test)) for test in tests)
        if key not in known:
            known[key] = execute(code, tests)
        return known[key]

    return run


def _shuffled(items: Sequence[Item], seed: str) -> list[Item]:
    result = list(items)
    Random(seed).shuffle(result)
    return result
