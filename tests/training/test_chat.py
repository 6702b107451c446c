"""The boundary between prompt and response."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest

from pipeline.chat import prompt_ids
from pipeline.failures import UserError
from training.tokens import encode_response


def plain(tokenizer: Any) -> Any:
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    return bare


def test_prompt_response_and_eos_decode_back(tokenizer: Any) -> None:
    ids, _ = encode_response(tokenizer, "  return 12 🎉\r\n")
    whole = [*prompt_ids(tokenizer, "What is 12?"), *ids, tokenizer.eos_token_id]
    assert tokenizer.decode(whole) == "<|user|>What is 12?<|end|><|assistant|>  return 12 🎉\r\n<|end|>"


def test_the_template_gives_plain_ids(tokenizer: Any) -> None:
    ids = prompt_ids(tokenizer, "hi")
    assert type(ids) is list and all(type(token) is int for token in ids)
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|user|>", *tokenizer.tokenize("hi"), "<|end|>", "<|assistant|>"]


def test_without_a_template_the_prompt_stands_alone(tokenizer: Any) -> None:
    assert tokenizer.decode(prompt_ids(plain(tokenizer), "hi\n")) == "hi\n"


def test_an_empty_prompt_still_precedes_the_response(tokenizer: Any) -> None:
    assert prompt_ids(plain(tokenizer), "") == [tokenizer.eos_token_id]


def test_an_empty_prompt_without_any_first_token_is_refused(tokenizer: Any) -> None:
    bare = plain(tokenizer)
    bare.eos_token = None
    with pytest.raises(UserError, match="neither a BOS nor an EOS"):
        prompt_ids(bare, "")


def test_a_role_the_template_does_not_know_is_refused(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="knows the roles user and assistant"):
        tokenizer.apply_chat_template([{"role": "system", "content": "x"}])


def test_planning_imports_no_heavy_library() -> None:
    code = (
        "import sys, pipeline.chat, training.tokens, training.tiny;"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
