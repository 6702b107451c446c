"""What models say and how likely they find what is said: vLLM against Hugging Face, however the work is divided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_answers import DRAWN, NGRAM
from small_run import ROOT, Finished, python
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval import serving
from eval.nodes import Generate, GenerateConfig, Likelihood, LikelihoodConfig
from pipeline.adapters import locate
from pipeline.chat import prompt_ids
from pipeline.contract import DATA, Source, Work
from pipeline.records import GenerationRecord, PreferenceRecord, QARecord, ScoredRecord
from pipeline.shards import read_records, shard_paths
from pipeline.store import Manifest, read_manifest, verify

pytestmark = pytest.mark.slow

PROMPTS, PAIRS = 200, 24
TOKENS = 160
NEAR_TIE = 1e-3
"""Logits of the two engines differ by rounding in fp32; a choice between two that are closer than
this may fall either way."""


@dataclass(frozen=True)
class Sides:
    """Greedy answers of both as ids, up to and with EOS, and what the engine drew in three divisions."""

    prompts: list[list[int]]
    ours: list[list[int]]
    theirs: list[list[int]]
    unrepeated: list[list[int]]
    drawn: list[list[str]]


@pytest.fixture(scope="module")
def sides(small: Finished) -> Sides:
    model = small.directory("reference")
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = list(read_records(small.directory("qa") / "train" / DATA, QARecord, PROMPTS))
    prompts = [prompt_ids(tokenizer, row.prompt) for row in rows]
    script = str(ROOT / "tests" / "support" / "engine_answers.py")
    found = json.loads(python(script, str(model), said=json.dumps(prompts)).splitlines()[-1])
    theirs = [ids for start in range(0, PROMPTS, 50) for ids in greedy(model, prompts[start : start + 50])]
    return Sides(prompts, found["greedy"], theirs, found["unrepeated"], found["drawn"])


def greedy(model: Path, prompts: Sequence[list[int]], **settings: Any) -> list[list[int]]:
    """What transformers' `generate` adds to each prompt, EOS and all; the prompts are padded on the left."""
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    end = AutoTokenizer.from_pretrained(model).eos_token_id
    longest = max(map(len, prompts))
    ids = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    made = loaded.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, pad_token_id=end, **settings
    )[:, longest:].tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in made]


def test_greedy_answers_are_those_of_transformers_token_for_token(small: Finished, sides: Sides) -> None:
    apart = [place for place in range(PROMPTS) if sides.ours[place] != sides.theirs[place]]
    assert len(apart) <= PROMPTS // 100
    assert len({tuple(ids) for ids in sides.ours}) > PROMPTS // 4, "the answers are not all alike"
    model = AutoModelForCausalLM.from_pretrained(small.directory("reference")).eval()
    for place in apart:
        ours, theirs = sides.ours[place], sides.theirs[place]
        first = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
        with torch.no_grad():
            logits = model(torch.tensor([sides.prompts[place] + theirs[:first]])).logits[0, -1].double()
        best = logits.log_softmax(-1).topk(2)
        assert {ours[first], theirs[first]} == set(best.indices.tolist()), place
        assert best.values[0] - best.values[1] < NEAR_TIE, place


def test_no_ngram_comes_twice_as_in_transformers(small: Finished, sides: Sides) -> None:
    """One prompt at a time: padding has n-grams, too."""
    model = small.directory("reference")
    for prompt, ours in zip(sides.prompts, sides.unrepeated, strict=False):
        assert [ours] == greedy(model, [prompt], no_repeat_ngram_size=NGRAM)
        ngrams = list(zip(*(ours[place:] for place in range(NGRAM)), strict=False))
        assert len(set(ngrams)) == len(ngrams)
    assert sides.unrepeated != sides.ours[:DRAWN], "the ban changes something"


def test_what_is_drawn_does_not_depend_on_what_is_drawn_beside_it(sides: Sides) -> None:
    whole, parts, backwards = sides.drawn
    assert whole == parts == backwards
    assert len(set(whole)) > len(whole) // 2
    assert not any("```" in text for text in whole)


def work_of(run: Finished, node: str, kind: Any, config: Any, rows: Source, folder: Path) -> Work:
    """A node over a model of a run, to be made in a directory of its own."""
    model = run.graph.nodes[node]
    directory = folder / node.replace("/", "-")
    sources = [Source("models", node, "models", model.key, "", run.directory(node)), rows]
    return Work("test", node, kind.name, kind.version, kind.product, "0", config, directory, sources)


def rows_of(run: Finished, role: str, node: str, split: str = "") -> Source:
    return Source(role, node, "rows", run.graph.nodes[node].key, split, run.directory(node))


def sampled(small: Finished, folder: Path, concurrency: int) -> list[Work]:
    """Two models answer twelve prompts three times each."""
    config = GenerateConfig(
        kind="generate",
        models=["reference", "corrupted"],
        prompts="qa.test",
        limit=12,
        samples=3,
        temperature=1.0,
        max_tokens=40,
        resources={"concurrency": concurrency},
    )
    prompts = rows_of(small, "prompts", "qa", "test")
    return [work_of(small, node, Generate(), config, prompts, folder) for node in ("reference", "corrupted")]


def made(works: Sequence[Work]) -> list[Manifest]:
    Generate().make(works)
    found = [read_manifest(work.directory) for work in works]
    return [manifest for manifest in found if manifest is not None]


def test_samples_are_the_same_from_one_engine_and_from_two_and_after_a_loss(
    small: Finished, tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = sampled(small, tmp_path / "alone", 1)
    (facts, _) = (manifest.facts["usage"] for manifest in made(alone))
    answers = [list(read_records(work.directory / DATA, GenerationRecord)) for work in alone]
    assert [len(shard_paths(work.directory / DATA)) for work in alone] == [1, 1]

    monkeypatch.setattr(serving, "BATCH", 15)  # five prompts a batch
    divided = sampled(small, tmp_path / "divided", 2)
    manifests = made(divided)
    assert [len(shard_paths(work.directory / DATA)) for work in divided] == [3, 3]
    assert [list(read_records(work.directory / DATA, GenerationRecord)) for work in divided] == answers
    assert all(manifest.rows == {"in": 12, "out": 12, "rejected": 0} for manifest in manifests)
    assert not any(verify(work.directory) for work in divided)

    assert len({(row.id, row.sample) for row in answers[0]}) == len(answers[0]) == 36
    assert len({row.response for row in answers[0]}) > 18
    first = [row for row in answers[0] if row.sample == 0]
    assert facts["prompt_tokens"] == sum(row.prompt_tokens for row in first)
    assert facts["completion_tokens"] == sum(row.completion_tokens for row in answers[0])
    assert facts["tokens_per_second"] == pytest.approx(facts["completion_tokens"] / facts["engine_seconds"], rel=0.01)

    paths = shard_paths(divided[1].directory / DATA)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    (divided[1].directory / "manifest.json").unlink()
    paths[1].unlink()
    made([divided[1]])
    after = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    assert [content for content, _ in after] == [content for content, _ in before]
    assert [time for _, time in after][::2] == [time for _, time in before][::2]


def logps_of(model: Path, prompt: list[int], answer: list[int]) -> list[float]:
    """The log-probabilities of an answer's tokens, by transformers (and peft) in double precision."""
    files = locate(model)
    loaded = AutoModelForCausalLM.from_pretrained(files.weights)
    if files.adapter:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, str(files.adapter))
    with torch.no_grad():
        logits = loaded.eval()(input_ids=torch.tensor([prompt + answer])).logits[0].double()
    logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return logps.gather(1, torch.tensor(answer)[:, None])[:, 0].tolist()


def test_given_answers_are_as_likely_as_transformers_says(
    small: Finished, adapters: Finished, tmp_path: Path, ray_session: None
) -> None:
    """Over whole weights and over an adapter, which is served unmerged.

    Tolerance: fp32 rounds at 6e-8 of values up to some 20, in sums of a few hundred terms: 1e-4 a token leaves
    room for that; sums over an answer of 100 tokens get 1e-3.
    """
    config = LikelihoodConfig(kind="likelihood", models="m", rows="pairs", limit=PAIRS)
    rows = rows_of(adapters, "rows", "pairs")
    nodes = ("reference", "adapter/1")
    works = [work_of(adapters, node, Likelihood(), config, rows, tmp_path) for node in nodes]
    Likelihood().make(works)
    pairs = sorted(read_records(rows.data, PreferenceRecord, PAIRS), key=lambda pair: pair.id)
    found = [{row.id: row for row in read_records(work.directory / DATA, ScoredRecord)} for work in works]
    assert set(found[0]) == set(found[1]) == {pair.id for pair in pairs}
    for node, scores in zip(nodes, found, strict=True):
        model = adapters.directory(node)
        tokenizer = AutoTokenizer.from_pretrained(model)
        for pair in pairs[:6]:
            values = {score.metric: score.value for score in scores[pair.id].scores}
            means = {}
            for name, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
                answer = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
                expected = logps_of(model, prompt_ids(tokenizer, pair.prompt), answer)
                means[name] = sum(expected) / len(expected)
                assert values[f"tokens/{name}"] == len(expected)
                assert values[f"logp/{name}"] == pytest.approx(sum(expected), abs=1e-3)
                logp, tokens = values[f"logp/{name}"], values[f"tokens/{name}"]
                assert values[f"perplexity/{name}"] == pytest.approx(2.718281828459045 ** (-logp / tokens), rel=1e-9)
            assert values["prefers_chosen"] == (means["chosen"] > means["rejected"])
    manifest = read_manifest(works[0].directory)
    assert manifest is not None
    assert manifest.facts["usage"]["completion_tokens"] == 0 < manifest.facts["usage"]["tokens_per_second"]
    assert found[0] != found[1]
