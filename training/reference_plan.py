"""Whether the reference of a preference run is cached, in which form, and what the key of its cache is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ByteSize

from pipeline.contract import Source, Work
from pipeline.failures import UserError
from pipeline.model_files import directory_hash
from pipeline.store import content_key
from training import engine
from training.configs import PreferenceConfig
from training.fingerprints import TINY, init_fingerprint
from training.reference_cache import Form, Size, positions
from training.start import Start
from training.tokens import PairExample

TOKEN_FIELDS = {"max_length", "too_long"}
"""The keys of a config that decide the tokens of a pair."""


@dataclass(frozen=True)
class Choice:
    """The form in which a run's reference is cached, None where it is live, and why it is not what was hoped for."""

    form: Form | None
    note: str = ""


def choose(config: PreferenceConfig, kl: bool, pairs: Sequence[PairExample], size: Size, where: str) -> Choice:
    """How a run has its reference. It follows from config and data alone, so a rerun chooses the same.

    Raises a config error where a cached reference is asked for and would be larger than `cache_limit`.
    """
    if config.reference == "live":
        return Choice(None)
    # The short form wants logits of more precision than bf16: see there.
    short = config.lora is not None and config.dtype == "fp32"
    form: Form = ("short" if short else "hidden") if kl else "logps"
    tokens = positions(pairs, form)
    wanted = ByteSize(size.bytes_of(form, tokens))
    if wanted <= config.cache_limit:
        return Choice(form)
    much, limit = (value.human_readable(decimal=True) for value in (wanted, config.cache_limit))
    return refused(config, f"{tokens:,} tokens of its answers take {much}, more than cache_limit, {limit}", where)


def refused(config: PreferenceConfig, why: str, where: str) -> Choice:
    """A live reference instead of a cached one; a config error where a cached one was asked for by name."""
    if config.reference == "auto":
        return Choice(None, f"the reference is not cached but run at every step: {why}")
    hint = "Raise cache_limit, or leave `reference` at auto: then the reference is run at every step."
    raise UserError("config", f"the reference cannot be cached: {why}.", where, hint)


def identity(work: Work, rows: tuple[Source, int | None], start: Start, tokenizer: Any) -> dict[str, Any]:
    """What decides the tokens of pairs, and what a run's reference says of them: most of a cache's key.

    Args:
        work: the run.
        rows: the data that the pairs come from, and how many rows of it are taken.
        start: what the run starts from.
        tokenizer: the start's.
    """
    config: PreferenceConfig = work.config
    data, limit = rows
    return {
        "model": _model(work, start),
        "dtype": config.dtype,
        # In bf16 DeepSpeed's shards have their rotary embeddings in bf16 too, which makes another model of them.
        "sharded": config.zero == 3 and config.dtype == "bf16",
        "data": [data.key, data.split],
        "limit": limit,
        "tokenizer": tokenizer_hash(tokenizer),
        "tokens": config.model_dump(mode="json", include=TOKEN_FIELDS),
        "preference": work.version,
    }


def tokenizer_hash(tokenizer: Any) -> str:
    """What decides how a tokenizer cuts prompts and answers: itself, its special tokens, its chat template."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # These two are set anew by every call.
    whole = {name: value for name, value in backend.items() if name not in ("truncation", "padding")}
    return content_key([whole, tokenizer.chat_template, tokenizer.bos_token_id, tokenizer.eos_token_id])


def model_size(model: str, dtype: str) -> Size:
    """What decides the size of a cache, from the model's configuration alone."""
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config()
    return Size(settings.hidden_size, settings.vocab_size, engine.DTYPES[dtype].itemsize)


def _model(work: Work, start: Start) -> list[str]:
    """Which model a run starts from. An adapter over its base rounds otherwise than both of them merged."""
    whole = "adapter" if start.adapter is not None else "merged" if start.merged else "whole"
    if work.all_sources("init"):
        return [whole, work.source("init").key]
    if work.config.init == TINY:
        return [whole, directory_hash(Path(start.model))]
    return [whole, _fingerprint(work.config.init), _revision(start.model)]


_fingerprint = cache(init_fingerprint)
"""The arms of a group that start from one directory have its files hashed once."""


def _revision(model: str) -> str:
    """The commit of a Hugging Face model; empty for a directory."""
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(model, trust_remote_code=False)
    return getattr(settings, "_commit_hash", None) or ""
