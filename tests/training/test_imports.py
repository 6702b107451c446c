"""Models from outside: links in the store, keys by content, names through the Hugging Face cache."""

import json
from pathlib import Path

import pytest

from kintsugi.console import Screen
from kintsugi.execute import Place, execute
from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.adapters import base_of, locate, write_adapter_config
from pipeline.failures import UserError
from pipeline.store import Store, read_manifest, verify
from training import tiny
from training.imports import downloaded


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "mine"
    tiny.build(["Add two numbers.", "a + b"], place, seed=0)
    return place


def graph(folder, origin):
    file = folder / "import.yaml"
    file.write_text(f"name: imports\nnodes:\n  mine: {{kind: model, from: {origin}}}\n", encoding="utf-8")
    return build(load(file))


def made(folder, origin):
    """The artifact of an imported model."""
    built = graph(folder, origin)
    place = Place(Store(folder / "store"), folder / "runs")
    execute(built, place, Screen())
    return place.store.directory("models", built.nodes["mine"].key)


def test_an_imported_model_is_links_that_load(tmp_path, directory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = made(tmp_path, directory)
    names = {path.name for path in found.iterdir()} - {"manifest.json"}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} | (
        {path.name for path in directory.iterdir() if path.suffix in (".json", ".jinja")}
    )
    assert (found / "model.safetensors").readlink() == directory / "model.safetensors"
    assert verify(found) == []
    model = AutoModelForCausalLM.from_pretrained(found, trust_remote_code=False)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(found, trust_remote_code=False))


def test_the_key_is_that_of_the_files_wherever_they_lie(tmp_path, directory):
    import shutil

    first = graph(tmp_path, directory).nodes["mine"].key
    shutil.copytree(directory, tmp_path / "copy")
    assert graph(tmp_path, tmp_path / "copy").nodes["mine"].key == first
    (tmp_path / "copy" / "README.md").write_text("no part of the model")
    assert graph(tmp_path, tmp_path / "copy").nodes["mine"].key == first
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps({**config, "rope_theta": 1.0}))
    assert graph(tmp_path, tmp_path / "copy").nodes["mine"].key != first


def test_a_model_that_is_gone_is_linked_again_from_where_it_is_now(tmp_path, directory):
    import shutil

    shutil.copytree(directory, tmp_path / "old")
    found = made(tmp_path, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(found) is None
    assert made(tmp_path, tmp_path / "new") == found
    assert verify(found) == []


def test_a_directory_that_is_no_model_is_named_with_its_line(tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"lacks config\.json and weights") as caught:
        graph(tmp_path, tmp_path / "bare")
    assert caught.value.kind == "config"
    with pytest.raises(UserError, match="'nowhere' is no node, no model directory and no Hugging Face name") as caught:
        graph(tmp_path, "nowhere")
    assert caught.value.where == f"{tmp_path}/import.yaml:3: nodes.mine.from"
    with pytest.raises(UserError, match="'tiny' is built when it is trained"):
        graph(tmp_path, "tiny")


@pytest.fixture
def offline_cache(tmp_path, directory, monkeypatch):
    """A Hugging Face cache that holds one model, as a download would have left it, and no network."""
    snapshot = tmp_path / "hub" / "models--someone--something" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for path in directory.iterdir():
        (snapshot / path.name).symlink_to(path)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return snapshot


def test_a_name_is_linked_to_the_cache(tmp_path, offline_cache):
    found = made(tmp_path, "someone/something")
    assert (found / "model.safetensors").readlink().parent == offline_cache
    facts = read_manifest(found).facts
    assert facts == {"from": "someone/something", "directory": str(offline_cache)}


def test_a_name_and_its_revision_count_in_the_key(tmp_path):
    names = ("someone/something", "someone/something@v2", "someone/other")
    assert len({graph(tmp_path, name).nodes["mine"].key for name in names}) == 3


def test_what_cannot_be_fetched_is_the_environments_fault(offline_cache):
    with pytest.raises(UserError, match="the model cannot be fetched") as caught:
        downloaded("someone/missing")
    assert (caught.value.kind, caught.value.where) == ("environment", "someone/missing")
    assert Path(downloaded("someone/something")) == offline_cache


# Adapters


@pytest.fixture(scope="module")
def adapter(directory, tmp_path_factory):
    """A LoRA adapter of the model, as peft saves one: with the path of its base and without a tokenizer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    place = tmp_path_factory.mktemp("adapters") / "mine"
    base = AutoModelForCausalLM.from_pretrained(directory)
    get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(place)
    return place


def test_an_adapter_is_imported_with_its_base_and_a_tokenizer(tmp_path, adapter, directory):
    from transformers import AutoTokenizer

    found = made(tmp_path, adapter)
    files = locate(found)
    assert (files.weights, files.adapter, files.rank) == (directory, found, 4)
    assert (found / "adapter_model.safetensors").readlink() == adapter / "adapter_model.safetensors"
    assert len(AutoTokenizer.from_pretrained(found)) == len(AutoTokenizer.from_pretrained(directory))
    assert verify(found) == []


def test_an_adapter_without_its_base_or_its_weights_is_told(tmp_path, adapter):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(adapter, moved)
    config = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "../gone"}))
    with pytest.raises(UserError, match=r"gone' is no node, no model directory and no Hugging Face name"):
        graph(tmp_path, moved)
    (moved / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"the adapter lacks adapter_model\.safetensors"):
        graph(tmp_path, moved)


def test_the_name_of_a_base_holds_wherever_the_adapter_is_written(tmp_path, adapter, directory):
    """In the store a base is named relative to the adapter, and may itself be links to a model elsewhere."""
    store = tmp_path / "store" / "models"
    (store / "base").mkdir(parents=True)
    (store / "adapter").mkdir()
    for path in directory.iterdir():
        (store / "base" / path.name).symlink_to(path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (store / "adapter" / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "../base"}))
    assert base_of(store / "adapter") == str(directory)
    write_adapter_config(store / "adapter", tmp_path)
    assert locate(tmp_path).weights == directory
