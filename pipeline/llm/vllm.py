"""The vLLM engine: one process, one engine, many models of one architecture by reloading weights.

An engine serves whole models or LoRA adapters, as its first model is. Adapters are not merged: the base's weights are
loaded, and each request names the adapter.

Only actors import this. The engine seeds the global random state and changes os.environ, so it never shares a process
with training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.adapters import locate

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""In process, so that no engine outlives its actor; on CPU vLLM would else claim most of the memory for its cache."""


@dataclass(frozen=True)
class Sampling:
    """How to generate. Temperature 0 is greedy."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer and how it ended (`stop` or `length`)."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def served_rank(rank: int) -> int:
    """The rank with which an engine serves an adapter: vLLM pads it with zeros to one of its own."""
    return min(served for served in SERVED_RANKS if served >= rank)


class Engine:
    """A vLLM engine that holds one model at a time."""

    def __init__(self, model: Path, *, max_length: int, dtype: str, threads: int) -> None:
        os.environ.update(ENVIRONMENT, OMP_NUM_THREADS=str(threads))
        from vllm import LLM

        files = locate(model)
        self.weights = files.weights
        self.adapters: list[Path] = []
        self.request: Any = None
        self.llm = LLM(
            model=str(files.weights),
            max_model_len=max_length,
            dtype=dtype,
            enforce_eager=True,
            trust_remote_code=False,
            load_format="safetensors",
            disable_log_stats=True,
            **({"enable_lora": True, "max_lora_rank": served_rank(files.rank)} if files.adapter else {}),
        )
        self.load(model)

    def load(self, model: Path) -> None:
        """Make this the model that answers. Architecture, vocabulary and served rank are those of the first."""
        files = locate(model)
        if files.weights != self.weights:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(files.weights)})
            self.llm.collective_rpc(_renew_cpu_kernels)
            self.llm.reset_prefix_cache()
            self.weights = files.weights
        self.request = self._request(files.adapter) if files.adapter else None

    def _request(self, adapter: Path) -> Any:
        """Names the adapter to vLLM, which knows adapters by positive numbers."""
        from vllm.lora.request import LoRARequest

        if adapter not in self.adapters:
            self.adapters.append(adapter)
        number = self.adapters.index(adapter) + 1
        return LoRARequest(f"adapter-{number}", number, str(adapter))

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, schemas: Sequence[str] = ()
    ) -> list[Completion]:
        """Answers to prompts given as token ids, in their order; with `schemas`, JSON that keeps to each one's."""
        if not prompts:
            return []
        parameters = [_parameters(sampling, schema) for schema in schemas or [""] * len(prompts)]
        requests: Any = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = self.llm.generate(requests, parameters, use_tqdm=False, lora_request=self.request)
        return [
            Completion(
                text=output.outputs[0].text,
                finish_reason=str(output.outputs[0].finish_reason),
                prompt_tokens=len(prompt),
                completion_tokens=len(output.outputs[0].token_ids),
            )
            for prompt, output in zip(prompts, outputs, strict=True)
        ]


def _parameters(sampling: Sampling, schema: str) -> Any:
    """How vLLM is told to sample. It compiles each schema once and masks every token that would leave it."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        structured_outputs=StructuredOutputsParams(json=schema, disable_any_whitespace=True) if schema else None,
    )


def _renew_cpu_kernels(worker: Any) -> None:
    """Make every CPU layer use its new weights.

    Without this, tied embeddings keep answering with the old head: the layer holds a handle to weights packed at load
    time, and a reload does not renew it.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    for module in worker.model_runner.model.modules():
        if hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)
