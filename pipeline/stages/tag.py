"""A model says which errors could be put into an answer, and how."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pipeline.llm.forms import Form, listed
from pipeline.records import QARecord, Tag, TaggedRecord


class Plan(Form):
    """One error type that fits, and what the model would do."""

    plan: str = Field(description="What to change, and to what.")


@dataclass(frozen=True)
class TagStage:
    """Every row stays; one to which no type fits has no tags."""

    error_types: tuple[str, ...]
    prompt: str = "tag"

    def reply_type(self) -> type[Form]:
        return listed("tags", Plan, self.error_types)

    def facts(self, record: QARecord) -> dict[str, Any]:
        return {"prompt": record.prompt, "response": record.response, "error_types": list(self.error_types)}

    def problems(self, record: QARecord, said: Any) -> list[str]:
        times = Counter(tag.error_type for tag in said.tags)
        twice = [f"tags: {name} is listed {count} times; list it once" for name, count in times.items() if count > 1]
        return [*twice, *(f"tags: {tag.error_type} has no plan" for tag in said.tags if not tag.plan.strip())]

    def conclude(self, record: QARecord, said: Any) -> TaggedRecord:
        """The first plan for each type counts."""
        plans: dict[str, str] = {}
        for tag in said.tags:
            plans.setdefault(tag.error_type, tag.plan.strip())
        tags = tuple(Tag(name, plan) for name, plan in plans.items())
        return TaggedRecord(record.id, record.prompt, record.response, record.source, record.tests, tags)
