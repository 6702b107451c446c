"""The held-out rows of a run as tokens, and which of them each rank looks at.

Every answer is scored whole, without the prompt and with EOS, whatever mask the run trains with. Where pairs have
spans, each response token also has a part: outside all spans, or inside one of an error type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pipeline.contract import Source
from pipeline.offsets import Offset, encode_response, span_weights
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord, Reject
from pipeline.shards import read_records
from pipeline.spans import Span
from pipeline.stages.annotate import annotate
from training.configs import ModelConfig
from training.examples import record_type, sorted_out
from training.figures import OUTSIDE
from training.tokens import Example, PairExample, pair_example, sft_example

TYPES = 32
"""Error types with figures of their own at most, the most frequent ones; the others share one name."""
OTHERS = "others"

Row = TypeVar("Row")


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
        """The length of the longest answer with its prompt, which batches are padded to."""
        return max(len(answer.input_ids) for answer in self.answers)


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
        """Counts that never change in the course of a run: rows, those of each error type, and those that were not
        really held out, for their prompt is among those of `trained`."""
        having = Counter(
            part for row in self.rows for part in {part for side in row.parts for part in side} - {OUTSIDE}
        )
        counts = {name: having[number] for number, name in enumerate(self.types, start=1)}
        known = {_prompt(row.chosen if isinstance(row, PairExample) else row) for row in trained}
        seen = sum(_prompt(row.answers[0]) in known for row in self.rows)
        found = {"rows": len(self.rows), "left_out": len(self.skipped), "trained_on_prompt": seen}
        return found | ({"by_type": counts} if counts else {})


def held_out_rows(tokenizer: Any, source: Source, limit: int | None, config: ModelConfig) -> HeldOutRows:
    """The rows of a source, Q&A rows, broken answers or pairs, that a run is measured on.

    Raises a data error where there are none, or where more are too long than `max_skipped` puts up with.
    """
    record = record_type(source)
    records = read_records(source.data, record, limit)
    if record is QARecord:
        made = [_answer(tokenizer, row, config) for row in records]
        return HeldOutRows(*_sorted(made, config, source, ()))
    pairs = [annotate(row) if isinstance(row, CorruptionRecord) else row for row in records]
    types = error_types(pairs)
    numbers = {name: number for number, name in enumerate(types, start=1)}
    return HeldOutRows(*_sorted([_pair(tokenizer, row, numbers, config) for row in pairs], config, source, types))


def error_types(pairs: Sequence[PreferenceRecord]) -> list[str]:
    """The error types of all spans by name; those that most pairs have where there are more than `TYPES`."""
    found = Counter(name for pair in pairs for name in _types_of(pair))
    if len(found) <= TYPES:
        return sorted(found)
    return [*sorted(name for name, _ in found.most_common(TYPES - 1)), OTHERS]


def span_parts(offsets: Sequence[Offset], spans: Sequence[Span], length: int, numbers: Mapping[str, int]) -> list[int]:
    """The part of every token of a response and, last, of its EOS; a token in several spans is in the first one's.

    Args:
        offsets: the characters of each token, as from `pipeline.offsets.encode_response`.
        spans: of this response.
        length: characters of the response.
        numbers: the part of each error type; that of `OTHERS` is for types that are not there.
    """
    parts = [OUTSIDE] * (len(offsets) + 1)
    for span in reversed(spans):
        inside = span_weights(offsets, [replace(span, weight=1.0)], length)
        number = numbers.get(span.error_type) or numbers[OTHERS]
        parts = [number if weight else part for weight, part in zip(inside, parts, strict=True)]
    return parts


def shares(rows: Sequence[Row], size: int, rank: int, world: int) -> Iterator[tuple[Sequence[Row], bool]]:
    """This rank's rows of each batch of `size` rows, and whether they count.

    Under ZeRO-3 ranks must go through as many batches, so one that has no row left goes through another's.
    """
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        mine = batch[rank::world]
        yield mine or batch[:1], bool(mine)


def _prompt(example: Example) -> tuple[int, ...]:
    return example.input_ids[: example.response_start]


def _types_of(pair: PreferenceRecord) -> set[str]:
    return {span.error_type for span in (*pair.chosen_spans, *pair.rejected_spans)}


def _answer(tokenizer: Any, row: QARecord, config: ModelConfig) -> HeldOutRow | Reject:
    made = sft_example(tokenizer, row.id, row.prompt, row.response, config.max_length, too_long=config.too_long)
    if isinstance(made, Reject):
        return made
    return HeldOutRow(row.prompt, (made,), ((OUTSIDE,) * (len(made.input_ids) - made.response_start),))


def _pair(
    tokenizer: Any, row: PreferenceRecord, numbers: Mapping[str, int], config: ModelConfig
) -> HeldOutRow | Reject:
    made = pair_example(tokenizer, row, "response", config.max_length, config.seed, too_long=config.too_long)
    if isinstance(made, Reject):
        return made
    sides = ((made.chosen, row.chosen, row.chosen_spans), (made.rejected, row.rejected, row.rejected_spans))
    parts = tuple(_parts(tokenizer, example, text, spans, numbers) for example, text, spans in sides)
    return HeldOutRow(row.prompt, (made.chosen, made.rejected), parts)


def _parts(
    tokenizer: Any, example: Example, text: str, spans: Sequence[Span], numbers: Mapping[str, int]
) -> tuple[int, ...]:
    _, offsets = encode_response(tokenizer, text)
    return tuple(span_parts(offsets, spans, len(text), numbers)[: len(example.input_ids) - example.response_start])


def _sorted(made: list[Any], config: ModelConfig, source: Source, types: Sequence[str]) -> Any:
    rows, skipped = sorted_out(made, config, source)
    return rows, types, skipped
