"""How far two annotations of the same pairs agree: precision, recall and F1, in characters and in tokens.

One annotation is the reference, the other is measured against it. On each side of a pair an annotation selects places:
the characters (or tokens) that its spans touch. An anchor, which touches none, selects the one that it stands before,
or the end of the text, as it does in training (`pipeline.offsets.span_weights`). A span of weight 0 selects nothing.

    precision = both / (both + extra)      recall = both / (both + missed)      F1 = 2 both / (2 both + extra + missed)

`micro` counts places over all pairs, `macro` is the mean over the pairs in which a figure has a denominator. A figure
without one is None, which is not zero: precision where nothing was selected, recall where nothing was to be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.chat import Tokenizer
from pipeline.failures import UserError
from pipeline.records import PreferenceRecord
from pipeline.spans import Span

Pair = tuple[PreferenceRecord, PreferenceRecord]
"""The same pair in the reference and in the annotation that is measured."""
Selector = Callable[[str, Sequence[Span]], set[int]]
"""The places of a text that spans select."""
SIDES = ("chosen", "rejected")
BOTH = "both sides"


@dataclass(frozen=True, slots=True)
class Counts:
    """Places that both annotations select, that only the measured one does (`extra`), only the reference (`missed`)."""

    both: int = 0
    extra: int = 0
    missed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.both + other.both, self.extra + other.extra, self.missed + other.missed)

    @property
    def precision(self) -> float | None:
        return _share(self.both, self.both + self.extra)

    @property
    def recall(self) -> float | None:
        return _share(self.both, self.both + self.missed)

    @property
    def f1(self) -> float | None:
        return _share(2 * self.both, 2 * self.both + self.extra + self.missed)


@dataclass(frozen=True, slots=True)
class Figures:
    """The counts of each pair, and what follows from them."""

    pairs: tuple[Counts, ...]

    @property
    def micro(self) -> Counts:
        return sum(self.pairs, Counts())

    def macro(self, figure: str) -> float | None:
        """The mean over pairs of `precision`, `recall` or `f1`."""
        values = [value for counts in self.pairs if (value := getattr(counts, figure)) is not None]
        return sum(values) / len(values) if values else None

    def to_json(self) -> dict[str, Any]:
        micro = self.micro
        figures = ("precision", "recall", "f1")
        return {
            "micro": {figure: getattr(micro, figure) for figure in figures},
            "macro": {figure: self.macro(figure) for figure in figures},
            "places": {"both": micro.both, "extra": micro.extra, "missed": micro.missed},
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two annotations in one unit.

    Attributes:
        sides: figures of each side and of both.
        types: for each error type the figures of its spans alone, on both sides: right place and right type.
        found: for each error type of the reference the share of its places that are selected under any type.
    """

    sides: dict[str, Figures]
    types: dict[str, Figures]
    found: dict[str, float | None]

    def to_json(self) -> dict[str, Any]:
        types = {name: {**figures.to_json(), "found": self.found[name]} for name, figures in self.types.items()}
        return {"sides": {side: figures.to_json() for side, figures in self.sides.items()}, "error_types": types}


def compared(pairs: Sequence[Pair], select: Selector) -> Comparison:
    """Measure the second annotation of each pair against the first."""
    sides = {side: Figures(tuple(_counts(pair, (side,), select) for pair in pairs)) for side in SIDES}
    sides[BOTH] = Figures(tuple(map(Counts.__add__, *(sides[side].pairs for side in SIDES))))
    names = sorted({span.error_type for pair in pairs for record in pair for span in _spans(record)})
    types = {name: Figures(tuple(_counts(pair, SIDES, select, name, name) for pair in pairs)) for name in names}
    found = {name: sum((_counts(pair, SIDES, select, name) for pair in pairs), Counts()).recall for name in names}
    return Comparison(sides, types, found)


def characters(text: str, spans: Sequence[Span]) -> set[int]:
    """The characters that spans select; an anchor at the end selects the position behind the last."""
    return {place for span in spans if span.weight > 0 for place in range(span.start, max(span.end, span.start + 1))}


def tokens_of(tokenizer: Tokenizer) -> Selector:
    """Select tokens as training does: those that spans touch, and EOS for an anchor at the end."""
    from functools import lru_cache

    from pipeline.offsets import encode_response, span_weights

    @lru_cache(maxsize=8)
    def offsets(text: str) -> list[tuple[int, int]]:
        return encode_response(tokenizer, text)[1]

    def select(text: str, spans: Sequence[Span]) -> set[int]:
        return {i for i, weight in enumerate(span_weights(offsets(text), spans, len(text))) if weight > 0}

    return select


def joined(
    reference: Sequence[PreferenceRecord], measured: Sequence[PreferenceRecord], common: bool = False
) -> list[Pair]:
    """The pairs of two annotations: by id where equal ids have equal texts, else by prompt and answers.

    Raises:
        UserError: data, if nothing matches or, unless `common` is wanted, if one has a pair that the other lacks.
    """
    by_id = _matched(reference, measured, lambda record: record.id)
    pairs = by_id if by_id and all(_texts(a) == _texts(b) for a, b in by_id) else _matched(reference, measured, _texts)
    if not pairs or (not common and not len(pairs) == len(reference) == len(measured)):
        raise _unmatched(reference, measured, pairs)
    return pairs


def _matched(
    reference: Iterable[PreferenceRecord],
    measured: Iterable[PreferenceRecord],
    key: Callable[[PreferenceRecord], object],
) -> list[Pair]:
    """Those with the same key, in the order of the reference; several with one key one after another."""
    waiting: dict[object, list[PreferenceRecord]] = {}
    for record in measured:
        waiting.setdefault(key(record), []).append(record)
    queues = {name: iter(records) for name, records in waiting.items()}
    return [(record, other) for record in reference if (other := next(queues.get(key(record), iter(())), None))]


def _unmatched(
    reference: Sequence[PreferenceRecord], measured: Sequence[PreferenceRecord], pairs: Sequence[Pair]
) -> UserError:
    matched = {id(record) for pair in pairs for record in pair}
    alone = [record for record in (*reference, *measured) if id(record) not in matched]
    what = (
        f"of {len(reference)} and {len(measured)} pairs {len(pairs)} match; the first that does not is {alone[0].id!r}."
    )
    hint = "Both must annotate the same pairs: equal ids, or equal prompts and answers."
    return UserError("data", what, "", f"{hint} Measure those that match with --common." if pairs else hint)


def _texts(record: PreferenceRecord) -> tuple[str, str, str]:
    return record.prompt, record.chosen, record.rejected


def _spans(record: PreferenceRecord) -> tuple[Span, ...]:
    return (*record.chosen_spans, *record.rejected_spans)


def _counts(
    pair: Pair, sides: Sequence[str], select: Selector, of_reference: str | None = None, of_measured: str | None = None
) -> Counts:
    """The places of a pair, where a type is named those of its spans alone."""
    total = Counts()
    for side in sides:
        a, b = (
            select(
                getattr(record, side),
                [span for span in getattr(record, f"{side}_spans") if error_type in (None, span.error_type)],
            )
            for record, error_type in zip(pair, (of_reference, of_measured), strict=True)
        )
        total += Counts(len(a & b), len(b - a), len(a - b))
    return total


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
