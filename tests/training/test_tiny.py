"""The embedded default model: an ordinary Hugging Face directory, the same bytes every time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from pipeline.chat import prompt_ids
from training import tiny


@pytest.fixture(scope="module")
def model(tiny_directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_directory)


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def test_about_1_4_million_parameters(model: Any, tokenizer: Any) -> None:
    """Three layers of 393,600 and a last norm of 192, counted by hand; the rest are embeddings, once for both ends."""
    assert len(tokenizer) == model.config.vocab_size <= 1300
    assert model.num_parameters() == 3 * 393_600 + 192 + 192 * len(tokenizer)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_same_seed_same_bytes_and_the_global_random_state_is_left_alone(
    tiny_directory: Path, texts: list[str], tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    tiny.build(texts, tmp_path / "again", seed=0)
    tiny.build(texts, tmp_path / "other", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert digests(tmp_path / "again") == digests(tiny_directory)
    differing = {
        name for name, digest in digests(tmp_path / "other").items() if digest != digests(tiny_directory)[name]
    }
    assert differing == {"model.safetensors"}


def test_generation_stops_at_the_end_of_the_turn(model: Any, tokenizer: Any) -> None:
    assert model.generation_config.eos_token_id == model.config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == model.config.pad_token_id == tokenizer.pad_token_id
    ids = torch.tensor([prompt_ids(tokenizer, "hi")])

    def only_the_end(batch: int, so_far: torch.Tensor) -> list[int]:
        return [tokenizer.convert_tokens_to_ids(tiny.END)]

    out = model.generate(ids, max_new_tokens=8, do_sample=False, prefix_allowed_tokens_fn=only_the_end)
    assert tokenizer.decode(out[0, ids.shape[1] :]) == tiny.END


def test_special_tokens_are_single_ids(tokenizer: Any) -> None:
    specials = [tiny.PAD, tiny.USER, tiny.ASSISTANT, tiny.END]
    assert tokenizer.convert_tokens_to_ids(specials) == [0, 1, 2, 3]
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token) == (tiny.PAD, tiny.END, None)
    assert tokenizer.decode([1, 2, 3, 0], skip_special_tokens=True) == ""


def test_every_digit_is_a_token(tokenizer: Any) -> None:
    assert tokenizer.tokenize("2024") == ["2", "0", "2", "4"]


@given(text=st.text(st.characters(codec="utf-8")))
def test_every_text_comes_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text
