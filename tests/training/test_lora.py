"""LoRA through peft on the tiny model: how an adapter starts, what it is held to, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.adapters import locate
from pipeline.failures import UserError
from pipeline.model_files import check_model_directory
from training import lora
from training.configs import LoraConfig

IDS = torch.tensor([[5, 9, 17, 30, 41, 8], [7, 7, 12, 60, 2, 33]])
SMALL = LoraConfig(rank=4)


def base(directory: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def disturb(model: Any) -> Any:
    """Stands for training: every trainable parameter moves."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def trained(tiny_directory: Path) -> Any:
    return disturb(lora.wrap(base(tiny_directory), SMALL, base="../base", seed=0))


@pytest.fixture
def adapter(trained: Any, tiny_directory: Path, tokenizer: Any, tmp_path: Path) -> Path:
    """The trained adapter as a directory, beside its base in a store."""
    (tmp_path / "base").symlink_to(tiny_directory)
    directory = tmp_path / "adapter"
    directory.mkdir()
    lora.save(trained, directory, None)
    tokenizer.save_pretrained(directory)
    return directory


def test_a_new_adapter_changes_nothing(tiny_directory: Path) -> None:
    model = lora.wrap(base(tiny_directory), LoraConfig(dropout=0.5), base="../base", seed=0).train()
    assert torch.equal(logits(model), logits(base(tiny_directory)))


def test_switched_off_a_trained_adapter_leaves_the_base_exactly(trained: Any, tiny_directory: Path) -> None:
    trained.train()
    before, expected = logits(trained), logits(base(tiny_directory))
    with lora.as_reference(trained):
        assert not trained.training
        assert torch.equal(logits(trained), expected)
    assert trained.training
    assert torch.equal(logits(trained), before)
    assert not torch.allclose(before, expected, atol=1e-3)
    assert lora.parameters(trained)["trainable_parameters"] > 0


def test_an_adapter_is_drawn_from_its_seed_alone(tiny_directory: Path) -> None:
    states = []
    for noise, seed in ((1, 0), (2, 0), (1, 5)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        model = lora.wrap(base(tiny_directory), SMALL, base="../base", seed=seed)
        states.append({name: value for name, value in model.state_dict().items() if "lora_" in name})
        assert torch.equal(torch.get_rng_state(), before)
    first, same, other = states
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_parameters_are_counted_by_hand(tiny_directory: Path) -> None:
    plain = base(tiny_directory)
    whole = sum(parameter.numel() for parameter in plain.parameters())
    model = lora.wrap(plain, LoraConfig(rank=4, targets=["q_proj", "down_proj"]), base="../base", seed=0)
    trained = 4 * 3 * ((192 + 192) + (512 + 192))  # rank x layers x (in + out) of both modules
    assert lora.parameters(model) == {"parameters": whole + trained, "trainable_parameters": trained}


def test_all_linear_means_every_linear_module_but_the_head(tiny_directory: Path) -> None:
    names = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert lora.linear_names(base(tiny_directory)) == names
    model = lora.wrap(base(tiny_directory), SMALL, base="../base", seed=0)
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 3 * len(names)


def test_targets_that_the_model_does_not_have_are_refused_with_those_it_has() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=50))
    with pytest.raises(UserError) as caught:
        lora.wrap(model, LoraConfig(targets=["q_proj", "c_attn", "v_proj"]), base="../base", seed=0)
    assert caught.value.kind == "config"
    assert "'q_proj', 'v_proj'" in caught.value.what
    assert "c_attn, c_fc, c_proj" in caught.value.hint
    wrapped = lora.wrap(model, LoraConfig(targets=["c_attn"], rank=2), base="../base", seed=0)
    assert lora.parameters(wrapped)["trainable_parameters"] == 2 * (8 + 24)


def test_a_saved_adapter_is_peft_s_own_and_names_no_path(adapter: Path, trained: Any, tiny_directory: Path) -> None:
    import peft

    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "../base"
    assert settings["target_modules"] == sorted(settings["target_modules"])
    assert str(adapter.parent) not in (adapter / "adapter_config.json").read_text()
    loaded = peft.PeftModel.from_pretrained(base(tiny_directory), str(adapter))
    assert torch.equal(logits(loaded), logits(trained.eval()))


def test_saving_again_gives_the_same_bytes(adapter: Path, trained: Any, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    lora.save(trained, tmp_path / "again", None)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (adapter / path.name).read_bytes()


def test_merging_makes_a_whole_model_that_says_the_same(adapter: Path, trained: Any, tmp_path: Path) -> None:
    lora.merge(locate(adapter), tmp_path / "merged")
    check_model_directory(tmp_path / "merged")
    assert locate(tmp_path / "merged").adapter is None
    assert torch.allclose(logits(base(tmp_path / "merged")), logits(trained.eval()), atol=1e-4)


def test_an_adapter_directory_is_told_from_a_whole_model(adapter: Path) -> None:
    with pytest.raises(UserError, match="a LoRA adapter, not a whole model"):
        check_model_directory(adapter)


def test_an_adapter_that_is_trained_on_is_held_to_its_start(adapter: Path, trained: Any, tiny_directory: Path) -> None:
    start = logits(trained.eval())
    model = lora.go_on(base(tiny_directory), LoraConfig(rank=4, dropout=0.5), adapter).eval()
    assert torch.equal(logits(model), start)
    assert lora.parameters(model) == lora.parameters(trained)
    disturb(model)
    with lora.as_reference(model):
        assert torch.equal(logits(model), start)
    assert not torch.allclose(logits(model.eval()), start, atol=1e-3)


def test_what_is_trained_on_is_saved_alone(adapter: Path, tiny_directory: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    model = disturb(lora.go_on(base(tiny_directory), SMALL, adapter))
    (tmp_path / "next").mkdir()
    lora.save(model, tmp_path / "next", None)
    with safe_open(tmp_path / "next" / "adapter_model.safetensors", "pt") as file:
        assert len(file.keys()) == 2 * 3 * 7
        assert not [name for name in file.keys() if "start" in name]  # noqa: SIM118
    assert locate(tmp_path / "next").weights == locate(adapter).weights


@pytest.mark.parametrize("change", [{"rank": 8}, {"alpha": 32}, {"targets": ["q_proj"]}])
def test_an_adapter_of_another_shape_is_not_trained_on(change: dict, adapter: Path, tiny_directory: Path) -> None:
    (field,) = change
    with pytest.raises(UserError, match=f"adapter with {field}") as caught:
        lora.go_on(base(tiny_directory), LoraConfig(**{"rank": 4, **change}), adapter)
    assert caught.value.where == f"lora.{field}"
