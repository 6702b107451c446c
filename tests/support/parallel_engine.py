"""A generate node on "two GPUs": `python parallel_engine.py FOLDER`. There is none in tests.

Ray is told of two, and vLLM, whose build for CPUs is what is installed, puts a rank on each of them. FOLDER holds two
models, `0` and `1`, and rows, under `prompts`; what the node makes goes to `answers`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from eval.nodes import Generate, GenerateConfig
from pipeline import cluster
from pipeline.contract import Source, Work

GPUS = 2
TOKENS = 20


def work(folder: Path, config: GenerateConfig, model: str) -> Work:
    sources = [
        Source("models", model, "models", "0", "", folder / model),
        Source("prompts", "qa", "rows", "0", "", folder / "prompts"),
    ]
    kind = Generate()
    made = folder / "answers" / model
    return Work("parallel", f"answers/{model}", kind.name, kind.version, kind.product, "0", config, made, sources)


def main(folder: Path) -> None:
    import ray

    # Two ranks want a NUMA node each, unless they are told not to bind themselves to any.
    os.environ.update(cluster.LOCAL_ENVIRONMENT, VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_LOGGING_LEVEL="ERROR")
    ray.init(address="local", num_cpus=8, num_gpus=GPUS, resources={cluster.TURNS: 1}, include_dashboard=False)
    config = GenerateConfig(
        kind="generate", models="0", prompts="qa", max_tokens=TOKENS, max_length=512, resources={"gpus": GPUS}
    )
    try:
        Generate().make([work(folder, config, model) for model in ("0", "1")])
    finally:
        cluster.disconnect()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
