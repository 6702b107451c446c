"""One engine for many models: after a reload it answers like transformers with the new weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import ROOT, Finished

from pipeline.contract import DATA
from pipeline.records import GenerationRecord
from pipeline.shards import read_records

pytestmark = pytest.mark.slow

PROMPTS = 16

GREEDY = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from pipeline.chat import prompt_ids
directory, = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForCausalLM.from_pretrained(directory)
answers = []
for prompt in json.load(sys.stdin):
    ids = torch.tensor([prompt_ids(tokenizer, prompt)])
    made = model.generate(ids, max_new_tokens=160, do_sample=False)[0, ids.shape[1]:]
    answers.append(tokenizer.decode(made, skip_special_tokens=True))
json.dump(answers, sys.stdout)
"""


@pytest.mark.parametrize("arm", ["reference", "corrupted", "mended/tdpo2-granular"])
def test_answers_after_a_reload_are_those_of_transformers(arm: str, small: Finished) -> None:
    """The engine answered for all arms in turn; tied embeddings on CPU used to keep the first arm's head."""
    saved = list(read_records(small.directory(f"answers/{arm}") / DATA, GenerationRecord))[:PROMPTS]
    expected = greedy(small.directory(arm), [record.prompt for record in saved])
    same = sum(record.response == answer for record, answer in zip(saved, expected, strict=True))
    assert same >= PROMPTS - 1


def test_the_arms_do_not_answer_alike(small: Finished) -> None:
    answers = [
        [record.response for record in read_records(small.directory(f"answers/{arm}") / DATA, GenerationRecord)]
        for arm in ("reference", "corrupted")
    ]
    assert answers[0] != answers[1]


def greedy(model: Path, prompts: list[str]) -> list[str]:
    """What transformers' own `generate` says, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, str(model)],
        input=json.dumps(prompts),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout)
    return answers
