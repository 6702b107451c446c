"""Whether a reference is cached, and what its cache is keyed by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract import Source, Work
from pipeline.failures import UserError
from training.configs import PreferenceConfig
from training.nodes import Preference
from training.reference_cache import Size, cache_key
from training.reference_plan import choose, identity, model_size, tokenizer_hash
from training.start import Start
from training.tokens import Example, PairExample

SIZE = Size(hidden=192, vocabulary=1300, itemsize=4)
ANSWER = Example("p", (1, 2, 3, 4, 5), (0, 0, 0.5, 0, 0), 1)
PAIRS = [PairExample("p", ANSWER, ANSWER)]


def config(**changes: Any) -> PreferenceConfig:
    return PreferenceConfig(kind="preference", init="start", data="pairs", learning_rate=1e-4, **changes)


@pytest.mark.parametrize(
    ("changes", "kl", "form"),
    [
        ({}, False, "logps"),
        ({"lora": {}}, False, "logps"),
        ({}, True, "hidden"),
        ({"lora": {}}, True, "short"),
        ({"lora": {}, "dtype": "bf16"}, True, "hidden"),
        ({"reference": "live"}, True, None),
        ({"reference": "live"}, False, None),
        ({"reference": "cached"}, True, "hidden"),
    ],
)
def test_what_is_kept_follows_from_loss_and_training(changes: dict[str, Any], kl: bool, form: str | None) -> None:
    choice = choose(config(**changes), kl, PAIRS, SIZE, "node mended")
    assert (choice.form, choice.note) == (form, "")


def test_the_sizes_by_hand() -> None:
    """Log-probs: 8 tokens of 4 bytes. With a KL 2 tokens: offset, log-prob, 192 numbers; and the head, 1300 x 192."""
    assert SIZE.bytes_of("logps", 8) == 32
    assert SIZE.bytes_of("short", 2) == 2 * (4 + 4 + 4 + 4 * 192)
    assert SIZE.bytes_of("hidden", 2) == 2 * (4 + 4 + 4 * 192) + 4 * 192 * 1300
    assert replace(SIZE, itemsize=2).bytes_of("hidden", 2) == 2 * (4 + 4 + 2 * 192) + 2 * 192 * 1300
    assert replace(SIZE, itemsize=2).bytes_of("short", 2) == SIZE.bytes_of("short", 2)


def test_auto_falls_back_to_live_above_the_limit_and_says_why() -> None:
    assert choose(config(cache_limit=32), False, PAIRS, SIZE, "node mended").form == "logps"
    choice = choose(config(cache_limit=31), False, PAIRS, SIZE, "node mended")
    assert choice.form is None
    assert choice.note.endswith("at every step: 8 tokens of its answers take 32B, more than cache_limit, 31B")
    assert choose(config(cache_limit="1 MB"), True, PAIRS, SIZE, "node mended").form == "hidden"
    assert choose(config(cache_limit="0.9 MB"), True, PAIRS, SIZE, "node mended").form is None


def test_cached_is_refused_above_the_limit() -> None:
    with pytest.raises(UserError, match=r"more than cache_limit, 31B.*Raise cache_limit") as caught:
        choose(config(reference="cached", cache_limit=31), False, PAIRS, SIZE, "node mended")
    assert (caught.value.kind, caught.value.where) == ("config", "node mended")


def test_a_config_without_these_keys_keeps_its_key() -> None:
    assert not {"reference", "cache_limit"} & set(config().model_dump())
    assert config(reference="live", cache_limit="2 MB").model_dump(mode="json")["cache_limit"] == 2_000_000
    assert config(reference="live").model_dump()["reference"] == "live"


def work(changes: dict[str, Any] | None = None, init: str = "i", data: str = "d", split: str = "") -> Work:
    sources = [
        Source("init", "start", "models", init, "", Path("models")),
        Source("data", "pairs", "rows", data, split, Path("rows")),
    ]
    return Work(
        "e", "mended", "preference", Preference.version, "models", "k", config(**changes or {}), Path("k"), sources
    )


def named(run: Work, start: Start, tokenizer: Any) -> dict[str, Any]:
    return identity(run, (run.source("data"), run.config.limit), start, tokenizer)


WHOLE = Start("models/i")


def test_arms_and_trials_share_a_key(tokenizer: Any) -> None:
    """Loss, beta, alpha, learning rate, mask, seed, epochs, workers: nothing of it is the reference's."""
    first = named(work(), WHOLE, tokenizer)
    for changes in (
        {"loss": "tdpo2"},
        {"beta": 0.5},
        {"loss": "tdpo2", "alpha": 0.1},
        {"mask": "granular"},
        {"seed": 3},
        {"epochs": 2, "batch_size": 16, "workers": 1},
        {"zero": 3},
        {"lora": {"rank": 4}},
        {"cache_limit": "1 GB", "reference": "cached"},
    ):
        assert named(work(changes), WHOLE, tokenizer) == first, changes


def test_another_start_data_or_tokenisation_has_another_key(tokenizer: Any, tiny_directory: Path) -> None:
    others = [
        named(work(init="j"), WHOLE, tokenizer),
        named(work(data="e"), WHOLE, tokenizer),
        named(work(split="train"), WHOLE, tokenizer),
        named(work({"limit": 5}), WHOLE, tokenizer),
        named(work({"max_length": 64}), WHOLE, tokenizer),
        named(work({"dtype": "bf16"}), WHOLE, tokenizer),
        named(work({"dtype": "bf16", "zero": 3}), WHOLE, tokenizer),
        named(work(), replace(WHOLE, merged=True), tokenizer),
        named(work(), replace(WHOLE, adapter=Path("models/i")), tokenizer),
        named(work(), WHOLE, retemplated(tiny_directory)),
    ]
    keys = [cache_key(found, "logps", PAIRS) for found in (named(work(), WHOLE, tokenizer), *others)]
    assert len(set(keys)) == len(keys)


def retemplated(directory: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = f"{tokenizer.chat_template} "
    return tokenizer


def test_using_a_tokenizer_does_not_change_its_hash(tokenizer: Any) -> None:
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "a b c"], truncation=True, max_length=2, padding=True)
    assert tokenizer_hash(tokenizer) == before


def test_a_tokenizer_of_other_merges_has_another_hash(tokenizer: Any) -> None:
    from training.tiny import build_tokenizer

    assert tokenizer_hash(build_tokenizer(["other words"])) != tokenizer_hash(tokenizer)


def test_the_size_is_read_from_the_configuration(tiny_directory: Path, tokenizer: Any) -> None:
    assert model_size(str(tiny_directory), "bf16") == Size(192, len(tokenizer), 2)
