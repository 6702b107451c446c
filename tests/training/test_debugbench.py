"""How little the diff of a pair marks, in tokens, on the 400 pairs of DebugBench.

The measure: with n and m tokens on the two sides and a longest common subsequence of L, at least n + m - 2L tokens must
be marked for the rest to be the same on both sides. Anchors (empty spans) select one token each so that training sees
the place of an insertion; that minimum knows none. So tokens that spans cover are held against it, and tokens that
spans and anchors select against the minimum with its own anchors: one for each insertion or deletion of its alignment.
"""

import debugbench
import made_tokenizers as make
import pytest
from rapidfuzz.distance import LCSseq

from pipeline import spans
from pipeline.diffs import diff
from pipeline.offsets import encode_response, span_weights
from training.tiny import build_tokenizer

TOKENIZERS = {
    "tiny": build_tokenizer,
    "byte-level": lambda texts: make.byte_level(texts, 1000),
    "byte-level, large": lambda texts: make.byte_level(texts, 8000),
    "sentencepiece": lambda texts: make.sentencepiece_bpe(texts, 3000),
}
pytestmark = debugbench.needs_debugbench


def least(a, b):
    """Tokens that must be marked, and the anchors of an alignment that marks no more."""
    changed, anchors, end = 0, 0, (0, 0)
    for block in LCSseq.opcodes(a, b).as_matching_blocks():
        gone, come = block.a - end[0], block.b - end[1]
        changed += gone + come
        anchors += (gone == 0) != (come == 0)
        end = block.a + block.size, block.b + block.size
    assert changed == len(a) + len(b) - 2 * LCSseq.similarity(a, b)
    return changed, anchors


def selected(offsets, side, text):
    """Tokens that non-empty spans cover, and tokens that spans and anchors select."""
    return [
        sum(weight > 0 for weight in span_weights(offsets, chosen, len(text)))
        for chosen in ([span for span in side if span.text], side)
    ]


FAST = "byte-level"


@pytest.fixture(
    scope="module",
    params=[FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in TOKENIZERS if name != FAST)],
)
def figures(request):
    """For each pair: tokens covered, tokens selected, the least that must be marked, and its anchors."""
    tokenizer = TOKENIZERS[request.param](debugbench.texts())
    found = []
    for good, bad in debugbench.pairs():
        (a, at_a), (b, at_b) = encode_response(tokenizer, good), encode_response(tokenizer, bad)
        chosen, rejected = spans.spans_of(diff(good, bad), good)
        counts = zip(selected(at_a, chosen, good), selected(at_b, rejected, bad), strict=True)
        found.append((*map(sum, counts), *least(a, b)))
    covered, all_selected, minimum, anchors = (sum(column) for column in zip(*found, strict=True))
    over = sum(pair[0] > 1.1 * pair[2] for pair in found)
    print(
        f"\n{request.param}: covered {covered / minimum:.3f} of the minimum ({over} pairs above 1.1), "
        f"with anchors {all_selected / (minimum + anchors):.3f} of the minimum with anchors, "
        f"{all_selected / minimum:.3f} of it without"
    )
    return found


def test_all_pairs_together_mark_at_most_a_tenth_more_than_must_be(figures):
    covered, all_selected, minimum, anchors = (sum(column) for column in zip(*figures, strict=True))
    assert covered <= 1.1 * minimum
    assert all_selected <= 1.1 * (minimum + anchors)
    assert all_selected <= 1.15 * minimum


def test_hardly_a_pair_marks_more(figures):
    """The rest: words and numbers that a tokenizer cuts into parts of which only one differs."""
    assert sum(covered > 1.1 * minimum for covered, _, minimum, _ in figures) <= 20
