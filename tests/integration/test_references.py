"""A reference is computed once for all arms of an experiment, by two workers, and trains as a live one does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_run import ROOT, Finished, run_experiment, run_to_the_end

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.store import Store, read_manifest, verify

pytestmark = pytest.mark.slow

EXPERIMENT = ROOT / "tests" / "assets" / "references.yaml"
LN_2 = 0.6931471805599453
DPO, TDPO, LORA = "arm/dpo-response-0.3", "arm/tdpo2-granular", "arm/tdpo2-granular-lora-rank4"


@pytest.fixture(scope="module")
def arms() -> Finished:
    return run_experiment(EXPERIMENT)


def lines(run: Finished, node: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory(node) / "metrics.jsonl").read_text().splitlines()]


def keys(run: Finished) -> dict[str, str]:
    """The cache of every arm that has one."""
    facts = {name: run.manifest(name).facts for name in run.graph.nodes if name.startswith("arm/")}
    return {name: fact["reference_key"] for name, fact in facts.items() if fact["reference"] == "cached"}


def test_the_arms_share_three_caches(arms: Finished) -> None:
    found = keys(arms)
    assert len(found) == 8
    for names in (
        ["arm/dpo-granular", DPO, f"{DPO}-3"],
        [TDPO, f"{TDPO}-0.1", f"{TDPO}-3"],
        [LORA, f"{LORA}-3"],
    ):
        assert len({found[name] for name in names}) == 1, names
    assert len(set(found.values())) == 3
    for key in set(found.values()):
        directory = arms.store.directory("references", key)
        assert verify(directory) == []
        assert len(list(directory.glob("part-*"))) == 2


@pytest.mark.parametrize("node", [DPO, TDPO, LORA, f"{TDPO}-3", f"{LORA}-3", f"{TDPO}-3-live"])
def test_a_policy_starts_at_its_reference(node: str, arms: Finished) -> None:
    first = lines(arms, node)[0]
    assert first["loss"] == pytest.approx(LN_2, abs=1e-6)
    assert first["rewards/margins"] == pytest.approx(0, abs=2e-6)
    if "tdpo2" in node:
        assert first["kl/chosen"] == pytest.approx(0, abs=1e-5)
        assert first["kl/rejected"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("cached", "live"), [(DPO, f"{DPO}-live"), (TDPO, f"{TDPO}-live"), (LORA, f"{LORA}-live")])
def test_a_cached_reference_trains_as_a_live_one(cached: str, live: str, arms: Finished) -> None:
    found, expected = ([line["loss"] for line in lines(arms, node)] for node in (cached, live))
    assert len(found) >= 3
    assert found[-1] != found[0]
    assert found == pytest.approx(expected, rel=1e-5)


def test_stages_agree_with_a_reference_in_parts_too(arms: Finished) -> None:
    expected = [line["loss"] for line in lines(arms, TDPO)]
    for node in (f"{TDPO}-3", f"{TDPO}-3-live"):
        assert [line["loss"] for line in lines(arms, node)] == pytest.approx(expected, rel=1e-4)


def test_above_the_limit_the_reference_is_live_and_the_manifest_says_why(arms: Finished) -> None:
    facts = arms.manifest(f"{DPO}-1 KB").facts
    assert facts["reference"] == "live"
    assert "more than cache_limit, 1.0KB" in facts["notes"][-1]
    assert [line["loss"] for line in lines(arms, f"{DPO}-1 KB")] == [
        line["loss"] for line in lines(arms, f"{DPO}-live")
    ]


def test_a_later_experiment_finds_it_made(arms: Finished, tmp_path: Path) -> None:
    """Another loss setting in another run: only the arm is made, and no file of the cache is touched."""
    store = tmp_path / "store"
    shutil.copytree(arms.store.root, store, ignore=lambda _, names: [name for name in names if name.startswith(".")])
    before = {path: path.stat().st_mtime_ns for path in (store / "references").rglob("*")}
    text = EXPERIMENT.read_text().partition("    arms:")[0]
    (tmp_path / "later.yaml").write_text(f"{text}    arms: [{{loss: dpo, mask: random, beta: 0.5}}]\n")
    run_to_the_end(store, tmp_path / "runs", tmp_path / "later.yaml")
    assert {path: path.stat().st_mtime_ns for path in (store / "references").rglob("*")} == before
    later = build(load(tmp_path / "later.yaml")).nodes["arm/dpo-random-0.5"]
    made = Store(store).require("models", later.key)
    assert made.facts["reference_key"] == keys(arms)[DPO]
    assert read_manifest(store / "references" / made.facts["reference_key"]) is not None
