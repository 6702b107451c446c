"""Losses in an experiment file: which keys each reads, what it fills in, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kintsugi.experiment import load
from kintsugi.graph import Graph, build
from pipeline.failures import UserError
from training.configs import PreferenceConfig
from training.objectives import OBJECTIVES, Loss

ARM = {"kind": "preference", "init": "base", "data": "pairs", "learning_rate": 1e-4}
OPTIONAL = ("alpha", "label_smoothing", "gamma", "sft_weight")


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
        file.write_text(yaml.safe_dump({"name": "losses", "nodes": nodes}))
        return build(load(file))

    return made


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_a_loss_alone_gets_its_parameters_written_out(loss: Loss) -> None:
    config = PreferenceConfig(**ARM, loss=loss)
    assert config.parameters == {**OBJECTIVES[loss].defaults, "sft_weight": 0.0}
    written = config.model_dump(mode="json")
    assert {name for name in ("beta", *OPTIONAL) if name in written} == set(OBJECTIVES[loss].defaults)
    assert PreferenceConfig.model_validate(written) == config


def test_what_is_written_out_is_what_was_meant(graph_of: Any) -> None:
    """A default that is spelled out, or null, makes no other model."""

    def key(**arm: Any) -> str:
        return str(graph_of(**arm).nodes["arm"].key)

    plain = key()
    assert key(loss="dpo", beta=0.1, alpha=None, label_smoothing=None, gamma=None, sft_weight=0) == plain
    assert key(loss="simpo") == key(loss="simpo", beta=2, gamma=1.0)
    assert len({plain, key(sft_weight=0.1), key(beta=0.2), key(loss="cdpo"), key(loss="rdpo"), key(loss="ipo")}) == 6


@pytest.mark.parametrize(
    ("arm", "key", "said"),
    [
        ({"alpha": 0.5}, "alpha", "dpo does not read alpha: it is for tdpo2."),
        ({"loss": "tdpo1", "alpha": 0.5}, "alpha", "tdpo1 does not read alpha: it is for tdpo2."),
        ({"loss": "dpo", "label_smoothing": 0.1}, "label_smoothing", "it is for cdpo and rdpo."),
        ({"loss": "simpo", "label_smoothing": 0.1}, "label_smoothing", "simpo does not read label_smoothing"),
        ({"loss": "ipo", "gamma": 1}, "gamma", "ipo does not read gamma: it is for simpo."),
        ({"loss": "cdpo", "label_smoothing": 0}, "label_smoothing", "greater than 0"),
        ({"loss": "rdpo", "label_smoothing": 0.5}, "label_smoothing", "less than 0.5"),
        ({"loss": "simpo", "beta": 0}, "beta", "greater than 0"),
        ({"loss": "simpo", "gamma": -1}, "gamma", "greater than or equal to 0"),
        ({"sft_weight": -0.1}, "sft_weight", "greater than or equal to 0"),
        ({"loss": "kto", "gamma": 1}, "loss", "'simpo', 'tdpo1' or 'tdpo2'"),
        ({"matrix": {"loss": ["dpo", "cdpo"], "label_smoothing": [0.1]}}, "matrix.label_smoothing", "dpo does not"),
    ],
)
def test_a_parameter_that_means_nothing_is_named(arm: dict[str, Any], key: str, said: str, graph_of: Any) -> None:
    with pytest.raises(UserError) as caught:
        graph_of(**arm)
    assert caught.value.kind == "config"
    assert caught.value.where.endswith(f"arm.{key}") or key.startswith("matrix")
    assert said in caught.value.what
    assert caught.value.hint


def test_every_loss_in_one_matrix(graph_of: Any) -> None:
    graph = graph_of(matrix={"loss": list(OBJECTIVES)})
    assert [name for name in graph.nodes if name.startswith("arm/")] == [f"arm/{loss}" for loss in OBJECTIVES]


def test_an_sft_term_keeps_shared_positions() -> None:
    assert PreferenceConfig(**ARM).objective.cancels
    assert not PreferenceConfig(**ARM, sft_weight=0.1).objective.cancels
    assert not PreferenceConfig(**ARM, loss="simpo").objective.reference
