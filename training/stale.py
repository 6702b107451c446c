"""Pairs of answers that another model gave: refused before training, unless they are allowed.

On-policy preference learning (Yuan et al., arXiv:2401.10020; Guo et al., arXiv:2402.04792) samples anew from each
round's model. Pairs left from a round before describe a model that is not there any more.
"""

from __future__ import annotations

import json

import pyarrow.parquet as pq

from pipeline.contract import Work
from pipeline.failures import UserError
from pipeline.shards import shard_paths
from training.configs import PreferenceConfig

COLUMN = "provenance"


def sampled_from(provenance: str) -> str:
    """The content key of the model whose samples a pair is made of; empty where it was not sampled here.

    A model that marks spans in a pair keeps the pair's provenance within its own.
    """
    try:
        told = json.loads(provenance)
    except ValueError:
        return ""
    if not isinstance(told, dict):
        return ""
    model, earlier = told.get("model"), told.get("provenance")
    if isinstance(model, str):
        return model
    return sampled_from(earlier) if isinstance(earlier, str) else ""


def refuse_stale(work: Work) -> None:
    """Raise a data error where pairs of a preference node were sampled from another model than its `init`.

    Nodes of other kinds, which may be trained in the same group, learn from no pairs.
    """
    config = work.config
    if not isinstance(config, PreferenceConfig) or config.stale == "allow":
        return
    init = next((source.key for source in work.all_sources("init")), "")
    for path in shard_paths(work.source("data").data):
        if COLUMN not in pq.read_schema(path).names:
            return
        for provenance in pq.read_table(path, columns=[COLUMN])[COLUMN].to_pylist():
            model = sampled_from(provenance)
            if model and model != init:
                what = f"its pairs were sampled from another model ({model[:8]}) than it starts from."
                hint = "Sample answers of its `init`, or set `stale: allow`."
                raise UserError("data", what, f"node {work.name}", hint)
