"""The row formats that data files come in: how each is known, read into a record, and written.

Everything here is a pure function of one row. A row that cannot be used raises `BadRow` or, for a span outside its
response, the record's own `UserError`; `pipeline.sources.files` turns both into a rejected row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NamedTuple

from pipeline import spans
from pipeline.diffs import diff
from pipeline.records import ChoiceRecord, CorruptionRecord, FunctionTest, PreferenceRecord, QARecord, Row
from pipeline.sources import choices, dialogues, html, instructions, texts
from pipeline.sources.humaneval import from_humaneval, from_mbpp
from pipeline.sources.values import BadRow
from pipeline.sources.values import string as _string
from pipeline.sources.values import text as _text
from pipeline.sources.values import typed as _typed
from pipeline.spans import UNKNOWN, Edit, Span

Record = QARecord | CorruptionRecord | PreferenceRecord | ChoiceRecord
Convert = Callable[[Row, str], Record]
Fields = tuple[str, ...]

QA: tuple[Fields, ...] = (("prompt", "response"), ("question", "answer"), ("problem", "solution"))
"""Ours, Glaive's, seed A's."""
SIDES: Fields = ("prompt", "correct_response", "incorrect_response")
GRANULAR: tuple[Fields, ...] = ((*SIDES, "masked_regions"), (*SIDES, "masked_region"))
RESPONSE_LEVEL: tuple[Fields, ...] = (("prompt", "winning_response", "losing_response"),)
TRL: tuple[Fields, ...] = (("prompt", "chosen", "rejected"),)
PREFERENCE: tuple[Fields, ...] = ((*TRL[0], "chosen_spans"), (*TRL[0], "rejected_spans"))
OFFSETS: tuple[Fields, ...] = tuple((*fields, "spans") for fields in (TRL[0], SIDES, RESPONSE_LEVEL[0]))
PROMPTS: tuple[Fields, ...] = (("prompt",), ("question",), ("problem",))
SHP: Fields = ("history", "human_ref_A", "human_ref_B", "labels", "score_ratio")
STACKEXCHANGE: tuple[Fields, ...] = (("question", *html.PAIR), ("question", *html.ANSWERS))
HUMANEVAL: Fields = ("prompt", "canonical_solution", "entry_point", "test")
MBPP: tuple[Fields, ...] = (("text", "code", "test_list"), ("prompt", "code", "test_list"))
GOOD: Fields = ("response", "answer", "solution", "chosen", "correct_response", "winning_response")
"""What a good answer is called, in any format."""
CORRECT, INCORRECT = 1, -1
"""The flag of a masked region: which response it lies in."""
TYPO = 0.88
"""How alike (difflib's ratio) two field names are when one is the other misspelt: `edit` for `edits`."""


class Format(NamedTuple):
    """A row is of this format if it has every field of one of `required`; `convert(row, id)` makes its record.

    One that is not `guessed` fits nearly every row, so it is used only where it is named. `id` is the field of ids.
    """

    required: tuple[Fields, ...]
    convert: Convert
    guessed: bool = True
    id: str = "id"


def recognise(row: Row) -> str | None:
    """The name of the first format whose fields the row has, the most particular formats first."""
    for name, known in FORMATS.items():
        if known.guessed and any(set(fields) <= row.keys() for fields in known.required):
            return name
    return None


def record_id(row: Row, fallback: str, field: str = "id") -> str:
    """The row's own id as text, or `fallback` where it has none."""
    given = row.get(field)
    if given is None or given == "":
        return fallback
    return str(given) if type(given) is int else _string(given, field)


def asked(row: Row, name: str) -> str:
    """The format that a row is read by where `name` was asked for: as prompts, too, benchmarks keep their tests."""
    known = recognise(row)
    return known if name == "prompts" and known in BENCHMARKS else name


def from_qa(row: Row, id: str) -> QARecord:
    """``{prompt, response, tests?, source?}``, or the names that Glaive and seed A have for the first two."""
    prompt, response = _complete(row, QA)
    return QARecord(id, _text(row, prompt), _text(row, response), _label(row, "source"), _tests(row))


def from_prompts(row: Row, id: str) -> QARecord:
    """A row of any format as a prompt to be answered; its good answer and tests are kept where it has them."""
    row = instructions.as_prompt(row)
    (prompt,) = _complete(row, PROMPTS)
    good = next((field for field in GOOD if row.get(field) is not None), None)
    return QARecord(id, _text(row, prompt), _text(row, good) if good else "", _label(row, "source"), _tests(row))


def from_corruption(row: Row, id: str) -> CorruptionRecord:
    """Seed A's ``{prompt, correct_response, incorrect_response}``; what differs is found where no `edits` say so."""
    _complete(row, (SIDES,))
    good, bad = _answers(row, "correct_response", "incorrect_response")
    _not_misspelt(row, "edits", "masked_region", "masked_regions")
    edits = [_edit(value, f"edits[{i}]", good) for i, value in enumerate(_optional_list(row, "edits"))]
    try:
        spans.ordered(edits, good)
    except ValueError as error:
        raise BadRow("edits", f"{error}.") from None
    if edits and spans.apply(edits, good) != bad:
        raise BadRow("edits", "field 'edits' does not lead from 'correct_response' to 'incorrect_response'.")
    made = tuple(edits or diff(good, bad, UNKNOWN))
    return CorruptionRecord(id, _text(row, "prompt"), good, bad, made, _label(row, "source"), _tests(row))


def from_preference(row: Row, id: str) -> PreferenceRecord:
    """The fields of `PreferenceRecord`. A side without spans may leave its field out; `text` may be left out too."""
    _complete(row, PREFERENCE)
    _not_misspelt(row, "weight")
    chosen, rejected = _answers(row, "chosen", "rejected")
    return PreferenceRecord(
        id,
        _text(row, "prompt"),
        chosen,
        rejected,
        _spans(row, "chosen_spans", chosen),
        _spans(row, "rejected_spans", rejected),
        _label(row, "provenance"),
        _row_weight(row),
    )


def from_granular(row: Row, id: str) -> PreferenceRecord:
    """Seed B's ``masked_region: [start, end, flag]``, or a list of these as ``masked_regions``, which goes first."""
    field = _complete(row, GRANULAR)[-1]
    good, bad = _answers(row, "correct_response", "incorrect_response")
    if field == "masked_region":
        regions = [_region(row[field], field, good, bad)]
    else:
        regions = [_region(value, f"{field}[{i}]", good, bad) for i, value in enumerate(_list(row[field], field))]
    return _flagged_pair(row, id, (good, bad), regions)


def from_offsets(row: Row, id: str) -> PreferenceRecord:
    """A pair of answers under any names with ``spans: [{start, end, side?, label?}]``, as annotation tools write them.

    A span without a side lies in the bad answer.
    """
    _, *names, field = _complete(row, OFFSETS)
    good, bad = _answers(row, *names)
    flags = {"chosen": CORRECT, names[0]: CORRECT, CORRECT: CORRECT}
    flags |= {"rejected": INCORRECT, names[1]: INCORRECT, INCORRECT: INCORRECT, None: INCORRECT}
    found = []
    for i, value in enumerate(_list(row[field], field)):
        item = _typed(value, dict, where := f"{field}[{i}]")
        side = item.get("side")
        if not isinstance(side, str | int | None) or isinstance(side, bool) or side not in flags:
            raise BadRow("wrong-type", f"field '{where}.side' is {side!r}; a side is chosen (1) or rejected (-1).")
        label = item.get("error_type") or item.get("label") or UNKNOWN
        response = good if flags[side] == CORRECT else bad
        found.append((flags[side], _span({**item, "error_type": label}, where, response)))
    return _flagged_pair(row, id, (good, bad), found)


def from_response_level(row: Row, id: str) -> PreferenceRecord:
    """``{prompt, winning_response, losing_response}``: a pair without spans."""
    _complete(row, RESPONSE_LEVEL)
    answers = _answers(row, "winning_response", "losing_response")
    return PreferenceRecord(id, _text(row, "prompt"), *answers, weight=_row_weight(row))


def from_trl(row: Row, id: str) -> PreferenceRecord:
    """TRL's standard preference row with an explicit prompt: ``{prompt, chosen, rejected}``, all of them text."""
    _complete(row, TRL)
    answers = _answers(row, "chosen", "rejected")
    return PreferenceRecord(id, _text(row, "prompt"), *answers, weight=_row_weight(row))


def _unpacked(
    required: tuple[Fields, ...], unpack: Callable[[Row], Row], into: Convert, guessed: bool = True
) -> Format:
    """A format that is read as another one once `unpack` has put its texts under that one's names."""

    def convert(row: Row, id: str) -> Record:
        _complete(row, required)
        return into({**unpack(row), "weight": row.get("weight")}, id)

    return Format(required, convert, guessed)


def _named(fields: Fields) -> Format:
    """Questions and answers under these names alone."""

    def convert(row: Row, id: str) -> QARecord:
        prompt, response = _complete(row, (fields,))
        return QARecord(id, _text(row, prompt), _text(row, response), _label(row, "source"), _tests(row))

    return Format((fields,), convert, guessed=False)


def _checked(required: tuple[Fields, ...], convert: Callable[[Row, str], QARecord]) -> Format:
    """A benchmark's rows, which have their ids as `task_id`."""

    def converted(row: Row, id: str) -> QARecord:
        _complete(row, required)
        return convert(row, id)

    return Format(required, converted, id="task_id")


BENCHMARKS = ("humaneval", "mbpp")

FORMATS: dict[str, Format] = {
    "humaneval": _checked((HUMANEVAL,), from_humaneval),
    "mbpp": _checked(MBPP, from_mbpp),
    "granular": Format(GRANULAR, from_granular),
    "spans": Format(OFFSETS, from_offsets),
    "response-level": Format(RESPONSE_LEVEL, from_response_level),
    "preference": Format(PREFERENCE, from_preference),
    "trl": Format(TRL, from_trl),
    "corruption": Format((SIDES,), from_corruption),
    "qa": Format(QA, from_qa),
    "alpaca": _unpacked((("instruction", "output"),), dialogues.from_alpaca, from_qa),
    "chat": _unpacked((("messages",), ("conversations",)), dialogues.from_chat, from_qa),
    "mt-bench": _unpacked((("question_id", "turns"),), instructions.from_mt_bench, from_prompts)._replace(
        id="question_id"
    ),
    "hh": _unpacked((("chosen", "rejected"),), dialogues.from_hh, from_trl),
    "shp": _unpacked((SHP,), dialogues.from_shp, from_trl),
    "stackexchange-pairs": _unpacked(STACKEXCHANGE, html.from_stackexchange_pairs, from_trl),
    "stackexchange": _unpacked((QA[1],), html.from_stackexchange, from_qa, guessed=False),
    "glaive": _named(QA[1]),
    "seed": _named(QA[2]),
    "hellaswag": Format((choices.HELLASWAG,), choices.from_hellaswag),
    "choices": Format(choices.CHOICES, choices.from_choices, guessed=False),
    "prompts": Format(PROMPTS, from_prompts, guessed=False),
    "text": Format(texts.TEXT, texts.from_text, guessed=False),
}
"""The known formats, in the order in which a row is held against them."""

FIELDS = tuple(
    dict.fromkeys(
        [
            "id",
            "source",
            "tests",
            "edits",
            "input",
            "weight",
            *(name for known in FORMATS.values() for fields in known.required for name in fields),
        ]
    )
)
"""Every field that a format reads, for mappings."""


def to_granular(record: PreferenceRecord) -> Row:
    """The plural granular row; the format has no place for ids, error types, weights and provenance."""
    good = [[span.start, span.end, CORRECT] for span in record.chosen_spans]
    bad = [[span.start, span.end, INCORRECT] for span in record.rejected_spans]
    return dict(zip(GRANULAR[0], (record.prompt, record.chosen, record.rejected, good + bad), strict=True))


def to_response_level(record: PreferenceRecord) -> Row:
    """The response-level row: the pair without its spans."""
    return dict(zip(RESPONSE_LEVEL[0], (record.prompt, record.chosen, record.rejected), strict=True))


def _complete(row: Row, alternatives: tuple[Fields, ...], where: str = "") -> Fields:
    """The first set of fields that the row has in full; otherwise it misses one of the set it comes closest to."""
    best = min(alternatives, key=lambda fields: len(set(fields) - row.keys()))
    for field in best:
        if field not in row:
            raise BadRow("missing-field", f"field '{where}{field}' is missing; {_neighbours(field, row)}.")
    return best


def _neighbours(field: str, row: Row) -> str:
    close = get_close_matches(field, list(row), n=1, cutoff=0.5)
    if close:
        return f"the nearest field present is {close[0]!r}"
    return f"the fields present are {', '.join(map(repr, sorted(row)[:12])) or 'none'}"


def _answers(row: Row, good: str, bad: str) -> tuple[str, str]:
    chosen, rejected = _text(row, good), _text(row, bad)
    if chosen == rejected:
        raise BadRow("same-answers", f"fields '{good}' and '{bad}' hold the same text, so neither is preferred.")
    return chosen, rejected


def _label(row: Row, field: str) -> str:
    """A text field that may be left out, null or empty."""
    return "" if row.get(field) is None else _string(row[field], field)


def _tests(row: Row) -> tuple[FunctionTest, ...]:
    return tuple(_test(item, f"tests[{i}]") for i, item in enumerate(_optional_list(row, "tests")))


def _test(value: Any, where: str) -> FunctionTest:
    item = _typed(value, dict, where)
    _complete(item, (("function", "arguments", "expected"), ("function", "arguments", "raises")), f"{where}.")
    if {"expected", "raises"} <= item.keys():
        raise BadRow("wrong-type", f"field '{where}' has both 'expected' and 'raises'; a test has one of them.")
    _plain_json([item["arguments"], item.get("expected")], where)
    arguments = _list(item["arguments"], f"{where}.arguments")
    raises = _text(item, "raises", f"{where}.") if "raises" in item else ""
    return FunctionTest.of(
        _text(item, "function", f"{where}."), *arguments, expected=item.get("expected"), raises=raises
    )


def _plain_json(value: Any, where: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadRow("wrong-type", f"field '{where}' is not plain JSON: {error}.") from None


def _spans(row: Row, field: str, response: str) -> tuple[Span, ...]:
    _not_misspelt(row, field)
    return tuple(_span(value, f"{field}[{i}]", response) for i, value in enumerate(_optional_list(row, field)))


def _not_misspelt(row: Row, *fields: str) -> None:
    """Refuse a row where a field that may be left out stands under a name that is nearly its own."""
    for field in fields:
        misspelt = [] if field in row else get_close_matches(field, row.keys() - set(fields), n=1, cutoff=TYPO)
        if misspelt:
            raise BadRow("missing-field", f"there is no field {misspelt[0]!r}: did you mean '{field}'?")


def _edit(value: Any, where: str, good: str) -> Edit:
    """One edit of the good answer. `old` may be left out; where it is given it must be what stands there."""
    item = _typed(value, dict, where)
    _complete(item, (("start", "end", "new"),), f"{where}.")
    start, end = (_typed(item[bound], int, f"{where}.{bound}") for bound in ("start", "end"))
    old = _string(item.get("old", good[start:end]), f"{where}.old")
    error_type = _string(item.get("error_type", UNKNOWN), f"{where}.error_type")
    error = _typed(item.get("error", 0), int, f"{where}.error")
    level, evidence = (_string(item.get(name, ""), f"{where}.{name}") for name in ("level", "evidence"))
    return Edit(start, end, old, _string(item["new"], f"{where}.new"), error_type, error, level, evidence)


def _span(value: Any, where: str, response: str) -> Span:
    item = _typed(value, dict, where)
    _complete(item, (("start", "end"),), f"{where}.")
    start, end = (_typed(item[bound], int, f"{where}.{bound}") for bound in ("start", "end"))
    text = _string(item.get("text", response[start:end]), f"{where}.text")
    weight = _weight(item.get("weight", 1.0), f"{where}.weight")
    return Span(start, end, _string(item.get("error_type", UNKNOWN), f"{where}.error_type"), text, weight)


def _row_weight(row: Row) -> float:
    """The weight of a pair, 1 where there is none. A CSV file has it as text."""
    value = row.get("weight")
    if value is None or value == "":
        return 1.0
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    return _weight(value, "weight")


def _weight(value: Any, where: str) -> float:
    weight = _typed(value, (int, float), where)
    if not 0 <= weight <= sys.float_info.max:
        raise BadRow("wrong-type", f"field '{where}' is {weight}, and a weight is finite and not negative.")
    return float(weight)


def _region(value: Any, where: str, good: str, bad: str) -> tuple[int, Span]:
    """One ``[start, end, flag]`` as its flag and a span of the response that the flag names."""
    numbers = [_typed(number, int, where) for number in _list(value, where)]
    if len(numbers) != 3 or numbers[2] not in (CORRECT, INCORRECT):
        raise BadRow(
            "wrong-type", f"field '{where}' is {numbers}; it should read [start, end, flag] with the flag 1 or -1."
        )
    start, end, flag = numbers
    return flag, Span(start, end, UNKNOWN, (good if flag == CORRECT else bad)[start:end])


def _flagged_pair(row: Row, id: str, answers: tuple[str, str], spans: Sequence[tuple[int, Span]]) -> PreferenceRecord:
    """The pair of a row with its spans, each of the answer that its flag names."""
    chosen, rejected = (tuple(span for side, span in spans if side == flag) for flag in (CORRECT, INCORRECT))
    return PreferenceRecord(id, _text(row, "prompt"), *answers, chosen, rejected, weight=_row_weight(row))


def _optional_list(row: Row, field: str) -> list[Any]:
    return [] if row.get(field) is None else _list(row[field], field)


def _list(value: Any, field: str) -> list[Any]:
    return _typed(value, list, field)
