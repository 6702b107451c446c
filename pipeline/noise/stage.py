"""What can be wrong with preference pairs, done to a share of them.

A row is noisy where one uniform draw of its own, u(seed, id), lies below the rate. So the rows that are noisy at one
rate are noisy at every higher one, in the same way, and levels differ in noise alone. Rows to which a kind of noise
cannot be done are left out at every rate, 0 included: then levels have the same rows, and the rate is what it says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from pipeline.errors.rewrites import rewrites
from pipeline.noise.nodes import CHARACTERS, How
from pipeline.noise.ring import Ring
from pipeline.records import PreferenceRecord, Reject, kept_and_rejected
from pipeline.spans import Span
from pipeline.stages.annotate import marked

NO_OTHER, NO_REWRITE, NO_SPANS, ONE_SPAN, NO_EFFECT = (
    "no-other-answer", "no-rewrite", "no-spans", "one-span", "no-effect"
)  # fmt: skip
Others = Ring[tuple[str, str]]
"""Prompt and rejected answer of every row."""


@dataclass(frozen=True)
class NoiseStage:
    """Pairs of a shard, a share of them wrong in one way."""

    how: How
    rate: float
    seed: int
    characters: int = CHARACTERS
    others: Others | None = None

    def __call__(self, records: Sequence[PreferenceRecord]) -> tuple[list[PreferenceRecord], list[Reject]]:
        return kept_and_rejected(self._made(record) for record in records)

    def _made(self, record: PreferenceRecord) -> PreferenceRecord | Reject:
        found = self.noisy(record)
        if isinstance(found, Reject):
            return found
        return found if drawn(self.seed, record.id, self.how) < self.rate else record

    def noisy(self, record: PreferenceRecord) -> PreferenceRecord | Reject:
        """The row with this noise, whether or not it is drawn; a reject where it cannot be done."""
        found = NOISES[self.how](record, self, Random(f"{self.seed}:{record.id}:{self.how}:detail"))
        if isinstance(found, Reject):
            return found
        if found == record:
            return Reject(record.id, NO_EFFECT, f"{self.how} leaves the row as it is")
        return replace(found, provenance=noted(record.provenance, self.how))


def drawn(seed: int, record_id: str, how: str) -> float:
    """The row's uniform draw in [0, 1): below the rate it is noisy."""
    return Random(f"{seed}:{record_id}:{how}").random()


def noted(provenance: str, how: str) -> str:
    """A row's provenance with what was done to it, so that it can be told from a clean one."""
    known = _parsed(provenance)
    return json.dumps({**known, "noise": [*known.get("noise", []), how]}, ensure_ascii=False, sort_keys=True)


def is_noisy(provenance: str) -> bool:
    """Whether a row was made noisy here."""
    return bool(_parsed(provenance).get("noise"))


def _parsed(provenance: str) -> dict[str, Any]:
    """A provenance as a mapping; what is none, as rows from outside may have, under a key of its own."""
    try:
        known = json.loads(provenance)
    except ValueError:
        known = None
    if isinstance(known, dict):
        return known
    return {"given": provenance} if provenance else {}


Result = PreferenceRecord | Reject


def flipped(record: PreferenceRecord, stage: NoiseStage, draw: Random) -> Result:
    """The wrong label: chosen and rejected change places, each with its spans."""
    return replace(
        record,
        chosen=record.rejected,
        rejected=record.chosen,
        chosen_spans=record.rejected_spans,
        rejected_spans=record.chosen_spans,
    )


def randomly_rejected(record: PreferenceRecord, stage: NoiseStage, draw: Random) -> Result:
    """The rejected answer of another prompt. Taken together, rejected texts stay what they are: only pairing is lost.

    Its spans are where it differs from the chosen answer, as `annotate` marks pairs that have none.
    """
    assert stage.others is not None, "random-rejected needs the other rows"
    known = (record.chosen, record.rejected)
    for prompt, rejected in stage.others.after(record.id):
        if prompt != record.prompt and rejected not in known:
            return _against(record, rejected)
    return Reject(record.id, NO_OTHER, "no row with another prompt has another rejected answer")


def weakened(record: PreferenceRecord, stage: NoiseStage, draw: Random) -> Result:
    """A rejected answer that is no worse: the chosen one, rewritten so that its meaning stays."""
    found = [text for _, text in sorted(rewrites(record.chosen).items()) if text != record.rejected]
    if not found:
        return Reject(record.id, NO_REWRITE, "nothing in the chosen answer can be rewritten safely")
    return _against(record, draw.choice(found))


def _against(record: PreferenceRecord, rejected: str) -> PreferenceRecord:
    return marked(replace(record, rejected=rejected, chosen_spans=(), rejected_spans=()))


def shifted(record: PreferenceRecord, stage: NoiseStage, draw: Random) -> Result:
    """Every span lies so many characters to the left or right of where it should, as far as its answer reaches."""
    return _spans(
        record,
        lambda span, text: _moved(span, text, _way(span, len(text), stage.characters, draw.random() < 0.5)),
    )


def _way(span: Span, length: int, by: int, to_the_right: bool) -> int:
    """How far a span moves: the whole way where there is room on either side, preferably on the drawn one."""
    left, right = min(by, span.start), min(by, length - span.end)
    if left == right:
        return right if to_the_right else -left
    if min(left, right) < by:
        return right if right > left else -left
    return right if to_the_right else -left


def _moved(span: Span, text: str, by: int) -> Span:
    return _at(span, text, span.start + by, span.end + by)


def widened(record: PreferenceRecord, stage: NoiseStage, draw: Random) -> Result:
    """Every span has so many more characters on both sides, as far as its answer reaches."""
    by = stage.characters
    return _spans(record, lambda span, text: _at(span, text, max(0, span.start - by), min(len(text), span.end + by)))


def _spans(record: PreferenceRecord, change: Callable[[Span, str], Span]) -> Result:
    if not (record.chosen_spans or record.rejected_spans):
        return Reject(record.id, NO_SPANS, "the row has no spans")
    return replace(
        record,
        chosen_spans=tuple(change(span, record.chosen) for span in record.chosen_spans),
        rejected_spans=tuple(change(span, record.rejected) for span in record.rejected_spans),
    )


def dropped(record: PreferenceRecord, stage: NoiseStage, draw: Random) -> Result:
    """One span, of either side, is missing. The last one never is: a pair without any would train nothing."""
    count = len(record.chosen_spans) + len(record.rejected_spans)
    if count < 2:
        return Reject(record.id, ONE_SPAN if count else NO_SPANS, f"the row has {count} spans")
    lost = draw.randrange(count)
    kept = [span for place, span in enumerate((*record.chosen_spans, *record.rejected_spans)) if place != lost]
    border = len(record.chosen_spans) - (lost < len(record.chosen_spans))
    return replace(record, chosen_spans=tuple(kept[:border]), rejected_spans=tuple(kept[border:]))


def on_the_wrong_side(record: PreferenceRecord, stage: NoiseStage, draw: Random) -> Result:
    """The flag that names the side is wrong: each side's spans are read as positions in the other answer."""
    if not (record.chosen_spans or record.rejected_spans):
        return Reject(record.id, NO_SPANS, "the row has no spans")
    return replace(
        record,
        chosen_spans=tuple(_within(span, record.chosen) for span in record.rejected_spans),
        rejected_spans=tuple(_within(span, record.rejected) for span in record.chosen_spans),
    )


def _within(span: Span, text: str) -> Span:
    return _at(span, text, min(span.start, len(text)), min(span.end, len(text)))


def _at(span: Span, text: str, start: int, end: int) -> Span:
    return replace(span, start=start, end=end, text=text[start:end])


NOISES: dict[How, Callable[[PreferenceRecord, NoiseStage, Random], Result]] = {
    "flip": flipped,
    "random-rejected": randomly_rejected,
    "weaker": weakened,
    "spans-shift": shifted,
    "spans-widen": widened,
    "spans-drop": dropped,
    "spans-wrong-side": on_the_wrong_side,
}
