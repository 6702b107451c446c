"""`lora` in an experiment file: its keys, its errors, its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kintsugi.experiment import load
from kintsugi.graph import Graph, build
from pipeline.failures import UserError
from training.configs import PreferenceConfig, SftConfig

ARM = {"kind": "preference", "init": "base", "data": "pairs", "learning_rate": 1e-4}


@pytest.fixture
def graph_of(tmp_path: Path) -> Any:
    def made(**arm: Any) -> Graph:
        nodes = {
            "qa": {"kind": "source", "from": "builtin", "rows": 80},
            "broken": {"kind": "embed", "input": "qa"},
            "pairs": {"kind": "annotate", "input": "broken"},
            "base": {"kind": "sft", "init": "tiny", "data": "qa", "learning_rate": 1e-3},
            "arm": {**ARM, **arm},
        }
        file = tmp_path / "experiment.yaml"
        file.write_text(yaml.safe_dump({"name": "lora", "nodes": nodes}))
        return build(load(file))

    return made


def key(graph: Graph) -> str:
    return graph.nodes["arm"].key


@pytest.mark.parametrize("config", [
    SftConfig(kind="sft", init="base", data="qa", learning_rate=1e-3),
    PreferenceConfig(**ARM),
])  # fmt: skip
def test_a_model_without_lora_is_keyed_and_recorded_as_before_there_was_lora(config: Any) -> None:
    assert "lora" not in config.model_dump(mode="json")


def test_keys_follow_the_adapter_s_settings(graph_of: Any) -> None:
    plain, written = graph_of(), graph_of(lora=None)
    default, spelled = graph_of(lora={}), graph_of(lora={"rank": 8, "alpha": 16, "dropout": 0, "targets": "all-linear"})
    assert key(plain) == key(written)
    assert key(default) == key(spelled)
    assert len({key(plain), key(default), key(graph_of(lora={"rank": 4}))}) == 3


@pytest.mark.parametrize(("lora", "where", "said"), [
    ({"rnk": 4}, "arm.lora.rnk", "Did you mean 'rank'?"),
    ({"rank": 0}, "arm.lora.rank", "Rank of the matrices"),
    ({"dropout": 1}, "arm.lora.dropout", "Dropout"),
    ({"targets": "q_proj"}, "arm.lora.targets", "q_proj"),
    ({"targets": []}, "arm.lora.targets", "all-linear"),
])  # fmt: skip
def test_errors_name_the_key_and_its_meaning(lora: dict, where: str, said: str, graph_of: Any) -> None:
    with pytest.raises(UserError) as caught:
        graph_of(lora=lora)
    assert caught.value.where.endswith(where)
    assert said in caught.value.hint


def test_an_adapter_of_the_untrained_model_is_refused(graph_of: Any) -> None:
    with pytest.raises(UserError, match="`tiny` is untrained"):
        graph_of(lora={}, init="tiny")


def test_arms_are_named_by_their_adapters(graph_of: Any) -> None:
    graph = graph_of(matrix={"lora": [None, {}, {"rank": 4, "targets": ["q_proj", "v_proj"]}], "loss": ["dpo"]})
    names = [name for name in graph.nodes if name.startswith("arm/")]
    assert names == ["arm/no-lora-dpo", "arm/lora-dpo", "arm/lora-rank4-targetsq_proj+v_proj-dpo"]
