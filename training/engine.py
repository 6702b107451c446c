"""DeepSpeed for one training run: its configuration, the engine, and the weights out of it."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.failures import UserError
from training import lora
from training.configs import ModelConfig
from training.scoring import Scorer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ADAM_BETAS = (0.9, 0.95)


def deepspeed_config(config: ModelConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration for a run.

    The learning rate is set, and a step is split into micro-batches, from outside: the batch here is a formality.
    """
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0 if _clips_itself(config) else config.max_grad_norm,
        "zero_allow_untested_optimizer": True,
        # For a client's optimizer DeepSpeed would otherwise refuse, not slow down: its own has to be compiled.
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": config.zero,
            "overlap_comm": False,
            "contiguous_gradients": False,
            "stage3_gather_16bit_weights_on_model_save": True,
            **_offloads(config),
        },
        "bf16": {"enabled": config.dtype == "bf16"},
        "steps_per_print": 2**31,
    }
    return _laid_over(ours, config.ds_config)


def _offloads(config: ModelConfig) -> dict[str, Any]:
    where = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    names = {"none": [], "optimizer": ["offload_optimizer"], "all": ["offload_optimizer", "offload_param"]}
    return {name: dict(where) for name in names[config.offload]}


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one, where the second has the last word."""
    both = {
        key: _laid_over(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def _clips_itself(config: ModelConfig) -> bool:
    """Where DeepSpeed hands over the optimizer as it is, it clips, but tells no norm and steps with NaN too."""
    return config.zero == 0 and config.dtype == "fp32"


def prepare_process(on_gpu: bool) -> None:
    """Settings that DeepSpeed reads at import. Gloo reduces between the workers of a CPU.

    DeepSpeed would also build a shared-memory kernel with the compiler at first use. A build that is killed leaves a
    lock on which every later worker waits for ever, so it is off.
    """
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
        keep_freed_memory()
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if torch.distributed.is_initialized():
        # Else a model that is loaded in shards before there is any engine would take this worker for the only one.
        deepspeed.init_distributed()


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Have malloc keep what a step frees for the next one, where it is glibc's.

    By default large blocks go back to the system when they are freed, and every step pays for fresh pages: about a
    tenth of its time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def initialize(model: torch.nn.Module, config: ModelConfig) -> Any:
    """The engine that owns the model, wrapped into a `Scorer`, and the optimizer, whose are the unfrozen parameters.

    Raises a config error where DeepSpeed refuses its configuration.
    """
    import deepspeed

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # DeepSpeed may take a step without gradients to allocate the optimizer's states: at rate 0 it decays no weight, and
    # what it counted is forgotten.
    optimizer = torch.optim.AdamW(trained, lr=0.0, betas=ADAM_BETAS, weight_decay=config.weight_decay)
    with _refusals():
        engine, *_ = deepspeed.initialize(model=Scorer(model), optimizer=optimizer, config=deepspeed_config(config))
    if config.zero == 0:
        optimizer.state.clear()
    set_learning_rate(engine, config.learning_rate)
    return engine


@contextmanager
def _refusals() -> Iterator[None]:
    """Within, what DeepSpeed refuses of its configuration is a config error."""
    try:
        yield
    except ValidationError as error:
        fault = error.errors()[0]
        what = f"DeepSpeed refuses {'.'.join(map(str, fault['loc']))}: {fault['msg']}."
        hint = "The keys are at https://www.deepspeed.ai/docs/config-json/."
        raise UserError("config", what, "ds_config", hint) from None


def for_looking(scorer: Scorer, config: ModelConfig) -> Any:
    """The engine of a model in shards that is not trained, and is gathered part by part where it is run."""
    import deepspeed

    settings = deepspeed_config(config)
    # There is no optimizer whose states could wait elsewhere.
    settings["zero_optimization"].pop("offload_optimizer", None)
    engine, *_ = deepspeed.initialize(model=scorer, config=settings)
    return engine


def gathered(module: torch.nn.Module) -> AbstractContextManager[None]:
    """Within, the parameters of a module are whole on every rank; all of them call this."""
    import deepspeed

    whole: AbstractContextManager[None] = deepspeed.zero.GatheredParameters(list(module.parameters()))
    return whole


def release(engine: Any) -> None:
    """Let go of what an engine holds. DeepSpeed keeps every module that it shards in a list of its own, for ever."""
    from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

    engine.destroy()
    FWD_MODULE_STACK[:] = [module for module in FWD_MODULE_STACK if module is not engine.module]


def backward(engine: Any, loss: Tensor, *, last: bool) -> None:
    """Add the gradient of one micro-batch of a step; after the last one, that of all ranks is averaged."""
    engine.set_gradient_accumulation_boundary(last)
    engine.backward(loss, scale_wrt_gas=False)


def step(engine: Any, config: ModelConfig) -> float:
    """Clip the gradient, update the weights, and give the norm before clipping.

    Where that is not finite the update is not made, or made in vain: the run must end there.
    """
    if not _clips_itself(config):
        engine.step()
        return float(engine.get_global_grad_norm()) if engine.was_step_applied() else math.nan
    trained = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
    norm = float(torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm))
    if math.isfinite(norm):
        engine.step()
    return norm


def load_model(directory: str, config: ModelConfig, *, sharded: bool) -> tuple[Any, Any]:
    """A causal language model and, under ZeRO-3, the live object that makes transformers load it in shards.

    That object must be kept for as long as the model is loaded.
    """
    from transformers import AutoModelForCausalLM

    dtype = DTYPES[config.dtype]
    if not (sharded and config.zero == 3):
        return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, trust_remote_code=False), None
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    # That of a reference in shards may be live: it would have the skeleton made in shards as well.
    unset_hf_deepspeed_config()
    buffers = _computed_buffers(directory)
    keeper = HfDeepSpeedConfig(deepspeed_config(config))
    with _refusals():
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, trust_remote_code=False)
    _restore(model, buffers)
    return model, keeper


def checkpoint_layers(model: Any) -> None:
    """Have the model keep its layers' inputs alone for the backward pass. Dropout draws the same numbers again."""
    if not model.supports_gradient_checkpointing:
        what = f"{type(model).__name__} cannot compute its layers again in the backward pass."
        raise UserError("config", what, "gradient_checkpointing", "Leave it out; micro_tokens also saves memory.")
    model.gradient_checkpointing_enable({"use_reentrant": False})


def _computed_buffers(directory: str) -> dict[str, Tensor]:
    """The buffers that a model computes when it is made, such as the frequencies of rotary embeddings, by name."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    with init_empty_weights(include_buffers=False):
        skeleton = AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
    return dict(skeleton.named_buffers())


def _restore(model: Any, buffers: dict[str, Tensor]) -> None:
    """Put computed buffers back in full precision.

    While it shards, DeepSpeed makes every new floating tensor in the precision of the weights; transformers and vLLM
    compute with rotary frequencies in fp32, and at long distances bf16's turn by other angles.
    """
    for prefix, module in model.named_modules():
        for name in module._non_persistent_buffers_set:
            computed = buffers.get(f"{prefix}.{name}" if prefix else name)
            held = module._buffers[name]
            if computed is not None and held is not None and held.is_floating_point():
                module._buffers[name] = computed.to(held.device)


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
