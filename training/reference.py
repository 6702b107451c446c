"""The reference of a preference run: the model that it starts from, computed once and kept, or run at every step."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ByteSize

from pipeline.contract import Work
from pipeline.failures import UserError
from pipeline.store import Manifest, Store, commit, content_key
from training.nodes import TINY, PreferenceConfig, init_fingerprint
from training.reference_cache import Form, Size, positions
from training.start import Start
from training.tokens import PairExample

@dataclass(frozen=True)
class Choice:
    """Whether a run's reference is cached, in which form, or live (None), and why it is not what was hoped for."""

    form: Form | None
    note: str = ""


def choose(config: PreferenceConfig, kl: bool, pairs: Sequence[PairExample], size: Size, where: str) -> Choice:
    """How a run has its reference. It follows from config and data alone, so a rerun chooses the same.

    Raises a config error where a cached reference is asked for and would be larger than `cache_limit`.
    """
    if config.reference == "live":
        return Choice(None)
    form: Form = ("hidden" if config.lora is None else "short") if kl else "logps"
    count = positions(pairs, form)
    wanted = ByteSize(size.bytes_of(form, count))
    if wanted <= config.cache_limit:
        return Choice(form)
    numbers = [value.human_readable(decimal=True) for value in (wanted, config.cache_limit)]
    what = f"the cached reference of {count:,} tokens would take {numbers[0]}, more than cache_limit, {numbers[1]}"
    if config.reference == "auto":
        return Choice(None, what)
    hint = "Raise cache_limit, or leave reference at auto: then the reference runs at every step."
    raise UserError("config", f"{what}.", where, hint)


def identity(work: Work, start: Start, tokenizer: Any) -> dict[str, Any]:
    """What decides the tokens of a run's pairs and what its reference says of them, for the key of a cache."""
    config: PreferenceConfig = work.config
    data = work.source("data")
    return {
        "model": _model(work, start),
        "dtype": config.dtype,
        # In bf16 DeepSpeed's shards have rotary embeddings in bf16 too, which makes another model of them.
        "sharded": config.zero == 3 and config.dtype == "bf16",
        "data": [data.key, data.split],
        "limit": config.limit,
        "tokenizer": tokenizer_hash(tokenizer),
        "tokens": config.model_dump(mode="json", include=TOKEN_FIELDS),
        "preference": work.version,
    }


def tokenizer_hash(tokenizer: Any) -> str:
    """What decides how a tokenizer cuts prompts and answers: itself, its special tokens and its chat template."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # These two are no part of it: they are set anew by every call.
    whole = {name: value for name, value in backend.items() if name not in ("truncation", "padding")}
    return content_key([whole, tokenizer.chat_template, tokenizer.bos_token_id, tokenizer.eos_token_id])


def model_size(model: str, dtype: torch.dtype) -> Size:
    """What decides the size of a cache, from the model's configuration alone."""
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config()
    return Size(settings.hidden_size, settings.vocab_size, dtype.itemsize)
