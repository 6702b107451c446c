"""Spans select the tokens that spell them, whatever kind of tokenizer a model has; the wrong kinds are refused."""

import debugbench
import made_tokenizers as make
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers

from pipeline.failures import UserError
from pipeline.offsets import encode_response, span_weights
from pipeline.sources.builtin import build
from pipeline.spans import Span

PIECES = [
    "if left:",
    "return",
    " ",
    "    ",
    "\r\n",
    "\n    ",
    "\t",
    "é",
    "e\u0301",
    "你好",
    "🎉",
    "👩‍👩‍👧",
    "x_1",
    "<0x41>",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.text(st.characters(codec="utf-8", exclude_characters=make.SPACE), max_size=20),
)

KINDS = {
    "byte-level": lambda texts: make.byte_level(texts, 900),
    "byte-level, prefix": lambda texts: make.byte_level(texts, 900, prefix=True),
    "byte-level, prefix, trimmed": lambda texts: make.byte_level(texts, 900, prefix=True, trim=True),
    "bpe": lambda texts: make.sentencepiece_bpe(texts, 1200),
    "bpe, no prefix": lambda texts: make.sentencepiece_bpe(texts, 1200, prefix=False),
    "unigram": lambda texts: make.unigram(texts, 600),
    "unigram, no prefix": lambda texts: make.unigram(texts, 600, prefix=False),
}


@pytest.fixture(scope="module")
def corpus():
    """DebugBench's code where it is at hand."""
    if debugbench.PATH.exists():
        return debugbench.texts()[:120]
    return [row.response for row in build(120, 0)]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, corpus):
    return KINDS[request.param](corpus)


def spelled(token):
    """The bytes of a token, or of a letter for each where it is byte-level."""
    if token in make.BYTES:
        return bytes([int(token[1:-1], 16)])
    return token.replace(make.SPACE, " ").encode()


def characters_of(tokenizer, ids, text):
    """Which characters each token spells, from the tokens alone: no offsets. A prefix spells none."""
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if "ByteLevel" in type(tokenizer.backend_tokenizer.decoder).__name__:
        lengths = [len(token) for token in tokens]
    else:
        lengths = [len(spelled(token)) for token in tokens]
    owner = [i for i, letter in enumerate(text) for _ in letter.encode()]
    prefix = sum(lengths) - len(owner)
    assert prefix in (0, 1) or (prefix == -1 and text.startswith(" "))
    owner = [None] * prefix + owner if prefix >= 0 else owner[1:]
    found, reached = [], 0
    for length in lengths:
        found.append({place for place in owner[reached : reached + length] if place is not None})
        reached += length
    return found


@settings(max_examples=60)
@given(text=TEXTS, data=st.data())
def test_a_span_selects_the_tokens_that_spell_it(tokenizer, text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    ids, offsets = encode_response(tokenizer, text)
    tokens = [*characters_of(tokenizer, ids, text), {len(text)}]
    wanted = set(range(start, end)) or {start}
    if text.startswith(" ") and 0 in wanted:
        return  # a prefix and a leading space are not told apart by every tokenizer
    weights = span_weights(offsets, [Span(start, end, "", text[start:end])], len(text))
    assert [weight > 0 for weight in weights] == [bool(characters & wanted) for characters in tokens]


def test_a_prefix_alone_stands_for_no_character(corpus):
    tokenizer = make.unigram(corpus, 600)
    ids, offsets = encode_response(tokenizer, "🎉 x")
    assert tokenizer.convert_ids_to_tokens(ids[0]) == make.SPACE
    assert offsets[:2] == [(0, 0), (0, 1)]
    assert span_weights(offsets, [Span(0, 1, "", "🎉")], 3)[0] == 0


def test_a_tokenizer_without_white_space_is_refused(corpus):
    with pytest.raises(UserError, match="leaves white space of a response without a token") as caught:
        encode_response(make.wordpiece(corpus, 500), "if x:\n    return 1")
    assert caught.value.kind == "config"


@pytest.mark.parametrize(
    ("steps", "text", "said"),
    [
        ([normalizers.Replace(Regex(" {2,}"), " ")], "if x:\n    return 1", "leaves white space"),
        ([normalizers.Replace("\n", " ")], "if x:\n return 1", "loses white space"),
        ([normalizers.Replace("\t", "    ")], "if x:\n\treturn 1", "loses white space"),
        ([normalizers.Strip()], "return 1\n", "leaves white space"),
        ([normalizers.Lowercase()], "return None", "loses characters"),
    ],
)
def test_a_tokenizer_that_rewrites_plain_text_is_refused(corpus, steps, text, said):
    with pytest.raises(UserError, match=said) as caught:
        encode_response(make.normalising(make.sentencepiece_bpe(corpus, 900), *steps), text)
    assert caught.value.kind == "config"


def test_it_is_refused_only_when_it_matters(corpus):
    collapsing = make.normalising(make.sentencepiece_bpe(corpus, 900), normalizers.Replace(Regex(" {2,}"), " "))
    assert len(encode_response(collapsing, "return x + 1")[0]) > 2


@pytest.mark.parametrize("text", ["the \ufb01rst", "x\u00b2", "cafe\u0301"])
def test_text_that_nfkc_changes_costs_the_row_and_no_more(corpus, text):
    for kind in (make.byte_level(corpus, 900), make.sentencepiece_bpe(corpus, 900)):
        with pytest.raises(UserError) as caught:
            encode_response(make.normalising(kind, normalizers.NFKC()), text)
        assert (caught.value.kind, "normalize" in caught.value.hint) == ("data", True)
        assert encode_response(make.normalising(kind, normalizers.NFKC()), "café first x2")


def test_a_character_without_a_token_is_no_reason_to_refuse(corpus):
    ids, offsets = encode_response(make.unigram(corpus, 600, fallback=False), "x = '🎉'")
    assert len(ids) == len(offsets)
    assert offsets[-1][1] == 7
