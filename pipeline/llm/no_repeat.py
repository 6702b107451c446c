"""Lets a vLLM engine ban repeated n-grams, which it cannot by itself.

The engine loads this by its name, `PROCESSOR`, in whatever process samples.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from pipeline.llm.ngrams import Ban
from pipeline.llm.vllm import NO_REPEAT


class NoRepeat(AdapterLogitsProcessor):
    """Bans repeats in the requests that ask for it by `extra_args`."""

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Ban | None:
        size = (params.extra_args or {}).get(NO_REPEAT)
        return Ban(size) if size else None
