"""The library: rows as TRL has them to weights, and the example that shows how."""

import runpy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import kintsugi.api as api
from kintsugi.api import PairCollator, PreferenceRecord, Span, UserError

EXAMPLE = Path(__file__).parents[2] / "examples" / "trl_pairs.py"
ROW = {"prompt": "Add.", "chosen": "a + b", "rejected": "a - b"}
MARKED = {
    **ROW,
    "chosen_spans": [{"start": 2, "end": 3}],
    "rejected_spans": [{"start": 2, "end": 3, "weight": 0.5}],
}


def weighted(tokenizer, batch, row):
    """The text of the weighted tokens of a row, and their weights."""
    kept = batch.weights[row] > 0
    return tokenizer.decode(batch.input_ids[row][kept]), batch.weights[row][kept].tolist()


def test_spans_become_weights_of_their_tokens(tokenizer):
    batch = PairCollator(tokenizer)([MARKED])
    assert batch.input_ids.shape == batch.weights.shape == batch.attention_mask.shape
    assert len(batch.input_ids) == 2
    chosen, rejected = weighted(tokenizer, batch, 0), weighted(tokenizer, batch, 1)
    assert ("+" in chosen[0], set(chosen[1])) == (True, {1.0})
    assert ("-" in rejected[0], set(rejected[1])) == (True, {0.5})


def test_rows_without_spans_are_compared_on_request_and_refused_otherwise(tokenizer):
    batch = PairCollator(tokenizer, diff=True)([ROW])
    assert "+" in weighted(tokenizer, batch, 0)[0]
    with pytest.raises(UserError, match="no-weight") as caught:
        PairCollator(tokenizer)([{**ROW, "id": "r-7"}])
    assert caught.value.where == "row r-7"
    assert "diff=True" in caught.value.hint


@pytest.mark.parametrize(
    "row",
    [
        MARKED,
        {"prompt": "Add.", "correct_response": "a + b", "incorrect_response": "a - b", "masked_region": [2, 3, -1]},
        {"prompt": "Add.", "correct_response": "a + b", "incorrect_response": "a - b"},
        PreferenceRecord("p", "Add.", "a + b", "a - b", (), (Span(2, 3, "t", "-"),)),
    ],
)
def test_pairs_of_every_format_are_taken(tokenizer, row):
    assert "-" in weighted(tokenizer, PairCollator(tokenizer)([row]), 1)[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "x"}, "this is no preference pair: its fields are 'text'"),
        ({"prompt": "x", "response": "y"}, "this is no preference pair"),
        ({**ROW, "rejected": "a + b"}, "hold the same text"),
        ({**MARKED, "chosen_spans": [{"start": 2, "end": 9}]}, "lies outside its response of 5 characters"),
    ],
)
def test_rows_that_are_no_pairs(tokenizer, row, said):
    with pytest.raises(UserError, match=said):
        PairCollator(tokenizer)([row])


def test_a_row_too_long_is_an_error_not_a_gap(tokenizer):
    with pytest.raises(UserError, match="too-long"):
        PairCollator(tokenizer, max_length=4)([MARKED])


def test_the_sides_of_a_batch_are_sums_over_its_weighted_tokens(tokenizer):
    """By hand, from a full log-softmax in float64."""
    batch = PairCollator(tokenizer)([MARKED, MARKED])
    generator = torch.Generator().manual_seed(0)
    shape = (*batch.input_ids.shape, 1000 + len(tokenizer))
    policy, reference = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    positions = api.shift(batch.input_ids, batch.weights)
    logits = api.select(policy, positions), api.select(reference, positions)
    token, of_reference = (api.token_logps(values, positions.targets) for values in logits)
    kl = api.position_kl(*logits)
    chosen, rejected = api.sides(positions, 2, token, of_reference, kl)
    for side, rows in ((chosen, (0, 1)), (rejected, (2, 3))):
        for i, row in enumerate(rows):
            logps, base = (x[row, :-1].log_softmax(-1) for x in (policy, reference))
            weights = batch.weights[row, 1:].double()
            picked = batch.input_ids[row, 1:, None]
            mine, theirs = (values.gather(-1, picked)[:, 0] for values in (logps, base))
            kl = (base.exp() * (base - logps)).sum(-1)
            assert side.logps[i].item() == pytest.approx((weights * mine).sum().item())
            assert side.logratios[i].item() == pytest.approx((weights * (mine - theirs)).sum().item())
            assert side.kl[i].item() == pytest.approx((weights * kl).sum().item())
            assert side.tokens[i].item() == pytest.approx(weights.sum().item())


@pytest.mark.parametrize("probed", [False, True])
def test_a_scorer_finds_the_sums_of_full_logits(tokenizer, tiny_directory, probed):
    """The two ways through the library: rows with logits of every token, and a batch with a scorer."""
    model = AutoModelForCausalLM.from_pretrained(tiny_directory).eval()
    scorer = api.Scorer(model)
    family = api.probe(scorer)
    assert family.shared and family.packed
    collator = PairCollator(tokenizer, mask="response", diff=True, family=family if probed else None)
    rows = [MARKED, ROW]
    whole, batch = collator(rows), collator.batch(rows)
    assert len(batch.input_ids) == (1 if probed else 4)
    positions = api.shift(whole.input_ids, whole.weights)
    with torch.no_grad():
        logits = api.select(model(whole.input_ids, attention_mask=whole.attention_mask).logits, positions)
        scores = scorer(batch)
    logps = api.token_logps(logits, positions.targets)
    chosen, rejected = api.sides(batch, 2, scores.logps, scores.logps)
    expected = api.weighted_sums(logps, positions.weights, positions.row, 4)
    torch.testing.assert_close(torch.cat([chosen.logps, rejected.logps]), expected)


def test_every_name_of_the_library_is_there():
    assert sorted(api.__all__) == api.__all__
    assert all(hasattr(api, name) for name in api.__all__)


def test_the_example_runs_and_learns(capsys):
    log = runpy.run_path(str(EXAMPLE))["main"](steps=4)
    assert log[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert log[-1]["loss"] < 0.6
    assert log[-1]["rewards/margins"] > 0
    assert "step 4: loss" in capsys.readouterr().out
