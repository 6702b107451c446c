"""The held-out rows of a run as tokens, and the parts of their answers.

Every answer is scored whole, without the prompt and with EOS, whatever mask the run trains with. Where pairs have
spans, each response token also has a part: outside all spans, or inside one of an error type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.attributes.records import ControlledRecord
from pipeline.contract import Source
from pipeline.records import QARecord, Reject
from pipeline.shards import read_records
from training.configs import ModelConfig
from training.encoding import Answer, Record, encoded, texts_of
from training.examples import record_type, sorted_out
from training.figures import OUTSIDE
from training.policies import POLICIES
from training.tokens import Example, PairExample, pair_of, sft_of
from training.truncation import fitted

TYPES = 32
"""Error types with figures of their own at most, the most frequent ones; the others share one name."""
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """One held-out row.

    Attributes:
        prompt: as text, for samples.
        answers: the chosen and the rejected answer of a pair, or the good answer of a Q&A row.
        parts: for each answer the part of each of its response tokens, from `response_start` on.
    """

    prompt: str
    answers: tuple[Example, ...]
    parts: tuple[tuple[int, ...], ...]

    @property
    def pair(self) -> PairExample:
        """The answers of a pair."""
        chosen, rejected = self.answers
        return PairExample(chosen.id, chosen, rejected)

    @property
    def tokens(self) -> int:
        """What goes through the model: each answer with its prompt, padded to the longer one."""
        return len(self.answers) * max(len(answer.input_ids) for answer in self.answers)


@dataclass(frozen=True)
class HeldOutRows:
    """All of them in the order of the data, all pairs or all single answers.

    Attributes:
        types: the error type of each part but the first.
        skipped: the rows that could not be used, as in training.
    """

    rows: Sequence[HeldOutRow]
    types: Sequence[str]
    skipped: Sequence[Reject]

    @property
    def paired(self) -> bool:
        return len(self.rows[0].answers) == 2

    @property
    def pairs(self) -> list[PairExample]:
        """The pairs, where they are pairs."""
        return [row.pair for row in self.rows]

    def facts(self, trained: Sequence[Example | PairExample]) -> dict[str, Any]:
        """Counts that never change in the course of a run: rows, those of each error type, and those that are not
        really held out, since their prompt is among those of `trained`."""
        having = Counter(
            part for row in self.rows for part in {part for side in row.parts for part in side} - {OUTSIDE}
        )
        counts = {name: having[number] for number, name in enumerate(self.types, start=1)}
        known = {_prompt(row.chosen if isinstance(row, PairExample) else row) for row in trained}
        seen = sum(_prompt(row.answers[0]) in known for row in self.rows)
        found = {"rows": len(self.rows), "left_out": len(self.skipped), "prompt_trained_on": seen}
        return found | ({"by_type": counts} if counts else {})


def held_out_rows(tokenizer: Any, source: Source, limit: int | None, config: ModelConfig) -> HeldOutRows:
    """The rows of a source, Q&A rows, broken answers or pairs, that a run is measured on.

    What is too long is cut or left out as in training. Raises a data error where there are no rows, or where more are
    left out than `max_skipped` puts up with.
    """
    records = list(read_records(source.data, record_type(source), limit))
    types = error_types(records)
    numbers = {name: number for number, name in enumerate(types, start=1)}
    rows, skipped = sorted_out([_row(tokenizer, record, numbers, config) for record in records], config, source)
    return HeldOutRows(rows, types, skipped)


def error_types(records: Sequence[Record]) -> list[str]:
    """The error types of all spans by name; those that most records have where there are more than `TYPES`."""
    found = Counter(name for record in records for name in _types_of(record))
    if len(found) <= TYPES:
        return sorted(found)
    return [*sorted(name for name, _ in found.most_common(TYPES - 1)), OTHERS]


def span_parts(answer: Answer, numbers: Mapping[str, int]) -> tuple[int, ...]:
    """The part of every kept position of an answer; one in several spans is in the first one's.

    Args:
        answer: as tokens, with the positions that each span touches.
        numbers: the part of each error type; that of `OTHERS` is for types that are not there.
    """
    parts = [OUTSIDE] * len(answer.ids)
    for span, positions in reversed(list(zip(answer.spans, answer.touched, strict=True))):
        for position in positions:
            parts[position] = numbers.get(span.error_type) or numbers[OTHERS]
    return tuple(parts[: answer.kept])


def _row(tokenizer: Any, record: Record, numbers: Mapping[str, int], config: ModelConfig) -> HeldOutRow | Reject:
    row = encoded(tokenizer, record.id, record.prompt, texts_of(record), control=getattr(record, "control", ()))
    fit = row if isinstance(row, Reject) else fitted(tokenizer, row, config.max_length, config.too_long)
    if isinstance(fit, Reject):
        return fit
    made: Example | PairExample | Reject = (
        sft_of(fit, "response", POLICIES["response"], config.seed)
        if isinstance(record, QARecord | ControlledRecord)
        else pair_of(fit, "response", config.seed)
    )
    if isinstance(made, Reject):
        return made
    answers = (made.chosen, made.rejected) if isinstance(made, PairExample) else (made,)
    return HeldOutRow(record.prompt, answers, tuple(span_parts(answer, numbers) for answer in fit.answers.values()))


def _prompt(example: Example) -> tuple[int, ...]:
    return example.input_ids[: example.response_start]


def _types_of(record: Record) -> set[str]:
    return {span.error_type for _, spans in texts_of(record).values() for span in spans}
