"""DeepSpeed's stages by themselves: resumed by another number of ranks, given gradients that are no numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import ROOT

pytestmark = pytest.mark.slow

FP32_GRADIENTS = {"data_types": {"grad_accum_dtype": "fp32"}}
LORA = {"lora": {"rank": 4}}
CASES: dict[str, dict[str, Any]] = {
    "0": {"zero": 0},
    "1": {"zero": 1},
    "2": {"zero": 2},
    "3": {"zero": 3},
    "2-offload": {"zero": 2, "offload": "optimizer"},
    "1-lora": {"zero": 1, **LORA},
    "3-lora": {"zero": 3, **LORA},
    "0-bf16": {"zero": 0, "dtype": "bf16"},
    "1-bf16": {"zero": 1, "dtype": "bf16"},
    "3-bf16": {"zero": 3, "dtype": "bf16"},
    "1-bf16, gradients in fp32": {"zero": 1, "dtype": "bf16", "ds_config": FP32_GRADIENTS},
    "2-bf16, gradients in fp32": {"zero": 2, "dtype": "bf16", "ds_config": FP32_GRADIENTS},
}
EXACT = [case for case in CASES if "bf16" not in case]
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    directory = tmp_path_factory.mktemp("base")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes)).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def scratch(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks trained under every stage, and then a single one went on; see tests/support/engine_stages.py."""
    directory = tmp_path_factory.mktemp("stages")
    script = ROOT / "tests" / "support" / "engine_stages.py"
    for what, ranks in (("start", 2), ("go_on", 1)):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        arguments = [what, str(base), str(directory), json.dumps(CASES)]
        done = subprocess.run([*launcher, str(script), *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-6000:]
    return directory


def found(scratch: Path, what: str, case: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((scratch / f"{what}.json").read_text())[case]
    return result


@pytest.mark.parametrize("case", CASES)
def test_one_rank_goes_on_where_two_were(case: str, scratch: Path) -> None:
    expected, resumed = found(scratch, "start", case)["losses"], found(scratch, "go_on", case)
    assert resumed["step"] == 6
    assert resumed["losses"] == pytest.approx(expected[6:], rel=ROUNDING if case in EXACT else 1e-3)
    # An adapter of few parameters gets less far in as many steps.
    assert resumed["losses"][-1] < expected[0] - (0.05 if "lora" in case else 0.1)
    assert resumed["left"] == ["checkpoint.json", "step-12"]


@pytest.mark.parametrize("case", ["1", "2", "3", "2-offload"])
def test_stages_take_the_same_steps(case: str, scratch: Path) -> None:
    assert found(scratch, "start", case)["losses"] == pytest.approx(
        found(scratch, "start", "0")["losses"], rel=ROUNDING
    )


@pytest.mark.parametrize("case", [case for case in CASES if "bf16" in case])
def test_so_they_do_in_bf16(case: str, scratch: Path) -> None:
    """Adam's first steps are as large without ZeRO, where DeepSpeed counts a step that it takes beforehand."""
    expected = found(scratch, "start", "0-bf16")["losses"]
    assert found(scratch, "start", case)["losses"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_that_is_no_number_is_told(case: str, scratch: Path) -> None:
    bad = found(scratch, "start", case)["bad"]
    assert bad["norm"] in ("nan", "inf")
    assert bad["kept"]


@pytest.mark.parametrize("zero", ["1", "3"])
def test_a_misspelled_key_of_deepspeeds_is_refused(zero: str, scratch: Path) -> None:
    kind, what, where, _ = found(scratch, "start", "refused")[zero]
    assert (kind, where) == ("config", "ds_config")
    assert "overlap_com" in what


@pytest.mark.parametrize("case", CASES)
def test_computed_buffers_are_those_of_the_model_elsewhere(case: str, scratch: Path) -> None:
    """Such as the frequencies of rotary embeddings, which ZeRO-3 in bf16 would round."""
    assert found(scratch, "start", case)["other_buffers"] == []
