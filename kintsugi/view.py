"""Rows as lines of a terminal: what is good in green, what is bad in red, and nothing of theirs obeyed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.rule import Rule
from rich.text import Text

from kintsugi.references import Dataset
from kintsugi.visible import shown
from pipeline.attributes.records import ControlledRecord, LabelledRecord
from pipeline.contract import DATA
from pipeline.records import (
    ChoiceRecord,
    CorruptionRecord,
    GenerationRecord,
    PreferenceRecord,
    QARecord,
    Reject,
    ScoredRecord,
    VerdictRecord,
)
from pipeline.sandbox import values
from pipeline.spans import Span
from pipeline.stages.annotate import annotate

Line = Text | Rule
JUDGED = ("input", "rows")
"""The roles in which the kinds of scores take what they are of."""
ANCHOR = "∅"
"""Stands where a span is empty."""
NEWLINE = "↵"
"""Stands before a line feed that is all of what a span marks."""
STYLES = {"chosen": "black on green", "rejected": "white on red"}
BRACKETS = {"chosen": ("{+", "+}"), "rejected": ("[-", "-]")}
"""Spans without colours, as word diffs of git and wdiff show them."""


@dataclass(frozen=True)
class Answered:
    """One answer of a model with its scores, where it was judged."""

    answer: GenerationRecord
    scores: ScoredRecord | None = None


@dataclass(frozen=True)
class Measured:
    """A row with what a model's engine found of the answers that it has."""

    row: Any
    scores: ScoredRecord


def with_answers(dataset: Dataset) -> Iterator[Any]:
    """The rows of a data set; scores with the answers that they judge, pairs in place of broken answers."""
    if dataset.record is ScoredRecord:
        yield from _judged(dataset)
    elif dataset.record is GenerationRecord:
        yield from (Answered(row) for row in dataset.rows())
    elif dataset.record is CorruptionRecord:
        yield from (annotate(row) for row in dataset.rows())
    else:
        yield from dataset.rows()


def _judged(dataset: Dataset) -> Iterator[Answered | Measured]:
    """Scores with what they are of: a model's answers, or rows that came with theirs."""
    from pipeline.shards import read_records, record_type

    assert dataset.artifact is not None, "scores come from the store"
    judged = next(item for item in dataset.artifact.manifest.inputs if item.role in JUDGED)
    dataset.artifact.store.require(judged.product, judged.key)
    directory = dataset.artifact.store.directory(judged.product, judged.key) / judged.split / DATA
    known = (GenerationRecord, CorruptionRecord, PreferenceRecord, QARecord, ChoiceRecord)
    record = record_type(directory, known, dataset.name)
    if record is GenerationRecord:
        answers = {(row.id, row.sample): row for row in read_records(directory, record)}
        yield from (Answered(answers[row.id, row.sample], row) for row in dataset.rows())
    else:
        found = (annotate(row) if record is CorruptionRecord else row for row in read_records(directory, record))
        rows = {row.id: row for row in found}
        yield from (Measured(rows[row.id], row) for row in dataset.rows())


def has_error_type(row: Any, error_type: str) -> bool:
    """Whether a row has a span of this error type, or an answer in which it was recognised."""
    row = row.row if isinstance(row, Measured) else row
    if isinstance(row, PreferenceRecord):
        return error_type in _types(row)
    if isinstance(row, Answered) and row.scores:
        return any(score.metric == f"errors/{error_type}" and score.value for score in row.scores.scores)
    return False


def lines_of(row: Any, side: str | None, *, plain: bool) -> Iterator[Line]:
    """A row as lines; `side` leaves the other answer of a pair out, `plain` marks spans with brackets."""
    if isinstance(row, Measured):
        yield from _lines(row.row, side, plain=plain)
        yield from (_score(score.metric, score.value, score.explanation) for score in row.scores.scores)
    else:
        yield from _lines(row, side, plain=plain)
    yield Text()


def _lines(row: Any, side: str | None, *, plain: bool) -> Iterator[Line]:
    if isinstance(row, Reject):
        yield _head(row.id, [row.reason])
        yield shown(row.detail)
    elif isinstance(row, PreferenceRecord):
        yield _head(row.id, _types(row))
        yield from _part("prompt", shown(row.prompt))
        for name, text, spans in (
            ("chosen", row.chosen, row.chosen_spans),
            ("rejected", row.rejected, row.rejected_spans),
        ):
            if side in (None, name):
                yield from _part(name, marked(text, spans, name, plain=plain))
    elif isinstance(row, QARecord):
        yield _head(row.id, [row.source])
        yield from _part("prompt", shown(row.prompt))
        yield from _part("response", shown(row.response))
        yield from (
            shown(f"test      {test.function}{test.arguments} -> {values.shown(test)}", "dim") for test in row.tests
        )
    elif isinstance(row, ControlledRecord | LabelledRecord):
        yield from _controlled(row)
    elif isinstance(row, VerdictRecord):
        yield _head(row.id, [f"sample {row.sample}" if row.sample else "", f"{row.a} against {row.b}"])
        yield _valued(row.value, row.explanation, "")
    elif isinstance(row, ChoiceRecord):
        yield _head(row.id, [row.source])
        yield from _part("prompt", shown(row.prompt))
        for number, choice in enumerate(row.choices):
            yield from _part(f"choice {number}", shown(choice, "green" if number == row.answer else ""))
    else:
        yield from _answered(row)


def _controlled(row: ControlledRecord | LabelledRecord) -> Iterator[Line]:
    """A text with the control tokens before it, or with the labels that they are made of."""
    labels = row.labels if isinstance(row, LabelledRecord) else ()
    tokens = row.control if isinstance(row, ControlledRecord) else ()
    yield _head(row.id, [*tokens, row.source])
    yield from _part("prompt", shown(row.prompt))
    yield from _part("response", shown(row.response))
    yield from (shown(f"{one.attribute}: {one.name or '-'}  ({one.explanation})", "dim") for one in labels)


def _answered(row: Answered) -> Iterator[Line]:
    sample = f"sample {row.answer.sample}" if row.answer.sample else ""
    yield _head(row.answer.id, [sample, row.answer.finish_reason])
    yield from _part("prompt", shown(row.answer.prompt))
    yield from _part("response", shown(row.answer.response))
    for score in row.scores.scores if row.scores else ():
        yield _score(score.metric, score.value, score.explanation)


def _score(metric: str, value: float | None, explanation: str) -> Line:
    """Errors that are present are bad, everything else that is 1 is good; what is unscored or no verdict is neither."""
    good = None if value not in (0, 1) else bool(value) is not metric.startswith(("errors/", "judge/errors/"))
    style = {None: "dim", True: "green", False: "bold red"}[good]
    return _valued(value, f"{metric}: {explanation}", style, "" if good is False else "dim")


def _valued(value: float | None, said: str, style: str, said_style: str = "") -> Text:
    """A number, or a dash where there is none, and what is said of it."""
    number = "-" if value is None else f"{value:g}"
    return Text.assemble((f"{number:>4}  ", style), shown(said, said_style))


def _types(pair: PreferenceRecord) -> list[str]:
    return list(dict.fromkeys(span.error_type for span in (*pair.rejected_spans, *pair.chosen_spans)))


def _head(id: str, labels: Sequence[str]) -> Line:
    title = Text.assemble(shown(" ".join(id.split()), "bold"), "  ", shown(", ".join(filter(None, labels)), "yellow"))
    return Rule(title, align="left", style="dim")


def _part(name: str, text: Text) -> Iterator[Line]:
    yield Text(name, style="dim italic")
    yield text


def marked(text: str, spans: Sequence[Span], side: str, *, plain: bool) -> Text:
    """`text` with its spans marked: coloured, or in brackets where there are no colours. Empty spans show an anchor.

    Overlapping spans are marked as one. The marks are set before the text is made safe, so that positions hold.
    """
    opening, closing = BRACKETS[side] if plain else ("", "")
    style = "" if plain else STYLES[side]
    anchors = {span.start for span in spans if span.start == span.end}
    bounds = sorted({0, len(text), *(edge for span in spans for edge in (span.start, span.end))})
    result = Text()
    inside = False
    for start, end in [*pairwise(bounds), (len(text), len(text))]:
        covered = any(span.start <= start < end <= span.end for span in spans)
        if covered != inside:
            result.append(opening if covered else closing)
        if start in anchors and not covered:
            result.append(f"{opening}{ANCHOR}{closing}", style=style)
        part = text[start:end]
        if covered and part.isspace():
            part = part.replace("\n", f"{NEWLINE}\n")
        result.append_text(shown(part, style if covered else ""))
        inside = covered
    return result
