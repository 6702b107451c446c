"""LoRA for real: under every ZeRO stage, from adapter to adapter, and served by vLLM without merging."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import ROOT, Finished

from pipeline.adapters import locate
from pipeline.contract import DATA
from pipeline.records import GenerationRecord
from pipeline.shards import read_records

pytestmark = pytest.mark.slow

PROMPTS = 16
LOG_2 = 0.6931471824645996
"""-log sigmoid(0) in fp32."""
CASES = [[0, "fp32"], [1, "fp32"], [2, "fp32"], [3, "fp32"], [1, "bf16"], [3, "bf16"]]

GREEDY = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from pipeline.chat import prompt_ids
torch.set_num_threads(1)
base, adapter = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
answers = []
for prompt in json.load(sys.stdin):
    ids = torch.tensor([prompt_ids(tokenizer, prompt)])
    made = model.generate(input_ids=ids, max_new_tokens=160, do_sample=False)[0, ids.shape[1]:]
    answers.append(tokenizer.decode(made, skip_special_tokens=True))
json.dump(answers, sys.stdout)
"""


def first_line(run: Finished, node: str) -> dict[str, Any]:
    line: dict[str, Any] = json.loads((run.directory(node) / "metrics.jsonl").read_text().splitlines()[0])
    return line


def losses(run: Finished, node: str) -> list[float]:
    lines = (run.directory(node) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def answers(run: Finished, arm: str) -> list[GenerationRecord]:
    return list(read_records(run.directory(f"answers/{arm}") / DATA, GenerationRecord))


@pytest.fixture(scope="module")
def stages(adapters: Finished, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both ranks found under each ZeRO stage; see tests/support/adapter_stages.py."""
    scratch = tmp_path_factory.mktemp("stages")
    script = ROOT / "tests" / "support" / "adapter_stages.py"
    arguments = [str(adapters.directory("corrupted")), str(scratch), json.dumps(CASES)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, str(script), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads((scratch / "found.json").read_text())
    return found


@pytest.mark.extensive
@pytest.mark.parametrize("case", [f"{zero}-{dtype}" for zero, dtype in CASES])
def test_every_stage_resumes_to_the_bit_and_leaves_the_base_alone(case: str, stages: list[dict[str, Any]]) -> None:
    for rank in stages:
        found = rank[case]
        assert found["resumed_at"] == 3
        assert found["again"] == found["losses"][3:]
        assert found["bit_identical"]
        assert found["moved"]
        assert found["gone_on"]
        assert found["off_stays"]
        assert found["off_is_base"]


@pytest.mark.extensive
@pytest.mark.parametrize("case", ["1-fp32", "2-fp32", "3-fp32"])
def test_every_stage_trains_the_same_adapter(case: str, stages: list[dict[str, Any]]) -> None:
    for rank in stages:
        assert rank[case]["first"] == rank["0-fp32"]["first"] == stages[0]["0-fp32"]["first"]
        assert rank[case]["losses"] == pytest.approx(rank["0-fp32"]["losses"], rel=1e-4)
        assert rank[case]["whole"] == pytest.approx(rank["0-fp32"]["whole"], rel=1e-3)


@pytest.mark.extensive
def test_a_checkpoint_holds_the_adapter_and_not_the_base(stages: list[dict[str, Any]]) -> None:
    for case, found in stages[0].items():
        assert found["trainable_parameters"] < 0.1 * found["parameters"]
        # Weights, a copy in fp32 and two moments, on each rank for stage 0.
        assert found["checkpoint_bytes"] < 2 * 16 * found["trainable_parameters"] + 500_000, case
        assert found["checkpoint_bytes"] < 4 * found["parameters"], case


@pytest.mark.parametrize("node", ["adapter/1", "adapter/3", "again"])
def test_a_policy_starts_exactly_as_its_reference(node: str, adapters: Finished) -> None:
    first = first_line(adapters, node)
    assert first["loss"] == pytest.approx(LOG_2, abs=1e-6)
    # An adapter adds exactly 0 at its start; what cached and live log-probs differ by is rounding in other batches.
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert first["rewards/chosen"] == pytest.approx(0, abs=1e-6)
    assert losses(adapters, node)[-1] < LOG_2


def test_the_stages_agree_in_the_chain_too(adapters: Finished) -> None:
    assert losses(adapters, "adapter/3") == pytest.approx(losses(adapters, "adapter/1"), rel=1e-3)


def test_an_adapter_is_saved_alone_and_names_its_base_within_the_store(adapters: Finished) -> None:
    for node, base in (("adapter/1", "corrupted"), ("again", "corrupted"), ("other", "reference")):
        directory = adapters.directory(node)
        assert sorted(path.name for path in directory.glob("*.safetensors")) == ["adapter_model.safetensors"]
        assert not (directory / "config.json").exists()
        assert locate(directory).weights == adapters.directory(base).resolve()
        assert adapters.manifest(node).facts["base"] == f"../{adapters.graph.nodes[base].key}"
        assert str(adapters.store.root) not in (directory / "adapter_config.json").read_text()


def test_the_manifest_says_how_much_was_trained(adapters: Finished) -> None:
    facts = adapters.manifest("other").facts
    # rank x layers x (in + out) of q_proj, v_proj and down_proj of the tiny model.
    assert facts["trainable_parameters"] == 8 * 3 * ((192 + 192) + (192 + 64) + (512 + 192))
    assert adapters.manifest("adapter/1").facts["trainable_parameters"] < 0.1 * facts["parameters"]
    assert "base" not in adapters.manifest("merged").facts


def test_an_adapter_is_merged_where_all_weights_are_trained(adapters: Finished) -> None:
    assert (adapters.directory("merged") / "model.safetensors").exists()
    assert not (adapters.directory("merged") / "adapter_config.json").exists()


@pytest.mark.parametrize(
    "arm", ["adapter/1", *(pytest.param(arm, marks=pytest.mark.extensive) for arm in ("other", "again"))]
)
def test_served_answers_are_those_of_transformers_with_the_adapter(arm: str, adapters: Finished) -> None:
    """Three adapters, two bases, one engine; the base was reloaded between them."""
    saved = answers(adapters, arm)[:PROMPTS]
    files = locate(adapters.directory(arm))
    expected = greedy(files.weights, adapters.directory(arm), [record.prompt for record in saved])
    same = sum(record.response == answer for record, answer in zip(saved, expected, strict=True))
    assert same >= PROMPTS - 1


def test_adapters_change_the_answers(adapters: Finished) -> None:
    said = {arm: [record.response for record in answers(adapters, arm)] for arm in ("corrupted", "adapter/1", "again")}
    assert said["corrupted"] != said["adapter/1"] != said["again"] != said["corrupted"]


def greedy(base: Path, adapter: Path, prompts: list[str]) -> list[str]:
    """What transformers' own `generate` says with peft's adapter, in a process of its own."""
    command = [sys.executable, "-c", GREEDY, str(base), str(adapter)]
    done = subprocess.run(command, input=json.dumps(prompts), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said
