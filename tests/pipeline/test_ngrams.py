"""The ban on repeated n-grams bans what transformers bans."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import NoRepeatNGramLogitsProcessor

from pipeline.llm.ngrams import Ban

VOCABULARY = 5
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), max_size=12)


@given(prompt=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12), answer=TOKENS, size=st.integers(1, 5))
def test_after_every_token_the_same_are_banned_as_in_transformers(
    prompt: list[int], answer: list[int], size: int
) -> None:
    ban, theirs = Ban(size), NoRepeatNGramLogitsProcessor(size)
    said: list[int] = []
    for token in [*answer, 0]:
        ours = ban(prompt, said, torch.zeros(VOCABULARY))
        expected = theirs(torch.tensor([prompt + said]), torch.zeros(1, VOCABULARY))[0]
        assert torch.equal(ours, expected)
        said.append(token)


def test_a_request_that_was_put_back_is_read_from_its_beginning() -> None:
    assert Ban(2)([1, 2], [3, 1], torch.zeros(5)).tolist() == [0, 0, -torch.inf, 0, 0]
