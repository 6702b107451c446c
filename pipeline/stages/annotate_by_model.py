"""A model marks where one answer is worse than the other: regions quoted with context, spans on both sides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pipeline import spans
from pipeline.diffs import diff
from pipeline.llm.forms import Form, listed
from pipeline.quotes import Place, carried, locate
from pipeline.records import CorruptionRecord, PreferenceRecord, Reject
from pipeline.spans import UNKNOWN, Span

Pair = CorruptionRecord | PreferenceRecord


class Region(Form):
    """One place as the model writes it: what is wrong in the bad answer, and what is right in the good one."""

    bad_text: str = Field(description="The exact text of the bad answer; empty where something is only missing.")
    bad_context: str = Field(description="A longer passage that occurs once; empty where bad_text occurs once.")
    good_text: str = Field(description="The exact text of the good answer in its place; empty where there is none.")
    good_context: str = Field(description="A longer passage that occurs once; empty where good_text occurs once.")
    explanation: str = Field(description="What is wrong.")


@dataclass(frozen=True)
class AnnotateByModel:
    """Pairs with spans where the model sees errors; what spans they had is not looked at."""

    error_types: tuple[str, ...]
    prompt: str = "annotate"

    def reply_type(self) -> type[Form]:
        return listed("regions", Region, (*self.error_types, UNKNOWN))

    def facts(self, record: Pair) -> dict[str, Any]:
        chosen, rejected = answers(record)
        names = [*self.error_types, UNKNOWN]
        return {"prompt": record.prompt, "chosen": chosen, "rejected": rejected, "error_types": names}

    def problems(self, record: Pair, said: Any) -> list[str]:
        found = [] if said.regions else ["regions is empty although the answers differ"]
        return [*found, *placed(said.regions, *answers(record))[1]]

    def conclude(self, record: Pair, said: Any) -> PreferenceRecord | Reject:
        """The pair with a span on either side for each region that was found."""
        chosen, rejected = answers(record)
        regions, why = placed(said.regions, chosen, rejected)
        if not regions:
            return Reject(record.id, "no-region", "; ".join(why) or "the model marks nothing")
        told = [{"error_type": one.error_type, "explanation": one.explanation} for one, _, _ in regions]
        source = {"provenance": _provenance(record), "regions": told}
        return PreferenceRecord(
            id=record.id,
            prompt=record.prompt,
            chosen=chosen,
            rejected=rejected,
            chosen_spans=tuple(Span(*good, one.error_type, chosen[slice(*good)]) for one, good, _ in regions),
            rejected_spans=tuple(Span(*bad, one.error_type, rejected[slice(*bad)]) for one, _, bad in regions),
            provenance=json.dumps(source, ensure_ascii=False, sort_keys=True),
            weight=getattr(record, "weight", 1.0),
        )


def answers(record: Pair) -> tuple[str, str]:
    """The good answer and the bad one."""
    return (record.response if isinstance(record, CorruptionRecord) else record.chosen), record.rejected


def placed(regions: list[Any], chosen: str, rejected: str) -> tuple[list[tuple[Any, Place, Place]], list[str]]:
    """The regions with their places in the good and the bad answer, in order; and why others have none."""
    found: list[tuple[Any, Place, Place]] = []
    wrong: list[str] = []
    for number, region in enumerate(regions):
        places = _sides(region, chosen, rejected)
        if isinstance(places, str):
            wrong.append(f"regions.{number}: {places}")
        elif places not in [known[1:] for known in found]:
            found.append((region, *places))
    return sorted(found, key=lambda item: item[2]), wrong


def _sides(region: Any, chosen: str, rejected: str) -> tuple[Place, Place] | str:
    """Where a region is in both answers. A side without text gets an anchor where the other side's place leads."""
    if not region.bad_text and not region.good_text:
        return "bad_text and good_text are both empty"
    bad = locate(region.bad_text, region.bad_context, rejected) if region.bad_text else None
    good = locate(region.good_text, region.good_context, chosen) if region.good_text else None
    for name, place in (("bad_text", bad), ("good_text", good)):
        if isinstance(place, str):
            return f"{name}: {place}"
    forward = diff(chosen, rejected)
    if good is None:
        assert isinstance(bad, tuple)
        good = _anchor(carried(bad[0], spans.inverse(forward, chosen), rejected))
    if bad is None:
        assert isinstance(good, tuple)
        bad = _anchor(carried(good[0], forward, chosen))
    assert isinstance(good, tuple) and isinstance(bad, tuple)
    return good, bad


def _anchor(position: int) -> Place:
    return position, position


def _provenance(record: Pair) -> Any:
    """What is known of the pair's origin."""
    return record.provenance if isinstance(record, PreferenceRecord) else record.source
