"""Answers of models to prompts, one or several to each: what an engine of `eval.serving` does for `generate`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.serving import Served, Service, Usage, serve, too_long
from pipeline.attributes.stages import token_of
from pipeline.chat import Tokenizer, prompt_ids
from pipeline.contract import Work
from pipeline.records import GenerationRecord, QARecord, Reject
from pipeline.shards import read_records
from pipeline.store import content_key

if TYPE_CHECKING:
    from eval.nodes import GenerateConfig
    from pipeline.llm.vllm import Completion, Engine, Sampling


def generate(works: Sequence[Work]) -> None:
    """Answer every work's prompts with its model."""
    serve(works, GENERATE)


def read_prompts(path: Path, limit: int | None) -> Iterable[QARecord]:
    return read_records(path, QARecord, limit)


def answer(engine: Engine, tokenizer: Tokenizer, config: GenerateConfig, rows: Sequence[QARecord]) -> Served:
    """Every sample of every row, in the order of rows and samples. Prompts that leave no room are rejected."""
    opened = [opening_of(row, config.opening) for row in rows]
    rejects = [opening for opening in opened if isinstance(opening, Reject)]
    asked = [
        (replace(row, prompt=row.prompt + opening), asked_ids(tokenizer, row, opening, config))
        for row, opening in zip(rows, opened, strict=True)
        if not isinstance(opening, Reject)
    ]
    fitting = [(row, ids) for row, ids in asked if len(ids) < config.max_length]
    rejects += [
        too_long(row.id, "prompt", len(ids), config.max_length) for row, ids in asked if len(ids) >= config.max_length
    ]
    wanted = [(row, ids, sample) for row, ids in fitting for sample in range(config.samples)]
    seeds = [sample_seed(config.seed, row.id, sample) for row, _, sample in wanted]
    started = time.perf_counter()
    completions = engine.generate([ids for _, ids, _ in wanted], sampling_of(config), seeds=seeds)
    seconds = time.perf_counter() - started
    records = [_record(row, sample, said) for (row, _, sample), said in zip(wanted, completions, strict=True)]
    completed = sum(completion.completion_tokens for completion in completions)
    return Served(records, rejects, Usage(sum(len(ids) for _, ids in fitting), completed, seconds))


_WORD = re.compile(r"\s*\S+")


def opening_of(row: QARecord, words: int) -> str | Reject:
    """The first words of the row's answer, that the model goes on from. An answer of no more words is a `Reject`."""
    found = list(islice(_WORD.finditer(row.response), words + 1))
    if words and len(found) <= words:
        return Reject(row.id, "no-opening", f"its answer has {len(found)} words; {words} are given, and one is left")
    return row.response[: found[words - 1].end()] if words else ""


def asked_ids(tokenizer: Tokenizer, row: QARecord, opening: str, config: GenerateConfig) -> list[int]:
    """What a model goes on from: control tokens and prompt where training has them, then the answer's opening."""
    control = [token_of(label) for label in config.condition or ()]
    ids = prompt_ids(tokenizer, row.prompt, chat=config.chat, control=control)
    if not opening:
        return ids
    return [*ids, *tokenizer(opening, add_special_tokens=False, split_special_tokens=True)["input_ids"]]


def sample_seed(seed: int, record_id: str, sample: int) -> int:
    """The seed of one sample: below 2^60, and the same whatever is drawn beside it."""
    return int(content_key([seed, record_id, sample])[:15], 16)


def sampling_of(config: GenerateConfig) -> Sampling:
    """The part of a config that says how tokens are drawn."""
    from pipeline.llm.vllm import Sampling

    return Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
        presence_penalty=config.presence_penalty,
        frequency_penalty=config.frequency_penalty,
        stop=tuple(config.stop),
        no_repeat_ngram=config.no_repeat_ngram,
    )


def _requests(config: Any) -> int:
    return int(config.samples)


def _record(row: QARecord, sample: int, completion: Completion) -> GenerationRecord:
    return GenerationRecord(
        id=row.id,
        prompt=row.prompt,
        response=completion.text,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        reference=row.response,
        source=row.source,
        tests=row.tests,
        sample=sample,
    )


GENERATE = Service("prompts", GenerationRecord.SCHEMA, read_prompts, answer, _requests)
