"""Control tokens from texts to the report: what was trained is what is asked, in DeepSpeed and in vLLM."""

import json
import math

import pytest
import torch
from small_run import ROOT, run_experiment
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.generate import asked_ids
from eval.nodes import GenerateConfig
from pipeline.attributes.records import ControlledRecord, LabelledRecord
from pipeline.chat import prompt_ids
from pipeline.contract import DATA
from pipeline.records import GenerationRecord, QARecord, ScoredRecord
from pipeline.shards import read_records

pytestmark = pytest.mark.slow
TOKENS = {"<|pos|>", "<|neu|>", "<|neg|>"}


@pytest.fixture(scope="module")
def made():
    return run_experiment(ROOT / "tests" / "assets" / "control.yaml")


@pytest.fixture(scope="module")
def told(made):
    directory = made.directory("told")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return AutoTokenizer.from_pretrained(directory), model.eval()


def rows_of(made, node, record):
    return list(read_records(made.directory(node) / DATA, record))


def test_variants_have_the_same_texts_and_a_share_lost_its_tokens(made):
    plain, told = (rows_of(made, f"said/{name}", ControlledRecord) for name in ("no-attributes", "sentiment"))
    assert [(row.id, row.response) for row in plain] == [(row.id, row.response) for row in told]
    assert not any(row.control for row in plain)
    facts = made.manifest("said/sentiment").facts
    assert sum(not row.control for row in told) == facts["without_tokens"] > 0
    assert set(facts["tokens"]) == TOKENS
    labels = {row.id: row.labels[0].name for row in rows_of(made, "sentences_are/sentences", LabelledRecord)}
    assert all(row.control == (f"<|{labels[row.id]}|>",) for row in told if row.control)


def test_only_the_variant_got_embeddings_and_they_were_trained(made, told):
    tokenizer, model = told
    plain = AutoModelForCausalLM.from_pretrained(made.directory("plain"), dtype=torch.float32)
    old = plain.get_input_embeddings().weight
    new = model.get_input_embeddings().weight
    assert new.shape[0] == len(tokenizer) == old.shape[0] + 3
    assert not TOKENS & set(AutoTokenizer.from_pretrained(made.directory("plain")).get_added_vocab())
    start = old.mean(0)
    for token in TOKENS:
        assert (new[tokenizer.convert_tokens_to_ids(token)] - start).abs().max() > 1e-4


def test_vllm_is_asked_with_the_tokens_of_training(made, told):
    """Greedy answers are those of transformers behind the ids that training had."""
    tokenizer, model = told
    prompts = {row.id: row for row in rows_of(made, "openings", QARecord)}
    for label in ("pos", "neg"):
        config = GenerateConfig(kind="generate", models="m", prompts="p", condition=[label], opening=3)
        same = 0
        answers = rows_of(made, f"asked/{label}/told", GenerationRecord)
        for one in answers:
            ids = asked_ids(tokenizer, prompts[one.id], one.prompt, config)
            assert ids[0] == tokenizer.convert_tokens_to_ids(f"<|{label}|>")
            assert len(ids) == one.prompt_tokens
            assert one.prompt == " ".join(prompts[one.id].response.split()[:3])
            assert not one.response.startswith(one.prompt), "the opening is no part of the answer"
            with torch.inference_mode():
                found = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)
            same += tokenizer.decode(found[0][len(ids) :], skip_special_tokens=True) == one.response
        assert same >= len(answers) - 1, "a near tie may fall either way"


def test_likelihoods_are_those_behind_the_tokens(made, told):
    tokenizer, model = told
    rows = {row.id: row for row in rows_of(made, "held_out/sentiment", ControlledRecord)}
    for scored in rows_of(made, "likely_told/told", ScoredRecord)[:5]:
        row = rows[scored.id]
        prompt = prompt_ids(tokenizer, row.prompt, control=row.control)
        answer = [*tokenizer(row.response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.inference_mode():
            logps = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        expected = sum(float(logps[len(prompt) - 1 + n, token]) for n, token in enumerate(answer))
        found = {score.metric: score.value for score in scored.scores}["logp/response"]
        assert math.isclose(found, expected, abs_tol=1e-2)


def test_the_report_has_each_model_with_and_without_tokens(made):
    results = json.loads((made.runs / "report" / "results.json").read_text())
    assert results["targets"] == [["neg"], ["pos"]]
    assert {(score["model"], *score["condition"]) for score in results["scores"]} == {
        ("plain",),
        ("told",),
        ("told", "pos"),
        ("told", "neg"),
    }
    assert {(test["rule"], *test["condition"]) for test in results["tests"]} == {
        (rule, label) for rule in ("published", "neutral apart") for label in ("pos", "neg")
    }
    costs = results["perplexity"]
    assert [(cost["model"], cost["told"]) for cost in costs] == [("plain", False), ("told", False), ("told", True)]
    assert costs[0]["ratio"] == 1.0
    assert "Misalignment score" in made.output
    page = (made.runs / "report" / "index.html").read_text()
    assert "Does conditioning lower the score?" in page and "<script" not in page
