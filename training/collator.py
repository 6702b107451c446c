"""Rows of preference pairs straight to a weighted batch, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.chat import Tokenizer
from pipeline.failures import UserError
from pipeline.records import PreferenceRecord, Reject
from pipeline.sources.formats import FORMATS, BadRow, recognise, record_id
from pipeline.stages.annotate import annotate, marked
from pipeline.store import content_key
from training.batches import Batch, collate_pairs
from training.families import Family
from training.policies import Mask, mask_of
from training.tokens import PairExample, pair_example
from training.truncation import TooLong

Pair = PreferenceRecord | Mapping[str, Any]


class WeightedRows(NamedTuple):
    """B pairs as 2B rows for any causal model: chosen answers, then rejected ones, padded on the right.

    Attributes:
        input_ids: int64 [2B, T].
        attention_mask: int64 [2B, T], 1 on tokens, 0 on padding. Padding and EOS may share an id: trust this, not ids.
        weights: fp32 [2B, T], aligned with `input_ids` as they stand, 0 on prompts and padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    weights: Tensor


def preference_record(row: Pair) -> PreferenceRecord:
    """A row of any pair format as a record: TRL's ``{prompt, chosen, rejected}`` with or without spans, the seeds' too.

    A row without an id gets one from its content, so that what is drawn for it does not depend on where it stands.
    """
    if isinstance(row, PreferenceRecord):
        return row
    plain = dict(row)
    known = recognise(plain)
    if known in (None, "qa"):
        fields = ", ".join(map(repr, sorted(plain)))
        hint = "Rows have prompt, chosen and rejected, and chosen_spans and rejected_spans where they are known."
        raise UserError("data", f"this is no preference pair: its fields are {fields}.", "row", hint)
    try:
        found = FORMATS[str(known)].convert(plain, record_id(plain, f"row-{content_key(plain)}"))
    except BadRow as error:
        raise UserError("data", error.detail, "row") from None
    return found if isinstance(found, PreferenceRecord) else annotate(found)  # type: ignore[arg-type]


@dataclass(frozen=True)
class PairCollator:
    """A ``collate_fn``: B rows of pairs to token ids and the weight of each token under a mask.

    Called, it gives `WeightedRows`, for a training step that makes logits of every token. Its method `batch` gives what
    a `training.scoring.Scorer` takes, which is several times as fast and needs a fraction of the memory.

    Attributes:
        tokenizer: a fast Hugging Face tokenizer.
        mask: which tokens carry weight: a name, or a policy for each side such as ``{"chosen": "none", "rejected":
            {"tokens": "spans", "scale": 2.0}}``; see `training.tokens.token_weights`.
        max_length: tokens of prompt and answer.
        diff: whether pairs that come without spans are compared and marked where they differ.
        seed: of the `random` mask.
        too_long: what becomes of a longer row: an error (``reject``: filter such rows out before), ``cut``, or a `Cut`.
        family: what the model allows, from `training.families.probe`: then batches are laid out so. Without it every
            answer has a row of its own, padded to the longest.
    """

    tokenizer: Tokenizer
    mask: Mask | Mapping[str, Any] = "granular"
    max_length: int = 512
    diff: bool = False
    seed: int = 0
    too_long: TooLong = "reject"
    family: Family | None = None

    def __call__(self, rows: Sequence[Pair]) -> WeightedRows:
        """The rows, whole: ``input_ids``, ``attention_mask`` and ``weights``, [2B, T] each."""
        pairs = self.pairs(rows)
        examples = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
        longest = max(len(example.input_ids) for example in examples)

        def padded(values: Sequence[float], value: float) -> list[float]:
            return [*values, *[value] * (longest - len(values))]

        return WeightedRows(
            torch.tensor([padded(example.input_ids, _pad_id(self.tokenizer)) for example in examples]),
            torch.tensor([padded([1] * len(example.input_ids), 0) for example in examples]),
            torch.tensor([padded(example.weights, 0.0) for example in examples], dtype=torch.float32),
        )

    def batch(self, rows: Sequence[Pair]) -> Batch:
        """The rows as a `training.batches.Batch` of 2B answers, with all that the model's family allows."""
        share, pack = (self.family.shared, self.family.packed) if self.family else (False, False)
        return collate_pairs(self.pairs(rows), _pad_id(self.tokenizer), share=share, pack=pack)

    def pairs(self, rows: Sequence[Pair]) -> list[PairExample]:
        """The rows as tokens and weights."""
        records = [preference_record(row) for row in rows]
        pairs = [marked(record) if self.diff else record for record in records]
        mask = mask_of(self.mask)
        examples = [
            pair_example(self.tokenizer, pair, mask, self.max_length, self.seed, too_long=self.too_long)
            for pair in pairs
        ]
        for example in examples:
            if isinstance(example, Reject):
                raise UserError(
                    "data",
                    f"the row cannot be trained on: {example.reason} ({example.detail}).",
                    f"row {example.id}",
                    "Leave it out, raise max_length, cut it with too_long='cut', or mark spans with diff=True.",
                )
        return [example for example in examples if not isinstance(example, Reject)]


def _pad_id(tokenizer: Any) -> int:
    """Any id does: the attention mask says what is padding."""
    return int(tokenizer.pad_token_id or 0)
