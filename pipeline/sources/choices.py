"""Multiple choice: rows with several answers of which one is right."""

from __future__ import annotations

import re

from pipeline.records import ChoiceRecord, Row
from pipeline.sources.values import BadRow, string, text, typed

HELLASWAG = ("ctx", "endings", "label")
CHOICES = (("prompt", "choices", "answer"), ("question", "choices", "answer"))

_BRACKETS = re.compile(r"\[.*?\]")


def from_hellaswag(row: Row, id: str) -> ChoiceRecord:
    """Zellers et al. 2019: a context and four endings. ``label`` is a number, or one as text.

    As in EleutherAI's lm-evaluation-harness (`tasks/hellaswag/utils.py`) the activity stands before the context, its
    second sentence begins with a capital, and what WikiHow's markup left is mended.
    """
    label = row["label"]
    if isinstance(label, str):
        if not label.isdecimal():
            raise BadRow("no-label", f"field 'label' is {label!r}: the test split has no labels; take another one.")
        label = int(label)
    context = text(row, "ctx")
    if row.get("ctx_a") and row.get("ctx_b"):
        context = f"{text(row, 'ctx_a')} {text(row, 'ctx_b').capitalize()}"
    if activity := row.get("activity_label"):
        context = f"{string(activity, 'activity_label')}: {context}"
    endings = _texts(row, "endings")
    choices = tuple(_mended(ending) for ending in endings)
    source = string(row.get("source_id") or "", "source_id")
    return ChoiceRecord(id, _mended(context), choices, _place(label, "label", len(endings)), source)


def from_choices(row: Row, id: str) -> ChoiceRecord:
    """``{prompt or question, choices, answer}``: the answer's place, counted from 0, or its text."""
    prompt = next((fields[0] for fields in CHOICES if set(fields) <= row.keys()), None)
    if prompt is None:
        missing = next(field for field in ("choices", "answer", "prompt") if field not in row)
        raise BadRow("missing-field", f"field '{missing}' is missing.")
    choices = _texts(row, "choices")
    answer = row["answer"]
    if isinstance(answer, str):
        if choices.count(answer) != 1:
            raise BadRow("no-label", f"field 'answer' is {answer[:80]!r}, which is not one of the choices.")
        answer = choices.index(answer)
    source = string(row.get("source") or "", "source")
    return ChoiceRecord(id, text(row, prompt), tuple(choices), _place(answer, "answer", len(choices)), source)


def _texts(row: Row, field: str) -> list[str]:
    found = typed(row[field], list, field)
    if len(found) < 2:
        raise BadRow("empty", f"field '{field}' has {len(found)} entries; a choice is between two or more.")
    return [text({f"{field}[{n}]": value}, f"{field}[{n}]") for n, value in enumerate(found)]


def _place(value: object, field: str, count: int) -> int:
    place: int = typed(value, int, field)
    if not 0 <= place < count:
        raise BadRow("no-label", f"field '{field}' is {place}; there are {count} choices, counted from 0.")
    return place


def _mended(passage: str) -> str:
    return _BRACKETS.sub("", passage.strip().replace(" [title]", ". ")).replace("  ", " ").strip()
