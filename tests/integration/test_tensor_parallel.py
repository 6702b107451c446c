"""An engine over two ranks says what transformers says, of the first model and of one that it took after."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parallel_engine import TOKENS
from small_run import ROOT, python
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.chat import prompt_ids
from pipeline.contract import DATA
from pipeline.records import GenerationRecord, QARecord
from pipeline.shards import read_records, write_shards
from pipeline.sources.builtin import build
from training import tiny

pytestmark = pytest.mark.slow

SHAPE = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1}
"""The three heads of the tiny model cannot be divided among two; with smaller weights it would repeat one token."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models and what an engine on both "GPUs" made with them."""
    folder = tmp_path_factory.mktemp("parallel")
    rows = build(8, 3)
    texts = [text for row in build(100, 0) for text in (row.prompt, row.response)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHAPE.items():
            patch.setitem(tiny.SHAPE, name, value)
        for seed in (0, 1):
            tiny.build(texts, folder / str(seed), seed)
    write_shards(folder / "prompts" / DATA, rows, QARecord.SCHEMA, 100)
    python(str(ROOT / "tests" / "support" / "parallel_engine.py"), str(folder))
    return folder


@pytest.mark.parametrize("model", ["0", "1"])
def test_greedy_answers_are_those_of_transformers(model: str, made: Path) -> None:
    """But for bytes at the end that make no character yet, which the engine leaves out."""
    tokenizer = AutoTokenizer.from_pretrained(made / model)
    loaded = AutoModelForCausalLM.from_pretrained(made / model).eval()
    answers = list(read_records(made / "answers" / model / DATA, GenerationRecord))
    assert len(answers) == len({answer.response for answer in answers}) == 8
    for answer in answers:
        ids = torch.tensor([prompt_ids(tokenizer, answer.prompt)])
        said = loaded.generate(ids, max_new_tokens=TOKENS, do_sample=False)[0, ids.shape[1] :]
        assert answer.response.rstrip("�") == tokenizer.decode(said, skip_special_tokens=True).rstrip("�")
