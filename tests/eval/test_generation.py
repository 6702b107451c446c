"""What is asked of an engine and what becomes of what it says; the engine here is a script."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from eval import serving
from eval.generate import GENERATE, answer, sample_seed, sampling_of
from eval.likelihood import LIKELIHOOD, measure, scored, scored_row, texts_of
from eval.nodes import Generate, GenerateConfig, Likelihood, LikelihoodConfig
from eval.serving import Usage, batches_of, usage_of
from pipeline.contract import Source, Work
from pipeline.failures import UserError
from pipeline.llm.vllm import Completion, Sampling
from pipeline.records import ChoiceRecord, CorruptionRecord, PreferenceRecord, QARecord, Reject
from pipeline.shards import write_shards
from pipeline.spans import Edit
from pipeline.store import write_json
from training.tiny import ASSISTANT, END, USER, build_tokenizer

ROWS = [QARecord(f"r{number}", f"What is {number}?", f"It is {number}.", "test") for number in range(3)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(["What is 1?", "It is 1."])


def config(**fields: Any) -> GenerateConfig:
    return GenerateConfig(kind="generate", models="m", prompts="qa", **fields)


class Script:
    """Says which seed it drew with; every token is as likely as its place in the text says."""

    def __init__(self) -> None:
        self.prompts: Sequence[Sequence[int]] = ()

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seeds: Sequence[int]
    ) -> list[Completion]:
        self.prompts = prompts
        return [Completion(str(seed), "stop", len(ids), (1, 2)) for ids, seed in zip(prompts, seeds, strict=True)]

    def logps(self, texts: Sequence[Sequence[int]], starts: Sequence[int]) -> list[list[float]]:
        return [[-place / 10 for place in range(start, len(text))] for text, start in zip(texts, starts, strict=True)]


def script() -> Any:
    return Script()


def test_every_sample_has_its_own_seed_and_number(tokenizer: Any) -> None:
    settings = config(samples=2, temperature=1.0, seed=5)
    served = answer(script(), tokenizer, settings, ROWS)
    assert [(row.id, row.sample) for row in served.records] == [(row.id, n) for row in ROWS for n in (0, 1)]
    assert [row.response for row in served.records] == [str(sample_seed(5, row.id, n)) for row in ROWS for n in (0, 1)]
    prompt_tokens = sum(row.prompt_tokens for row in served.records) // 2
    assert (served.usage.prompt_tokens, served.usage.completion_tokens) == (prompt_tokens, 12)
    assert served.records[0].reference == ROWS[0].response


def test_seeds_are_apart_and_small_enough() -> None:
    drawn = {sample_seed(seed, f"r{row}", sample) for seed in (0, 1) for row in range(50) for sample in range(5)}
    assert len(drawn) == 500
    assert all(0 <= seed < 2**60 for seed in drawn)
    assert max(drawn) > 2**56


def test_a_prompt_that_leaves_no_room_is_rejected_once_and_the_others_are_answered(tokenizer: Any) -> None:
    long = QARecord("long", "What is 1? " * 40, "", "test")
    served = answer(script(), tokenizer, config(samples=3, temperature=1.0, max_length=40), [long, ROWS[0]])
    assert [row.id for row in served.records] == ["r0"] * 3
    (reject,) = served.rejects
    assert (reject.id, reject.reason) == ("long", "too-long")
    assert reject.detail.startswith("the prompt has ") and reject.detail.endswith("max_length is 40")


def test_a_plain_prompt_is_asked_as_it_is(tokenizer: Any) -> None:
    engine = script()
    for chat, expected in ((True, f"{USER}What is 1?{END}{ASSISTANT}"), (False, "What is 1?")):
        answer(engine, tokenizer, config(chat=chat), [ROWS[1]])
        assert tokenizer.decode(engine.prompts[0]) == expected


def test_every_setting_reaches_the_engine() -> None:
    given: dict[str, Any] = {
        "max_tokens": 7,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": -0.3,
        "no_repeat_ngram": 3,
        "stop": ["\n\n"],
    }
    assert sampling_of(config(**given)) == Sampling(**{**given, "stop": ("\n\n",)})
    assert sampling_of(config()) == Sampling()


NEW = {
    *("chat", "samples", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"),
    *("no_repeat_ngram", "stop"),
}


def test_settings_that_are_not_used_are_not_part_of_the_key() -> None:
    assert not NEW & set(config().model_dump(mode="json"))
    used = config(
        chat=False, samples=2, temperature=1, top_k=1, min_p=0.1, repetition_penalty=2, presence_penalty=1,
        frequency_penalty=1, no_repeat_ngram=2, stop=["x"],
    )  # fmt: skip
    assert set(used.model_dump(mode="json")) >= NEW


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"samples": 2}, "greedy samples of a prompt are all the same"),
        ({"resources": {"gpus": 1.5}}, "a part of one GPU, or whole GPUs"),
        ({"stop": [""]}, "at least 1 character"),
        ({"min_p": 1.5}, "less than or equal to 1"),
        ({"top_k": -1}, "greater than or equal to 0"),
        ({"repetition_penalty": 0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**fields)


@pytest.mark.parametrize("gpus", [0, 0.5, 1, 4])
def test_parts_of_a_gpu_and_whole_ones_are_taken(gpus: float) -> None:
    assert config(resources={"gpus": gpus}).resources.gpus == gpus


# likelihood


def judging(**fields: Any) -> LikelihoodConfig:
    return LikelihoodConfig(kind="likelihood", models="m", rows="qa", **fields)


def values(row: Any) -> dict[str, float | None]:
    return {score.metric: score.value for score in row.scores}


def test_metrics_of_an_answer_by_hand() -> None:
    found = values(scored("r", {"response": [math.log(0.5), math.log(0.125)]}))
    # Two tokens of 1/2 and 1/8: log 1/16 in all, and a perplexity of sqrt(16).
    assert found == {"logp/response": pytest.approx(-math.log(16)), "tokens/response": 2, "perplexity/response": 4}


@pytest.mark.parametrize(
    ("chosen", "rejected", "prefers"),
    [
        ([-1.0], [-2.0], 1.0),
        ([-2.0], [-1.0], 0.0),
        ([-1.0] * 9, [-2.0], 1.0),  # the sum says otherwise; the longer answer is the likelier a token
        ([-1.0, -2.0], [-1.5], 0.0),
    ],
)
def test_a_preference_is_by_the_mean(chosen: list[float], rejected: list[float], prefers: float) -> None:
    found = scored("r", {"chosen": chosen, "rejected": rejected})
    assert values(found)["prefers_chosen"] == prefers
    assert "mean log-probabilities: chosen -" in found.scores[-1].explanation


def test_what_has_no_number_is_unscored_and_not_zero() -> None:
    found = values(scored("r", {"response": [-math.inf, -1.0]}))
    assert found == {"logp/response": None, "tokens/response": 2, "perplexity/response": None}


def test_every_kind_of_row_has_its_answers(tokenizer: Any) -> None:
    edit = Edit(6, 7, "1", "2", "off-by-one-errors")
    broken = CorruptionRecord("c", "What is 1?", "It is 1.", "It is 2.", (edit,), "test")
    pair = PreferenceRecord("p", "What is 1?", "It is 1.", "It is 2.")
    assert texts_of(tokenizer, judging(), broken) == texts_of(tokenizer, judging(), pair)
    found = texts_of(tokenizer, judging(), ROWS[1])
    assert not isinstance(found, Reject)
    ids, start = found["response"]
    assert tokenizer.decode(ids[start:]) == "It is 1." + END
    assert tokenizer.decode(ids[:start]) == f"{USER}What is 1?{END}{ASSISTANT}"


def test_text_that_looks_like_a_special_token_stays_text(tokenizer: Any) -> None:
    row = QARecord("r", "Say it.", f"It is {END} now.", "test")
    found = texts_of(tokenizer, judging(), row)
    assert not isinstance(found, Reject)
    ids, start = found["response"]
    assert ids[start:].count(tokenizer.eos_token_id) == 1


def test_rows_are_measured_in_order_and_long_ones_left_out(tokenizer: Any) -> None:
    long = PreferenceRecord("long", "What is 1?", "It is 1.", "It is 2." * 40)
    pair = PreferenceRecord("pair", "What is 1?", "It is 1.", "It is 2.")
    served = measure(script(), tokenizer, judging(max_length=60), [long, pair])
    assert [row.id for row in served.records] == ["pair"]
    assert [(reject.id, reject.reason) for reject in served.rejects] == [("long", "too-long")]
    found = texts_of(tokenizer, judging(), pair)
    assert not isinstance(found, Reject)
    ids, start = found["chosen"]
    expected = -math.fsum(range(start, len(ids))) / 10
    assert values(served.records[0])["logp/chosen"] == pytest.approx(expected)
    assert served.usage.completion_tokens == 0 < served.usage.prompt_tokens


CHOICE = ChoiceRecord("q", "Two and two", ("is four.", "are five of them."), 0, "test")


def test_the_choice_is_by_the_mean_over_tokens() -> None:
    # In all, choice 0 is the less likely; for each token it is the likelier.
    right = scored_row(CHOICE, {"0": [-1.0, -1.0, -1.0], "1": [-2.0]})
    assert values(right) == {"choice/correct": 1.0}
    assert right.scores[0].explanation == "takes 0, right is 0; mean log-probabilities: -1.0000, -2.0000"
    assert values(scored_row(CHOICE, {"0": [-3.0], "1": [-1.0, -2.0]})) == {"choice/correct": 0.0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"chat": True}, "is four."),
        ({"chat": False}, " is four."),
        ({"chat": True, "space": False}, "is four."),
        ({"chat": False, "space": False}, "is four."),
    ],
)
def test_choices_have_no_end_and_follow_a_plain_prompt_with_a_space_or_without(
    tokenizer: Any, settings: dict[str, bool], expected: str
) -> None:
    found = texts_of(tokenizer, judging(**settings), CHOICE)
    assert not isinstance(found, Reject)
    assert list(found) == ["0", "1"]
    ids, start = found["0"]
    assert tokenizer.decode(ids[start:]) == expected


# batches


def work(folder: Path, settings: Any, rows: int) -> Work:
    kind: Any = Generate() if isinstance(settings, GenerateConfig) else Likelihood()
    role = "prompts" if isinstance(settings, GenerateConfig) else "rows"
    write_shards(folder / "qa" / "data", [QARecord(f"r{n}", "p", "a", "s") for n in range(rows)], QARecord.SCHEMA, 7)
    sources = [
        Source("models", "m", "models", "0", "", folder / "m"),
        Source(role, "qa", "rows", "0", "", folder / "qa"),
    ]
    return Work("e", "n", kind.name, kind.version, kind.product, "0", settings, folder / "made", sources)


@pytest.mark.parametrize(
    ("settings", "size"),
    [(config(), 8), (config(samples=3, temperature=1), 2), (config(samples=99, temperature=1), 1), (judging(), 4)],
)
def test_batches_cover_the_rows_and_no_engine_call_is_much_larger_than_another(
    settings: Any, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "BATCH", 8)
    service = GENERATE if isinstance(settings, GenerateConfig) else LIKELIHOOD
    batches = batches_of(work(tmp_path, settings, 19), service)
    covered = [place for batch in batches for place in range(batch.start, min(batch.start + batch.size, 19))]
    assert covered == list(range(19))
    assert {batch.size for batch in batches} == {size}
    assert len({batch.output for batch in batches}) == len(batches)


@pytest.mark.parametrize(
    ("shape", "gpus", "what", "fitting"),
    [
        ({"num_attention_heads": 9}, 2, "9 attention heads", "1, 3, 9"),
        ({"num_attention_heads": 6, "vocab_size": 1200}, 3, "1216 vocabulary entries", "1, 2"),
        (
            {"num_attention_heads": 12, "intermediate_size": 512, "vocab_size": 1200},
            3,
            "512 units of each feed-forward layer and 1216 vocabulary entries",
            "1, 2, 4",
        ),
    ],
)
def test_what_cannot_be_divided_among_gpus_is_told_before_anything_starts(
    shape: dict[str, int], gpus: int, what: str, fitting: str, tmp_path: Path
) -> None:
    made = work(tmp_path, config(resources={"gpus": gpus}), 3)
    write_json(tmp_path / "m" / "config.json", shape)
    with pytest.raises(UserError) as caught:
        Generate().make([made])
    assert (caught.value.what, caught.value.hint) == (
        f"the model's {what} cannot be divided evenly among {gpus} GPUs.",
        f"Take one of {fitting}.",
    )


def test_usage_adds_up_over_batches_and_passes_over_notes_that_are_gone(tmp_path: Path) -> None:
    notes = [tmp_path / f"{number}.json" for number in range(3)]
    for note, seconds in zip(notes, (0.5, 1.5), strict=False):
        write_json(note, {"prompt_tokens": 10, "completion_tokens": 30, "engine_seconds": seconds})
    expected = {"prompt_tokens": 20, "completion_tokens": 60, "engine_seconds": 2.0, "tokens_per_second": 30.0}
    assert usage_of(notes) == expected
    assert Usage(**json.loads(notes[0].read_text())) == Usage(10, 30, 0.5)
    assert usage_of(notes[2:])["tokens_per_second"] == 0
