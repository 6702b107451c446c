"""What a model was asked about a row and what it said, as it stands under `replies/` of an artifact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import pyarrow as pa
from pydantic import BaseModel

from pipeline.llm.erring import Hidden
from pipeline.records import Reject, Row, kept_and_rejected


class ModelStage(Protocol):
    """A stage whose work a model does: what it is asked about a record, and what becomes of what it says.

    `problems` and `conclude` look at the same reply: the first while it can still be mended, the second in the end.
    """

    @property
    def prompt(self) -> str:
        """The name of the prompt's file."""
        ...

    def reply_type(self) -> type[BaseModel]:
        """The form of the reply."""
        ...

    def facts(self, record: Any) -> dict[str, Any] | Reject:
        """What the prompt is filled with; a reject where there is nothing to ask."""
        ...

    def problems(self, record: Any, said: Any) -> list[str]:
        """What is wrong with a reply that has the right form, in words for the model."""
        ...

    def conclude(self, record: Any, said: Any) -> Any:
        """The row that follows from the reply, or a reject."""
        ...


@runtime_checkable
class Knowing(Protocol):
    """A stage that knows what a faultless judge would reply, as the back end `erring` needs it."""

    def hidden(self, record: Any) -> Hidden:
        """The right reply and a mistaken one; without a right one where nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class AskedRecord:
    """A row as JSON, and the reply as JSON; where there is none, a reason."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("row", pa.string()),
            ("reply", pa.string()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("attempts", pa.int64()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
        ]
    )

    id: str
    row: str
    reply: str = ""
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def to_row(self) -> Row:
        return asdict(self)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(**row)


@dataclass(frozen=True)
class Conclude:
    """The second half of a model's stage: from what was said to rows and rejects. It asks nobody."""

    stage: ModelStage
    record: Any

    def __call__(self, asked: Sequence[AskedRecord]) -> tuple[list[Any], list[Reject]]:
        model = self.stage.reply_type()
        return kept_and_rejected(self._one(one, model) for one in asked)

    def _one(self, asked: AskedRecord, model: type[BaseModel]) -> Any:
        if asked.reason:
            return Reject(asked.id, asked.reason, asked.detail)
        record = self.record.from_row(json.loads(asked.row))
        return self.stage.conclude(record, model.model_validate_json(asked.reply))
