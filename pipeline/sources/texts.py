"""Plain texts: rows with a `text` and no question, as the Pile's."""

from __future__ import annotations

from typing import Any

from pipeline.records import QARecord, Row
from pipeline.sources.values import string, text

TEXT = (("text",),)
PILE = "pile_set_name"
"""Gao et al. 2020 (arXiv 2101.00027): `meta.pile_set_name` says which part of the Pile a text is from."""


def from_text(row: Row, id: str) -> QARecord:
    """``{text, meta: {pile_set_name}?}`` as a text without a prompt; `select` chooses by the name of its part."""
    return QARecord(id, "", text(row, "text"), _source(row))


def _source(row: Row) -> str:
    meta: Any = row.get("meta")
    found = meta.get(PILE) if isinstance(meta, dict) else None
    found = row.get("source") if found is None else found
    return "" if found is None else string(found, "source")
