"""DeepSpeed for one training run: its configuration, the engine, and the weights out of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from training import lora
from training.nodes import ModelConfig
from training.scoring import Scorer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ADAM_BETAS = (0.9, 0.95)


def deepspeed_config(config: ModelConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration for a run. The learning rate is set from outside at every step."""
    return {
        "train_batch_size": config.batch_size,
        "train_micro_batch_size_per_gpu": config.batch_size // (config.workers * config.accumulation),
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": config.zero,
            "overlap_comm": False,
            "contiguous_gradients": False,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "bf16": {"enabled": config.dtype == "bf16"},
        "steps_per_print": 2**31,
    }


def prepare_process(on_gpu: bool) -> None:
    """Settings that DeepSpeed reads at import. Gloo reduces between the workers of a CPU.

    DeepSpeed would also build a shared-memory kernel with the compiler at first use. A build that is killed leaves a
    lock on which every later worker waits for ever, so it is off.
    """
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if torch.distributed.is_initialized():
        # Else a model that is loaded in shards before there is any engine would take this worker for the only one.
        deepspeed.init_distributed()


def initialize(model: torch.nn.Module, config: ModelConfig) -> Any:
    """The engine that owns the model, wrapped into a `Scorer`, and the optimizer, whose are the unfrozen parameters."""
    import deepspeed

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, betas=ADAM_BETAS, weight_decay=config.weight_decay)
    settings = deepspeed_config(config)
    engine, *_ = deepspeed.initialize(model=Scorer(model), optimizer=optimizer, config=settings)
    return engine


def load_model(directory: str, config: ModelConfig, *, sharded: bool) -> tuple[Any, Any]:
    """A causal language model and, under ZeRO-3, the live object that makes transformers load it in shards.

    That object must be kept for as long as the model is loaded.
    """
    from transformers import AutoModelForCausalLM

    keeper = None
    if sharded and config.zero == 3:
        from transformers.integrations import HfDeepSpeedConfig

        keeper = HfDeepSpeedConfig(deepspeed_config(config))
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=DTYPES[config.dtype], trust_remote_code=False)
    return model, keeper


def set_learning_rate(engine: Any, value: float) -> None:
    for group in engine.optimizer.param_groups:
        group["lr"] = value


def save_model(engine: Any, directory: Path, rank: int) -> None:
    """Write the weights, or those of the adapter alone, as safetensors.

    All ranks call this: under ZeRO-3 each holds a part.
    """
    model: Any = engine.module.model
    adapted = lora.is_adapted(model)
    sharded = engine.zero_optimization_stage() == 3
    state = engine._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=adapted) if sharded else None
    if rank:
        return
    if state is not None:
        state = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    if adapted:
        lora.save(model, directory, state)
    else:
        model.save_pretrained(directory, state_dict=state)
