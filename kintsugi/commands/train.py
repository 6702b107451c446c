"""`kintsugi train`: one training run on a model and rows of one's own, as a small experiment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from kintsugi.commands.experiment import make
from kintsugi.commands.options import RUNS, STORE, Force, Gpus, MaxRejected, Runs, Seed, StoreRoot, resources, setting
from kintsugi.graph import Graph
from kintsugi.inline import inline, made, refuse_unless_one_of
from kintsugi.outputs import refuse_to_replace, write_directory
from kintsugi.references import find_model, usable_rows
from pipeline.adapters import ADAPTER_CONFIG, write_adapter_config
from pipeline.failures import UserError
from pipeline.store import MANIFEST, Store, describe_files, read_manifest, write_json
from training.configs import PreferenceConfig, SftConfig
from training.objectives import OBJECTIVES

LOSSES = ("sft", *OBJECTIVES)
LEARNING_RATES = {"sft": 2e-5, "preference": 1e-6}
"""TRL's defaults for SFTConfig and DPOConfig: a place to start for models of billions of parameters."""
LORA_FACTOR = 10
"""Adapters want a rate about ten times as large (Schulman et al. 2025, "LoRA Without Regret")."""
PREFERENCE_ONLY = ("beta", "alpha", "label_smoothing", "gamma", "sft_weight")

FLAGS = {
    "init": "MODEL",
    "data": "--pairs",
    "learning_rate": "--lr",
    "resources": "--gpus",
    "evaluate": "--evaluate",
    **{name: f"--{name.replace('_', '-')}" for name in (*PREFERENCE_ONLY, "mask", "target", "epochs", "batch_size")},
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("max_length", "too_long", "limit", "workers", "zero", "dtype", "lora")
    },
}
"""The options of the training node's fields."""
OPTIONS = {
    **{("model", name): flag for name, flag in FLAGS.items()},
    ("start", "from"): FLAGS["init"],
    ("rows", "from"): "--pairs",
    ("rows", "max_rejected"): "--max-rejected",
    ("held_out", "from"): "--evaluate",
}

MASKS = "Which tokens carry weight: response, granular (those in spans), granular-one-sided, outside, random."
TOO_LONG = "What becomes of a row that is too long: reject, or cut (its spans are kept where they can be)."
RATE_DEFAULT = "2e-5 for sft, 1e-6 else; ten times that with --lora"

Model = Annotated[
    str, typer.Argument(help="A Hugging Face model directory or name, RUN:NODE, or `tiny`.", show_default=False)
]
Pairs = Annotated[
    Path, typer.Option("--pairs", "--data", help="Rows to train on: .json, .jsonl or .jsonl.gz of any known format.")
]
HeldOut = Annotated[
    Path | None,
    typer.Option("--evaluate", help="Held-out rows to measure the model on while it trains; pairs, or good answers."),
]
Every = Annotated[
    int | None,
    typer.Option("--evaluate-every", min=1, help="Rows trained on between measurements; else only at start and end."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Directory for the model; by default it stays in the store.")
]
Loss = Annotated[str, typer.Option("--loss", help=f"{', '.join(LOSSES[:-1])} or {LOSSES[-1]}.")]
Mask = Annotated[str | None, setting(PreferenceConfig, "mask", FLAGS["mask"], help=MASKS)]
Target = Annotated[
    str | None,
    setting(
        SftConfig, "target", FLAGS["target"], default="the good one", help="With sft: chosen or rejected of pairs."
    ),
]
Beta = Annotated[float | None, setting(PreferenceConfig, "beta", FLAGS["beta"])]
Alpha = Annotated[float | None, setting(PreferenceConfig, "alpha", FLAGS["alpha"])]
LabelSmoothing = Annotated[float | None, setting(PreferenceConfig, "label_smoothing", FLAGS["label_smoothing"])]
Gamma = Annotated[float | None, setting(PreferenceConfig, "gamma", FLAGS["gamma"])]
SftWeight = Annotated[float | None, setting(PreferenceConfig, "sft_weight", FLAGS["sft_weight"])]
Rate = Annotated[float | None, setting(SftConfig, "learning_rate", FLAGS["learning_rate"], default=RATE_DEFAULT)]
Epochs = Annotated[float | None, setting(SftConfig, "epochs", FLAGS["epochs"])]
BatchSize = Annotated[int | None, setting(SftConfig, "batch_size", FLAGS["batch_size"], default="16 for sft, 8 else")]
MaxLength = Annotated[int | None, setting(SftConfig, "max_length", FLAGS["max_length"])]
TooLong = Annotated[str | None, setting(SftConfig, "too_long", "--too-long", help=TOO_LONG)]
Limit = Annotated[int | None, setting(SftConfig, "limit", FLAGS["limit"])]
Lora = Annotated[bool, typer.Option("--lora", help="Train an adapter instead of all weights.")]
LoraRank = Annotated[int | None, typer.Option("--lora-rank", help="Rank of the adapter; implies --lora.")]
Workers = Annotated[int | None, setting(SftConfig, "workers", FLAGS["workers"])]
Zero = Annotated[int | None, setting(SftConfig, "zero", FLAGS["zero"])]
Dtype = Annotated[str | None, setting(SftConfig, "dtype", FLAGS["dtype"])]


def train(
    model: Model,
    pairs: Pairs,
    output: Output = None,
    loss: Loss = "dpo",
    mask: Mask = None,
    target: Target = None,
    beta: Beta = None,
    alpha: Alpha = None,
    label_smoothing: LabelSmoothing = None,
    gamma: Gamma = None,
    sft_weight: SftWeight = None,
    learning_rate: Rate = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    max_length: MaxLength = None,
    too_long: TooLong = None,
    limit: Limit = None,
    evaluate: HeldOut = None,
    evaluate_every: Every = None,
    lora: Lora = False,
    lora_rank: LoraRank = None,
    workers: Workers = None,
    zero: Zero = None,
    dtype: Dtype = None,
    gpus: Gpus = None,
    max_rejected: MaxRejected = None,
    seed: Seed = 0,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Train a model of yours on rows of yours.

    After Ctrl-C or a crash the same command goes on from the last checkpoint. Nothing is trained twice.
    """
    adapter = {"rank": lora_rank} if lora_rank is not None else {} if lora else None
    fields = {
        **{"mask": mask, "target": target, "beta": beta, "alpha": alpha, "label_smoothing": label_smoothing},
        **{"gamma": gamma, "sft_weight": sft_weight, "learning_rate": learning_rate},
        **{"epochs": epochs, "batch_size": batch_size, "max_length": max_length, "limit": limit, "lora": adapter},
        **{"too_long": too_long, "workers": workers, "zero": zero, "dtype": dtype, "resources": resources(gpus)},
        "evaluate": _measured(evaluate, evaluate_every),
    }
    init = find_model(model, store, runs)
    start = _start(init)
    nodes: dict[str, dict[str, Any]] = {
        "rows": {"kind": "source", "from": str(pairs), "max_rejected": max_rejected},
        **_held_out(evaluate),
        **start,
        "model": {**_training(loss, pairs, fields), "init": "start" if start else init, "data": "rows"},
    }
    graph = inline("train", output.name if output else pairs.stem, nodes, OPTIONS, seed)
    _refuse_without_spans(pairs, mask)
    _train(graph, output, store, runs, force)


def _training(loss: str, pairs: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """The training node: what was given, and what fits the loss where nothing was."""
    refuse_unless_one_of(loss, LOSSES, "--loss", "loss")
    kind = "sft" if loss == "sft" else "preference"
    for name in PREFERENCE_ONLY if kind == "sft" else ("target",):
        if fields[name] is not None:
            hint = f"Leave {FLAGS[name]} off, or give {'a preference loss' if kind == 'sft' else '--loss sft'}."
            raise UserError("config", f"it means nothing with --loss {loss}.", FLAGS[name], hint)
    given = {name: value for name, value in fields.items() if value is not None}
    rate = LEARNING_RATES[kind] * (LORA_FACTOR if "lora" in given else 1)
    node = {"kind": kind, "learning_rate": rate, **given}
    return {"target": _good_answer(pairs), **node} if kind == "sft" else {"loss": loss, **node}


def _start(init: str) -> dict[str, Any]:
    """A directory comes in as a node: it counts by its content wherever it lies, and may be an adapter."""
    return {"start": {"kind": "model", "from": init}} if Path(init).is_dir() else {}


def _held_out(rows: Path | None) -> dict[str, Any]:
    return {} if rows is None else {"held_out": {"kind": "source", "from": str(rows)}}


def _measured(rows: Path | None, every: int | None) -> dict[str, Any] | None:
    if rows is None and every is not None:
        raise UserError("config", "there are no rows to measure on.", "--evaluate-every", "Name some with --evaluate.")
    return None if rows is None else {"data": "held_out", "every": every}


def _good_answer(rows: Path) -> str:
    """What the good answer of these rows is called. A file without a usable row is told of when it is read."""
    from pipeline.records import QARecord

    first = next(usable_rows(rows), None)
    return "response" if first is None or isinstance(first, QARecord) else "chosen"


def _refuse_without_spans(rows: Path, mask: str | None) -> None:
    """A mask that selects tokens by spans needs some: told now, before anything is trained."""
    if mask in (None, "response"):
        return
    for row in usable_rows(rows):
        if getattr(row, "chosen_spans", ()) or getattr(row, "rejected_spans", ()):
            return
    what = f"no row has spans, and --mask {mask} looks at nothing else."
    hint = f"Mark what differs: kintsugi annotate -i {rows}. Or train with --mask response."
    raise UserError("data", what, str(rows), hint)


def _train(graph: Graph, output: Path | None, store: Path, runs: Path, force: bool) -> None:
    there = read_manifest(output) if output else None
    current = there is not None and there.key == graph.nodes["model"].key
    if output and not current:
        refuse_to_replace(output, force, MANIFEST)
    make(graph, store, runs)
    found = made(graph, Store(store.resolve()), "model")
    if output and not current:
        write_directory(output, lambda draft: _copy_model(found.directory, draft), force, MANIFEST)
    place = escape(str(output or found.directory))
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\nModel: {place}\n[dim]{_learned(found.directory, found.manifest.rows)}[/]")
    console.print(f"Next:  kintsugi eval {place} --prompts FILE")


def _copy_model(directory: Path, draft: Path) -> None:
    """The model as it is in the store; an adapter names its base in a way that holds elsewhere."""
    shutil.copytree(directory, draft, dirs_exist_ok=True)
    if (directory / ADAPTER_CONFIG).exists():
        write_adapter_config(directory, draft)
        manifest = json.loads((draft / MANIFEST).read_text(encoding="utf-8"))
        write_json(draft / MANIFEST, {**manifest, "files": describe_files(draft)})


def _learned(directory: Path, rows: dict[str, int]) -> str:
    """A line on a training run, from its first and last figures."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "loss" in line]
    figures = [f"{rows['out']} rows", f"{len(steps)} steps"]
    for name in ("loss", "eval/loss", "eval/nll"):
        if found := [line[name] for line in lines if name in line]:
            figures.append(f"{name} {found[0]:.4g} to {found[-1]:.4g}")
    for name in ("rewards/accuracies", "eval/rewards/accuracies"):
        if name in lines[-1]:
            figures.append(f"{name} {lines[-1][name]:.2f}")
    return ", ".join([*figures, *([f"{rows['rejected']} rows left out"] if rows["rejected"] else [])])
