"""A kind's version stands for what it makes. Each kind's output on a fixture is pinned with its version.

When a pin fails, the same key would name another result: raise the kind's `version`, then put the new hash here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import glaive_like
import pytest
from extra_rows import extra_rows
from noise_outputs import few_shot_output, noise_output, worth_output
from source_node import make_source

from eval.collected_figures import (
    Collected,
    Figures,
    Judged,
    agreements,
    collector,
    length_of_verdicts,
    policies,
)
from eval.collected_page import to_csv as csv_of_collected
from eval.collected_page import to_html as page_of_collected
from eval.collected_page import to_markdown as markdown_of_collected
from eval.collecting import Lineage, Opinion, paired
from eval.generate import GENERATE, sample_seed
from eval.injected import Trial, summary
from eval.likelihood import LIKELIHOOD, texts_of
from eval.likelihood import scored as likelihoods
from eval.nodes import GenerateConfig, LikelihoodConfig
from eval.pairing import Rule
from eval.report.arms import ArmInput, Kind, values_of_rows
from eval.report.evidence import Evidence
from eval.report.files import to_json
from eval.report.forgetting import Kept
from eval.report.html import to_html
from eval.report.markdown import to_markdown
from eval.report.results import build_results
from eval.report.rewards import rewards
from eval.report.sheet import to_csv
from eval.report.steering_page import lines
from eval.report.steering_page import to_html as steering_html
from eval.report.steering_page import to_markdown as steering_markdown
from eval.report.wins import wins
from eval.scorers import SCORERS
from eval.scorers.injections import injections
from eval.scorers.judge import ASPECTS, JudgeStage
from eval.scorers.pairrm import CANDIDATE_TOKENS, SOURCE_TOKENS
from eval.scorers.stage import ScoreStage
from eval.serving import BATCH
from eval.steering import Answers, Likelihoods, results_of
from eval.steering import Options as SteeringOptions
from eval.versus import Duel
from eval.versus_by_judge import DuelStage
from eval.versus_by_ranker import decide
from kintsugi.kinds import KINDS
from pipeline.attributes import vader
from pipeline.attributes.answers import Errors, explained
from pipeline.attributes.records import LabelledRecord
from pipeline.attributes.stages import ConditionStage, LabelStage
from pipeline.chat import prompt_ids
from pipeline.errors import ERROR_TYPES
from pipeline.llm.asked import AskedRecord
from pipeline.llm.forms import schema_of
from pipeline.llm.prompts import messages
from pipeline.model_files import model_files
from pipeline.records import (
    CorruptionRecord,
    FunctionTest,
    GenerationRecord,
    PreferenceRecord,
    QARecord,
    ScoredRecord,
    ScoreRecord,
    VerdictRecord,
)
from pipeline.sentences import SentenceStage
from pipeline.sources.builtin import build, remarks
from pipeline.sources.exports import to_own
from pipeline.sources.nodes import split_by_prompt
from pipeline.stages.annotate import AnnotateStage, annotate_shard
from pipeline.stages.annotate_by_model import AnnotateByModel
from pipeline.stages.embed import EmbedStage
from pipeline.stages.embed_by_model import EmbedByModel
from pipeline.stages.rectify import RectifyStage
from pipeline.stages.select import SelectStage
from pipeline.stages.tag import TagStage
from pipeline.store import Input, Manifest, canonical, content_key
from training.batches import sample_order
from training.configs import ImportConfig, SftConfig
from training.control import extend_tokenizer
from training.losses import Side, preference_loss
from training.objectives import OBJECTIVES
from training.tiny import CHAT_TEMPLATE, SHAPE, VOCABULARY
from training.tokens import pair_example, sft_example
from training.worker import learning_rate

PINS = {
    "source": (4, "c3d4f26a79c9991fefd1"),
    "select": (1, "d47dac5c76e289b29b5c"),
    "embed": (4, "b17756ebf8d53aa87f68"),
    "rectify": (1, "8e3bc53a30f5187825eb"),
    "tag": (1, "2318da42e3be6b7012b3"),
    "annotate": (4, "9b5758eb8bc63edc8118"),
    "model": (1, "1d821550e845e9684c81"),
    "sft": (3, "12eb3d960b7014278fd1"),
    "preference": (3, "4b90b51383f454a56247"),
    "generate": (3, "d4eb92d3860a37851c1b"),
    "likelihood": (2, "ce76f2848f91ea3cc908"),
    "score": (5, "9481aa6853f35d28c602"),
    "injections": (2, "d78604905ea51db570db"),
    "versus": (1, "b41abc2ba7f5967ba20b"),
    "pair": (1, "4fbcb7734962702e2ab6"),
    "collected": (3, "5e0d5de46d6191759386"),
    "compare": (8, "156370a6050d9b5ec75f"),
    "few-shot": (1, "015cff82963361385959"),
    "noise": (1, "5aedb321a0ad337f8dbb"),
    "sentences": (1, "098db7bc5ca5ed1f2f26"),
    "classify": (1, "3683eb27db993d717276"),
    "condition": (1, "ab03bb67d46c07fee221"),
    "steering": (3, "ab724dbdc0a6728007a7"),
    "worth": (3, "6824f36558db0c6e0230"),
}

BY_MODEL_PINS = {
    "score": "c8418e7f7fd51d8357db",
    "embed": "0f180947c4372edcfadd",
    "annotate": "9e1f884331055a07d4a2",
}
"""What a kind that has a `by` asks a model, and what it makes of a reply: part of the same version."""

TYPE_PINS = {
    "off-by-one-errors": "c5de1adf4f654e867bb4",
    "improper-handling-of-edge-cases": "66393d6af3d62d6450e0",
    "incorrect-base-case-in-recursion": "92e6db7ae17453c0b691",
    "infinite-loops": "e1f32404c5b2b4201f28",
    "incorrect-data-structure-choice": "1ed1e345f7a38a77acd9",
    "minor-syntax-errors": "6fd67a033cd4d7045a26",
    "unused-imports": "5dd7c4dd1f142cdfc779",
    "omitting-necessary-imports": "ad0c8a2d6772d0748968",
    "incorrect-contextual-references": "ef690935a0e05e79fc39",
    "misleading-comments-in-code": "295cb1a0a26f7d48cb99",
    "incorrect-explanation": "3b4d1fbd3cfb8373ec16",
    "irrelevant-information": "b2982fcdc6ad4c9a61f9",
    "redundant-information": "8390e6383a97a47aba85",
    "inconsistent-terminology": "fc5b2694ae9416f6c3d6",
    "poorly-formatted-response": "5f16863cca26bceb1e98",
}
"""What each error type alone makes of the first rows that it fits: with a new hash, embed's version is raised."""

BEHAVIOURAL = ("off-by-one-errors", "improper-handling-of-edge-cases", "omitting-necessary-imports")
"""The types of `configs/recovery.yaml`. Named, they give the same rows however many other types there are."""

WINNERS = ("first", "second", "tie")
MASKS = ("response", "granular", "granular-one-sided", "random")


@cache
def rows() -> list[QARecord]:
    return build(24, 0)


@cache
def broken() -> list[CorruptionRecord]:
    return EmbedStage(BEHAVIOURAL, 0)(rows())[0]


@cache
def pairs() -> list[PreferenceRecord]:
    return annotate_shard(broken())[0]


def compared() -> list[PreferenceRecord]:
    return AnnotateStage("diff")(broken())[0]


@cache
def scored() -> list[ScoredRecord]:
    return ScoreStage(tuple(SCORERS))([answer(record) for record in broken()[:10]])[0]


def scored_of_all_types() -> list[ScoredRecord]:
    """Of each type alone, so that how often types are drawn does not count."""
    made = [record for name in ERROR_TYPES for record in EmbedStage((name,), 0)(rows()[:8])[0][:1]]
    return ScoreStage(tuple(SCORERS))([answer(record) for record in made])[0]


def answer(record: CorruptionRecord) -> GenerationRecord:
    return GenerationRecord(
        record.id, record.prompt, record.rejected, "stop", 1, 1, record.response, record.source, record.tests
    )


@cache
def tokenizer() -> Any:
    from training.tiny import build_tokenizer

    return build_tokenizer(text for row in rows() for text in (row.prompt, row.response))


def source_output() -> Any:
    """The built-in corpus, and rows of a file through all that a source may be asked for."""
    parts = split_by_prompt(rows(), {"test": 5}, 0, "qa")
    builtin = {split: [row.to_row() for row in members] for split, members in parts.items()}
    with tempfile.TemporaryDirectory() as folder:
        given = [{**to_own(row), "id": None} for row in (*rows(), *rows()[:3])]
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
        known = Path(folder) / "known.jsonl"
        known.write_text(json.dumps({"prompt": rows()[0].prompt}), encoding="utf-8")
        options = {"splits": {"test": "25%"}, "rows": 15, "python_only": True, "deduplicate": "minhash"}
        made = make_source(Path(folder), path, decontaminate=[str(known)], **options)
        drawn = {split: [row.to_row() for row in made.records(split)] for split in ("train", "test")}
        return [builtin, drawn, sorted(made.rejects(), key=canonical), weighted_pairs(Path(folder))]


def weighted_pairs(folder: Path) -> list[Any]:
    """Pairs whose rows have weights, or none."""
    path = folder / "pairs.jsonl"
    given = [{**to_own(pair), "weight": weight} for pair, weight in zip(pairs()[:3], (None, 0, 2.5), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    (folder / "pairs").mkdir()
    return [row.to_row() for row in make_source(folder / "pairs", path).records(record=PreferenceRecord)]


def model_output() -> Any:
    """What of a directory becomes the model, and what its key says of it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "chat_template.jinja",
            "notes.txt",
            "old.bin",
        ):
            (Path(folder) / name).write_text(name)
        kind, config = KINDS["model"], ImportConfig(kind="model", **{"from": folder})
        linked = [path.name for path in model_files(Path(folder))]
        return [linked, kind.outside(config, frozenset()), sorted(kind.outside_fields)]


def sft_output() -> Any:
    """What training is fed with, and how fast it goes; weights themselves depend on the processor."""
    config = SftConfig(kind="sft", init="tiny", data="qa", learning_rate=1e-3)
    examples = [sft_example(tokenizer(), row.id, row.prompt, row.response, 512) for row in rows()[:6]]
    tiny = [SHAPE, VOCABULARY, CHAT_TEMPLATE]
    rates = [learning_rate(config, step, 40) for step in range(40)]
    return [[example.input_ids, example.weights] for example in examples] + [sample_order(7, 4, 2.5, 0), rates, tiny]


def preference_output() -> Any:
    import torch

    made = [pair_example(tokenizer(), pair, mask, 512, 0) for pair in pairs()[:6] for mask in MASKS]
    sides = [
        Side(*(torch.tensor([value], dtype=torch.float64) for value in values))
        for values in ((-3, 1, 2, 4), (-5, -2, 1, 3))
    ]
    losses = {loss: round(float(preference_loss(loss, *sides, sft_weight=0.5).losses), 12) for loss in OBJECTIVES}
    return [[side.input_ids, side.weights] for pair in made for side in (pair.chosen, pair.rejected)] + [losses]


def generate_output() -> Any:
    config = GenerateConfig(kind="generate", models="m", prompts="qa")
    prompts = [prompt_ids(tokenizer(), row.prompt, chat=chat) for row in rows()[:6] for chat in (True, False)]
    seeds = [sample_seed(seed, row.id, sample) for seed in (0, 1) for row in rows()[:2] for sample in (0, 1)]
    return [config.model_dump(mode="json"), BATCH, prompts, seeds, GENERATE.schema.names]


def likelihood_output() -> Any:
    config = LikelihoodConfig(kind="likelihood", models="m", rows="qa")
    texts = [texts_of(tokenizer(), config, row) for row in (rows()[0], broken()[0], pairs()[0])]
    known = [likelihoods("r", names) for names in ({"response": [-1.0, -2.5]}, {"chosen": [-1.0], "rejected": [-2.0]})]
    return [config.model_dump(mode="json"), BATCH, texts, [row.to_row() for row in known], LIKELIHOOD.schema.names]


def judge_output() -> Any:
    """What a judge is asked about an answer, and its scores."""
    stage, record = JudgeStage(0, ("minor-syntax-errors", "unused-imports"), with_reference=True), answer(broken()[0])
    aspects = {name: {"explanation": "so", "verdict": "yes"} for name in ASPECTS}
    said = stage.reply_type().model_validate(
        {**aspects, "errors": [{"error_type": "unused-imports", "explanation": "os"}]}
    )
    asked = [message.content for message in messages(stage.prompt, stage.facts(record))]
    scores = [*stage.conclude(record, said), *stage.unscored(record, "timeout")]
    return [asked, schema_of(stage.reply_type()), stage.problems(record, said), [score.to_row() for score in scores]]


def injections_output() -> Any:
    """The judge and the injections, and what is counted."""
    found = [Trial("r", 0, "m", "one", *verdicts) for verdicts in ((0, 1), (0, 0), (1, 0), (1, None))]
    return [judge_output(), [one.into("answer", 0, "r") for one in injections()], summary(found)]


def versus_output() -> Any:
    """What a judge is asked about both orders of a pair, and the verdicts of judge and ranker."""
    pair = Duel("r", 0, "x", "y", "prompt", "good", "one answer", "another")
    stage, orders = DuelStage(0, with_reference=True), (pair, replace(pair, swapped=True))
    questions = [messages(stage.prompt, stage.facts(one)) for one in orders]
    replies = [
        [json.dumps({"explanation": "so", "winner": winner}) for winner in ("first", other)] for other in WINNERS
    ]
    asked = [
        [AskedRecord("r", json.dumps(one.to_row()), reply) for one, reply in zip(orders, both, strict=True)]
        for both in replies
    ]
    judged = [stage.decide(both).record.to_row() for both in asked]
    ranked = [decide(pair, *logits).record.to_row() for logits in ((1.0, 0.5), (-1.0, 0.5), (1.0, -1.0))]
    asked_of = [[message.content for message in question] for question in questions]
    return [asked_of, schema_of(stage.reply_type()), judged, ranked, [SOURCE_TOKENS, CANDIDATE_TOKENS]]


SAMPLED = {"p": (("good", 5.0), ("bad", 1.0), ("bad ", 1.0), ("none", None)), "q": (("fine", 4.0), ("too", 4.0))}


def pair_output() -> Any:
    """What every rule makes of the same answers, as rows."""
    opinion = Opinion(
        "rubric/score",
        {key: {n: (value, "why") for n, (_, value) in enumerate(said)} for key, said in SAMPLED.items()},
        {},
    )
    answers = [
        GenerationRecord(key, "ask", text, "stop", 1, 1, "good", "test", sample=n)
        for key, said in SAMPLED.items()
        for n, (text, _) in enumerate(said)
    ]
    rules = [Rule(), Rule("top-k", k=2), Rule("all", margin=2), Rule(chosen_at_least=5, rejected_at_most=0)]
    lineage = Lineage("model", "answers", opinion.metric)
    return [[row.to_row() for row in paired(answers, opinion, rule, lineage)] for rule in rules]


def collected_output() -> Any:
    models = [
        Judged("base", {"p": [0.0], "q": [1.0]}, {("p", 0): 3, ("q", 0): 5}, round=0),
        Judged("better", {"p": [1.0], "q": [1.0]}, {("p", 0): 4, ("q", 0): 4}, "judge", 1, "base", 7),
    ]
    orders = {("p", 0, 1): 1, ("p", 0, 2): -1, ("q", 0, 1): 1}
    sides = [
        Collected("judge/1", "rubric/score", "base", "a", [("long", "so")], {"tie": 1}, orders),
        Collected("execution/1", "passed", "base", "a", [("a", "b")], {}, {**orders, ("q", 0, 1): 0}),
    ]
    verdicts = [VerdictRecord("p", 0, "base", "better", 0.0), VerdictRecord("q", 0, "base", "better", 1.0)]
    figures = Figures(
        experiment="pinned",
        metric="passed",
        n_prompts=2,
        policies=policies(models, 0, 100),
        collectors=[collector(one) for one in sides],
        agreement=agreements(sides, 0, 100),
        lengths=[length_of_verdicts("duels", verdicts, {model.name: model.lengths for model in models})],
        wins=[wins("duels", verdicts, {"base": "base", "better": "better"}, 0, 100)[0]],
        seed=0,
        resamples=100,
        notes=["a note"],
    )
    return [figures, csv_of_collected(figures), markdown_of_collected(figures), page_of_collected(figures)]


def compare_output() -> Any:
    kinds: dict[str, Kind] = {"reference": "reference", "corrupted": "corrupted", "again": "control"}
    rows = compared_scores()
    arms = [ArmInput(name, name, name, kind, None, None, 0, 1e-3, 2.0, 100, rows) for name, kind in kinds.items()]
    results = build_results(
        arms,
        experiment="pinned",
        floor="corrupted",
        ceiling="reference",
        resamples=100,
        verdicts={"judge": [VerdictRecord(row.id, 0, "again", "corrupted", n % 3 / 2) for n, row in enumerate(rows)]},
        kept=[Kept(name, "text", None if name == "corrupted" else "corrupted", values_of_rows(rows)) for name in kinds],
        rewards=rewards([evidence("again", "preference")]),
    )
    shown = [to_json(results), to_csv(results), to_markdown(results)]
    page = to_html(results, [evidence(name, "preference" if name == "again" else "sft") for name in kinds], prompts=5)
    return [*shown, page]


def compared_scores() -> list[ScoredRecord]:
    """Some scores of the first answers, and log-probabilities."""
    metrics = {"compiles", "passed", *(f"errors/{name}" for name in BEHAVIOURAL)}
    return [
        replace(
            record,
            scores=(
                *(score for score in record.scores if score.metric in metrics),
                ScoreRecord(record.id, "logp/response", -2.5 - number),
                ScoreRecord(record.id, "tokens/response", 3.0 + number),
                ScoreRecord(record.id, "judge/correct", float(number % 2)),
            ),
        )
        for number, record in enumerate(scored())
    ]


def evidence(name: str, kind: str) -> Evidence:
    """What the page shows of an arm, under manifests that are the same on every machine."""
    made = Manifest(kind, 1, "models", "k", {"temperature": 0.0}, [Input("prompts", "qa", "rows", "k", "test")])
    answers = {(record.id, 0): answer(record) for record in broken()[:10]}
    scores = {(record.id, record.sample): record for record in compared_scores()}
    figures = {"eval/kl/chosen": 0.25, "eval/kl/rejected": 0.5, "eval/rewards/margins": 1.0}
    metrics = [{"step": 1, "loss": 0.5, **figures}, {"step": 2, "loss": 0.25}]
    return Evidence(name, made, made, made, answers, scores, metrics)


SAID: dict[str, dict[str, Any]] = {
    "rectify": {"correction_details": "", "correct_response": ""},
    "tag": {"tags": [{"error_type": "unused-imports", "plan": "import os"}]},
    "embed": {
        "edits": [
            {
                "error_type": "minor-syntax-errors",
                "original_text": "(values):",
                "context": "def nearest(values):",
                "replacement": "(values)",
                "explanation": "no colon",
            }
        ]
    },
    "annotate": {
        "regions": [
            {
                "error_type": "unknown",
                "bad_text": "(values)",
                "bad_context": "",
                "good_text": "(values):",
                "good_context": "",
                "explanation": "no colon",
            }
        ]
    },
}


def by_model(kind: str) -> Any:
    """What a model is asked, in which form, and what becomes of a reply."""
    good = "Look:\n\n```python\ndef nearest(values):\n    return values[0]\n```\n"
    row = QARecord("r", "Which is nearest?", good, "test", (FunctionTest.of("nearest", [3], expected=3),))
    stages: dict[str, tuple[Any, Any]] = {
        "rectify": (RectifyStage(), row),
        "tag": (TagStage(("minor-syntax-errors", "unused-imports")), row),
        "embed": (EmbedByModel(("minor-syntax-errors",), 0), row),
        "annotate": (AnnotateByModel(()), PreferenceRecord("r", row.prompt, good, good.replace("):", ")"))),
    }
    stage, record = stages[kind]
    asked = [message.content for message in messages(stage.prompt, stage.facts(record))]
    said = stage.reply_type().model_validate(SAID[kind])
    return [asked, schema_of(stage.reply_type()), stage.problems(record, said), stage.conclude(record, said).to_row()]


def sentences_output() -> Any:
    texts = [QARecord("a", "", "Dr. Smith paid $3.50 at 9 a.m. in St. Louis. She left.\n\nOh! 12 34 56 78 90 11.", "s")]
    return [row.to_row() for part in SentenceStage(10, 60)([*texts, *remarks.build(3, 0)]) for row in part]


def labelled() -> list[LabelledRecord]:
    classifiers = {"errors": Errors(BEHAVIOURAL), "form": explained, "mood": vader.classify}
    return LabelStage(tuple(classifiers.items()))([*broken()[:6], *remarks.build(4, 0)])[0]


def condition_output() -> Any:
    """Which tokens stand before which texts, and what a model is fed with."""
    rows = [row for row in labelled() if row.labels[1].name]
    kept = ConditionStage(("errors", "form"), 0.2, 0)(rows)[0]
    made = tokenizer()
    extend_tokenizer(made, sorted({token for row in kept for token in row.control}))
    return [[row.to_row(), prompt_ids(made, row.prompt, control=row.control)] for row in kept]


def steering_output() -> Any:
    free = labelled()
    told = [replace(row, id=row.id) for row in free if row.labels[2].name != "neg"]
    owners = {"pos": "mood", "neu": "mood", "neg": "mood"}
    answers = [Answers("m", ("mood",), (), free), Answers("m", ("mood",), ("pos",), told)]
    likely = [Likelihoods("m", told, {"a": -1.0, "b": -2.0 - told}, {"a": 1.0, "b": 2.0}) for told in (False, True)]
    results = results_of(answers, owners, likely, SteeringOptions({"mood": ["neu"]}, 0, 100), "pinned")
    return [results, steering_markdown(results), steering_html(results), [line._asdict() for line in lines(results)]]


OUTPUTS: dict[str, Callable[[], Any]] = {
    "sentences": sentences_output,
    "classify": lambda: [row.to_row() for row in labelled()],
    "condition": condition_output,
    "steering": steering_output,
    "source": source_output,
    "few-shot": few_shot_output,
    "noise": lambda: noise_output(pairs()),
    "worth": worth_output,
    "select": lambda: [found.to_row() for part in SelectStage(without=("*/w*",))(rows()[:6]) for found in part],
    "embed": lambda: [record.to_row() for record in broken()],
    "rectify": lambda: by_model("rectify"),
    "tag": lambda: by_model("tag"),
    "annotate": lambda: [record.to_row() for record in (*pairs(), *compared())],
    "model": model_output,
    "sft": sft_output,
    "preference": preference_output,
    "generate": generate_output,
    "likelihood": likelihood_output,
    "score": lambda: [record.to_row() for record in (*scored(), *scored_of_all_types())],
    "injections": injections_output,
    "versus": versus_output,
    "pair": pair_output,
    "collected": collected_output,
    "compare": compare_output,
}


def test_every_kind_is_pinned() -> None:
    assert set(PINS) == set(KINDS) == set(OUTPUTS)


@pytest.mark.parametrize("kind", PINS)
def test_the_output_changes_only_with_the_version(kind: str) -> None:
    pinned_version, pinned = PINS[kind]
    assert KINDS[kind].version == pinned_version, "the version was raised: pin the new hash with it"
    assert content_key(OUTPUTS[kind]()) == pinned, f"the output of {kind} changed: raise its version and pin this hash"


@pytest.mark.parametrize("kind", BY_MODEL_PINS)
def test_what_a_model_is_asked_changes_only_with_the_version(kind: str) -> None:
    made = content_key(judge_output() if kind == "score" else by_model(kind))
    assert made == BY_MODEL_PINS[kind], f"raise the version of {kind} and pin this hash"


@pytest.mark.parametrize("name", TYPE_PINS)
def test_what_an_error_type_makes_changes_only_with_the_version_of_embed(name: str) -> None:
    fitting = [
        row for row in (*rows(), *extra_rows(), *glaive_like.rows(12)) if ERROR_TYPES[name].propose(row.response)
    ][:3]
    made = content_key([record.to_row() for record in EmbedStage((name,), 0)(fitting)[0]])
    assert made == TYPE_PINS[name], "raise the version of embed and pin this hash"


def test_every_error_type_is_pinned() -> None:
    assert list(TYPE_PINS) == list(ERROR_TYPES)
