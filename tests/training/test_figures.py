"""Figures on held-out pairs: worked out by hand, against a direct computation, and that parts add up to the whole."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.figures import Scored, Sums, answer_sums, figures, pair_sums

TYPES = ("imports", "loops")
BETA = 0.5


def of(rows, **changes):
    """Scored tokens from (answer, part, logp, reference, kl)."""
    answer, part, logps, reference, kl = zip(*rows, strict=True)
    made = Scored(
        torch.tensor(answer),
        torch.tensor(part),
        torch.tensor(logps),
        torch.ones(len(rows), dtype=torch.bool),
        torch.tensor(reference),
        torch.tensor(kl),
    )
    return made._replace(**changes)


BY_HAND = of([
    # The chosen answers of two pairs, then the rejected ones.
    (0, 0, -1.0, -1.5, 0.25),
    (0, 1, -2.0, -2.5, 0.5),
    (1, 0, -0.5, -0.25, 0.125),
    (2, 1, -3.0, -1.0, 1.0),
    (2, 2, -1.0, -0.5, 2.0),
    (2, 0, -1.0, -1.0, 0.0),
    (3, 0, -2.0, -2.5, 0.5),
])  # fmt: skip


def by_hand():
    return figures(pair_sums(BY_HAND, 2, 3, BETA), TYPES, BETA, reference=True)


def test_figures_worked_out_by_hand():
    """m_w = 1 and -1/4, m_l = -5/2 and 1/2: margins 7/2 and -3/4."""
    found = by_hand()
    assert found["eval/rewards/chosen"] == pytest.approx(0.5 * (1 - 0.25) / 2)
    assert found["eval/rewards/rejected"] == pytest.approx(0.5 * (-2.5 + 0.5) / 2)
    assert found["eval/rewards/margins"] == pytest.approx(0.5 * (3.5 - 0.75) / 2)
    assert found["eval/rewards/accuracies"] == 0.5
    losses = [math.log(1 + math.exp(-0.5 * margin)) for margin in (3.5, -0.75)]
    assert found["eval/loss"] == pytest.approx(sum(losses) / 2)
    assert found["eval/logps/chosen"] == pytest.approx(-3.5 / 2)
    assert found["eval/logps/rejected"] == pytest.approx(-7 / 2)
    assert found["eval/kl/chosen"] == pytest.approx(0.875 / 2)
    assert found["eval/kl/rejected"] == pytest.approx(3.5 / 2)
    assert found["eval/kl_per_token/chosen"] == pytest.approx(0.875 / 3)
    assert found["eval/nll"] == pytest.approx(3.5 / 3)
    assert found["eval/nll_rejected"] == pytest.approx(7 / 4)


def test_parts_worked_out_by_hand():
    found = by_hand()
    assert found["eval/kl/rejected/inside"] == pytest.approx(3 / 2)
    assert found["eval/kl_per_token/rejected/inside"] == pytest.approx(3 / 2)
    assert found["eval/kl/rejected/outside"] == pytest.approx(0.5 / 2)
    assert found["eval/kl_per_token/rejected/outside"] == pytest.approx(0.5 / 2)
    assert found["eval/kl/rejected/inside/loops"] == pytest.approx(2 / 2)
    assert found["eval/kl_per_token/rejected/inside/loops"] == pytest.approx(2)
    assert found["eval/rewards/rejected/inside/imports"] == pytest.approx(0.5 * -2 / 2)
    # No chosen answer has a token in a span of loops: there is no mean over its tokens, and the sum is zero.
    assert "eval/kl_per_token/chosen/inside/loops" not in found
    assert found["eval/kl/chosen/inside/loops"] == 0
    # Only the first pair has spans.
    assert found["eval/rewards/margins/imports"] == pytest.approx(0.5 * 3.5)
    assert found["eval/rewards/accuracies/loops"] == 1


def test_exact_answers_are_those_without_a_token_that_is_not_the_most_likely():
    best = torch.tensor([True, True, False, False, True, True, True])
    sums = pair_sums(BY_HAND._replace(best=best), 2, 3, BETA)
    assert sums.exact.tolist() == [1, 2]
    assert figures(sums, TYPES, BETA, reference=True)["eval/exact"] == 0.5


def test_equal_models_have_a_loss_of_ln_2_and_no_kl():
    equal = BY_HAND._replace(reference=BY_HAND.logps, kl=torch.zeros(7))
    found = figures(pair_sums(equal, 2, 3, BETA), TYPES, BETA, reference=True)
    assert found["eval/loss"] == math.log(2)
    assert found["eval/rewards/accuracies"] == 0  # strictly the larger
    assert all(value == 0 for name, value in found.items() if "/kl" in name or "/rewards/" in name)


def test_without_a_reference_only_likelihoods_are_told():
    alone = BY_HAND._replace(reference=None, kl=None)
    found = figures(pair_sums(alone, 2, 3, BETA), TYPES, BETA, reference=False)
    assert found == {"eval/nll": pytest.approx(3.5 / 3), "eval/exact": 1, "eval/nll_rejected": pytest.approx(7 / 4)}


def test_single_answers_count_as_good_ones():
    alone = BY_HAND._replace(reference=None, kl=None, best=torch.tensor([True] * 6 + [False]))
    found = figures(answer_sums(alone, 4, 3), TYPES, BETA, reference=False)
    assert found == {"eval/nll": pytest.approx(10.5 / 7), "eval/exact": 3 / 4}


def test_pairs_without_spans_have_no_parts():
    plain = BY_HAND._replace(part=torch.zeros(7, dtype=torch.int64))
    found = figures(pair_sums(plain, 2, 1, BETA), (), BETA, reference=True)
    assert found == {name: value for name, value in by_hand().items() if name in found}
    assert not any("side" in name for name in found)


@st.composite
def batches(draw):
    """Pairs with tokens of any values in any parts, on both sides."""
    pairs = draw(st.integers(1, 4))
    value = st.floats(-20, 20, width=32)
    token = st.tuples(st.integers(0, 2), value, value, st.floats(0, 5, width=32))
    sides = [draw(st.lists(token, min_size=1, max_size=4)) for _ in range(2 * pairs)]
    return pairs, of([(answer, *token) for answer, tokens in enumerate(sides) for token in tokens])


@given(batches())
@settings(max_examples=100)
def test_inside_and_outside_add_up_to_the_whole_and_types_to_inside(drawn):
    pairs, scored = drawn
    found = figures(pair_sums(scored, pairs, 3, BETA), TYPES, BETA, reference=True)
    for name in ("eval/rewards/chosen", "eval/rewards/rejected", "eval/kl/chosen", "eval/kl/rejected"):
        assert found[f"{name}/inside"] + found[f"{name}/outside"] == pytest.approx(found[name], abs=1e-9)
        types = sum(found[f"{name}/inside/{kind}"] for kind in TYPES)
        assert types == pytest.approx(found[f"{name}/inside"], abs=1e-9)


@given(batches(), batches())
@settings(max_examples=50)
def test_sums_of_two_batches_are_those_of_their_pairs_together(one, other):
    """Also over the flat form in which ranks add them up."""
    (pairs, scored), (more, others) = one, other
    sides = [scored.answer < pairs, others.answer < more]
    place = torch.cat(
        [
            torch.where(sides[0], scored.answer, scored.answer + more),
            torch.where(sides[1], others.answer + pairs, others.answer + 2 * pairs),
        ]
    )
    both = Scored(place, *(torch.cat([mine, theirs]) for mine, theirs in zip(scored[1:], others[1:], strict=True)))
    expected = pair_sums(both, pairs + more, 3, BETA)
    apart = pair_sums(scored, pairs, 3, BETA), pair_sums(others, more, 3, BETA)
    added = Sums.zero(3).plus(apart[0]).plus(apart[1])
    reduced = Sums.zero(3).from_flat(apart[0].flat() + apart[1].flat())
    for found in (added, reduced):
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs)
