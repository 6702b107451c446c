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
    """How to generate. Temperature 0 is greedy; `top_k` 0 takes all tokens; no answer contains a string of `stop`."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    no_repeat_ngram: int = 0
    """Tokens of the n-grams that come up once at most; 0 for none. The engine must be made with `no_repeat`."""


@dataclass(frozen=True)
class Completion:
    """One answer, its tokens, and how it ended (`stop` or `length`)."""

    text: str
    finish_reason: str
    prompt_tokens: int
    ids: tuple[int, ...]

    @property
    def completion_tokens(self) -> int:
        return len(self.ids)


NO_REPEAT = "no_repeat_ngram"
PROCESSOR = "pipeline.llm.no_repeat:NoRepeat"

GPU_MEMORY = 0.9
"""The share of a GPU's memory that its engines take together."""

SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def served_rank(rank: int) -> int:
    """The rank with which an engine serves an adapter: vLLM pads it with zeros to one of its own."""
    return min(served for served in SERVED_RANKS if served >= rank)


class Engine:
    """A vLLM engine that holds one model at a time. On GPUs it compiles, which takes longer to start and then pays."""

    def __init__(
        self, model: Path, *, max_length: int, dtype: str, threads: int, gpus: float = 0, no_repeat: bool = False
    ) -> None:
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
            enforce_eager=gpus == 0,
            trust_remote_code=False,
            load_format="safetensors",
            disable_log_stats=True,
            # In parts, a prompt's draws would be taken back from its generator, which on CPU cannot be done: with many
            # seeded samples vLLM 0.32 ends with "CPU Generator does not use offset".
            **({"enable_chunked_prefill": False} if gpus == 0 else {}),
            **({"logits_processors": [PROCESSOR]} if no_repeat else {}),
            **({"enable_lora": True, "max_lora_rank": served_rank(files.rank)} if files.adapter else {}),
            **_devices(gpus),
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
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        schemas: Sequence[str] = (),
        seeds: Sequence[int] = (),
    ) -> list[Completion]:
        """Answers to prompts given as token ids, in their order.

        With `schemas`, JSON that keeps to each one's; with `seeds`, each drawn from its own, whatever is answered
        beside it.
        """
        drawn = seeds or [sampling.seed] * len(prompts)
        wanted = schemas or [""] * len(prompts)
        outputs = self._run(prompts, [_parameters(sampling, *each) for each in zip(drawn, wanted, strict=True)])
        return [
            Completion(
                text=output.outputs[0].text,
                finish_reason=str(output.outputs[0].finish_reason),
                prompt_tokens=len(prompt),
                ids=tuple(output.outputs[0].token_ids),
            )
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def logps(self, texts: Sequence[Sequence[int]], starts: Sequence[int]) -> list[list[float]]:
        """The log-probability of each token of a text from its start on, given all before it; a start is at least 1.

        The engine also answers with a token, for which `max_length` must leave room.
        """
        from vllm import SamplingParams

        only = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
        # With an adapter, kernels on CPU take a prompt's tokens for requests, which is right for a single one alone.
        calls = [[text] for text in texts] if self.request else [texts]
        outputs = [output for call in calls for output in self._run(call, [only] * len(call))]
        return [
            [output.prompt_logprobs[place][text[place]].logprob for place in range(start, len(text))]
            for text, start, output in zip(texts, starts, outputs, strict=True)
        ]

    def _run(self, prompts: Sequence[Sequence[int]], parameters: Sequence[Any]) -> list[Any]:
        """What vLLM gives for each prompt. What it keeps of earlier prompts goes: it could change the rounding."""
        if not prompts:
            return []
        self.llm.reset_prefix_cache()
        requests: Any = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        return list(self.llm.generate(requests, list(parameters), use_tqdm=False, lora_request=self.request))


def _devices(gpus: float) -> dict[str, Any]:
    """How an engine is laid out: over several GPUs tensor-parallel, in processes of its own on this node.

    Left to itself vLLM would ask Ray for the GPUs that its actor already holds. Of a part of a GPU it takes that part
    of the memory.
    """
    if gpus > 1:
        return {"tensor_parallel_size": int(gpus), "distributed_executor_backend": "mp"}
    return {"gpu_memory_utilization": GPU_MEMORY * gpus} if 0 < gpus < 1 else {}


def _parameters(sampling: Sampling, seed: int, schema: str) -> Any:
    """How vLLM is told to sample. It compiles each schema once and masks every token that would leave it."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        stop=list(sampling.stop),
        seed=seed,
        extra_args={NO_REPEAT: sampling.no_repeat_ngram} if sampling.no_repeat_ngram else None,
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
