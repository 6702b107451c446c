"""Data sets that name or pack their texts in ways of their own, as rows of the formats that are read here.

Each function is pure: a row in, a row with `prompt` and `response` (or `prompt`, `chosen`, `rejected`) out. What a row
says besides (id, source, tests) is kept.
"""

from __future__ import annotations

from typing import Any

from pipeline.records import Row
from pipeline.sources.values import BadRow, string, text, typed

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
"""The turn marks of Anthropic's helpful-harmless data (Bai et al. 2022), each before its turn."""
LEAST_RATIO = 2.0
"""SHP pairs are used from this ratio of votes on (Ethayarajh et al. 2022 advise 2 or more; so does seed B)."""
ROLES = {"user": HUMAN, "human": HUMAN, "assistant": ASSISTANT, "gpt": ASSISTANT, "model": ASSISTANT}
SYSTEM = "system"
KEPT = ("id", "source", "tests")


def from_alpaca(row: Row) -> Row:
    """``{instruction, input?, output}`` (Taori et al. 2023). An input stands below its instruction."""
    instruction, extra = text(row, "instruction"), row.get("input")
    extra = "" if extra is None else string(extra, "input")
    prompt = f"{instruction}\n\n{extra}" if extra.strip() else instruction
    return {**_kept(row), "prompt": prompt, "response": text(row, "output")}


def from_chat(row: Row) -> Row:
    """``messages: [{role, content}]``, ShareGPT's ``conversations: [{from, value}]``, or LIMA's, which are texts alone.

    The last answer is the response. A single question is the prompt as it stands; what was said before is kept with
    marks of who spoke, and what follows the last answer is left off.
    """
    field = "messages" if "messages" in row else "conversations"
    turns = [_turn(item, f"{field}[{i}]", i) for i, item in enumerate(typed(row[field], list, field))]
    last = max((i for i, (mark, _) in enumerate(turns) if mark == ASSISTANT), default=0)
    before = turns[:last]
    if not any(mark == HUMAN for mark, _ in before):
        raise BadRow("no-dialogue", f"field '{field}' has no question that is followed by an answer.")
    return {**_kept(row), "prompt": _flat(before), "response": turns[last][1]}


def _turn(value: Any, where: str, place: int) -> tuple[str, str]:
    """Who spoke, and what was said. Texts alone are question and answer in turn (Zhou et al. 2023)."""
    if isinstance(value, str):
        return (ASSISTANT if place % 2 else HUMAN), text({where: value}, where)
    item = typed(value, dict, where)
    role, content = ("role", "content") if "role" in item else ("from", "value")
    if not {role, content} <= item.keys():
        raise BadRow("missing-field", f"field '{where}' should have 'role' and 'content', or 'from' and 'value'.")
    name = string(item[role], f"{where}.{role}")
    if name != SYSTEM and name not in ROLES:
        raise BadRow("no-dialogue", f"field '{where}.{role}' is {name!r}; roles are system, {', '.join(ROLES)}.")
    return ROLES.get(name, ""), text(item, content, f"{where}.")


def _flat(turns: list[tuple[str, str]]) -> str:
    """One question as it stands, with what the system says above it; a longer talk with marks of who spoke."""
    if sum(bool(mark) for mark, _ in turns) == 1:
        return "\n\n".join(said.strip() for _, said in turns)
    return "".join(f"{mark} {said.strip()}" if mark else said.strip() for mark, said in turns).strip()


def from_hh(row: Row) -> Row:
    """Anthropic's ``{chosen, rejected}``, two dialogues that differ in their last answer (Bai et al. 2022)."""
    (before, chosen), (other, rejected) = (_parted(row, side) for side in ("chosen", "rejected"))
    if before != other:
        raise BadRow("other-prompt", "fields 'chosen' and 'rejected' differ before their last answers.")
    turns = [part for part in before.split(HUMAN) if part.strip()]
    single = len(turns) == 1 and ASSISTANT not in before
    prompt = turns[0] if single else before
    return {**_kept(row), "prompt": prompt.strip(), "chosen": chosen.strip(), "rejected": rejected.strip()}


def _parted(row: Row, side: str) -> tuple[str, str]:
    """A dialogue as all that stands before its last answer, and that answer."""
    dialogue = text(row, side)
    before, mark, answer = dialogue.rpartition(ASSISTANT)
    if not mark or HUMAN not in f"\n\n{before.lstrip()}":
        raise BadRow("no-dialogue", f"field '{side}' should read '\\n\\nHuman: ... \\n\\nAssistant: ...'.")
    return before, answer


def from_shp(row: Row) -> Row:
    """Stanford's ``{history, human_ref_A, human_ref_B, labels, score_ratio}``: label 1 prefers A, 0 prefers B."""
    ratio, label = number(row, "score_ratio"), number(row, "labels")
    if label not in (0, 1):
        raise BadRow("wrong-type", f"field 'labels' is {label:g}; it should be 1 (A is better) or 0 (B is better).")
    if not ratio >= LEAST_RATIO:
        raise BadRow("score-ratio", f"field 'score_ratio' is {ratio:g}; pairs are used from {LEAST_RATIO:g} on.")
    good, bad = ("human_ref_A", "human_ref_B") if label == 1 else ("human_ref_B", "human_ref_A")
    return {**_kept(row), "prompt": text(row, "history"), "chosen": text(row, good), "rejected": text(row, bad)}


def number(row: Row, field: str) -> float:
    """A number, which in a CSV file is text."""
    value = row[field]
    try:
        return float(value if isinstance(value, str) else typed(value, (int, float), field))
    except (ValueError, OverflowError) as error:
        if isinstance(error, BadRow):
            raise
        raise BadRow("wrong-type", f"field '{field}' should be a number but is {str(value)[:40]!r}.") from None


def _kept(row: Row) -> Row:
    return {field: row[field] for field in KEPT if field in row}
