"""`kintsugi push` against a stand-in for the Hub: what is sent, and that nothing is sent by itself."""

import io
import json

import pyarrow.parquet as pq
import pytest
from collected_run import HandMade
from stand_in_hub import stand_in

from pipeline.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from pipeline.records import GenerationRecord

TOKEN = "hf_stand_in_token_for_tests"


@pytest.fixture
def hub(monkeypatch):
    """The library reads its address and token when it is imported, so both are set there."""
    import huggingface_hub.constants as constants
    from huggingface_hub import hf_api

    with stand_in() as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)
        yield server


@pytest.fixture
def run(tmp_path):
    """A finished run in a folder, with the names by which commands find its nodes."""
    made = HandMade(tmp_path)
    made.make("judge")
    names = {name: f"{node.kind.product}/{node.key}" for name, node in made.graph.nodes.items()}
    folder = tmp_path / "runs" / "collected"
    folder.mkdir(parents=True)
    (folder / "nodes.json").write_text(json.dumps(names))
    return made


def adapter(run, base="../0123"):
    """Make `judged` an adapter, as training would have written it."""
    node = run.graph.nodes["judged"]
    directory = run.store.directory("models", node.key)
    (directory / ADAPTER_CONFIG).write_text(json.dumps({"base_model_name_or_path": base, "r": 8}))
    (directory / ADAPTER_WEIGHTS).write_bytes(b"weights")
    (directory / "tokenizer.json").write_text("{}")
    (directory / "metrics.jsonl").write_text('{"step": 1}\n')
    run.put("judged", [], GenerationRecord)
    return directory


def test_nothing_is_sent_unless_it_is_asked_for(kintsugi, tmp_path, run, hub):
    told, _ = kintsugi(tmp_path, "push", "collected:judge", "me/pairs")
    assert "Nothing was sent." in told and "README.md" in told and "private dataset me/pairs" in told
    assert hub.asked == []


def test_pairs_go_with_their_card_into_a_private_repository(kintsugi, tmp_path, run, hub):
    told, _ = kintsugi(tmp_path, "push", "collected:judge", "me/pairs", "--yes", "--license", "mit")
    assert f"Sent: {hub.url}/datasets/me/pairs" in told
    (made,) = hub.repositories
    assert (made["organization"], made["name"], made["type"], made["visibility"]) == (
        "me",
        "pairs",
        "dataset",
        "private",
    )
    files = hub.files["datasets/me/pairs"]
    (rows,) = (content for name, content in files.items() if name.endswith(".parquet"))
    assert pq.read_table(io.BytesIO(rows)).num_rows == 3
    card = files["README.md"].decode()
    assert "license: mit" in card and "Preference pairs with spans" in card and "rubric/score" in card
    assert hub.tokens == {f"Bearer {TOKEN}"} and TOKEN not in told + card


def test_an_adapter_goes_with_its_base_by_name_and_without_logs(kintsugi, tmp_path, run, hub):
    adapter(run)
    kintsugi(tmp_path, "push", "collected:judged", "me/adapter", "--base", "me/base", "--public", "--yes")
    assert hub.repositories[0]["visibility"] == "public"
    files = hub.files["models/me/adapter"]
    assert set(files) == {ADAPTER_CONFIG, ADAPTER_WEIGHTS, "tokenizer.json", "README.md"}
    assert json.loads(files[ADAPTER_CONFIG])["base_model_name_or_path"] == "me/base"
    assert files[ADAPTER_WEIGHTS] == b"weights"
    card = files["README.md"].decode()
    assert "base_model: me/base" in card and "library_name: peft" in card and str(tmp_path) not in card


def test_an_adapter_on_a_model_of_this_machine_is_refused(refusal, tmp_path, run, hub):
    adapter(run)
    assert "which nobody else can load" in refusal(tmp_path, "push", "collected:judged", "me/adapter", "--yes", code=2)
    assert hub.asked == []


@pytest.mark.parametrize(("arguments", "code", "what"), [
    (("collected:judge", "pairs", "--yes"), 2, "no name of a repository"),
    (("collected:judge", "me/--x", "--yes"), 2, "no name of a repository"),
    (("collected:jude", "me/pairs", "--yes"), 2, "the run has no node 'jude'"),
    (("collected:judge", "me/pairs", "--base", "a/b"), 2, "--base is for adapters"),
])  # fmt: skip
def test_mistakes_are_told_before_anything_is_sent(refusal, tmp_path, run, hub, arguments, code, what):
    assert what in refusal(tmp_path, "push", *arguments, code=code)
    assert hub.files == {}


def test_a_hub_that_refuses_is_told_in_a_line_without_the_token(refusal, tmp_path, run, hub):
    hub.refuses = 403
    told = refusal(tmp_path, "push", "collected:judge", "me/pairs", "--yes", code=3)
    assert "the Hub refused (403)" in told and TOKEN not in told
