"""What a model was trained on, from the audit in its manifest, as the tables of `kintsugi inspect`."""

from __future__ import annotations

from typing import Any

from kintsugi.inspection import Sheet, percent
from pipeline.failures import UserError
from pipeline.store import Manifest

SIDES = {
    "answers": "answers",
    "without_weight": "without weight",
    "spans": "spans",
    "tokens": "tokens",
    "weighted_tokens": "weighted",
    "partial_tokens": "partly covered",
    "weight": "sum of weights",
}
"""The figures of a side, with their heads."""


def audit_sheets(manifest: Manifest, name: str) -> list[Sheet]:
    """The tables of a model's audit. Raises a data error where a model has none."""
    audit = manifest.facts.get("audit")
    if audit is None:
        what = "this model was not trained here, or by an older version: its manifest has no audit."
        raise UserError("data", what, name, "Train it again, or name rows.")
    return [_fates(audit), _sides(audit["sides"])]


def _fates(audit: dict[str, Any]) -> Sheet:
    """Rows and spans from what was read to what was trained on."""
    rows, spans, cut = audit["rows"], audit["spans"], audit["truncation"]
    lines = [
        ("rows read", rows["read"], rows["read"]),
        *((f"rows left out: {reason}", count, rows["read"]) for reason, count in rows["left_out"].items()),
        ("rows trained on", rows["trained_on"], rows["read"]),
        ("rows cut to max_length", cut["rows"], rows["read"]),
        ("spans read", spans["read"], spans["read"]),
        ("spans in rows left out", spans["in_rows_left_out"], spans["read"]),
        ("spans cut off", spans["cut_off"], spans["read"]),
        ("spans cut in part", cut["spans_cut_in_part"], spans["read"]),
        ("spans with tokens", spans["with_tokens"], spans["read"]),
    ]
    table = tuple((what, f"{count:,}", percent(count, whole)) for what, count, whole in lines)
    return Sheet("What became of rows and spans", "", ("", "number", "share"), table)


def _sides(sides: dict[str, dict[str, Any]]) -> Sheet:
    rows = tuple(
        (side, *(f"{counts[name]:,.10g}" for name in SIDES), f"{counts['mean_share']:.1%}")
        for side, counts in sides.items()
    )
    meaning = (
        "Of the answers trained on, EOS among their tokens. The share of weighted tokens is the mean over answers."
    )
    return Sheet("What carries weight", meaning, ("side", *SIDES.values(), "weighted share"), rows)
