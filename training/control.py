"""Control tokens that a model does not know yet: added to its tokenizer, and rows of its embeddings for them.

A new row starts as the mean of the rows there were (Hewitt 2021, "Initializing New Word Embeddings for Pretrained
Language Models"): so the new tokens change no prediction much before they are trained, and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from pipeline.attributes.records import ControlledRecord
from pipeline.contract import Source
from pipeline.shards import read_records, shard_paths


def tokens_of(source: Source, limit: int | None) -> list[str]:
    """The control tokens of the rows that a run trains on, sorted; rows of other kinds have none."""
    paths = shard_paths(source.data)
    if not paths or pq.read_schema(paths[0]).names != ControlledRecord.SCHEMA.names:
        return []
    rows = read_records(source.data, ControlledRecord, limit)
    return sorted({token for row in rows for token in row.control})


def extend_tokenizer(tokenizer: Any, tokens: Sequence[str]) -> list[str]:
    """Give the tokenizer those tokens that it lacks, each as one special id after all it has, and say which."""
    from tokenizers import AddedToken

    known = tokenizer.get_added_vocab()
    new = [token for token in tokens if token not in known]
    if new:
        added = [AddedToken(token, special=True, normalized=False) for token in new]
        tokenizer.add_tokens(added, special_tokens=True)
    return new


def build_extended(start: str, tokens: Sequence[str], draft: Path) -> None:
    """Write the model of `start` with these tokens to the directory `draft`, its tokenizer beside it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(start, dtype="auto", trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(start, trust_remote_code=False)
    known = len(tokenizer)
    extend_tokenizer(tokenizer, tokens)
    resize(model, known, len(tokenizer))
    model.save_pretrained(draft)
    tokenizer.save_pretrained(draft)


def resize(model: Any, known: int, wanted: int) -> None:
    """Give a model rows for `wanted` tokens, those from `known` on the mean of the rows before.

    Models may have more rows than tokens, to fill up a round number: then there is room, and these rows are taken.
    """
    if wanted > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(wanted, mean_resizing=False)
    tied = model.get_output_embeddings() is None or (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    )
    with torch.no_grad():
        for layer in [model.get_input_embeddings()] + ([] if tied else [model.get_output_embeddings()]):
            layer.weight[known:wanted] = layer.weight[:known].float().mean(0).to(layer.weight.dtype)
            if getattr(layer, "bias", None) is not None:
                layer.bias[known:wanted] = layer.bias[:known].float().mean().to(layer.bias.dtype)
