"""Policies give exactly the weights they say; the named masks give what they gave before there were policies."""

from __future__ import annotations

import random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.failures import UserError
from pipeline.offsets import encode_response, span_weights
from pipeline.records import PreferenceRecord
from pipeline.spans import Span
from training.configs import PreferenceConfig, SftConfig
from training.policies import MaskName, PairPolicies, TokenPolicy, mask_of, policy_weights
from training.tokens import PairExample, pair_example, token_weights

BASE = {"init": "tiny", "data": "pairs", "learning_rate": 1e-4}


def mark(text: str, start: int, end: int, weight: float = 1.0) -> Span:
    return Span(start, end, "", text[start:end], weight)


# By hand: four tokens and EOS, spans on the second (weight 2) and third (0.5)

SPANS = [0.0, 2.0, 0.5, 0.0, 0.0]
AT_THE_END = [0.0, 2.0, 0.0, 0.0, 3.0]
"""A span on the second token, and an empty one behind the last."""


@pytest.mark.parametrize(
    ("policy", "spans", "expected"),
    [
        ("response", SPANS, [1, 1, 1, 1, 1]),
        ({"tokens": "response", "eos": True}, SPANS, [1, 1, 1, 1, 1]),
        ({"tokens": "response", "eos": False}, SPANS, [1, 1, 1, 1, 0]),
        ({"tokens": "response", "scale": 0.25}, SPANS, [0.25] * 5),
        ("spans", SPANS, [0, 2, 0.5, 0, 0]),
        ("spans", AT_THE_END, [0, 2, 0, 0, 3]),
        ({"tokens": "spans", "eos": True}, SPANS, [0, 2, 0.5, 0, 1]),
        ({"tokens": "spans", "eos": True}, AT_THE_END, [0, 2, 0, 0, 3]),
        ({"tokens": "spans", "eos": False}, AT_THE_END, [0, 2, 0, 0, 0]),
        ({"tokens": "spans", "scale": 2, "eos": True}, SPANS, [0, 4, 1, 0, 2]),
        ("outside", SPANS, [1, 0, 0, 1, 1]),
        ("outside", AT_THE_END, [1, 0, 1, 1, 0]),
        ({"tokens": "outside", "eos": True}, AT_THE_END, [1, 0, 1, 1, 1]),
        ({"tokens": "outside", "eos": False}, SPANS, [1, 0, 0, 1, 0]),
        ({"tokens": "outside", "scale": 3}, SPANS, [3, 0, 0, 3, 3]),
        ("none", SPANS, [0, 0, 0, 0, 0]),
    ],
)
def test_every_policy_by_hand(policy: Any, spans: list[float], expected: list[float]) -> None:
    made = TokenPolicy.model_validate(policy)
    assert policy_weights(made, spans, marked=True, ends=True, draw=random.Random(0)) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("response", [1, 1]),
        ("spans", [0, 0]),
        ({"tokens": "spans", "eos": True}, [0, 0]),  # nothing is bad here, so its end is not either
        ({"tokens": "random", "eos": True}, [0, 0]),
        ("outside", [1, 1]),
        ("random", [0, 0]),
        ("none", [0, 0]),
    ],
)
def test_every_policy_without_spans(policy: Any, expected: list[float]) -> None:
    made = TokenPolicy.model_validate(policy)
    assert policy_weights(made, [0.0, 0.0], marked=False, ends=True, draw=random.Random(0)) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"tokens": "response", "eos": True}, [1, 1, 1, 1]),
        ({"tokens": "response", "eos": False}, [1, 1, 1, 1]),  # the last position is a token like others
        ({"tokens": "spans", "eos": True}, [0, 2, 0.5, 0]),
        ({"tokens": "spans", "eos": False}, [0, 2, 0.5, 0]),
        ({"tokens": "outside", "eos": True}, [1, 0, 0, 1]),
    ],
)
def test_an_answer_that_was_cut_has_no_eos_to_speak_of(policy: Any, expected: list[float]) -> None:
    made = TokenPolicy.model_validate(policy)
    assert policy_weights(made, SPANS[:4], marked=True, ends=False, draw=random.Random(0)) == expected


@pytest.mark.parametrize(("eos", "end"), [(None, {0.0, 1.0}), (True, {1.0}), (False, {0.0})])
def test_random_draws_eos_like_others_unless_told(eos: bool | None, end: set[float]) -> None:
    policy = TokenPolicy(tokens="random", eos=eos)
    drawn = [
        policy_weights(policy, [1.0, 0.0, 0.0, 0.0], marked=True, ends=True, draw=random.Random(seed))
        for seed in range(40)
    ]
    assert {weights[-1] for weights in drawn} == end
    assert {weights[0] for weights in drawn} == {0.0}
    assert {sum(weights) for weights in drawn} == {1.0 + (eos is True)}


def test_a_policy_for_each_side(tokenizer: Any) -> None:
    mask = mask_of({"chosen": {"tokens": "response", "scale": 0.5, "eos": False}, "rejected": "spans"})
    row = PreferenceRecord("r", "Sum?", "ab", "ac", (), (mark("ac", 1, 2, 3.0),))
    made = pair_example(tokenizer, row, mask, 100, 0)
    assert isinstance(made, PairExample)
    start = made.chosen.response_start
    assert set(made.chosen.weights[start:-1]) == {0.5}
    assert made.chosen.weights[-1] == 0
    _, offsets = encode_response(tokenizer, "ac")
    assert list(made.rejected.weights[start:]) == span_weights(offsets, row.rejected_spans, 2)
    assert max(made.rejected.weights) == 3


# Named masks: what stood in token_weights before there were policies


def before(
    mask: str, offsets: Any, spans: Any, length: int, side: str, flagged: str, seed: int, record_id: str
) -> list[float]:
    """The weights of a mask as they were computed by name."""
    granular = span_weights(offsets, spans, length)
    if mask == "response":
        return [1.0] * (len(offsets) + 1)
    if mask == "granular":
        return granular
    if mask == "random":
        draw = random.Random(f"{seed}:{record_id}:{side}")
        inside = [i for i, weight in enumerate(granular) if weight > 0]
        outside = [i for i, weight in enumerate(granular) if weight == 0]
        drawn = draw.sample(outside, min(len(inside), len(outside)))
        drawn += draw.sample(inside, len(inside) - len(drawn))
        weights = [0.0] * len(granular)
        for position, source in zip(sorted(drawn), inside, strict=True):
            weights[position] = granular[source]
        return weights
    if side != flagged or not spans:
        return [0.0] * len(granular)
    return [*granular[:-1], max(granular[-1], 1.0)]


@settings(max_examples=300)
@given(data=st.data(), mask=st.sampled_from(["response", "granular", "granular-one-sided", "random"]))
def test_named_masks_give_the_weights_they_gave_by_name(tokenizer: Any, data: st.DataObject, mask: Any) -> None:
    text = data.draw(st.text("ab (=\n1é🎉你", max_size=20))
    ends = st.integers(0, len(text))
    places = data.draw(st.lists(st.tuples(ends, ends, st.sampled_from([0.0, 0.5, 1.0, 2.0])), max_size=3))
    spans = [mark(text, min(a, b), max(a, b), weight) for a, b, weight in places]
    side, flagged = data.draw(st.tuples(*[st.sampled_from(["chosen", "rejected"])] * 2))
    seed = data.draw(st.integers(0, 3))
    _, offsets = encode_response(tokenizer, text)
    made = token_weights(mask, offsets, spans, len(text), side=side, flagged=flagged, seed=seed, record_id="r")
    assert made == before(mask, offsets, spans, len(text), side, flagged, seed, "r")


def test_outside_is_what_granular_leaves() -> None:
    offsets = [(0, 3), (3, 6), (6, 7)]
    spans = [mark("abcdefg", 2, 4)]
    assert token_weights("outside", offsets, spans, 7, side="chosen") == [0, 0, 1, 1]


# Configs


@pytest.mark.parametrize(
    ("policies", "name"),
    [
        ({"chosen": "spans", "rejected": {"tokens": "spans"}}, "granular"),
        ({"chosen": "response", "rejected": {"tokens": "response", "scale": 1.0}}, "response"),
        ({"chosen": "outside", "rejected": "outside"}, "outside"),
        ({"chosen": "random", "rejected": "random"}, "random"),
    ],
)
def test_policies_that_say_what_a_name_says_are_that_mask(policies: Any, name: str) -> None:
    config = PreferenceConfig(kind="preference", mask=policies, **BASE)
    assert config.mask == name
    assert config == PreferenceConfig(kind="preference", mask=name, **BASE)


def test_a_mask_is_dumped_in_its_shortest_form_and_read_again() -> None:
    given = {"chosen": {"tokens": "none"}, "rejected": {"tokens": "spans", "scale": 2, "eos": True}}
    config = PreferenceConfig(kind="preference", mask=given, **BASE)
    dumped = config.model_dump(mode="json")
    assert dumped["mask"] == {"chosen": "none", "rejected": {"tokens": "spans", "scale": 2.0, "eos": True}}
    assert PreferenceConfig.model_validate(dumped) == config


def test_what_says_nothing_new_is_not_in_keys_and_manifests() -> None:
    said = SftConfig(kind="sft", **BASE).model_dump(mode="json")
    assert {"mask", "too_long", "max_lost_spans"} & set(said) == set()
    assert SftConfig(kind="sft", mask="spans", **BASE).model_dump(mode="json")["mask"] == "granular"


@pytest.mark.parametrize("mask", get_args(MaskName))
def test_every_name_is_a_mask(mask: str) -> None:
    assert mask_of(mask) == mask


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("granulr", "granular"),
        ({"chosen": "none", "rejected": "none"}, "nothing to train on"),
        ({"chosen": {"tokens": "none", "scale": 2}, "rejected": "spans"}, "mean nothing"),
        ({"chosen": {"tokens": "spans", "scale": 0}, "rejected": "spans"}, "greater than 0"),
        ({"chosen": {"tokens": "spans", "scale": float("inf")}, "rejected": "spans"}, "finite"),
        ({"rejected": "spans"}, "Field required"),
    ],
)
def test_masks_that_are_none(mask: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PreferenceConfig(kind="preference", mask=mask, **BASE)
    with pytest.raises(UserError) as caught:
        mask_of(mask)
    assert caught.value.kind == "config"


def test_one_answer_needs_something_to_learn() -> None:
    with pytest.raises(ValidationError, match="nothing to train on"):
        SftConfig(kind="sft", mask="none", **BASE)
    with pytest.raises(ValidationError):
        SftConfig(kind="sft", mask="granular-one-sided", **BASE)


def test_one_sided_is_a_pair_of_policies_for_each_flag() -> None:
    offsets, spans = [(0, 1), (1, 2)], [mark("ab", 1, 2)]
    pair = PairPolicies.model_validate({"chosen": "none", "rejected": {"tokens": "spans", "eos": True}})
    for side in ("chosen", "rejected"):
        by_name = token_weights("granular-one-sided", offsets, spans, 2, side=side, flagged="rejected")
        assert token_weights(pair, offsets, spans, 2, side=side) == by_name
