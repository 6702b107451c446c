"""A judge whose error rate is known: it is told what is right, and says something else in a given share of cases.

No model is asked. A stage that knows what a faultless judge would reply puts it into the request, beside a mistaken
reply. Which of them is said follows from (seed, the question's id) alone, by holding one uniform draw against the
error rate: a judge that errs more often errs wherever one that errs less often does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.failures import UserError
from pipeline.llm.base import Failure, Reply, Request, Tally
from pipeline.llm.scripted import reply_to
from pipeline.store import content_key

NO_TRUTH = "no-truth"
"""The reason why there is no reply: nobody knows what would be right."""
JUDGING = ("rubric", "versus")
"""The prompts of stages that know what is right."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a faultless judge replies, and what one replies that is mistaken. Without `right`, `why` nobody knows."""

    id: str
    right: str = ""
    wrong: str = ""
    why: str = ""

    @classmethod
    def of(cls, record_id: str, right: BaseModel, wrong: BaseModel) -> Hidden:
        return cls(record_id, right.model_dump_json(), wrong.model_dump_json())

    def as_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


class Erring:
    """Says what is right, but for the share `error_rate`."""

    def __init__(self, error_rate: float, seed: int, tally: Tally | None = None) -> None:
        self.error_rate = error_rate
        self.seed = seed
        self.tally = tally or Tally()
        self.identity: Mapping[str, Any] = {"backend": "erring", "error_rate": error_rate, "seed": seed}

    async def generate(self, request: Request) -> Reply | Failure:
        if not request.hidden:
            what = "backend erring can only judge where it is known what is right."
            raise UserError("config", what, "by", "Use it for rubrics and versus.")
        hidden = Hidden(**json.loads(request.hidden))
        said = self._said(request, hidden)
        self.tally.sent(said)
        return said

    def _said(self, request: Request, hidden: Hidden) -> Reply | Failure:
        if not hidden.right:
            return Failure(NO_TRUTH, hidden.why)
        return reply_to(request, hidden.wrong if errs(self.seed, hidden.id, self.error_rate) else hidden.right)

    async def close(self) -> None:
        return None


def errs(seed: int, record_id: str, error_rate: float) -> bool:
    """Whether a judge of this error rate is mistaken about a question."""
    return int(content_key(["erring judge", seed, record_id])[:13], 16) / 16**13 < error_rate
