"""One engine for many models: after a reload it answers like transformers with the new weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_run import Finished, python

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


SEEDED = """
import json, random, sys
from pathlib import Path
from pipeline.llm.vllm import Engine, Sampling
directory, = sys.argv[1:]
engine = Engine(Path(directory), max_length=512, dtype="float32", threads=1)
draw = random.Random(0)
prompts = [[draw.randrange(100, 500) for _ in range(300)] for _ in range(120)]
sampling = Sampling(max_tokens=4, temperature=1.0)
together = engine.generate(prompts, sampling, seeds=list(range(120)))
alone = engine.generate(prompts[60:63], sampling, seeds=[60, 61, 62])
print("\\nFOUND", json.dumps([len(together), [one.ids for one in together[60:63]], [one.ids for one in alone]]))
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


def test_more_seeded_prompts_than_one_step_takes_are_answered_as_they_are_alone(small: Finished) -> None:
    """Prompts that were cut between two steps used to end the engine: on CPU a draw cannot be taken back."""
    said = python("-c", SEEDED, str(small.directory("reference")))
    count, together, alone = json.loads(said.partition("FOUND ")[2])
    assert count == 120
    assert together == alone


def greedy(model: Path, prompts: list[str]) -> list[str]:
    """What transformers' own `generate` says, in a process of its own."""
    answers: list[str] = json.loads(python("-c", GREEDY, str(model), said=json.dumps(prompts)))
    return answers
