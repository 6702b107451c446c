"""A model breaks good answers: it proposes edits, and each is verified like those that programs make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from pydantic import Field

from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import Case, Execute
from pipeline.llm.forms import Form, listed
from pipeline.quotes import locate, trimmed
from pipeline.records import CorruptionRecord, QARecord, Reject, Tag, TaggedRecord
from pipeline.sandbox.run import execute
from pipeline.spans import Edit, edit_at
from pipeline.stages.embed import ONE, Number, corrupted, judged_on, remembered
from pipeline.stages.together import Embedded, alone, refused


class Proposed(Form):
    """One error as the model writes it: the text to replace, and the text that takes its place."""

    original_text: str = Field(description="The exact text to replace.")
    context: str = Field(description="A longer passage that occurs once; empty where original_text occurs once.")
    replacement: str = Field(description="The text that takes its place.")
    explanation: str = Field(description="What is wrong afterwards.")


@dataclass(frozen=True)
class EmbedByModel:
    """Asks for errors of types that are drawn from the seed and the id, where a row has tags from those.

    `execute` None: nothing is run.
    """

    error_types: tuple[str, ...]
    seed: int
    errors: Number = ONE
    execute: Execute | None = execute
    prompt: str = "embed"

    def reply_type(self) -> type[Form]:
        return listed("edits", Proposed, self.error_types)

    def facts(self, record: QARecord | TaggedRecord) -> dict[str, Any] | Reject:
        plans = self.plans(record)
        if not plans:
            return Reject(record.id, "no-tags", "no error type fits")
        return {"prompt": record.prompt, "response": record.response, "plans": plans}

    def plans(self, record: QARecord | TaggedRecord) -> list[Tag]:
        """The errors to ask for: as many as are drawn for it, the same ones every time."""
        draw = Random(f"{self.seed}:{record.id}")
        if isinstance(record, TaggedRecord):
            fitting = [tag for tag in record.tags if tag.error_type in self.error_types]
        else:
            fitting = [Tag(name) for name in self._applicable(record)]
        draw.shuffle(fitting)
        return fitting[: self.errors.drawn(self.seed, record.id)]

    def _applicable(self, record: QARecord) -> list[str]:
        """The types for which a program finds a place; all of them where it finds none."""
        found = [name for name in self.error_types if ERROR_TYPES[name].propose(record.response, record.prompt)]
        return found or list(self.error_types)

    def problems(self, record: QARecord | TaggedRecord, said: Any) -> list[str]:
        """Why edits cannot be made; the asked-for types are meant to come once each."""
        asked = {plan.error_type for plan in self.plans(record)}
        strange = [f"edits: {edit.error_type} was not asked for" for edit in said.edits if edit.error_type not in asked]
        return [*([] if said.edits else ["edits is empty"]), *strange, *resolved(said.edits, record.response)[1]]

    def conclude(self, record: QARecord | TaggedRecord, said: Any) -> CorruptionRecord | Reject:
        """The answer with those edits that can be made, show their error, and go together."""
        asked = {plan.error_type for plan in self.plans(record)}
        edits, why = resolved([edit for edit in said.edits if edit.error_type in asked], record.response)
        if not edits:
            return Reject(record.id, "no-usable-edit", "; ".join(why) or "none of the errors asked for")
        row = QARecord(record.id, record.prompt, record.response, record.source, record.tests)
        judged = judged_on(row, remembered(self.execute) if self.execute else None, self.seed)
        if isinstance(judged, Reject):
            return judged
        found, unseen = self._confirmed(edits, *judged)
        if len(found) >= self.errors.least:
            return corrupted(row, found, judged[0].tests)
        reason = "too-few-errors" if found else "nothing-confirmed"
        return Reject(record.id, reason, "; ".join([*why, *unseen]))

    def _confirmed(
        self, edits: Sequence[tuple[Edit, str]], case: Case, run: Execute | None
    ) -> tuple[list[Embedded], list[str]]:
        """The edits whose errors show, alone and beside each other, and why others are left out."""
        found: list[Embedded] = []
        unseen: list[str] = []
        for edit, explanation in edits:
            kind = ERROR_TYPES[edit.error_type]
            if self.execute and not run and kind.level == "executed":
                unseen.append(f"{kind.name}: the program cannot be run here")
                continue
            new = alone(kind, (edit,), case, run)
            why = new if isinstance(new, str) else refused(new, found, case, run)
            if isinstance(new, Embedded) and not why:
                found.append(_told(new, explanation))
            else:
                unseen.append(f"{kind.name}: {why}")
        return found, unseen


def _told(error: Embedded, explanation: str) -> Embedded:
    """The error with what the model says of it beside what was seen."""
    if not explanation:
        return error
    return replace(error, seen=replace(error.seen, reason=f"{error.seen.reason} (by the model: {explanation})"))


def resolved(proposed: Sequence[Any], response: str) -> tuple[list[tuple[Edit, str]], list[str]]:
    """The edits that can be made, with what their author says of each, in order; and why others cannot be."""
    edits: list[tuple[Edit, str]] = []
    wrong: list[str] = []
    for number, one in enumerate(proposed):
        edit = _edit(one, response)
        if isinstance(edit, Edit) and any(_touch(edit, other) for other, _ in edits):
            edit = "it touches another edit"
        if isinstance(edit, Edit):
            edits.append((edit, one.explanation.strip()))
        else:
            wrong.append(f"edits.{number} ({one.error_type}): {edit}")
    return sorted(edits, key=lambda item: item[0].start), wrong


def _edit(one: Any, response: str) -> Edit | str:
    place = locate(one.original_text, one.context, response)
    if isinstance(place, str):
        return f"original_text: {place}"
    edit = trimmed(edit_at(response, *place, one.replacement, one.error_type))
    return edit if edit.old != edit.new else "replacement is the original text: nothing changes"


def _touch(one: Edit, other: Edit) -> bool:
    """Whether two edits overlap or meet: what meets could not be told apart afterwards."""
    return one.start <= other.end and other.start <= one.end
