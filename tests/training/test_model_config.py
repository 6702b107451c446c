"""The fields of a training run that say how it is carried out, and DeepSpeed's configuration made of them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kintsugi.graph import UNKEYED
from training.configs import OWNED, SftConfig
from training.engine import deepspeed_config


def config(**fields: Any) -> SftConfig:
    return SftConfig(kind="sft", init="tiny", data="qa", learning_rate=1e-3, **fields)


def test_what_is_not_said_is_in_no_key() -> None:
    said = config().model_dump(mode="json")
    assert not {"micro_tokens", "offload", "gradient_checkpointing", "ds_config"} & set(said)


@pytest.mark.parametrize("fields", [
    {"micro_tokens": 512}, {"offload": "optimizer"}, {"gradient_checkpointing": True}, {"ds_config": {"x": 1}}
])  # fmt: skip
def test_what_is_said_is(fields: dict[str, Any]) -> None:
    assert fields.items() <= config(**fields).model_dump(mode="json").items()


def test_a_token_budget_splits_any_batch() -> None:
    assert config(micro_tokens=512, batch_size=7, workers=3).batch_size == 7
    with pytest.raises(ValidationError, match="leave accumulation out"):
        config(micro_tokens=512, accumulation=2)


@pytest.mark.parametrize(("offload", "zero", "needed"), [("optimizer", 0, 1), ("all", 2, 3)])
def test_what_cannot_be_offloaded_is_refused(offload: str, zero: int, needed: int) -> None:
    with pytest.raises(ValidationError, match=f"offload: {offload} needs zero: {needed} or more, not {zero}"):
        config(offload=offload, zero=zero)
    assert config(offload=offload, zero=needed).offload == offload


def test_offload_names_what_waits_on_the_cpu() -> None:
    zero = deepspeed_config(config(offload="optimizer", zero=2))["zero_optimization"]
    assert (zero["offload_optimizer"]["device"], "offload_param" in zero) == ("cpu", False)
    zero = deepspeed_config(config(offload="all", zero=3))["zero_optimization"]
    assert (zero["offload_optimizer"]["device"], zero["offload_param"]["device"]) == ("cpu", "cpu")


def test_ds_config_is_laid_over_ours() -> None:
    ours, theirs = {"overlap_comm": True, "reduce_bucket_size": 1000}, {"activation_checkpointing": {"profile": True}}
    made = deepspeed_config(config(ds_config={"zero_optimization": ours, **theirs}, zero=2))
    assert made["zero_optimization"] == {
        **deepspeed_config(config(zero=2))["zero_optimization"],
        "overlap_comm": True,
        "reduce_bucket_size": 1000,
    }
    assert made["activation_checkpointing"] == {"profile": True}
    assert made["gradient_clipping"] == 1.0


@pytest.mark.parametrize("path", OWNED)
def test_what_has_a_key_of_its_own_is_refused_there(path: str) -> None:
    value: Any = 1
    for part in reversed(path.split(".")):
        value = {part: value}
    with pytest.raises(ValidationError, match=rf"{path} is decided by .*: say it there"):
        config(ds_config=value)


def test_fewer_workers_are_no_reason_to_train_again() -> None:
    assert "min_workers" in UNKEYED
    assert config(workers=4, min_workers=2).min_workers == 2
    with pytest.raises(ValidationError, match="min_workers 3 is more than workers, 2"):
        config(min_workers=3)
