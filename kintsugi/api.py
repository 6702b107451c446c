"""The library: records, spans, token weights and losses under one name, for training loops and tools of one's own.

    from kintsugi.api import LiveReference, PairCollator, Scorer, preference_loss, probe, sides

Everything here is pure: no Ray, no DeepSpeed, no vLLM, no store. `docs/api.md` has a page on it and
`examples/trl_pairs.py` a whole training step. Arguments, shapes and equations stand in the docstrings.
"""

from __future__ import annotations

from pipeline.diffs import diff
from pipeline.failures import UserError
from pipeline.records import CorruptionRecord, FunctionTest, PreferenceRecord, QARecord, Reject
from pipeline.sources.exports import to_corruption, to_masked_region, to_own, to_trl
from pipeline.sources.files import read as read_rows
from pipeline.sources.formats import to_granular, to_response_level
from pipeline.span_meter import characters, compared, joined, tokens_of
from pipeline.spans import Edit, Span, apply, edit_at, inverse, spans_of
from pipeline.stages.annotate import annotate, marked
from training.batches import Batch, collate, collate_pairs, on, sample_order
from training.collator import PairCollator, WeightedRows, preference_record
from training.families import Family, probe
from training.logps import Positions, position_kl, select, shift, token_logps, weighted_sums
from training.losses import (
    PreferenceLoss,
    Side,
    cdpo,
    dpo,
    ipo,
    metrics,
    preference_loss,
    rdpo,
    sft,
    sides,
    simpo,
    tdpo1,
    tdpo2,
)
from training.objectives import Objective, needs
from training.policies import Mask, PairPolicies, TokenPolicy
from training.scoring import LiveReference, Scorer, Scores
from training.tokens import (
    Example,
    PairExample,
    encode_response,
    pair_example,
    sft_example,
    span_weights,
    token_weights,
)
from training.truncation import Cut

__all__ = [
    "Batch",
    "CorruptionRecord",
    "Cut",
    "Edit",
    "Example",
    "Family",
    "FunctionTest",
    "LiveReference",
    "Mask",
    "Objective",
    "PairCollator",
    "PairExample",
    "PairPolicies",
    "Positions",
    "PreferenceLoss",
    "PreferenceRecord",
    "QARecord",
    "Reject",
    "Scorer",
    "Scores",
    "Side",
    "Span",
    "TokenPolicy",
    "UserError",
    "WeightedRows",
    "annotate",
    "apply",
    "cdpo",
    "characters",
    "collate",
    "collate_pairs",
    "compared",
    "diff",
    "dpo",
    "edit_at",
    "encode_response",
    "inverse",
    "ipo",
    "joined",
    "marked",
    "metrics",
    "needs",
    "on",
    "pair_example",
    "position_kl",
    "preference_loss",
    "preference_record",
    "probe",
    "rdpo",
    "read_rows",
    "sample_order",
    "select",
    "sft",
    "sft_example",
    "shift",
    "sides",
    "simpo",
    "span_weights",
    "spans_of",
    "tdpo1",
    "tdpo2",
    "to_corruption",
    "to_granular",
    "to_masked_region",
    "to_own",
    "to_response_level",
    "to_trl",
    "token_logps",
    "token_weights",
    "tokens_of",
    "weighted_sums",
]
