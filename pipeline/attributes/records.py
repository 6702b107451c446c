"""Rows of control tokens: texts with their labels, and texts with the tokens that stand before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from pipeline.records import _Record

LABEL = pa.struct(
    [("attribute", pa.string()), ("name", pa.string()), ("score", pa.float64()), ("explanation", pa.string())]
)


@dataclass(frozen=True, slots=True)
class AttributeLabel:
    """What one attribute of a text is. `name` is None where the classifier could not tell, which is no label."""

    attribute: str
    name: str | None
    score: float | None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class LabelledRecord(_Record):
    """A text with a label for each attribute. `sample` tells several texts of one id apart, and counts from 0."""

    NESTED: ClassVar[dict[str, type]] = {"labels": AttributeLabel}
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("sample", pa.int64()),
            ("prompt", pa.string()),
            ("response", pa.string()),
            ("source", pa.string()),
            ("labels", pa.list_(LABEL)),
        ]
    )

    id: str
    sample: int
    prompt: str
    response: str
    source: str
    labels: tuple[AttributeLabel, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlledRecord(_Record):
    """A text behind its control tokens. `control` is empty where they are left out, and the text stands alone."""

    NESTED: ClassVar[dict[str, type]] = {}
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("prompt", pa.string()),
            ("response", pa.string()),
            ("source", pa.string()),
            ("control", pa.list_(pa.string())),
        ]
    )

    id: str
    prompt: str
    response: str
    source: str
    control: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "control", tuple(self.control))
