"""Answers and verdicts a second: `python -m benchmarks.eval`. Writes benchmarks/out/eval.json.

- `vllm_vs_hf`: tokens a second of the `generate` node over those of transformers' `generate` at the best of its batch
  sizes, its prompts sorted by length and padded on the left. Greedy, fp32, on the tiny model after some training.
- `ray_overhead`: seconds of that node over those of the bare engine, which has all prompts at once.
- `executions_per_second_per_core`: short programs in the sandbox, as in `benchmarks.sandbox`.

Each side is a process of its own, with all cores or one GPU. No side's start counts: model and engine are there, a few
prompts are answered first, and every round has all the prompts, from text to text; for the node to shards on disk, from
one work's last shard to the next one's. Node and bare engine take turns, so that a machine's slow minutes are shared.
Each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "out" / "eval.json"
STORE = ROOT / ".cache" / "bench-eval"
"""Keeps the trained model between runs."""
TARGETS = {"vllm_vs_hf": 5.0, "ray_overhead": 1.15, "executions_per_second_per_core": 25.0}
"""At least; `ray_overhead` at most. `vllm_vs_hf` binds on a GPU."""
BATCHES = (1, 16, 64, 256)
SEED = 1
WARM_UP = 8
WARMED = "warm-up"
TRAINED = """
name: bench-eval
nodes:
  qa: {kind: source, from: builtin, rows: 700, splits: {validation: 20, test: 40}}
  reference: {kind: sft, init: tiny, data: qa.train, epochs: 2, learning_rate: 2e-3, warmup_steps: 20}
"""


def tell(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


# The sides, each in a process of its own


def texts_of(job: dict[str, Any]) -> list[str]:
    from pipeline.sources.builtin import build

    return [row.prompt for row in build(job["prompts"], SEED)]


def rounds_of(job: dict[str, Any], answer: Callable[[list[str]], int]) -> dict[str, Any]:
    """Seconds and tokens of each round of `answer`, which says how many tokens it made."""
    texts = texts_of(job)
    answer(texts[:WARM_UP])
    seconds, tokens = [], 0
    for number in range(job["rounds"]):
        started = time.perf_counter()
        tokens = answer(texts)
        seconds.append(time.perf_counter() - started)
        tell(f"  round {number + 1} of {job['rounds']}: {tokens:,} tokens in {seconds[-1]:.1f} s")
    return {"seconds": seconds, "tokens": tokens}


def bare(job: dict[str, Any]) -> dict[str, Any]:
    """vLLM as one calls it by hand: all prompts in one call."""
    from transformers import AutoTokenizer

    from eval.serving import engine_for
    from pipeline.chat import prompt_ids

    config = config_of(job)
    engine = engine_for(Path(job["model"]), config)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])

    from vllm import SamplingParams

    def answer(texts: list[str]) -> int:
        engine.llm.reset_prefix_cache()
        prompts: Any = [{"prompt_token_ids": prompt_ids(tokenizer, text)} for text in texts]
        greedy = SamplingParams(max_tokens=config.max_tokens, temperature=0)
        outputs = engine.llm.generate(prompts, greedy, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return rounds_of(job, answer)


def node(job: dict[str, Any]) -> dict[str, Any]:
    """The `generate` node through Ray Data: works of the same prompts, one after the other on one actor."""
    from eval.nodes import Generate
    from pipeline import cluster
    from pipeline.contract import DATA
    from pipeline.shards import shard_paths
    from pipeline.sources.builtin import build

    rows = build(job["prompts"], SEED)
    with tempfile.TemporaryDirectory() as folder:
        works = [work_of(job, Path(folder), rows[:WARM_UP], WARMED)]
        works += [work_of(job, Path(folder), rows, f"round-{number}") for number in range(job["rounds"])]
        try:
            Generate().make(works)
        finally:
            cluster.disconnect()
        shards = [[path.stat().st_mtime for path in shard_paths(work.directory / DATA)] for work in works]
        # Ray Data may begin a round before the warm-up that was handed in before it.
        ends = sorted((max(times), work.name) for times, work in zip(shards, works, strict=True))
        seconds = [after - before for (before, _), (after, name) in pairwise(ends) if name != WARMED]
        usage = json.loads((works[-1].directory / "manifest.json").read_text(encoding="utf-8"))["facts"]["usage"]
    return {"seconds": seconds, "tokens": usage["completion_tokens"], "shards": len(shards[-1]), "usage": usage}


def work_of(job: dict[str, Any], folder: Path, rows: Sequence[Any], name: str) -> Any:
    """A work of the node: these rows, in shards of their own, and the model."""
    from eval.nodes import Generate
    from pipeline.contract import DATA, Source, Work
    from pipeline.records import QARecord
    from pipeline.shards import write_shards

    write_shards(folder / f"{name}-rows" / DATA, rows, QARecord.SCHEMA, 1000)
    sources = [
        Source("models", "model", "models", "0", "", Path(job["model"])),
        Source("prompts", "qa", "rows", "0", "", folder / f"{name}-rows"),
    ]
    kind = Generate()
    return Work("bench", name, kind.name, kind.version, kind.product, "0", config_of(job), folder / name, sources)


def config_of(job: dict[str, Any]) -> Any:
    from eval.nodes import GenerateConfig

    return GenerateConfig(
        kind="generate", models="model", prompts="qa", max_tokens=job["max_tokens"], resources={"gpus": job["gpus"]}
    )


def transformers(job: dict[str, Any]) -> dict[str, Any]:
    """Transformers' own `generate` in batches of `batch`, like lengths together. Tokens count up to EOS and with it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.chat import prompt_ids

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = "cuda" if job["gpus"] else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).to(device).eval()
    end = tokenizer.eos_token_id

    def answer(texts: list[str]) -> int:
        prompts = sorted((prompt_ids(tokenizer, text) for text in texts), key=len)
        said = 0
        for start in range(0, len(prompts), job["batch"]):
            batch = prompts[start : start + job["batch"]]
            longest = max(map(len, batch))
            padding = [longest - len(prompt) for prompt in batch]
            ids = torch.tensor([[end] * n + prompt for n, prompt in zip(padding, batch, strict=True)], device=device)
            mask = torch.tensor([[0] * n + [1] * (longest - n) for n in padding], device=device)
            made = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=job["max_tokens"],
                do_sample=False,
                pad_token_id=end,
            )[:, longest:].tolist()
            said += sum(row.index(end) + 1 if end in row else len(row) for row in made)
            tokenizer.batch_decode(made, skip_special_tokens=True)
        return said

    return rounds_of(job, answer)


def sandbox(job: dict[str, Any]) -> dict[str, Any]:
    """Executions a second with the first mechanism that works here."""
    from benchmarks.sandbox import measure, usable
    from pipeline.sandbox.isolation import BUBBLEWRAP, NAMESPACES

    mechanism = next(one for one in (NAMESPACES, BUBBLEWRAP) if usable(one))
    return measure(mechanism, job["executions"], len(os.sched_getaffinity(0)))


SIDES = {"bare": bare, "node": node, "transformers": transformers, "sandbox": sandbox}


# What runs them


def measured(side: str, job: dict[str, Any]) -> dict[str, Any]:
    """What a side found, in a process of its own."""
    batches = f", {job['batch']} a batch" if "batch" in job else ""
    tell(f"{side}: {job['rounds']} x {job['prompts']} prompts{batches}")
    return rated(side, in_own_process(side, job))


def in_turns(sides: Sequence[str], job: dict[str, Any], turns: int) -> list[dict[str, Any]]:
    """What each side found in all its turns together, which alternate."""
    found = [[measured(side, job) for side in sides] for _ in range(turns)]
    return [
        rated(side, {**own[-1], "seconds": [second for turn in own for second in turn["seconds"]]})
        for side, own in zip(sides, zip(*found, strict=True), strict=True)
    ]


def rated(side: str, found: dict[str, Any]) -> dict[str, Any]:
    """With tokens a second of the median round."""
    found["tokens_per_second"] = round(found["tokens"] / median(found["seconds"]), 1)
    tell(f"{side}: {found['tokens_per_second']:,.0f} tokens/s")
    return found


def in_own_process(side: str, job: dict[str, Any]) -> dict[str, Any]:
    """What a side says on its last line."""
    command = [sys.executable, "-m", "benchmarks.eval", "--side", side, "--job", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **QUIET})
    if done.returncode:
        raise SystemExit(f"{side} failed: exit status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}


def trained(store: Path) -> Path:
    """The tiny model after two epochs, made once."""
    from kintsugi.experiment import load
    from kintsugi.graph import build
    from pipeline.store import Store

    tell("the model: trained unless it is there (a minute or two)")
    store.mkdir(parents=True, exist_ok=True)
    file = store / "experiment.yaml"
    file.write_text(TRAINED, encoding="utf-8")
    command = [sys.executable, "-m", "kintsugi", "run", str(file), "--store", str(store), "--runs", str(store / "runs")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr, env={**os.environ, **QUIET})
    return Store(store).directory("models", build(load(file)).nodes["reference"].key)


def untrained(folder: Path) -> Path:
    """Random weights: enough to show that everything runs."""
    from pipeline.sources.builtin import build as rows
    from training.tiny import build

    build((text for row in rows(100, 0) for text in (row.prompt, row.response)), folder / "model", 0)
    return folder / "model"


def benchmark(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    quick = options.quick
    job = {
        "model": str(model),
        "prompts": 32 if quick else options.prompts,
        "rounds": 2 if quick else options.rounds,
        "max_tokens": 16 if quick else 256,
        "gpus": options.gpus,
    }
    turns = 1 if quick else options.turns
    through_ray, alone = in_turns(("node", "bare"), job, turns)
    if through_ray["tokens"] != alone["tokens"]:
        tell(f"note: {through_ray['tokens']} tokens through Ray, {alone['tokens']} without")
    peers = {size: measured("transformers", peer(job, size)) for size in ((1, 16) if quick else BATCHES)}
    best = max(peers, key=lambda size: float(peers[size]["tokens_per_second"]))
    tell("sandbox: short programs on every core")
    programs = in_own_process("sandbox", {"executions": 20 if quick else 400})
    per_token = [median(side["seconds"]) / side["tokens"] for side in (through_ray, alone)]
    return {
        "vllm_vs_hf": round(through_ray["tokens_per_second"] / peers[best]["tokens_per_second"], 3),
        "ray_overhead": round(per_token[0] / per_token[1], 3),
        "executions_per_second_per_core": programs["executions_per_second_per_core"],
        "vllm_tokens_per_second": through_ray["tokens_per_second"],
        "hf_tokens_per_second": peers[best]["tokens_per_second"],
        "hf_best_batch": best,
        "job": {name: value for name, value in job.items() if name != "model"} | {"turns": turns},
        "sides": {"node": through_ray, "bare": alone, **{f"hf_{size}": found for size, found in peers.items()}},
        "sandbox": programs,
    }


def peer(job: dict[str, Any], batch: int) -> dict[str, Any]:
    """The job of transformers. One prompt at a time is slow, and a part of them shows its rate."""
    return {**job, "batch": batch, "prompts": job["prompts"] if batch > 1 else max(WARM_UP, job["prompts"] // 16)}


def met(figures: dict[str, Any]) -> Iterator[tuple[str, bool | None]]:
    """Each target, and whether the figures meet it; None where it does not bind."""
    for name, bound in TARGETS.items():
        reached = figures[name] <= bound if name == "ray_overhead" else figures[name] >= bound
        binds = name != "vllm_vs_hf" or figures["job"]["gpus"]
        yield (
            f"{name} {figures[name]} ({'at most' if name == 'ray_overhead' else 'at least'} {bound})",
            (reached if binds else None),
        )


def _gpus() -> int:
    import torch

    return int(torch.cuda.is_available())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=2, help="of each turn")
    parser.add_argument("--turns", type=int, default=3, help="of the node and of the bare engine")
    parser.add_argument("--quick", action="store_true", help="few prompts and random weights: shows that it runs")
    parser.add_argument("--gpus", type=int, choices=(0, 1), help="1 where there is one, by default")
    parser.add_argument("--model", type=Path, help="a model directory instead of the tiny model")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.job)))
        return
    options.gpus = _gpus() if options.gpus is None else options.gpus
    from pipeline.store import hardware

    with tempfile.TemporaryDirectory() as folder:
        model = options.model or (untrained(Path(folder)) if options.quick else trained(STORE))
        figures = benchmark(model, options)
    figures |= {"targets": TARGETS, "load_average": [round(one, 1) for one in os.getloadavg()], "hardware": hardware()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for target, reached in met(figures):
        print(f"{'-' if reached is None else 'met' if reached else 'MISSED':>6}: {target}")


if __name__ == "__main__":
    main()
