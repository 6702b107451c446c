"""How likely models find answers that are given: what an engine of `eval.serving` does for `likelihood`.

An answer is tokenised as in training, on its own and with EOS at its end, and follows the prompt. Its log-probability
is the sum over its tokens, log p(y | x) = sum_t log p(y_t | x, y_<t); its perplexity exp(-log p(y | x) / T).

Of answers to choose from, the model takes the one with the highest log-probability per token. They have no EOS, since
where a choice ends says nothing of it; after a plain prompt they begin with a space, as in lm-evaluation-harness,
unless the node says otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.serving import Served, Service, Usage, serve, too_long
from pipeline.attributes.records import ControlledRecord
from pipeline.chat import Tokenizer, prompt_ids
from pipeline.contract import Work
from pipeline.failures import UserError
from pipeline.records import (
    ChoiceRecord,
    CorruptionRecord,
    PreferenceRecord,
    QARecord,
    Reject,
    ScoredRecord,
    ScoreRecord,
)
from pipeline.shards import read_records, record_type

if TYPE_CHECKING:
    from eval.nodes import LikelihoodConfig
    from pipeline.llm.vllm import Engine

Row = QARecord | CorruptionRecord | PreferenceRecord | ChoiceRecord | ControlledRecord
PAIR = ("chosen", "rejected")


def likelihood(works: Sequence[Work]) -> None:
    """Score every work's rows with its model."""
    serve(works, LIKELIHOOD)


def read_rows(path: Path, limit: int | None) -> Iterable[Row]:
    """Rows with answers. Raises a data error where they are others."""
    record = record_type(
        path, (QARecord, CorruptionRecord, PreferenceRecord, ChoiceRecord, ControlledRecord), str(path)
    )
    return read_records(path, record, limit)


def answers_of(row: Row) -> dict[str, str]:
    """The answers that a row has, under the names of the metrics."""
    if isinstance(row, QARecord | ControlledRecord):
        return {"response": row.response}
    if isinstance(row, ChoiceRecord):
        return {str(number): choice for number, choice in enumerate(row.choices)}
    if isinstance(row, CorruptionRecord):
        return {"chosen": row.response, "rejected": row.rejected}
    return {"chosen": row.chosen, "rejected": row.rejected}


def measure(engine: Engine, tokenizer: Tokenizer, config: LikelihoodConfig, rows: Sequence[Row]) -> Served:
    """The scores of every row, in their order. A row of which an answer does not fit is rejected."""
    texts = [texts_of(tokenizer, config, row) for row in rows]
    rejects = [text for text in texts if isinstance(text, Reject)]
    fitting = [(row, text) for row, text in zip(rows, texts, strict=True) if not isinstance(text, Reject)]
    flat = [one for _, text in fitting for one in text.values()]
    started = time.perf_counter()
    found = iter(engine.logps([ids for ids, _ in flat], [start for _, start in flat]))
    seconds = time.perf_counter() - started
    records = [scored_row(row, dict(zip(text, islice(found, len(text)), strict=True))) for row, text in fitting]
    return Served(records, rejects, Usage(sum(len(ids) for ids, _ in flat), 0, seconds))


def texts_of(tokenizer: Tokenizer, config: LikelihoodConfig, row: Row) -> dict[str, tuple[list[int], int]] | Reject:
    """The ids of prompt and answer for each answer of a row, and where the answer begins."""
    prompt = prompt_ids(tokenizer, row.prompt, chat=config.chat, control=getattr(row, "control", ()))
    ends = not isinstance(row, ChoiceRecord)
    space = " " if config.space and not ends and not (config.chat and tokenizer.chat_template) else ""
    texts = {name: prompt + _answer_ids(tokenizer, space + text, ends) for name, text in answers_of(row).items()}
    longest = max(map(len, texts.values()))
    if longest >= config.max_length:
        return too_long(row.id, "prompt with its answer", longest, config.max_length)
    return {name: (ids, len(prompt)) for name, ids in texts.items()}


def _answer_ids(tokenizer: Tokenizer, answer: str, ends: bool) -> list[int]:
    """An answer as training has it, or without EOS. Text that looks like a special token stays text."""
    ids = list(tokenizer(answer, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])
    if not ends:
        return ids
    if tokenizer.eos_token_id is None:
        what = "the tokenizer has no EOS token, with which an answer ends."
        raise UserError("config", what, f"tokenizer {tokenizer.name_or_path}", "Set eos_token in its files.")
    return [*ids, int(tokenizer.eos_token_id)]


def scored_row(row: Row, logps: dict[str, list[float]]) -> ScoredRecord:
    """The scores of a row from the log-probabilities of its answers' tokens, by the names of `answers_of`."""
    if not isinstance(row, ChoiceRecord):
        return scored(row.id, logps)
    means = [math.fsum(values) / len(values) for values in logps.values()]
    taken = means.index(max(means))
    listed = ", ".join(f"{mean:.4f}" for mean in means)
    said = f"takes {taken}, right is {row.answer}; mean log-probabilities: {listed}"
    return ScoredRecord(row.id, (ScoreRecord(row.id, "choice/correct", float(taken == row.answer), said),))


def scored(record_id: str, logps: dict[str, list[float]]) -> ScoredRecord:
    """The metrics of a row from the log-probabilities of its answers' tokens."""
    scores: list[ScoreRecord] = []
    for name, values in logps.items():
        total = math.fsum(values)
        known = total if math.isfinite(total) else None
        said = "natural logarithm, summed over its tokens and EOS"
        scores += [
            ScoreRecord(record_id, f"logp/{name}", known, said if known is not None else f"unscored: {total}"),
            ScoreRecord(record_id, f"tokens/{name}", float(len(values)), "EOS among them"),
            _perplexity(record_id, name, total / len(values)),
        ]
    if set(logps) == set(PAIR):
        scores.append(_preference(record_id, *(math.fsum(logps[name]) / len(logps[name]) for name in PAIR)))
    return ScoredRecord(record_id, tuple(scores))


def _perplexity(record_id: str, name: str, mean: float) -> ScoreRecord:
    """Unscored where it is too large for a number: a token that the model gives no probability at all."""
    value = math.exp(-mean) if -mean < math.log(1e300) else None
    said = f"exp(-({mean:.4f})), of the mean over its tokens"
    return ScoreRecord(record_id, f"perplexity/{name}", value, said if value else f"unscored: {said}")


def _preference(record_id: str, chosen: float, rejected: float) -> ScoreRecord:
    said = f"mean log-probabilities: chosen {chosen:.4f}, rejected {rejected:.4f}"
    return ScoreRecord(record_id, "prefers_chosen", float(chosen > rejected), said)


def _requests(config: Any) -> int:
    return len(PAIR)


LIKELIHOOD = Service("rows", ScoredRecord.SCHEMA, read_rows, measure, _requests)
