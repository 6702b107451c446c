"""From judged samples to pairs: the rules, on cases that are made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.pairing import Meetings, Preferred, Rule, Sampled
from pipeline.records import Reject


def answers(*values, texts=None, cut=()):
    texts = texts or [f"answer {number}" for number in range(len(values))]
    return [
        Sampled(number, text, value, "why", number in cut)
        for number, (value, text) in enumerate(zip(values, texts, strict=True))
    ]


def outcome(rule, found, direct=None):
    """Pairs as (chosen, rejected) and rejects as (id, reason)."""
    made = list(rule.pairs("q", found, direct))
    pairs = [(pair.chosen.sample, pair.rejected.sample) for pair in made if isinstance(pair, Preferred)]
    return pairs, [(one.id, one.reason) for one in made if isinstance(one, Reject)]


def test_the_best_is_chosen_over_the_worst():
    assert outcome(Rule(), answers(2, 5, 1, 3)) == ([(1, 2)], [])


def test_a_tie_is_no_pair():
    pairs, rejects = outcome(Rule(), answers(1, 1))
    assert pairs == []
    assert [reason for _, reason in rejects] == ["tie"]


def test_what_is_not_judged_is_told_and_the_others_go_on():
    assert outcome(Rule(), answers(None, 5, 1)) == ([(1, 2)], [("q#0", "unscored")])
    assert outcome(Rule(), answers(None, 5)) == ([], [("q#0", "unscored"), ("q", "too-few")])


@pytest.mark.parametrize(("margin", "pairs"), [(0.0, [(0, 2), (0, 1), (1, 2)]), (2.0, [(0, 2)]), (3.5, [])])
def test_all_pairs_from_a_margin_on(margin, pairs):
    found, rejects = outcome(Rule("all", margin=margin), answers(4, 2.5, 1))
    assert sorted(found) == sorted(pairs)
    assert len(found) + len(rejects) == 3
    assert {reason for _, reason in rejects} <= {"below-margin"}


def test_a_margin_is_not_missed_by_rounding():
    assert outcome(Rule(margin=0.2), answers(0.6, 0.4))[0] == [(0, 1)]


def test_top_k_sets_the_best_over_the_worst_and_the_second_over_the_second():
    assert outcome(Rule("top-k", k=2), answers(4, 1, 5, 2))[0] == [(2, 1), (0, 3)]
    assert outcome(Rule("top-k", k=9), answers(4, 1, 5))[0] == [(2, 1)]


def test_the_worst_of_good_answers_is_not_taught_to_be_bad():
    assert outcome(Rule(rejected_at_most=2), answers(5, 4)) == ([], [("q#0-1", "rejected-too-good")])
    assert outcome(Rule(chosen_at_least=4), answers(3, 1)) == ([], [("q#0-1", "chosen-too-bad")])
    assert outcome(Rule(chosen_at_least=4, rejected_at_most=2), answers(4, 2))[0] == [(0, 1)]


def test_one_text_is_no_pair_however_it_was_judged():
    assert outcome(Rule(), answers(5, 1, texts=["same", " same\n"])) == ([], [("q#0-1", "identical")])


def test_one_pair_of_texts_comes_once():
    found = outcome(Rule("all"), answers(5, 1, 1, texts=["good", "bad", "bad"]))
    assert len(found[0]) == 1
    assert sorted(reason for _, reason in found[1]) == ["identical", "repeated"]


def test_an_answer_that_was_cut_off_is_not_chosen_but_may_be_rejected():
    assert outcome(Rule(), answers(5, 1, cut=[0])) == ([], [("q#0-1", "cut-off")])
    assert outcome(Rule(), answers(5, 1, cut=[1]))[0] == [(0, 1)]


def test_what_lost_when_the_two_met_is_not_chosen():
    assert outcome(Rule(), answers(0.6, 0.4), {(0, 1): 0.0}) == ([], [("q#0-1", "contradicted")])
    assert outcome(Rule(), answers(0.6, 0.4), {(0, 1): 1.0})[0] == [(0, 1)]


def test_the_share_of_meetings_won():
    met = Meetings()
    met.add(0, 1, 1.0)
    met.add(0, 2, 0.5)
    met.add(1, 2, None)
    assert [met.value(sample) for sample in (0, 1, 2, 3)] == [0.75, 0.0, 0.5, None]
    assert met.direct() == {(0, 1): 1.0, (1, 0): 0.0, (0, 2): 0.5, (2, 0): 0.5}


def test_chance_between_equals_follows_from_seed_and_prompt():
    def first(seed, prompt):
        (pair,) = Rule(seed=seed).pairs(prompt, answers(1, 1, 1, 0))
        return pair.chosen.sample

    assert [first(0, "q")] * 3 == [first(0, "q") for _ in range(3)]
    assert {first(0, str(prompt)) for prompt in range(40)} == {0, 1, 2}
    assert {first(seed, "q") for seed in range(40)} == {0, 1, 2}


RULES = st.builds(
    Rule,
    choose=st.sampled_from(["best-worst", "top-k", "all"]),
    k=st.integers(1, 3),
    margin=st.sampled_from([0.0, 1.0]),
)


@given(RULES, st.lists(st.sampled_from([None, 1.0, 2.0, 3.0, 5.0]), max_size=6))
def test_nothing_is_lost_and_every_pair_is_right(rule, values):
    made = list(rule.pairs("q", answers(*values)))
    judged = [value for value in values if value is not None]
    n = len(judged)
    looked_at = {"best-worst": 1, "top-k": min(rule.k, n // 2), "all": n * (n - 1) // 2}[rule.choose] if n > 1 else 1
    assert len(made) == looked_at + len(values) - n
    for pair in (one for one in made if isinstance(one, Preferred)):
        assert pair.chosen.value - pair.rejected.value >= max(rule.margin, 1.0)
    if rule.choose == "best-worst":
        for pair in (one for one in made if isinstance(one, Preferred)):
            assert (pair.chosen.value, pair.rejected.value) == (max(judged), min(judged))
