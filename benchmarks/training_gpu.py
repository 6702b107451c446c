"""Training on a GPU: `python -m benchmarks.training_gpu`. Prints one line of JSON; `null` where there is no GPU.

DPO with cached log-probabilities of the reference, on a Llama of about one billion random parameters in bf16, by the
modules that training runs on. Beside pairs a second it gives the model FLOPs utilisation (MFU): what the mathematics of
a step takes, by `model_flops`, over what the GPU can do in that time by its data sheet (dense bf16). What is computed
again, and padding, does not count; nor do tokens that are shared or cut off, so MFU and pairs a second both matter.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks import training_workload as work
from benchmarks.training_kintsugi import collated
from benchmarks.training_workload import Case
from training.batches import Batch, on
from training.losses import preference_loss, sides
from training.scoring import Scorer

PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125, "V100": 125}
"""Dense bf16 (V100: fp16) of the data sheets, by what the GPU's name contains; the SXM form where there are two."""
WARM_UP, STEPS = 3, 10


@dataclass(frozen=True)
class Shape:
    """Llama 3.2 1B with a head of its own: 1.24 billion parameters and 0.26 billion more."""

    hidden: int = 2048
    layers: int = 16
    heads: int = 32
    key_heads: int = 8
    inner: int = 8192
    vocabulary: int = 128_256


def main() -> None:
    if not torch.cuda.is_available():
        print("null")
        return
    case = Case("kintsugi", "dpo", reference="cached", vocabulary=Shape.vocabulary, pairs=8)
    cases = [case, replace(case, shared=0.75)]
    name = torch.cuda.get_device_name()
    peak = next((tflops * 1e12 for part, tflops in PEAK_TFLOPS.items() if part in name), None)
    print(json.dumps({"device": name, "runs": [run(one, Shape(), torch.device("cuda"), peak) for one in cases]}))


def run(case: Case, shape: Shape, device: torch.device, peak: float | None) -> dict[str, Any]:
    """Pairs a second, MFU and memory of one case. `peak` is the device's FLOPs a second, where known."""
    scorer = Scorer(model(shape, device))
    adamw = work.optimizer(scorer)
    batch = on(collated(case), device)
    with torch.no_grad():
        reference = scorer(batch).logps

    def step() -> None:
        chosen, rejected = sides(batch, case.pairs, scorer(batch).logps, reference)
        work.update(scorer, adamw, preference_loss("dpo", chosen, rejected, beta=work.BETA).losses.mean())

    seconds, flops = timed(step, device), model_flops(scorer.model, batch)
    return {
        "shared": case.shared,
        "pairs": case.pairs,
        "tokens": batch.tokens,
        "predictions": len(batch.targets),
        "parameters": sum(parameter.numel() for parameter in scorer.model.parameters()),
        "seconds": seconds,
        "pairs_per_second": case.pairs / seconds,
        "model_tflops_per_second": flops / seconds / 1e12,
        "mfu": None if peak is None else flops / seconds / peak,
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None,
    }


def model(shape: Shape, device: torch.device) -> Any:
    """A Llama of random weights in bf16, made on the device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(work.SEED)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        use_cache=False,
    )
    with torch.device(device):
        return LlamaForCausalLM(config).to(torch.bfloat16)


def timed(step: Callable[[], None], device: torch.device) -> float:
    """The median of the seconds that a step takes, all kernels waited for."""
    seconds = []
    for _ in range(WARM_UP + STEPS):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return median(seconds[WARM_UP:])


def model_flops(llama: nn.Module, batch: Batch) -> float:
    """What a training step on a batch takes at least, in floating-point operations.

    Forward: ``2 P T + 2 F U + 4 H S + 2 D V N``. A product and a sum for each of T tokens and each of the P weights in
    the trunk's layers but the F of the last feed-forward part, which the U tokens that are read alone go through; the
    same for queries with keys and for attention with values, over the S pairs of a token and one that it sees in all
    layers, in the last again of the tokens that are read alone, with H = heads x their size; and for the head, at N
    predictions. Backward takes twice that. It is the usual 6 P per token with attention and head apart (PaLM,
    arXiv:2204.02311, appendix B), but what is masked or not read does not count.
    """
    config: Any = llama.config
    apart = ("embed_tokens", "lm_head")
    last = f"layers.{config.num_hidden_layers - 1}.mlp."
    products = {name: p.numel() for name, p in llama.named_parameters() if p.dim() > 1}
    trunk = sum(size for name, size in products.items() if not any(x in name for x in apart))
    behind = sum(size for name, size in products.items() if last in name)
    read = batch.index.unique()
    width = config.num_attention_heads * config.head_dim
    # Of an answer's tokens each sees those up to itself.
    sees = ((batch.position_ids + 1) * batch.attention_mask).flatten()
    seen = (config.num_hidden_layers - 1) * int(sees.sum()) + int(sees[read].sum())
    forward = 2 * (trunk - behind) * batch.tokens + 2 * behind * len(read) + 4 * width * seen
    return 3.0 * (forward + 2 * config.hidden_size * config.vocab_size * len(batch.targets))


if __name__ == "__main__":
    main()
