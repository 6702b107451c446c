"""Labels and control tokens as stages: pure functions of the records of one shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.attributes.base import Classifier, Item
from pipeline.attributes.records import AttributeLabel, ControlledRecord, LabelledRecord
from pipeline.records import CorruptionRecord, GenerationRecord, QARecord, Reject, kept_and_rejected
from pipeline.store import content_key

WithText = QARecord | CorruptionRecord | GenerationRecord
"""The records whose texts can be labelled."""

UNLABELLED = "unlabelled"


def token_of(label: str) -> str:
    """The control token of a label."""
    return f"<|{label}|>"


def texts_of(record: WithText) -> list[LabelledRecord]:
    """The texts of a record, without labels yet: one, or of a corruption the good answer (sample 0) and the bad one."""
    if isinstance(record, GenerationRecord):
        return [LabelledRecord(record.id, record.sample, record.prompt, record.response, record.source)]
    texts = [record.response, record.rejected] if isinstance(record, CorruptionRecord) else [record.response]
    return [LabelledRecord(record.id, n, record.prompt, text, record.source) for n, text in enumerate(texts)]


def item_of(record: WithText, text: str) -> Item:
    """What a classifier may know of a text. The good answer is the reference of itself, too."""
    good = record.reference if isinstance(record, GenerationRecord) else record.response
    return Item(text, record.prompt, good, record.source, record.tests)


@dataclass(frozen=True)
class LabelStage:
    """Asks every classifier, by the name of its attribute, about every text.

    Nothing is rejected: a text that a classifier cannot tell anything of has no label there.
    """

    classifiers: tuple[tuple[str, Classifier], ...]

    def __call__(self, records: Sequence[WithText]) -> tuple[list[LabelledRecord], list[Reject]]:
        found = [(record, text) for record in records for text in texts_of(record)]
        items = [item_of(record, text.response) for record, text in found]
        columns = [(name, classify(items)) for name, classify in self.classifiers]
        labels = [
            tuple(AttributeLabel(name, said[n].name, said[n].score, said[n].explanation) for name, said in columns)
            for n in range(len(items))
        ]
        texts = [text for _, text in found]
        return [
            LabelledRecord(one.id, one.sample, one.prompt, one.response, one.source, known)
            for one, known in zip(texts, labels, strict=True)
        ], []


@dataclass(frozen=True)
class ConditionStage:
    """Puts the tokens of some attributes before each text, in the order of `attributes`.

    For a share `omit` of the texts they are left out, by one draw from the seed and the text's id: so the texts that
    lose them are the same whatever the attributes, and those of a lower share are among those of a higher one. A text
    that lacks the label of any attribute is rejected, asked for or not: so all variants train on the same texts.
    """

    attributes: tuple[str, ...]
    omit: float
    seed: int

    def __call__(self, records: Sequence[LabelledRecord]) -> tuple[list[ControlledRecord], list[Reject]]:
        return kept_and_rejected(self._conditioned(record) for record in records)

    def _conditioned(self, record: LabelledRecord) -> ControlledRecord | Reject:
        id = record.id if record.sample == 0 else f"{record.id}#{record.sample}"
        labels = {label.attribute: label for label in record.labels}
        for label in record.labels:
            if label.name is None:
                return Reject(id, UNLABELLED, f"{label.attribute}: {label.explanation}")
        tokens = tuple(token_of(str(labels[name].name)) for name in self.attributes)
        left_out = draw(self.seed, id) < self.omit
        return ControlledRecord(id, record.prompt, record.response, record.source, () if left_out else tokens)


def draw(seed: int, id: str) -> float:
    """A number in [0, 1) that the seed and the id decide."""
    return int(content_key(["control", seed, id])[:13], 16) / 16.0**13
