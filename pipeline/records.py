"""The record types and their Arrow schemas: immutable, checked when made, plain rows on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self, TypeVar

import pyarrow as pa

from pipeline import spans
from pipeline.spans import Edit, Span

Row = dict[str, Any]
Made = TypeVar("Made")

SPAN = pa.struct(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("error_type", pa.string()),
        ("text", pa.string()),
        ("weight", pa.float64()),
    ]
)
EDIT = pa.struct(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("old", pa.string()),
        ("new", pa.string()),
        ("error_type", pa.string()),
        ("error", pa.int64()),
        ("level", pa.string()),
        ("evidence", pa.string()),
    ]
)
FUNCTION_TEST = pa.struct(
    [("function", pa.string()), ("arguments", pa.string()), ("expected", pa.string()), ("raises", pa.string())]
)
TAG = pa.struct([("error_type", pa.string()), ("plan", pa.string())])
CALL_RESULT = pa.struct(
    [("met", pa.bool_()), ("value", pa.string()), ("raised", pa.string()), ("message", pa.string())]
)
SCORE = pa.struct(
    [
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("explanation", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("results", pa.list_(CALL_RESULT)),
    ]
)


@dataclass(frozen=True, slots=True)
class FunctionTest:
    """One call and what must come of it: a JSON value, or an exception of the named class.

    `function` is a name, or a Python expression that gives what is called: it is evaluated beside the answer, in the
    sandbox. `arguments` is a JSON list and `expected` a JSON value or one of the forms of `pipeline.sandbox.values`,
    both as text; `raises` is empty when a value is expected.
    """

    function: str
    arguments: str
    expected: str = "null"
    raises: str = ""

    @classmethod
    def of(cls, function: str, *arguments: Any, expected: Any = None, raises: str = "") -> FunctionTest:
        """A test from Python values, which must be plain JSON."""
        return cls(function, json.dumps(list(arguments)), json.dumps(expected), raises)


class _Record:
    """A record that has lists of smaller ones: from and to plain rows."""

    __slots__ = ()
    NESTED: ClassVar[dict[str, type]]

    def to_row(self) -> Row:
        lists = {name: [asdict(item) for item in getattr(self, name)] for name in self.NESTED}
        return {**_plain(self, *self.NESTED), **lists}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        lists = {name: tuple(made(**item) for item in row[name]) for name, made in cls.NESTED.items()}
        return cls(**{**row, **lists})


@dataclass(frozen=True, slots=True)
class QARecord(_Record):
    """A prompt and a good answer to it, with executable tests where there are any."""

    NESTED: ClassVar[dict[str, type]] = {"tests": FunctionTest}
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("prompt", pa.string()),
            ("response", pa.string()),
            ("source", pa.string()),
            ("tests", pa.list_(FUNCTION_TEST)),
        ]
    )

    id: str
    prompt: str
    response: str
    source: str
    tests: tuple[FunctionTest, ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceRecord(_Record):
    """A prompt and answers to choose from. `answer` is the place of the right one, counted from 0."""

    NESTED: ClassVar[dict[str, type]] = {}
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("prompt", pa.string()),
            ("choices", pa.list_(pa.string())),
            ("answer", pa.int64()),
            ("source", pa.string()),
        ]
    )

    id: str
    prompt: str
    choices: tuple[str, ...]
    answer: int
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        if not 0 <= self.answer < len(self.choices):
            raise ValueError(f"record {self.id}: there is no choice {self.answer} among {len(self.choices)}")


@dataclass(frozen=True, slots=True)
class Tag:
    """An error type that fits an answer, and how it could be embedded there."""

    error_type: str
    plan: str = ""


@dataclass(frozen=True, slots=True)
class TaggedRecord(_Record):
    """A QA record and the errors that a model would embed in it."""

    NESTED: ClassVar[dict[str, type]] = {"tests": FunctionTest, "tags": Tag}
    SCHEMA: ClassVar[pa.Schema] = QARecord.SCHEMA.append(pa.field("tags", pa.list_(TAG)))

    id: str
    prompt: str
    response: str
    source: str
    tests: tuple[FunctionTest, ...] = ()
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class CorruptionRecord(_Record):
    """A good answer, the edits that break it, and the broken answer.

    The spans of both sides follow from the edits; `rejected` is checked to be the edits' result.
    """

    NESTED: ClassVar[dict[str, type]] = {"edits": Edit, "tests": FunctionTest}
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("prompt", pa.string()),
            ("response", pa.string()),
            ("rejected", pa.string()),
            ("edits", pa.list_(EDIT)),
            ("source", pa.string()),
            ("tests", pa.list_(FUNCTION_TEST)),
        ]
    )

    id: str
    prompt: str
    response: str
    rejected: str
    edits: tuple[Edit, ...]
    source: str
    tests: tuple[FunctionTest, ...] = ()

    def __post_init__(self) -> None:
        if spans.apply(self.edits, self.response) != self.rejected:
            raise ValueError(f"record {self.id}: the edits do not lead from the response to the rejected answer")

    def spans(self) -> tuple[list[Span], list[Span]]:
        """The spans of the chosen and of the rejected side."""
        return spans.spans_of(self.edits, self.response)


@dataclass(frozen=True, slots=True)
class PreferenceRecord(_Record):
    """A preference pair. Chosen spans mark what is good, rejected spans what is bad.

    `weight` is what the pair's loss is multiplied by in training: finite, and not negative.
    """

    NESTED: ClassVar[dict[str, type]] = {"chosen_spans": Span, "rejected_spans": Span}
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("prompt", pa.string()),
            ("chosen", pa.string()),
            ("rejected", pa.string()),
            ("chosen_spans", pa.list_(SPAN)),
            ("rejected_spans", pa.list_(SPAN)),
            ("provenance", pa.string()),
            ("weight", pa.float64()),
        ]
    )

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_spans: tuple[Span, ...] = ()
    rejected_spans: tuple[Span, ...] = ()
    provenance: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"record {self.id}: its weight is {self.weight}, and a weight is finite and not negative")
        for side, text, marked in (
            ("chosen", self.chosen, self.chosen_spans),
            ("rejected", self.rejected, self.rejected_spans),
        ):
            for span in marked:
                span.check(text, f"record {self.id}, {side}")


@dataclass(frozen=True, slots=True)
class GenerationRecord(_Record):
    """What one model answered to one prompt. `sample` tells several answers to a prompt apart, and counts from 0."""

    NESTED: ClassVar[dict[str, type]] = {"tests": FunctionTest}
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("sample", pa.int64()),
            ("prompt", pa.string()),
            ("response", pa.string()),
            ("finish_reason", pa.string()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("reference", pa.string()),
            ("source", pa.string()),
            ("tests", pa.list_(FUNCTION_TEST)),
        ]
    )

    id: str
    prompt: str
    response: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    reference: str
    source: str
    tests: tuple[FunctionTest, ...] = ()
    sample: int = 0


@dataclass(frozen=True, slots=True)
class CallResult:
    """What one test's call gave, shortened for showing: a JSON value or an exception. `met`: it is as expected."""

    met: bool
    value: str | None = None
    raised: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """One figure about one answer. `value` is None where it could not be scored, which is not zero.

    `start` and `end` are the code points of the answer that the figure is about, where that is known. `results` has one
    entry for each test whose call finished, in the order of the tests; fewer than tests where the run ended early.
    """

    id: str
    metric: str
    value: float | None
    explanation: str = ""
    start: int | None = None
    end: int | None = None
    results: tuple[CallResult, ...] = ()

    def to_row(self) -> Row:
        return {**_plain(self, "id", "results"), "results": [asdict(result) for result in self.results]}

    @classmethod
    def from_row(cls, record_id: str, row: Row) -> Self:
        results = tuple(CallResult(**result) for result in row["results"])
        return cls(record_id, **{**row, "results": results})


@dataclass(frozen=True, slots=True)
class ScoredRecord:
    """Every score of one answer, or of one row where no answer was sampled. Its id and `sample` are the answer's."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema([("id", pa.string()), ("sample", pa.int64()), ("scores", pa.list_(SCORE))])

    id: str
    scores: tuple[ScoreRecord, ...]
    sample: int = 0

    def to_row(self) -> Row:
        return {"id": self.id, "sample": self.sample, "scores": [score.to_row() for score in self.scores]}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        scores = tuple(ScoreRecord.from_row(row["id"], score) for score in row["scores"])
        return cls(row["id"], scores, row["sample"])


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """Which of two models answered a prompt better: `value` is 1 where `a` did, 0 where `b` did, 0.5 in a tie.

    None is not judged, which is no tie; the explanation says why. `a` and `b` are the names of the models' nodes.
    """

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("sample", pa.int64()),
            ("a", pa.string()),
            ("b", pa.string()),
            ("value", pa.float64()),
            ("explanation", pa.string()),
        ]
    )

    id: str
    sample: int
    a: str
    b: str
    value: float | None
    explanation: str = ""

    def to_row(self) -> Row:
        return asdict(self)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(**row)


REJECTED = pa.schema([("id", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be used: its id, a named reason, and what was seen."""

    id: str
    reason: str
    detail: str = ""

    def to_row(self) -> Row:
        return asdict(self)


def kept_and_rejected(results: Iterable[Made | Reject]) -> tuple[list[Made], list[Reject]]:
    """What a stage returns, of what became of each row: both in the rows' order."""
    kept: list[Made] = []
    rejected: list[Reject] = []
    for result in results:
        if isinstance(result, Reject):
            rejected.append(result)
        else:
            kept.append(result)
    return kept, rejected


def _plain(record: Any, *nested: str) -> Row:
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name not in nested}


def table_of(records: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """Records as one Arrow table of their schema; an empty list gives an empty table."""
    return pa.Table.from_pylist([record.to_row() for record in records], schema=schema)
