"""Measuring a model on held-out rows: when, which rows, and that nothing of the run changes by it.

The figures of a tiny model are compared with a direct computation from full logits in float64.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from pipeline.contract import DATA, NOTES, Source
from pipeline.failures import UserError
from pipeline.offsets import touched
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord
from pipeline.shards import write_shards
from pipeline.spans import Span, edit_at
from training.configs import PreferenceConfig, SftConfig
from training.encoding import Answer
from training.evaluation import Evaluation, HeldOut, with_evaluation
from training.held_out import OTHERS, TYPES, error_types, held_out_rows, span_parts
from training.metrics_log import METRICS, SAMPLES, MetricsLog
from training.reference import Live
from training.samples import SAMPLE_TOKENS
from training.scoring import Scorer
from training.tokens import sft_example

SOURCE = Source("evaluation", "qa", "rows", "key", "validation", Path())
BETA = 0.3


# When


@pytest.mark.parametrize(("steps", "times", "due"), [
    (40, 4, {10: 1, 20: 2, 30: 3, 40: 4}),
    (10, 3, {4: 1, 7: 2, 10: 3}),
    (5, 1, {5: 1}),
    (2, 4, {1: 2, 2: 4}),
])  # fmt: skip
def test_evaluations_of_a_sweep_are_spread_evenly_and_the_last_is_at_the_end(steps, times, due):
    assert Evaluation(SOURCE, times).due(steps, 8) == due


@pytest.mark.parametrize(("steps", "batch_size", "every", "due"), [
    (10, 8, 16, [0, 2, 4, 6, 8, 10]),
    (10, 8, 20, [0, 3, 5, 8, 10]),  # 20, 40 and 60 rows are reached in steps 3, 5 and 8
    (3, 8, 4, [0, 1, 2, 3]),
    (3, 8, 1000, [0, 3]),
    (3, 8, None, [0, 3]),
])  # fmt: skip
def test_evaluations_of_a_node_come_before_the_first_step_after_every_so_many_rows_and_at_the_end(
    steps, batch_size, every, due
):
    assert list(Evaluation(SOURCE, every=every).due(steps, batch_size)) == due


# Which rows


def span(text, start, end, error_type, weight=1.0):
    return Span(start, end, error_type, text[start:end], weight)


def test_each_token_is_in_the_part_of_the_first_span_that_touches_it():
    text = "abcdef"
    offsets = ((0, 2), (2, 4), (4, 5), (5, 6))
    spans = (span(text, 3, 5, "loops", weight=0.0), span(text, 4, 6, "imports"), span(text, 6, 6, "imports"))
    marked = Answer((7, 8, 9, 10, 11), offsets, spans, tuple(tuple(touched(offsets, one, 6)) for one in spans), 6, 5)
    assert span_parts(marked, {"imports": 1, "loops": 2}) == (0, 2, 2, 1, 1)
    assert span_parts(marked, {"loops": 1, OTHERS: 2}) == (0, 1, 1, 2, 2)
    assert span_parts(replace(marked, kept=3), {"imports": 1, "loops": 2}) == (0, 2, 2)
    assert span_parts(replace(marked, spans=(), touched=()), {}) == (0, 0, 0, 0, 0)


def pair_with(*types):
    return PreferenceRecord("id", "p", "good", "bad", (), tuple(Span(0, 1, name, "b") for name in types))


def test_the_most_frequent_error_types_have_figures_of_their_own():
    assert error_types([pair_with("b", "a"), pair_with("a")]) == ["a", "b"]
    many = [pair_with(f"type-{number:03d}") for number in range(TYPES + 10)]
    found = error_types([*many, *many[-TYPES + 1 :]])
    assert found == [*(f"type-{number:03d}" for number in range(11, TYPES + 10)), OTHERS]


PROMPTS = ["Write a function.", "Add three numbers, please.", "def f(items):", "return what?", "Say x, then y."]


def records() -> list[PreferenceRecord]:
    made = []
    for number, prompt in enumerate(PROMPTS):
        good = f"def f(items, n={number}):\n    return items" + " + items" * (8 - 3 * (number % 3))
        bad = f"def g(items):\n    return items[{number}:]  # 你好 🎉" + " and more" * (5 * number % 15)
        start = bad.index("items[")
        rejected = [span(bad, 4, 5, "names"), span(bad, start, len(bad), "slices")][: 1 + number % 2]
        chosen = (span(good, 4, 5, "names"),) if number != 3 else ()
        made.append(PreferenceRecord(f"row-{number}", prompt, good, bad, chosen, tuple(rejected)))
    return made


def source_of(folder: Path, rows: list[Any]) -> Source:
    write_shards(folder / "rows" / DATA, rows, type(rows[0]).SCHEMA, 3)
    return Source("evaluate.data", "pairs_validation", "rows", "key", "", folder / "rows")


def config_of(**changes: Any) -> PreferenceConfig:
    fields = {"kind": "preference", "init": "start", "data": "pairs", "learning_rate": 1e-4, "batch_size": 2}
    return PreferenceConfig(**{**fields, "workers": 1, **changes})


def test_rows_that_are_too_long_are_left_out_as_in_training(tmp_path: Path, tokenizer: Any) -> None:
    rows = [*records(), PreferenceRecord("long", "p", "x 1 y 2" * 500, "y")]
    source = source_of(tmp_path, rows)
    found = held_out_rows(tokenizer, source, None, config_of(max_skipped=0.5))
    assert len(found.rows) == 5
    assert [reject.id for reject in found.skipped] == ["long"]
    known = sft_example(tokenizer, "elsewhere", PROMPTS[1], "another answer", 64)
    expected = {"rows": 5, "left_out": 1, "prompt_trained_on": 1, "by_type": {"names": 5, "slices": 2}}
    assert found.facts([known]) == expected
    with pytest.raises(UserError, match="1 of 6"):
        held_out_rows(tokenizer, source, None, config_of(max_skipped=0.1))
    assert len(held_out_rows(tokenizer, source, 2, config_of()).rows) == 2


def test_rows_that_are_too_long_are_cut_as_in_training(tmp_path: Path, tokenizer: Any) -> None:
    rows = [*records(), replace(records()[1], id="long", rejected=records()[1].rejected + " and more" * 300)]
    found = held_out_rows(tokenizer, source_of(tmp_path, rows), None, config_of(max_length=300, too_long="cut"))
    assert not found.skipped
    chosen, rejected = found.rows[-1].answers
    assert len(rejected.input_ids) == 300
    assert rejected.input_ids[-1] != tokenizer.eos_token_id == chosen.input_ids[-1]
    for row in found.rows:
        assert [len(part) for part in row.parts] == [len(one.input_ids) - one.response_start for one in row.answers]
        assert all(set(one.weights[one.response_start :]) == {1.0} for one in row.answers)


def test_broken_answers_are_pairs_and_questions_are_single_answers(tmp_path: Path, tokenizer: Any) -> None:
    edit = edit_at("return 1", 7, 8, "2", "numbers")
    broken = CorruptionRecord("b", "p", "return 1", "return 2", (edit,), "test")
    found = held_out_rows(tokenizer, source_of(tmp_path, [broken]), None, config_of())
    assert (found.paired, found.types) == (True, ["numbers"])
    assert all(1 in part for part in found.rows[0].parts)
    alone = held_out_rows(
        tokenizer, source_of(tmp_path / "qa", [QARecord("q", "p", "good", "test")]), None, config_of()
    )
    assert not alone.paired
    assert alone.facts(()) == {"rows": 1, "left_out": 0, "prompt_trained_on": 0}


def test_a_run_notes_rows_that_are_left_out_or_not_held_out():
    counts = {"rows": 5, "left_out": 0, "prompt_trained_on": 0}
    assert with_evaluation({"steps": 3}, counts) == {"steps": 3, "evaluation": counts}
    counts = {"rows": 5, "left_out": 1, "prompt_trained_on": 2}
    assert with_evaluation({NOTES: ["before"]}, counts)[NOTES] == [
        "before",
        "1 of 6 held-out rows left out",
        "2 of 6 held-out rows not held out: their prompts are trained on",
    ]


# What comes out


@pytest.fixture(scope="module")
def one_rank() -> Any:
    """This process as a group of its own: reductions are real."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Policy(torch.nn.Module):
    """A model on one rank, with what an engine has besides."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.module = Scorer(model)
        self.device = torch.device("cpu")

    def forward(self, *inputs: Any, **asked: Any) -> Any:
        return self.module(*inputs, **asked)

    def zero_optimization_stage(self) -> int:
        return 1


def load(directory: Path, noise: float = 0.0) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


def held_to(model: Any) -> Live:
    return Live(Scorer(model.eval().requires_grad_(False)))


def direct(policy: Any, reference: Any, tokenizer: Any) -> dict[str, float]:
    """The figures from full logits in float64, answer by answer and token by token."""
    sides = {side: {"rewards": [], "kl": [], "logps": [], "exact": []} for side in ("chosen", "rejected")}
    tokens = []  # (side, pair, kind of part, error type, ratio, kl)
    for number, record in enumerate(records()):
        for side in sides:
            text, spans = getattr(record, side), getattr(record, f"{side}_spans")
            head = [{"role": "user", "content": record.prompt}]
            start = tokenizer.apply_chat_template(head, tokenize=False, add_generation_prompt=True)
            prompt = tokenizer(start, add_special_tokens=False)["input_ids"]
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            ids = [*encoded["input_ids"], tokenizer.eos_token_id]
            whole = torch.tensor([prompt + ids])
            with torch.no_grad():
                log_p, log_r = (m(input_ids=whole).logits[0].log_softmax(-1) for m in (policy, reference))
            at = [(len(prompt) - 1 + place, token) for place, token in enumerate(ids)]
            ratios = [float(log_p[place, token] - log_r[place, token]) for place, token in at]
            kls = [float((log_r[place].exp() * (log_r[place] - log_p[place])).sum()) for place, _ in at]
            for place, (start, end) in enumerate([*encoded["offset_mapping"], (len(text), len(text))]):
                touched = [one.error_type for one in spans if start < one.end and one.start < end]
                tokens.append((side, number, touched[0] if touched else None, ratios[place], kls[place]))
            sides[side]["rewards"].append(BETA * sum(ratios))
            sides[side]["kl"].append(sum(kls))
            sides[side]["logps"].append(sum(float(log_p[place, token]) for place, token in at))
            sides[side]["exact"].append(all(int(log_p[place].argmax()) == token for place, token in at))
    return summary(sides, tokens)


def summary(sides: Any, tokens: Any) -> dict[str, float]:
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    rewards = zip(sides["chosen"]["rewards"], sides["rejected"]["rewards"], strict=True)
    margins = [better - worse for better, worse in rewards]
    found = {
        "loss": mean([math.log1p(math.exp(-margin)) for margin in margins]),
        "rewards/margins": mean(margins),
        "rewards/accuracies": mean([margin > 0 for margin in margins]),
        "exact": mean(sides["chosen"]["exact"]),
    }
    for side, values in sides.items():
        mine = [token for token in tokens if token[0] == side]
        nll = -sum(values["logps"]) / len(mine)
        found |= {f"{name}/{side}": mean(values[name]) for name in ("rewards", "kl", "logps")}
        found |= {"nll" if side == "chosen" else "nll_rejected": nll}
        parts = {
            "": mine,
            "/inside": [token for token in mine if token[2]],
            "/outside": [token for token in mine if not token[2]],
            **{f"/inside/{name}": [token for token in mine if token[2] == name] for name in ("names", "slices")},
        }
        for part, members in parts.items():
            found[f"rewards/{side}{part}"] = BETA * sum(token[3] for token in members) / len(margins)
            found[f"kl/{side}{part}"] = sum(token[4] for token in members) / len(margins)
            if members:
                found[f"kl_per_token/{side}{part}"] = mean([token[4] for token in members])
    for name in ("names", "slices"):
        having = {pair for _, pair, kind, *_ in tokens if kind == name}
        found[f"rewards/margins/{name}"] = mean([margins[pair] for pair in having])
        found[f"rewards/accuracies/{name}"] = mean([margins[pair] > 0 for pair in having])
    return {f"eval/{name}": value for name, value in found.items()}


def held_out(source: Source, tokenizer: Any, config: Any = None, **asked: Any) -> HeldOut:
    return HeldOut(Evaluation(source, beta=BETA, **asked), tokenizer, config or config_of(), 4)


def test_figures_are_those_of_full_logits_in_float64(
    tmp_path: Path, tiny_directory: Path, tokenizer: Any, one_rank: Any
) -> None:
    policy, reference = load(tiny_directory, noise=0.02), load(tiny_directory).eval()
    found = held_out(source_of(tmp_path, records()), tokenizer).figures(Policy(policy), held_to(reference))
    assert found.pop("evaluation_seconds") > 0
    expected = direct(policy.double().eval(), reference.double(), tokenizer)
    assert found == pytest.approx(expected, rel=2e-5, abs=1e-6)
    assert 0 < found["eval/rewards/accuracies"] < 1
    assert found["eval/kl/chosen"] > 1


def test_at_its_start_a_policy_is_its_reference_whatever_arm_it_is(
    tmp_path: Path, tiny_directory: Path, tokenizer: Any, one_rank: Any
) -> None:
    """Dropout is off: the tiny model gets some here, which would show."""
    source, start = source_of(tmp_path, records()), load(tiny_directory)
    start.model.layers[0].self_attn.attention_dropout = 0.5
    arms = [
        config_of(loss="dpo", mask="response", beta=0.1),
        config_of(loss="tdpo2", mask="granular", beta=0.9, seed=3),
        config_of(loss="tdpo1", mask="random", batch_size=4),
    ]
    found = [held_out(source, tokenizer, arm).figures(Policy(start), held_to(load(tiny_directory))) for arm in arms]
    for figures in found:
        figures.pop("evaluation_seconds")
        assert figures["eval/loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert figures["eval/rewards/accuracies"] in (0, 0.2, 0.4, 0.6, 0.8, 1)
        assert all(abs(value) < 1e-6 for name, value in figures.items() if name.startswith("eval/kl"))
    assert found[0] == found[1] == pytest.approx(found[2], abs=1e-6)


@pytest.mark.parametrize("changes", [{"batch_size": 8}, {"batch_size": 8, "accumulation": 4}, {"micro_tokens": 300}])
def test_figures_do_not_depend_on_how_rows_are_batched(
    changes: Any, tmp_path: Path, tiny_directory: Path, tokenizer: Any, one_rank: Any
) -> None:
    source, policy, reference = source_of(tmp_path, records()), load(tiny_directory, 0.02), load(tiny_directory)
    found = [
        held_out(source, tokenizer, config).figures(Policy(policy), held_to(reference))
        for config in (config_of(), config_of(**changes))
    ]
    for figures in found:
        figures.pop("evaluation_seconds")
    assert found[1] == pytest.approx(found[0], rel=1e-5, abs=1e-6)


def test_a_supervised_model_is_measured_on_both_sides(
    tmp_path: Path, tiny_directory: Path, tokenizer: Any, one_rank: Any
) -> None:
    model = load(tiny_directory)
    config = SftConfig(kind="sft", init="x", data="y", learning_rate=1e-3, batch_size=2, workers=1)
    found = held_out(source_of(tmp_path, records()), tokenizer, config).figures(Policy(model), None)
    expected = direct(model.double().eval(), model, tokenizer)
    names = {"eval/nll", "eval/nll_rejected", "eval/exact"}
    assert set(found) == names | {"evaluation_seconds"}
    assert {name: found[name] for name in names} == pytest.approx({name: expected[name] for name in names}, rel=1e-5)


def test_nothing_of_the_run_changes(tmp_path: Path, tiny_directory: Path, tokenizer: Any, one_rank: Any) -> None:
    policy = Policy(load(tiny_directory)).train()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    random = torch.get_rng_state()
    settings = policy.module.model.generation_config.to_dict()
    measure = held_out(source_of(tmp_path, records()), tokenizer, samples=3)
    measure.figures(policy, held_to(load(tiny_directory)))
    measure.samples(policy, 0)
    assert torch.equal(torch.get_rng_state(), random)
    assert policy.training
    assert all(module.training for module in policy.modules())
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert policy.module.model.generation_config.to_dict() == settings


# Samples


def test_samples_are_the_most_likely_tokens_one_by_one(
    tmp_path: Path, tiny_directory: Path, tokenizer: Any, one_rank: Any
) -> None:
    """Prompts of different length in one batch, and a model whose own settings would draw and punish repetition."""
    model = load(tiny_directory).eval()
    model.generation_config.update(do_sample=True, temperature=2.0, repetition_penalty=5.0, max_new_tokens=3)
    measure = held_out(source_of(tmp_path, records()), tokenizer, config_of(max_length=140), samples=3)
    lines = measure.samples(Policy(model), 7)
    assert [line["id"] for line in lines] == ["row-0", "row-1", "row-2"]
    assert [line["prompt"] for line in lines] == PROMPTS[:3]
    for line, row in zip(lines, measure.data.rows, strict=False):
        answer = row.answers[0]
        ids = list(answer.input_ids[: answer.response_start])
        longest = max(one.answers[0].response_start for one in measure.data.rows[:3])
        for _ in range(min(SAMPLE_TOKENS, 140 - longest)):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        stopped = ids[-1] == tokenizer.eos_token_id
        text = tokenizer.decode(ids[answer.response_start : len(ids) - stopped], clean_up_tokenization_spaces=False)
        assert line == {
            **{"step": 7, "id": answer.id, "prompt": row.prompt, "response": text},
            "finish_reason": "stop" if stopped else "length",
        }


# The log


def step_line(step: int) -> dict[str, Any]:
    return {"step": step, "total": 4, "loss": 1.0 / step, "tokens": 10, "seconds": 0.5}


def written(folder: Path, steps: range, done: int) -> None:
    log = MetricsLog(folder, done, enabled=True)
    if done == 0:
        log.write(
            {"step": 0, "total": 4, "eval/loss": 0.7, "evaluation_seconds": 1.0}, [{"step": 0, "response": "\u2028"}]
        )
    for step in steps:
        due = step % 2 == 0
        measured = {"eval/loss": 0.7 - step / 10, "evaluation_seconds": 0.25} if due else {}
        log.write(step_line(step) | measured, [{"step": step, "response": "x"}] if due else [])
    log.close()


@pytest.mark.parametrize("done", [0, 2, 3])
def test_a_run_that_was_cut_off_leaves_the_log_of_one_that_was_not(tmp_path: Path, done: int) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    written(whole, range(1, 5), 0)
    written(cut, range(1, 4), 0)
    with (cut / METRICS).open("a") as file:
        file.write('{"step": 4, "to')
    written(cut, range(done + 1, 5), done)
    for name in (METRICS, SAMPLES):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert [json.loads(line)["step"] for line in (cut / METRICS).read_text().splitlines()] == [0, 1, 2, 3, 4]


def test_totals_are_of_steps_and_the_last_evaluation_is_kept_apart(tmp_path: Path) -> None:
    written(tmp_path, range(1, 5), 0)
    log = MetricsLog(tmp_path, 4, enabled=True)
    assert log.totals() == {"train_tokens": 40, "train_seconds": 2.0, "final_loss": 0.25}
    assert log.evaluation() == {"seconds": 1.5, "figures": {"eval/loss": pytest.approx(0.3)}}
    log.close()


def test_a_run_that_is_not_measured_has_a_log_as_ever(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, enabled=True)
    log.write({}, [])
    log.write(step_line(1))
    log.close()
    assert [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()] == [step_line(1)]
    assert not (tmp_path / SAMPLES).exists()
    assert log.evaluation() == {}
