"""`kintsugi generate` and `kintsugi eval`: models of one's own answer prompts of one's own, as a small experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from eval.nodes import GenerateConfig
from kintsugi.commands.experiment import make
from kintsugi.commands.judging import JudgeFile, Ranker, judging
from kintsugi.commands.options import RUNS, STORE, Force, Gpus, MaxRejected, Runs, Seed, StoreRoot, resources, setting
from kintsugi.graph import Graph
from kintsugi.inline import inline, is_made, made, names_of
from kintsugi.outputs import check_row_file, copy_directory, refuse_to_replace, write_rows
from kintsugi.references import find_model
from pipeline.failures import UserError
from pipeline.store import Store

RESULTS = "results.json"
SCORES, VERDICTS = ("scores", "judged"), ("duels", "ranked")
"""The nodes whose scores and verdicts a report is made of, as far as they are asked for."""
FLAGS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *("limit", "max_tokens", "max_length", "temperature", "top_p", "dtype", "samples", "top_k", "min_p"),
        *("repetition_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram", "stop", "chat"),
    )
}
"""The options of the generate node's fields."""

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help="Hugging Face model directories or names, or RUN:NODE.", show_default=False
    ),
]
Prompts = Annotated[
    Path,
    typer.Option(
        "--prompts", help="Rows of any format, or {prompt} alone; with tests and a good answer where there are any."
    ),
]
Answers = Annotated[Path, typer.Option("--output", "-o", help="A .json or .jsonl file for the answers.")]
Report = Annotated[
    Path | None, typer.Option("--output", "-o", help="Directory for the report; it is under runs/ in any case.")
]
Limit = Annotated[int | None, setting(GenerateConfig, "limit", FLAGS["limit"])]
MaxTokens = Annotated[int | None, setting(GenerateConfig, "max_tokens", FLAGS["max_tokens"])]
MaxLength = Annotated[int | None, setting(GenerateConfig, "max_length", FLAGS["max_length"])]
Temperature = Annotated[float | None, setting(GenerateConfig, "temperature", FLAGS["temperature"])]
TopP = Annotated[float | None, setting(GenerateConfig, "top_p", FLAGS["top_p"])]
Dtype = Annotated[str | None, setting(GenerateConfig, "dtype", FLAGS["dtype"])]
STOP = f"{GenerateConfig.model_fields['stop'].description} May be repeated."
Samples = Annotated[int | None, setting(GenerateConfig, "samples", FLAGS["samples"])]
TopK = Annotated[int | None, setting(GenerateConfig, "top_k", FLAGS["top_k"])]
MinP = Annotated[float | None, setting(GenerateConfig, "min_p", FLAGS["min_p"])]
Repetition = Annotated[float | None, setting(GenerateConfig, "repetition_penalty", FLAGS["repetition_penalty"])]
Presence = Annotated[float | None, setting(GenerateConfig, "presence_penalty", FLAGS["presence_penalty"])]
Frequency = Annotated[float | None, setting(GenerateConfig, "frequency_penalty", FLAGS["frequency_penalty"])]
NoRepeat = Annotated[int | None, setting(GenerateConfig, "no_repeat_ngram", FLAGS["no_repeat_ngram"])]
Stop = Annotated[list[str] | None, typer.Option(FLAGS["stop"], help=STOP, show_default=False)]
Chat = Annotated[bool | None, setting(GenerateConfig, "chat", "--chat/--plain")]


def generate(
    models: Models,
    prompts: Prompts,
    output: Answers,
    limit: Limit = None,
    max_tokens: MaxTokens = None,
    max_length: MaxLength = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    repetition_penalty: Repetition = None,
    presence_penalty: Presence = None,
    frequency_penalty: Frequency = None,
    no_repeat_ngram: NoRepeat = None,
    stop: Stop = None,
    samples: Samples = None,
    chat: Chat = None,
    dtype: Dtype = None,
    gpus: Gpus = None,
    max_rejected: MaxRejected = None,
    seed: Seed = 0,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Let models answer prompts: one row for each model, prompt and sample."""
    check_row_file(output)
    named = names_of(models)
    fields = {
        **{"limit": limit, "max_tokens": max_tokens, "max_length": max_length, "temperature": temperature},
        **{"top_p": top_p, "top_k": top_k, "min_p": min_p, "repetition_penalty": repetition_penalty},
        **{"presence_penalty": presence_penalty, "frequency_penalty": frequency_penalty},
        **{"no_repeat_ngram": no_repeat_ngram, "stop": stop or None},
        **{"samples": samples, "chat": chat, "dtype": dtype, "resources": resources(gpus)},
    }
    nodes = {**_models(named, store, runs), **_answers(named, prompts, max_rejected, fields)}
    graph = inline("generate", output.stem, nodes, _options(named), seed)
    place = Store(store.resolve())
    if not is_made(graph, place):
        refuse_to_replace(output, force)
    make(graph, store, runs)
    count = write_rows(output, _all_answers(graph, named, place), force)
    left_out = sum(made(graph, place, f"answers/{name}").manifest.rows["rejected"] for name in named)
    more = f", {left_out} prompts left out as too long (--max-length)" if left_out else ""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\nAnswers: {escape(str(output))} [dim]({count} rows{more})[/]")
    console.print(f"Next:    kintsugi view {graph.experiment.name}:answers/{next(iter(named))}")


def eval_(
    models: Models,
    prompts: Prompts,
    output: Report = None,
    judge: JudgeFile = None,
    pairrm: Ranker = None,
    limit: Limit = None,
    max_tokens: MaxTokens = None,
    max_length: MaxLength = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    dtype: Dtype = None,
    gpus: Gpus = None,
    max_rejected: MaxRejected = None,
    seed: Seed = 0,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Let models answer prompts, run the tests, look for known errors, and compare.

    Tests are run where the prompts have them; answers are held against the good one where there is one. A judge needs
    neither.
    """
    named = names_of(models)
    fields = {
        **{"limit": limit, "max_tokens": max_tokens, "max_length": max_length, "temperature": temperature},
        **{"top_p": top_p, "dtype": dtype, "resources": resources(gpus)},
    }
    judges, flags = judging(judge, pairrm, len(named) > 1, gpus, store, runs)
    scorers = _scorers(prompts, limit, judged=judge is not None)
    nodes = {
        **_models(named, store, runs),
        **_answers(named, prompts, max_rejected, fields),
        **({"scores": {"kind": "score", "input": "answers", "scorers": scorers}} if scorers else {}),
        **judges,
    }
    scores, verdicts = ([name for name in names if name in nodes] for names in (SCORES, VERDICTS))
    nodes["report"] = {"kind": "compare", "input": scores, "verdicts": verdicts}
    graph = inline("eval", output.name if output else prompts.stem, nodes, {**_options(named), **flags}, seed)
    if output and not is_made(graph, Store(store.resolve())):
        refuse_to_replace(output, force, RESULTS)
    make(graph, store, runs)
    console = Console(highlight=False, soft_wrap=True)
    if output:
        copy_directory(runs / graph.experiment.name / "report", output, force, RESULTS)
        console.print(f"Copied to: {escape(str(output))}")
    console.print(f"Next: kintsugi view {graph.experiment.name}:{scores[0]}/{next(iter(named))}")


def _models(named: dict[str, str], store: Path, runs: Path) -> dict[str, dict[str, Any]]:
    found = {name: find_model(model, store, runs) for name, model in named.items()}
    for model, count in Counter(found.values()).items():
        if count > 1:
            raise UserError("config", "this model is named twice.", f"MODEL {model}", "Name each model once.")
    return {name: {"kind": "model", "from": model} for name, model in found.items()}


def _answers(
    named: dict[str, str], prompts: Path, max_rejected: float | None, fields: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The prompts, and the answers of all models, as nodes."""
    return {
        "prompts": {"kind": "source", "from": str(prompts), "format": "prompts", "max_rejected": max_rejected},
        "answers": {"kind": "generate", "models": list(named), "prompts": "prompts", **fields},
    }


def _options(named: dict[str, str]) -> dict[tuple[str, str], str]:
    """The option behind each key of the nodes."""
    return {
        **{(name, "from"): f"MODEL {model}" for name, model in named.items()},
        **{("answers", name): flag for name, flag in FLAGS.items()},
        ("answers", "resources"): "--gpus",
        ("prompts", "from"): "--prompts",
        ("prompts", "max_rejected"): "--max-rejected",
    }


def _all_answers(graph: Graph, named: dict[str, str], store: Store) -> Iterator[dict[str, Any]]:
    from pipeline.contract import DATA
    from pipeline.records import GenerationRecord
    from pipeline.shards import read_records

    several = graph.nodes[f"answers/{next(iter(named))}"].config.samples > 1
    for name, model in named.items():
        for row in read_records(made(graph, store, f"answers/{name}").directory / DATA, GenerationRecord):
            yield {
                "id": row.id,
                "model": model,
                **({"sample": row.sample} if several else {}),
                "prompt": row.prompt,
                "response": row.response,
                "finish_reason": row.finish_reason,
            }


def _scorers(prompts: Path, limit: int | None, judged: bool) -> list[str]:
    """What can judge the answers to these prompts, beside a judge where there is one."""
    from pipeline.records import Reject
    from pipeline.sources.files import read

    rows: list[Any] = [row for row in islice(read(prompts, "prompts"), limit) if not isinstance(row, Reject)]
    with_answer = any(row.response for row in rows)
    if rows and not with_answer and not any(row.tests for row in rows):
        if judged:
            return []
        hint = "Add `tests` or a good answer (`response`) to the rows, or a --judge; kintsugi generate only answers."
        raise UserError("data", "there is nothing to judge by: no row has tests or a good answer.", str(prompts), hint)
    return ["execution", *(["errors"] if with_answer else [])]
