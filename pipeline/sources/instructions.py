"""Instructions to be answered, from data sets that were made for other ends: LIMA, chats, Alpaca, MT-bench.

Each is a row of its own shape in, a row with `prompt` (and `response`, where it has a good answer) out.
"""

from __future__ import annotations

from typing import Any

from pipeline.records import Row
from pipeline.sources import dialogues
from pipeline.sources.values import BadRow, string, text, typed

TURNS = "turns"
MT_BENCH = (("question_id", TURNS),)
DIALOGUES = ("messages", "conversations")


def as_prompt(row: Row) -> Row:
    """The row with the instruction as `prompt`; one of another shape as it is."""
    if TURNS in row:
        return from_mt_bench(row)
    if any(field in row for field in DIALOGUES):
        return _asked(row)
    if "instruction" in row and "prompt" not in row:
        return dialogues.from_alpaca({"output": "-", **row}) | {"response": row.get("output")}
    return row


def from_mt_bench(row: Row) -> Row:
    """MT-bench's ``{question_id, category, turns, reference?}`` (Zheng et al. 2023): its first turn is the prompt.

    What is asked in the second turn is about an answer that is not there.
    """
    turns = typed(row[TURNS], list, TURNS)
    if not turns:
        raise BadRow("empty", "field 'turns' is empty.")
    references = row.get("reference") or []
    good = string(references[0], "reference[0]") if isinstance(references, list) and references else ""
    return {**_kept(row), "prompt": text({TURNS: turns[0]}, TURNS), "response": good or None}


def _asked(row: Row) -> Row:
    """A dialogue up to its last question: an answer behind it is the good answer, where there is one."""
    field = next(name for name in DIALOGUES if name in row)
    turns = typed(row[field], list, field)
    try:
        return dialogues.from_chat(row)
    except BadRow:
        # LIMA's test rows, and others' prompts, end with the question.
        return {**dialogues.from_chat({**row, field: [*turns, _nothing(turns)]}), "response": None}


def _nothing(turns: list[Any]) -> Any:
    """An answer in the form of the turns before it."""
    if turns and isinstance(turns[0], dict):
        role, content = ("role", "content") if "role" in turns[0] else ("from", "value")
        return {role: "assistant", content: "-"}
    return "-"


def _kept(row: Row) -> Row:
    known = {field: row[field] for field in dialogues.KEPT if field in row}
    return {"source": row.get("category") or "", **known}
