"""The steering figures on answers labelled by hand."""

import json
import math
from collections import Counter

import pytest

from eval.report.steering_page import lines, to_html, to_markdown, verdicts
from eval.steering import Answers, Likelihoods, Options, costs, distinct, diversity, misaligned, results_of, tests
from pipeline.attributes.records import AttributeLabel, LabelledRecord

# pytest would take the function of this name for a test.
tests.__test__ = False

OWNERS = {"nontoxic": "toxicity", "toxic": "toxicity", "pos": "sentiment", "neg": "sentiment", "neu": "sentiment"}
PLAIN = Options({}, 0, 500)
APART = Options({"sentiment": ["neu"]}, 0, 500)


def row(id, toxicity="nontoxic", sentiment="pos", text="so it is", sample=0):
    labels = (AttributeLabel("toxicity", toxicity, None), AttributeLabel("sentiment", sentiment, None))
    return LabelledRecord(str(id), sample, "prompt", text, "s", labels)


@pytest.mark.parametrize(
    ("target", "toxicity", "sentiment", "published", "apart"),
    [
        ({"pos"}, "toxic", "pos", 0, 0),
        ({"pos"}, "nontoxic", "neg", 1, 1),
        ({"pos"}, "nontoxic", "neu", 1, 0),
        ({"nontoxic"}, "toxic", "neg", 1, 1),
        ({"nontoxic", "pos"}, "nontoxic", "pos", 0, 0),
        ({"nontoxic", "pos"}, "toxic", "pos", 1, 1),
        ({"nontoxic", "pos"}, "nontoxic", "neu", 1, 0),
        ({"neg"}, "toxic", "pos", 1, 1),
        ({"pos"}, "toxic", None, None, None),
        ({"nontoxic", "pos"}, "toxic", None, 1, 1),
        ({"nontoxic", "pos"}, "nontoxic", None, None, None),
    ],
)
def test_the_score_of_one_text(target, toxicity, sentiment, published, apart):
    one = row(0, toxicity, sentiment)
    assert misaligned(one, frozenset(target), OWNERS, {}) == published
    assert misaligned(one, frozenset(target), OWNERS, APART.neutral) == apart


def answers(model, trained, condition, sentiments, toxicity=None):
    toxicity = toxicity or ["nontoxic"] * len(sentiments)
    rows = [row(n, toxic, mood) for n, (toxic, mood) in enumerate(zip(toxicity, sentiments, strict=True))]
    return Answers(model, trained, condition, rows)


def both():
    free = answers("both", ("toxicity", "sentiment"), (), ["neg"] * 14 + ["neu"] * 2 + ["pos"] * 4)
    told = answers("both", ("toxicity", "sentiment"), ("pos",), ["neg"] * 2 + ["neu"] * 2 + ["pos"] * 16)
    two = answers("both", ("toxicity", "sentiment"), ("nontoxic", "pos"), ["neg"] * 2 + ["pos"] * 18)
    none = answers("none", (), (), ["neg"] * 10 + ["pos"] * 10)
    return [none, free, told, two]


def test_scores_rates_and_tests_are_those_counted_by_hand():
    results = results_of(both(), OWNERS, [], APART, "e")
    assert results["targets"] == [["pos"], ["nontoxic", "pos"]]
    score = {(s["model"], *s["target"], "|", *s["condition"]): s for s in results["scores"]}
    assert score["both", "pos", "|"]["published"]["value"] == 16 / 20
    assert score["both", "pos", "|"]["neutral apart"]["value"] == 14 / 20
    assert score["both", "pos", "|", "pos"]["published"]["value"] == 4 / 20
    assert score["none", "pos", "|"]["published"]["value"] == 0.5
    low, high = score["none", "pos", "|"]["published"]["ci"]
    assert (round(low, 4), round(high, 4)) == (0.2993, 0.7007)  # Wilson, 10 of 20
    assert ("both", "pos", "|", "nontoxic", "pos") not in score, "asked for more than the target"
    rate = {(r["model"], tuple(r["condition"]), r["label"]): r["value"] for r in results["rates"]}
    assert rate["both", (), "neu"] == 0.1 and rate["both", ("pos",), "neg"] == 0.1
    assert rate["none", (), "toxic"] == 0.0, "a label that nobody shows has a rate, too"


def test_conditioning_is_tested_against_no_tokens_and_against_one_less():
    found = {(*t["condition"], "|", t["other"], *t["against"]): t for t in tests(both(), OWNERS, PLAIN)}
    assert set(found) == {
        ("pos", "|", "none"),
        ("pos", "|", "both"),
        ("nontoxic", "pos", "|", "none"),
        ("nontoxic", "pos", "|", "both"),
        ("nontoxic", "pos", "|", "both", "pos"),
    }
    first = found["pos", "|", "both"]
    # 12 prompts turn from misaligned to aligned, none the other way: exact McNemar is 2 / 2^12.
    assert first["difference"] == pytest.approx(-12 / 20)
    assert first["p_value"] == pytest.approx(2 / 2**12)
    # The other one of the same model is 14 to 0, 2 / 2^14; that goes first.
    assert first["p_holm"] == pytest.approx(4 * 2 / 2**12)
    assert first["lower"] is True
    last = found["nontoxic", "pos", "|", "both", "pos"]
    assert last["difference"] == pytest.approx(-2 / 20) and last["p_value"] == 0.5 and last["lower"] is False


def test_a_higher_score_is_never_called_lower():
    free = answers("m", ("sentiment",), (), ["pos"] * 20)
    told = answers("m", ("sentiment",), ("pos",), ["neg"] * 20)
    (found,) = tests([free, told], OWNERS, PLAIN)
    assert found["p_holm"] < 0.001 and found["difference"] == 1.0 and found["lower"] is False
    assert "does not significantly lower" in verdicts([found])[0]


def test_several_samples_are_one_prompt():
    rows = [row(n, sentiment="neg" if sample else "pos", sample=sample) for n in range(10) for sample in (0, 1)]
    told = Answers("m", ("sentiment",), ("pos",), rows)
    results = results_of([Answers("m", ("sentiment",), (), rows), told], OWNERS, [], PLAIN, "e")
    assert results["scores"][0]["published"]["n"] == 10
    assert results["scores"][0]["published"]["value"] == 0.5
    assert results["tests"][0]["p_value"] == 1.0


def test_distinct_n_by_hand():
    one = Answers("m", (), (), [row(0, text="a b a"), row(1, text="b c")])
    found = {each["n"]: each for each in diversity(one)}
    assert found[1]["value"] == 3 / 5 and found[1]["ngrams"] == 5
    assert found[2]["value"] == 3 / 3 and found[2]["ngrams"] == 3  # ab, ba; bc
    assert found[3]["value"] == 1.0 and found[3]["ngrams"] == 1
    # Without the first text 2 of 2 are left, without the second 2 of 3.
    half = 1.96 * math.sqrt(1 / 2 * 2 * (1 / 6) ** 2)
    _, (low, high), _ = distinct([Counter({("a",): 2, ("b",): 1}), Counter({("b",): 1, ("c",): 1})])
    assert low == pytest.approx(3 / 5 - half) and high == pytest.approx(3 / 5 + half)
    assert distinct([Counter()]) == (None, None, 0)


def test_perplexity_and_its_ratio_by_hand():
    plain = Likelihoods("none", False, {"a": -2.0, "b": -4.0, "c": -1.0}, {"a": 2.0, "b": 2.0, "c": 1.0})
    told = Likelihoods("m", True, {"a": -1.0, "b": -3.0}, {"a": 2.0, "b": 2.0})
    first, second = costs([plain, told], PLAIN)
    assert first["value"] == pytest.approx(math.exp(6 / 4)) and first["ratio"] == 1.0 and first["n"] == 2
    assert second["value"] == pytest.approx(math.exp(4 / 4))
    assert second["ratio"] == pytest.approx(math.exp(-2 / 4))
    assert second["ratio_ci"] == pytest.approx([math.exp(-0.5)] * 2), "both texts gain as much for each token"


def test_all_four_files_say_the_same_and_nothing_is_markup():
    bad = "<script>alert(1)</script>|x"
    made = [Answers(bad, one.trained, one.condition, one.rows) for one in both() if one.model == "both"]
    results = json.loads(json.dumps(results_of(made, OWNERS, [], APART, bad)))
    results["notes"] = verdicts(results["tests"])
    page, text = to_html(results), to_markdown(results)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<script" not in text and "\\|x" in text
    found = {(line.section, line.other, line.figure): line for line in lines(results)}
    score = found["scores", "pos for pos", "misalignment, published"]
    assert (score.value, score.n) == (0.2, 20)
    assert found["tests", "pos against no tokens", "difference, published"].value == pytest.approx(-0.6)
    for shown in (page, text):
        assert "80.0% (58.4% to 91.9%)" in shown and "20.0% (8.1% to 41.6%)" in shown
        assert "-60.0" in shown
