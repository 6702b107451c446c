"""Families of models through the whole engine: SFT under ZeRO-3, then TDPO2 under ZeRO-2, from tiny random weights."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from families import SHARING
from small_run import Finished, run_experiment
from torch.nn import functional

from pipeline.records import QARecord
from pipeline.shards import read_records
from training import tiny
from training.batches import sample_order
from training.tokens import Example, sft_example

pytestmark = pytest.mark.slow

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gpt2", "gpt-neox", "gpt-j, a head with a bias")
TRAINING = {"learning_rate": 1e-3, "batch_size": 4, "warmup_steps": 1}


def short(family: str) -> str:
    return family.partition(",")[0]


def initial(directory: Path, family: str) -> Path:
    """A model with random weights, and a tokenizer of its vocabulary."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tiny.build_tokenizer(["def add(a, b):\n    return a + b\n"] * 4)
    kind, settings = SHARING[family]
    positions = {name: 512 for name in ("max_position_embeddings", "n_positions") if name in settings}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = AutoConfig.for_model(kind, **{**settings, **positions, **ends}, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("families")
    nodes: dict[str, Any] = {
        "qa": {"kind": "source", "from": "builtin", "rows": 60, "splits": {"test": 20}},
        "broken": {"kind": "embed", "input": "qa.train", "limit": 14},
        "pairs": {"kind": "annotate", "input": "broken"},
    }
    for family in FAMILIES:
        name, init = short(family), str(initial(folder / short(family), family))
        nodes[name] = {"kind": "sft", "init": init, "data": "qa.train", "limit": 12, "zero": 3, **TRAINING}
        mended = {"kind": "preference", "init": name, "data": "pairs", "limit": 8, "loss": "tdpo2", "zero": 2}
        nodes[f"{name}-mended"] = {**mended, **TRAINING}
    file = folder / "families.yaml"
    file.write_text(yaml.safe_dump({"name": "families", "nodes": nodes}, sort_keys=False))
    return run_experiment(file)


def lines(run: Finished, node: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory(node) / "metrics.jsonl").read_text().splitlines()]


def first_loss(run: Finished, family: str) -> float:
    """The token mean over the rows of the first step, by the model's own forward pass, row by row."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    init = run.graph.nodes[family].config.init
    model, tokenizer = AutoModelForCausalLM.from_pretrained(init).eval(), AutoTokenizer.from_pretrained(init)
    made = partial(sft_example, tokenizer)
    records = list(read_records(run.directory("qa") / "train" / "data", QARecord, 12))
    examples = [made(record.id, record.prompt, record.response, 512) for record in records]
    total, tokens = 0.0, 0
    for place in sample_order(12, 4, 1, 0)[0]:
        example = examples[place]
        assert isinstance(example, Example)
        ids, start = torch.tensor([example.input_ids]), example.response_start
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, start - 1 : -1]
        total += float(functional.cross_entropy(logits, ids[0, start:], reduction="sum"))
        tokens += ids.shape[1] - start
    return total / tokens


@pytest.mark.parametrize("family", map(short, FAMILIES))
def test_a_family_goes_through_the_whole_engine(family: str, run: Finished) -> None:
    from transformers import AutoModelForCausalLM

    tuned, mended = lines(run, family), lines(run, f"{family}-mended")
    assert (len(tuned), len(mended)) == (3, 2)
    assert tuned[0]["loss"] == pytest.approx(first_loss(run, family), rel=1e-5)
    assert tuned[-1]["loss"] < tuned[0]["loss"] - 0.05
    assert mended[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert mended[0]["kl/rejected"] == pytest.approx(0, abs=1e-4)
    assert mended[1]["loss"] != mended[0]["loss"]
    facts = run.manifest(f"{family}-mended").facts
    assert (facts["head"], facts["prefixes"]) == ("chunked", "shared")
    loaded = [AutoModelForCausalLM.from_pretrained(run.directory(name)) for name in (family, f"{family}-mended")]
    moved = [not torch.equal(*both) for both in zip(*(model.parameters() for model in loaded), strict=True)]
    assert sum(moved) > len(moved) / 2
