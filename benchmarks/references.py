"""What a cached reference saves: seconds of a training step with it and with a live one, turn by turn in one process.

    python -m benchmarks.references

The embedded default model from scratch, on pairs made of the built-in corpus by changing one word, batches of 8 pairs,
forward, backward and AdamW. Turns alternate, so that a busy machine slows both alike; medians. Figures go to
benchmarks/out/references.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.contract import DATA, Source, Work
from pipeline.records import PreferenceRecord
from pipeline.shards import write_shards
from pipeline.sources.builtin import build
from pipeline.spans import Span
from training import lora, reference, tiny
from training.batches import collate_pairs
from training.examples import pair_examples
from training.losses import preference_loss, sides
from training.nodes import Preference, PreferenceConfig
from training.reference_making import Origin
from training.scoring import Scorer
from training.start import Start

OUT = Path(__file__).parent / "out" / "references.json"
ARMS: dict[str, dict[str, Any]] = {
    "dpo / response": {},
    "dpo / granular": {"mask": "granular"},
    "tdpo2 / response": {"loss": "tdpo2"},
    "tdpo2 / granular": {"loss": "tdpo2", "mask": "granular"},
    "tdpo2 / granular, lora": {"loss": "tdpo2", "mask": "granular", "lora": {"rank": 8}},
}
BATCH = 8


def pairs(count: int) -> list[PreferenceRecord]:
    """Answers of the corpus, and the same with the word in their middle changed and marked."""
    made = []
    for row in build(count, 0):
        start = row.response.index(" ", len(row.response) // 2) + 1
        end = min(found for found in (row.response.find(sign, start) for sign in " \n") if found > 0)
        rejected = f"{row.response[:start]}wrong{row.response[end:]}"
        marks = (Span(start, end, "unknown", row.response[start:end]),), (Span(start, start + 5, "unknown", "wrong"),)
        made.append(PreferenceRecord(row.id, row.prompt, row.response, rejected, *marks))
    return made


def run(folder: Path, arm: dict[str, Any], how: str) -> Origin:
    """An arm with a `reference` of this kind, up to where it would train."""
    config = PreferenceConfig(
        kind="preference", init="start", data="pairs", learning_rate=1e-4, reference=how, workers=1, **arm
    )
    model, rows = folder / "store" / "models" / "start", folder / "store" / "rows" / "pairs"
    sources = [
        Source("init", "start", "models", "start", "", model),
        Source("data", "pairs", "rows", "pairs", "", rows),
    ]
    directory = folder / "store" / "models" / "run"
    work = Work("bench", "run", "preference", Preference.version, "models", "run", config, directory, sources)

    def load() -> tuple[Any, Any]:
        whole = AutoModelForCausalLM.from_pretrained(model)
        return (whole if config.lora is None else lora.wrap(whole, config.lora, base="start", seed=0)), None

    start = Start(str(model), str(model))
    return Origin(work, (sources[1], None), start, AutoTokenizer.from_pretrained(model), torch.device("cpu"), load)


class Stepper:
    """A policy in training, held to a reference."""

    def __init__(self, origin: Origin, examples: Any, held_to: reference.Reference) -> None:
        self.config, self.examples, self.held_to = origin.config, examples, held_to
        self.policy = Scorer(origin.load()[0]).train()
        trained = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)

    def step(self, number: int) -> float:
        """Seconds of one step."""
        started, needs = time.perf_counter(), self.config.objective
        first = number * BATCH % (len(self.examples) - BATCH)
        mine = self.examples[first : first + BATCH]
        batch = collate_pairs(mine, 0, cancel=needs.cancels)
        said = self.held_to.of(batch, mine, self.policy, kl=needs.kl)
        scores = self.policy(batch, said.source, kl=needs.kl)
        chosen, rejected = sides(batch, len(mine), scores.logps, said.logps_or(scores), scores.kl)
        preference_loss(self.config.loss, chosen, rejected, **self.config.parameters).losses.mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started


def measured(folder: Path, arm: dict[str, Any], steps: int) -> dict[str, float]:
    """The figures of one arm: seconds to make the cache, and of a step either way."""
    steppers, made = {}, 0.0
    for how in ("live", "cached"):
        origin = run(folder, arm, how)
        examples, _ = pair_examples(origin.tokenizer, origin.rows[0], origin.config)
        started = time.perf_counter()
        held_to = reference.prepare(origin, examples, kl=origin.config.objective.kl)
        made = time.perf_counter() - started
        steppers[how] = Stepper(origin, examples, held_to)
    seconds = [{how: stepper.step(number) for how, stepper in steppers.items()} for number in range(steps)][3:]
    found = {how: statistics.median(turn[how] for turn in seconds) for how in steppers}
    return {"make_seconds": made, **{f"{how}_step_seconds": value for how, value in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        distributed.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=0, world_size=1)
        rows = pairs(asked.pairs)
        write_shards(folder / "store" / "rows" / "pairs" / DATA, rows, PreferenceRecord.SCHEMA, 1000)
        tiny.build((text for row in rows for text in (row.prompt, row.chosen)), folder / "store/models/start", 0)
        print(f"| arm | live, s a step | cached, s a step | ratio | made in, {asked.pairs} pairs |")
        print("|---|---:|---:|---:|---:|")
        for arm, changes in ARMS.items():
            found = figures[arm] = measured(folder, changes, asked.steps)
            live, cached = found["live_step_seconds"], found["cached_step_seconds"]
            print(
                f"| {arm} | {live:.3f} | {cached:.3f} | {live / cached:.2f} | {found['make_seconds']:.1f} s |",
                flush=True,
            )
        distributed.destroy_process_group()
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
