"""A model reviews answers and mends those that are wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from pipeline.errors.answers import code_of
from pipeline.errors.base import Execute
from pipeline.llm.forms import Form
from pipeline.records import FunctionTest, QARecord, Reject
from pipeline.sandbox.run import execute, passed


class Review(Form):
    """What the model says. Both fields are empty where the answer is right."""

    correction_details: str = Field(description="What is wrong and how it is mended; empty when nothing is.")
    correct_response: str = Field(description="The whole mended answer; empty when nothing is wrong.")


@dataclass(frozen=True)
class RectifyStage:
    """Good answers stay, others become what the model makes of them, if that holds up."""

    execute: Execute = execute
    prompt: str = "rectify"

    def reply_type(self) -> type[Review]:
        return Review

    def facts(self, record: QARecord) -> dict[str, Any]:
        return {"prompt": record.prompt, "response": record.response}

    def problems(self, record: QARecord, said: Review) -> list[str]:
        if said.correction_details.strip() and not said.correct_response.strip():
            return ["correct_response is empty although correction_details says that something is wrong"]
        if not _mends(record, said):
            return []
        broken = code_of(record.response) is not None and code_of(said.correct_response) is None
        return ["correct_response holds no Python code that parses"] if broken else []

    def conclude(self, record: QARecord, said: Review) -> QARecord | Reject:
        """Tests decide where there are any: a mended answer that fails them is not taken over one that passes."""
        if not _mends(record, said):
            return record
        if problems := self.problems(record, said):
            return Reject(record.id, "correction-broken", problems[0])
        if not record.tests or self._passes(said.correct_response, record.tests):
            return replace(record, response=said.correct_response)
        if self._passes(record.response, record.tests):
            return record
        return Reject(record.id, "correction-fails", f"the mended answer fails its tests: {said.correction_details}")

    def _passes(self, response: str, tests: tuple[FunctionTest, ...]) -> bool:
        code = code_of(response)
        return code is not None and passed(self.execute(code.text, tests), tests)


def _mends(record: QARecord, said: Review) -> bool:
    return bool(said.correct_response.strip()) and said.correct_response.strip() != record.response.strip()
