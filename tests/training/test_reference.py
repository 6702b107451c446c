"""The reference of a run on real models: cached says what live says, a policy starts at it, and it is made once."""

from __future__ import annotations

import math
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from pipeline.contract import DATA, Source, Work
from pipeline.failures import UserError
from pipeline.records import PreferenceRecord
from pipeline.shards import write_shards
from pipeline.spans import Span
from pipeline.store import read_manifest, verify
from training import lora, reference, reference_cache, reference_model
from training.batches import Batch, collate_pairs
from training.configs import PreferenceConfig
from training.examples import pair_examples
from training.losses import metrics, preference_loss, sides
from training.nodes import Preference
from training.reference import Cached, Live
from training.reference_making import Origin
from training.scoring import Scorer
from training.start import Start
from training.tokens import PairExample

CPU = torch.device("cpu")
LN_2 = math.log(2)


def rows(count: int) -> list[PreferenceRecord]:
    """Pairs that share a prefix, the word that differs marked in both answers; some have no spans."""
    made = []
    for number in range(count):
        begins = f"def f{number}(items):\n    total = 0\n    return "
        chosen, rejected = f"{begins}sum(items) + {number}  # fine", f"{begins}max(items) - {number * 7} - 1"
        spans = [
            (Span(len(begins), len(begins) + 3, "unknown", answer[len(begins) : len(begins) + 3], 0.5),)
            for answer in (chosen, rejected)
        ]
        mine = spans if number % 9 else [(), ()]
        made.append(PreferenceRecord(f"r{number}", f"Write f{number}.", chosen, rejected, *mine, provenance="test"))
    return made


@pytest.fixture(autouse=True, scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker group of one."""
    place = tmp_path_factory.mktemp("group") / "file"
    distributed.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture(autouse=True)
def several_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_cache, "SHARD_PAIRS", 8)


@pytest.fixture(scope="module")
def start(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with weights that make it sure of things."""
    from transformers import AutoModelForCausalLM

    directory = tmp_path_factory.mktemp("start")
    shutil.copytree(tiny_directory, directory, dirs_exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_directory)
    disturb(model, 0.1)
    model.save_pretrained(directory)
    return directory


def disturb(model: Any, by: float, seed: int = 0) -> Any:
    """Stands for training: every trainable parameter moves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += by * torch.randn(parameter.shape, generator=generator).to(parameter)
    return model


@dataclass
class Bench:
    """A run in a store of its own, up to where it would train."""

    origin: Origin
    pairs: list[PairExample]
    loads: list[int]

    @property
    def kl(self) -> bool:
        return self.origin.config.objective.kl

    def reference(self) -> reference.Reference:
        return reference.prepare(self.origin, self.pairs, kl=self.kl)

    def caches(self) -> list[Path]:
        found = (self.origin.work.directory.parents[1] / "references").glob("*")
        return sorted(path for path in found if read_manifest(path) is not None)

    def policy(self) -> Scorer:
        return Scorer(self.origin.load()[0]).eval()

    def batches(self, **options: Any) -> Iterator[tuple[Batch, list[PairExample]]]:
        for first in range(0, len(self.pairs), 10):
            pairs = self.pairs[first : first + 10]
            yield collate_pairs(pairs, 0, **options), pairs


def bench(
    tmp_path: Path, tokenizer: Any, model: Path, *, data: int = 20, adapter: Path | None = None, **changes: Any
) -> Bench:
    """A run on `data` pairs; in the same `tmp_path`, on the same rows."""
    from transformers import AutoModelForCausalLM

    source = tmp_path / "store" / "rows" / f"d{data}"
    if not source.exists():
        write_shards(source / DATA, rows(data), PreferenceRecord.SCHEMA, 1000)
    config = PreferenceConfig(
        kind="preference", init="start", data="pairs", learning_rate=1e-4, max_skipped=0.2, **{"workers": 1, **changes}
    )
    sources = [
        Source("init", "start", "models", model.name, "", model),
        Source("data", "pairs", "rows", source.name, "", source),
    ]
    directory = tmp_path / "store" / "models" / "k"
    work = Work("e", "mended", "preference", Preference.version, "models", "k", config, directory, sources)
    loads: list[int] = []

    def load() -> tuple[Any, Any]:
        loads.append(1)
        dtype = torch.bfloat16 if config.dtype == "bf16" else torch.float32
        whole = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        if config.lora is None:
            return whole, None
        if adapter is not None:
            return lora.go_on(whole, config.lora, adapter), None
        return lora.wrap(whole, config.lora, base="base", seed=0), None

    origin = Origin(work, (sources[1], config.limit), Start(str(model), adapter), tokenizer, CPU, load)
    return Bench(origin, pair_examples(tokenizer, sources[1], config)[0], loads)


def scored(run: Bench, held_to: reference.Reference, policy: Scorer, batch: Batch, pairs: list[PairExample]) -> Any:
    """Log-probs of policy and reference, and the KL: [N] each."""
    said = held_to.of(batch, pairs, policy, kl=run.kl)
    scores = policy(batch, said.source, kl=run.kl)
    return scores.logps, said.logps_or(scores), scores.kl


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 1e-5),
        ({"mask": "granular"}, 1e-5),
        ({"lora": {"rank": 4}}, 1e-5),
        ({"loss": "tdpo2", "mask": "granular"}, 1e-5),
        ({"loss": "tdpo1"}, 1e-5),
        ({"loss": "tdpo2", "lora": {"rank": 4}}, 1e-5),
        ({"loss": "tdpo2", "mask": "granular", "lora": {"rank": 4}}, 1e-5),
        ({"dtype": "bf16"}, 0.1),
        ({"loss": "tdpo2", "dtype": "bf16"}, 0.1),
        ({"loss": "tdpo2", "dtype": "bf16", "lora": {"rank": 4}}, 0.1),
    ],
)
def test_cached_says_what_live_says(
    changes: dict[str, Any], tolerance: float, tmp_path: Path, tokenizer: Any, start: Path
) -> None:
    """At every weighted token, of a policy that has moved, whatever a batch shares or leaves out."""
    run, live = (bench(tmp_path, tokenizer, start, reference=how, **changes) for how in ("auto", "live"))
    kept, lived = run.reference(), live.reference()
    assert isinstance(kept, Cached)
    assert isinstance(lived, Live)
    policy = Scorer(disturb(run.origin.load()[0], 0.02, seed=1)).eval()
    moved = 0.0
    for batch, pairs in (*run.batches(), *run.batches(share=False, cancel=True)):
        found, expected = (scored(one, held, policy, batch, pairs) for one, held in ((run, kept), (live, lived)))
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
        moved = max(moved, float((found[0] - found[1]).detach().abs().max()))
    assert moved > 0.01


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mask": "granular"},
        {"loss": "cdpo"},
        {"loss": "rdpo"},
        {"loss": "tdpo1"},
        {"loss": "tdpo2"},
        {"loss": "tdpo2", "lora": {"rank": 4}},
    ],
)
@pytest.mark.parametrize("how", ["cached", "live"])
def test_a_policy_starts_at_its_reference(
    how: str, changes: dict[str, Any], tmp_path: Path, tokenizer: Any, start: Path
) -> None:
    """Without dropout the loss is ln 2, the KL nothing, and no answer rewarded."""
    run = bench(tmp_path, tokenizer, start, reference=how, **changes)
    held_to, policy = run.reference(), run.policy()
    for batch, pairs in run.batches(cancel=run.origin.config.objective.cancels):
        mine, theirs, kl = scored(run, held_to, policy, batch, pairs)
        chosen, rejected = sides(batch, len(pairs), mine, theirs, kl)
        result = preference_loss(run.origin.config.loss, chosen, rejected, **run.origin.config.parameters)
        found = metrics(result, chosen, rejected)
        assert found["loss"] == pytest.approx(LN_2, abs=1e-6)
        assert found["rewards/margins"] == pytest.approx(0, abs=1e-6)
        if kl is not None:
            assert float(kl.detach().abs().max()) < 2e-6
            assert found["kl/chosen"] == pytest.approx(0, abs=2e-5)


@pytest.mark.parametrize("changes", [{"loss": "tdpo2"}, {"loss": "tdpo2", "lora": {"rank": 4}}])
def test_gradients_are_those_of_a_live_reference(
    changes: dict[str, Any], tmp_path: Path, tokenizer: Any, start: Path
) -> None:
    run, live = (bench(tmp_path, tokenizer, start, reference=how, **changes) for how in ("cached", "live"))
    found = [gradients(one, one.reference()) for one in (run, live)]
    assert found[0].keys() == found[1].keys()
    assert max(float(gradient.abs().max()) for gradient in found[0].values()) > 0.01
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-5, msg=name)


def gradients(run: Bench, held_to: reference.Reference) -> dict[str, Tensor]:
    policy = Scorer(disturb(run.origin.load()[0], 0.02, seed=1)).eval()
    batch, pairs = next(run.batches())
    chosen, rejected = sides(batch, len(pairs), *scored(run, held_to, policy, batch, pairs))
    config = run.origin.config
    preference_loss(config.loss, chosen, rejected, **config.parameters).losses.mean().backward()
    return {name: part.grad for name, part in policy.model.named_parameters() if part.grad is not None}


def test_every_arm_and_trial_reads_what_the_first_has_computed(tmp_path: Path, tokenizer: Any, start: Path) -> None:
    first = bench(tmp_path, tokenizer, start, mask="granular")
    first.reference()
    (cache,) = first.caches()
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert verify(cache) == []
    assert sum(first.loads) == 1
    for changes in (
        {"mask": "response"},
        {"beta": 0.7},
        {"mask": "random", "seed": 5},
        {"lora": {"rank": 4}, "zero": 0},
    ):
        other = bench(tmp_path, tokenizer, start, **changes)
        assert isinstance(other.reference(), Cached)
        assert other.loads == [], changes
        assert other.caches() == [cache]
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_losses_with_a_kl_share_by_the_tokens_that_carry_weight(tmp_path: Path, tokenizer: Any, start: Path) -> None:
    for changes, caches in (
        ({"loss": "tdpo2", "mask": "granular"}, 1),
        ({"loss": "tdpo2", "mask": "granular", "alpha": 0.1, "beta": 0.3}, 1),
        ({"loss": "tdpo1", "mask": "granular"}, 1),
        ({"loss": "tdpo1", "mask": "response"}, 2),
        ({"loss": "tdpo1", "mask": "response", "lora": {"rank": 4}}, 3),
        ({"loss": "dpo"}, 4),
    ):
        run = bench(tmp_path, tokenizer, start, **changes)
        run.reference()
        assert len(run.caches()) == caches, changes


def test_other_rows_or_another_model_are_computed_anew(
    tmp_path: Path, tokenizer: Any, start: Path, tiny_directory: Path
) -> None:
    runs = [
        bench(tmp_path, tokenizer, start),
        bench(tmp_path, tokenizer, start, data=12),
        bench(tmp_path, tokenizer, start, limit=12),
        bench(tmp_path, tokenizer, tiny_directory),
        bench(tmp_path, tokenizer, start, max_length=100),
    ]
    for number, run in enumerate(runs, 1):
        run.reference()
        assert len(run.caches()) == number
        assert run.loads == [1]


def test_pairs_without_weight_are_in_the_cache_too(tmp_path: Path, tokenizer: Any, start: Path) -> None:
    """The granular arm skips rows without spans; the cache that it makes has them for the others."""
    run = bench(tmp_path, tokenizer, start, mask="granular")
    assert len(run.pairs) < 20
    run.reference()
    manifest = read_manifest(run.caches()[0])
    assert manifest is not None
    assert manifest.rows["out"] == 20
    assert [item.role for item in manifest.inputs] == ["init", "data"]


def test_an_adapter_that_is_gone_on_with_is_held_to_its_start(tmp_path: Path, tokenizer: Any, start: Path) -> None:
    fresh = bench(tmp_path, tokenizer, start, loss="tdpo2", lora={"rank": 4})
    trained = disturb(fresh.origin.load()[0], 0.05, seed=3)
    lora.save(trained, tmp_path / "adapter", None)
    fresh.reference()
    run, live = (
        bench(tmp_path, tokenizer, start, adapter=tmp_path / "adapter", loss="tdpo2", lora={"rank": 4}, reference=how)
        for how in ("auto", "live")
    )
    kept = run.reference()
    assert len(run.caches()) == 2
    policy = Scorer(disturb(run.origin.load()[0], 0.02, seed=1)).eval()
    batch, pairs = next(run.batches())
    for one, other in zip(
        scored(run, kept, policy, batch, pairs), scored(live, live.reference(), policy, batch, pairs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_reference_is_not_kept_in_memory(tmp_path: Path, tokenizer: Any, start: Path) -> None:
    run = bench(tmp_path, tokenizer, start, loss="tdpo2", mask="granular")
    held: list[Any] = []

    def load() -> tuple[Any, Any]:
        model, keeper = run.origin.load()
        held.append(weakref.ref(model))
        return model, keeper

    kept = reference.prepare(replace(run.origin, load=load), run.pairs, kl=True)
    assert isinstance(kept, Cached)
    assert [one() for one in held] == [None]


def test_a_kill_while_caching_leaves_nothing_half(
    tmp_path: Path, tokenizer: Any, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first shard is written, then the run dies; the next one computes the rest alone, to the same bytes."""
    undisturbed = bench(tmp_path / "undisturbed", tokenizer, start)
    undisturbed.reference()
    run = bench(tmp_path / "killed", tokenizer, start)
    (directory,) = [run.origin.work.directory.parents[1] / "references" / path.name for path in undisturbed.caches()]
    calls = []
    whole = reference_model.collate_pairs

    def dies(pairs: list[PairExample], *arguments: Any, **options: Any) -> Batch:
        calls.append(len(pairs))
        if (directory / "part-00000.safetensors").exists():
            raise KeyboardInterrupt
        return whole(pairs, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(reference_model, "collate_pairs", dies)
        with pytest.raises(KeyboardInterrupt):
            run.reference()
    assert [path.name for path in directory.iterdir()] == ["part-00000.safetensors"]
    assert run.caches() == []
    run.reference()
    assert [path.name for path in run.caches()] == [directory.name]
    for path in undisturbed.caches()[0].iterdir():
        if path.name != "manifest.json":
            assert (directory / path.name).read_bytes() == path.read_bytes()


def test_a_damaged_cache_is_made_again(tmp_path: Path, tokenizer: Any, start: Path) -> None:
    run = bench(tmp_path, tokenizer, start)
    run.reference()
    (cache,) = run.caches()
    (cache / "part-00001.safetensors").write_bytes(b"short")
    assert run.caches() == []
    run.reference()
    assert run.caches() == [cache]
    assert verify(cache) == []


def test_the_manifest_of_a_run_says_how_its_reference_was_had(tmp_path: Path, tokenizer: Any, start: Path) -> None:
    run = bench(tmp_path, tokenizer, start)
    assert run.reference().facts == {
        "reference": "cached",
        "reference_key": run.caches()[0].name,
        "reference_form": "logps",
    }
    live = bench(tmp_path, tokenizer, start, reference="live").reference()
    assert (live.facts, live.notes) == ({"reference": "live"}, [])
    fallen = bench(tmp_path, tokenizer, start, cache_limit=100).reference()
    assert fallen.facts == {"reference": "live"}
    assert "not cached but run at every step" in fallen.notes[0]
    assert "more than cache_limit, 100B" in fallen.notes[0]
    with pytest.raises(UserError, match="more than cache_limit, 100B"):
        bench(tmp_path, tokenizer, start, cache_limit=100, reference="cached").reference()


def family(name: str, tmp_path: Path, tokenizer: Any) -> Path:
    """A small random model of another kind, its logits far from flat."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shapes = {
        "granite": {"logits_scaling": 0.25, "num_key_value_heads": 2},
        "gemma2": {
            "final_logit_softcapping": 2.0,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
        },
        "gptj": {"rotary_dim": 8},
        "gpt_neox": {},
        "gpt2": {},
    }
    settings = AutoConfig.for_model(
        name,
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        **shapes[name],
    )
    torch.manual_seed(0)
    model = disturb(AutoModelForCausalLM.from_config(settings), 0.3)
    model.save_pretrained(tmp_path / name)
    tokenizer.save_pretrained(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", ["granite", "gemma2", "gptj", "gpt_neox", "gpt2"])
@pytest.mark.parametrize("changes", [{"loss": "dpo"}, {"loss": "tdpo2"}, {"loss": "tdpo2", "lora": {"rank": 4}}])
def test_families(name: str, changes: dict[str, Any], tmp_path: Path, tokenizer: Any) -> None:
    """Heads with a bias, and logits that are scaled; where they are capped there is no short form."""
    model = family(name, tmp_path, tokenizer)
    run, live = (bench(tmp_path, tokenizer, model, reference=how, **changes) for how in ("auto", "live"))
    kept = run.reference()
    if name == "gemma2" and "lora" in changes:
        assert kept.facts == {"reference": "live"}
        assert "the model caps its logits, for which the KL has no short form" in kept.notes[0]
        return
    assert isinstance(kept, Cached)
    policy = Scorer(disturb(run.origin.load()[0], 0.05, seed=1)).eval()
    batch, pairs = next(run.batches())
    found, expected = (scored(one, held, policy, batch, pairs) for one, held in ((run, kept), (live, live.reference())))
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    if found[2] is not None:
        assert float(found[2].detach().max()) > 0.01
