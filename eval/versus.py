"""Every two models' answers to the same prompt against each other: pairs in, verdicts out.

A judge and a ranker both see each pair in both orders. Answers that are the same text are a tie, and nobody is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from pipeline.contract import DATA, NOTES, REJECTS, Source, Work
from pipeline.failures import UserError
from pipeline.records import (
    FUNCTION_TEST,
    REJECTED,
    FunctionTest,
    GenerationRecord,
    Reject,
    Row,
    VerdictRecord,
    table_of,
)
from pipeline.shards import read_records, shard_name
from pipeline.store import write_table

if TYPE_CHECKING:
    from eval.versus_nodes import VersusConfig

IDENTICAL = "identical"
"""The reason why nobody is asked about a pair: both answers are the same text."""

ALIKE, DISAGREE, UNJUDGED = "identical", "orders_disagree", "unjudged"
"""What is to be said of a verdict: the texts are one, the orders say different things, or there is none."""


@dataclass(frozen=True, slots=True)
class Duel:
    """Two answers to a prompt as they are shown: `a` first, or, where they are swapped, `b` first."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("sample", pa.int64()),
            ("a", pa.string()),
            ("b", pa.string()),
            ("prompt", pa.string()),
            ("reference", pa.string()),
            ("answer_a", pa.string()),
            ("answer_b", pa.string()),
            ("swapped", pa.bool_()),
            ("source", pa.string()),
            ("tests", pa.list_(FUNCTION_TEST)),
        ]
    )

    id: str
    sample: int
    a: str
    b: str
    prompt: str
    reference: str
    answer_a: str
    answer_b: str
    swapped: bool = False
    source: str = ""
    tests: tuple[FunctionTest, ...] = ()

    @property
    def shown(self) -> tuple[str, str]:
        """The answers in the order in which they are shown."""
        return (self.answer_b, self.answer_a) if self.swapped else (self.answer_a, self.answer_b)

    @property
    def identical(self) -> bool:
        return self.answer_a.strip() == self.answer_b.strip()

    def verdict(self, value: float | None, explanation: str) -> VerdictRecord:
        return VerdictRecord(self.id, self.sample, self.a, self.b, value, explanation)

    def to_row(self) -> Row:
        return asdict(self)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(**{**row, "tests": tuple(FunctionTest(**test) for test in row["tests"])})


@dataclass(frozen=True, slots=True)
class Decided:
    """A verdict, and what is to be said of it."""

    record: VerdictRecord
    outcome: str = ""


def compare_answers(work: Work) -> None:
    """Judge every pair of answers of a work's inputs, and commit the verdicts."""
    config: VersusConfig = work.config
    sources = work.all_sources("input")
    found_answers = answers_of(sources) if config.among == "models" else samples_of(sources)
    duels, alone = paired(found_answers, config.limit)
    if not duels:
        what = f"no prompt has {'two samples' if config.among == 'samples' else 'the answers of two models'}."
        raise UserError("data", what, f"node {work.name}", "Name answers to the same prompts.")
    write_table(work.directory / REJECTS / shard_name(0), table_of(alone, REJECTED))
    found, facts = _verdicts(work, duels)
    counts: Counter[str] = Counter()
    for name, decided in found:
        write_table(work.directory / DATA / name, table_of([one.record for one in decided], VerdictRecord.SCHEMA))
        counts.update(counted(decided))
    rows = {"in": len(duels) + len(alone), "out": len(duels), "rejected": len(alone)}
    facts = {**facts, "verdicts": {"pairs": len(duels), **dict(sorted(counts.items()))}}
    if counts[UNJUDGED]:
        facts[NOTES] = [f"{counts[UNJUDGED]} of {len(duels)} pairs have no verdict: kintsugi view says why."]
    work.commit(rows=rows, facts=facts)


def _verdicts(work: Work, duels: Sequence[Duel]) -> tuple[Iterator[tuple[str, list[Decided]]], dict[str, Any]]:
    if work.config.by == "judge":
        from eval.versus_by_judge import verdicts as by_judge

        return by_judge(work, duels)
    from eval.versus_by_ranker import verdicts as by_ranker

    return by_ranker(work, duels)


def counted(decided: Sequence[Decided]) -> Counter[str]:
    """Decided pairs, ties and unjudged ones; and apart from that, pairs of one text and those whose orders disagree."""
    counts: Counter[str] = Counter({"decided": 0, "ties": 0, ALIKE: 0, DISAGREE: 0, UNJUDGED: 0})
    for one in decided:
        value = one.record.value
        counts["ties" if value == 0.5 else UNJUDGED if value is None else "decided"] += 1
        if one.outcome in (ALIKE, DISAGREE):
            counts[one.outcome] += 1
    return counts


Answers = dict[tuple[str, int], GenerationRecord]


def answers_of(sources: Sequence[Source]) -> dict[str, Answers]:
    """The answers of each model by prompt and sample, under the name of the model's node."""
    found: dict[str, Answers] = {}
    for source in sources:
        name = model_name(source.name)
        if name in found:
            what = f"there are two sets of answers of '{name}'."
            raise UserError("config", what, source.name, "Name one: verdicts tell models apart by their names.")
        found[name] = {(row.id, row.sample): row for row in read_records(source.data, GenerationRecord)}
    return found


def samples_of(sources: Sequence[Source]) -> dict[str, Answers]:
    """The answers of one model by prompt, under the number of the sample, so that samples meet as models do."""
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources)
        raise UserError("config", "samples are those of one model.", names, "Name the answers of one.")
    found: dict[str, Answers] = {}
    for row in sorted(read_records(sources[0].data, GenerationRecord), key=lambda row: (row.id, row.sample)):
        found.setdefault(str(row.sample), {})[row.id, 0] = row
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def model_name(answers: str) -> str:
    """The model whose answers a node holds, as the report calls it: `answers/mended/dpo` are those of `mended/dpo`."""
    return answers.partition("/")[2] or answers


def paired(answers: Mapping[str, Answers], limit: int | None) -> tuple[list[Duel], list[Reject]]:
    """Every two models' answers to the same prompt, by id, sample, and the models' order; and what has no partner.

    `limit` prompts are taken, the first by id.
    """
    keys = sorted(set().union(*answers.values()))
    taken = set(sorted({record_id for record_id, _ in keys})[:limit])
    duels: list[Duel] = []
    alone: list[Reject] = []
    for key in (key for key in keys if key[0] in taken):
        for (a, first), (b, second) in combinations(((name, rows.get(key)) for name, rows in answers.items()), 2):
            if first and second:
                duels.append(_duel(first, second, a, b))
            elif first or second:
                there, lacking = (a, b) if first else (b, a)
                alone.append(Reject(key[0], "no-partner", f"sample {key[1]}: {there} has an answer and {lacking} none"))
    return duels, alone


def _duel(first: GenerationRecord, second: GenerationRecord, a: str, b: str) -> Duel:
    if first.prompt != second.prompt:
        what = f"'{a}' and '{b}' answer different prompts of one id."
        raise UserError("data", what, f"row {first.id}", "Name answers to the same prompts.")
    said = first.prompt, first.reference, first.response, second.response
    return Duel(first.id, first.sample, a, b, *said, source=first.source, tests=first.tests)
