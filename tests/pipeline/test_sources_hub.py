"""Data sets by Hugging Face name: `datasets` itself, on directories of this machine; the network is not there."""

import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_node import make_source

from pipeline.failures import UserError
from pipeline.nodes import SourceConfig
from pipeline.records import PreferenceRecord
from pipeline.sources import hub
from pipeline.sources.origins import find

GLAIVE = [{"question": f"Question {i}?", "answer": f"Answer {i}."} for i in range(30)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of our own, and no attempts to reach the Hub."""
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def glaive(tmp_path):
    """A data set as it lies on the Hub: Parquet files of two splits."""
    folder = tmp_path / "glaive-code-assistant"
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(GLAIVE[:20]), folder / "data" / "train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(GLAIVE[20:25]), folder / "data" / "train-00001-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(GLAIVE[25:]), folder / "data" / "test-00000-of-00001.parquet")
    return folder


def refusal(call):
    with pytest.raises(UserError) as caught:
        call()
    return caught.value


def test_a_data_set_is_read_split_by_split(tmp_path, glaive):
    train = make_source(tmp_path, f"hf:{glaive}")
    assert [row.prompt for row in train.records()] == [row["question"] for row in GLAIVE[:25]]
    assert {row.source for row in train.records()} == {"glaive-code-assistant"}
    test = make_source(tmp_path, f"hf:{glaive}", hub_split="test")
    assert [row.response for row in test.records()] == [row["answer"] for row in GLAIVE[25:]]
    some = make_source(tmp_path, f"hf:{glaive}", hub_split="train[:4]+test")
    assert len(some.records()) == 9


def test_rows_are_those_of_the_files_themselves(tmp_path, glaive):
    named = make_source(tmp_path, f"hf:{glaive}", rows=11)
    files = make_source(tmp_path, glaive / "data" / "train-*", rows=11)
    assert named.ids() == files.ids()


def test_a_configuration_is_chosen(tmp_path):
    folder = tmp_path / "configured"
    for name in ("easy", "hard"):
        (folder / name).mkdir(parents=True)
        (folder / name / "train.jsonl").write_text(json.dumps({"prompt": name, "chosen": "a", "rejected": "b"}))
    card = [{"config_name": name, "data_files": f"{name}/*.jsonl"} for name in ("easy", "hard")]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(card)}\n---\n")
    made = make_source(tmp_path, f"hf:{folder}", hub_config="hard")
    assert [row.prompt for row in made.records(record=PreferenceRecord)] == ["hard"]
    error = refusal(lambda: make_source(tmp_path, f"hf:{folder}", hub_config="hrad"))
    assert "'hrad' not found" in error.what
    assert "hard" in error.what


def test_the_fingerprint_follows_the_content(glaive):
    first = find(f"hf:{glaive}").fingerprint()
    assert find(f"hf:{glaive}").fingerprint() == first
    pq.write_table(pa.Table.from_pylist(GLAIVE[26:]), glaive / "data" / "test-00000-of-00001.parquet")
    assert find(f"hf:{glaive}").fingerprint() != first


def test_a_split_that_is_not_there_is_told(tmp_path, glaive):
    error = refusal(lambda: make_source(tmp_path, f"hf:{glaive}", hub_split="validation"))
    assert (error.kind, error.where) == ("data", f"hf:{glaive}")
    assert 'Unknown split "validation"' in error.what
    assert "test" in error.what


def test_a_name_without_a_network_is_told_before_anything_runs():
    error = refusal(lambda: find("hf:glaiveai/glaive-code-assistant").fingerprint())
    assert (error.kind, error.where) == ("environment", "hf:glaiveai/glaive-code-assistant")
    assert error.what == "the data set cannot be fetched: HF_HUB_OFFLINE is set and it is not in the cache."
    assert "path of a folder" in error.hint


@pytest.fixture
def online(monkeypatch):
    """Puts the Hub, taken to be online, at an address on this machine."""
    import datasets
    from huggingface_hub import constants

    def at(server):
        address = "http://{}:{}".format(*server.getsockname())
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        files = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"the library waits for {seconds} s"))
    return at


@pytest.mark.parametrize("listens", [False, True], ids=["refused", "silent"])
def test_without_a_network_a_name_is_refused_in_seconds(online, listens, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        if listens:
            nobody.listen()
            monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.2)
        online(nobody)
        error = refusal(lambda: find("hf:glaiveai/glaive-code-assistant").fingerprint())
    assert (error.kind, error.what) == (
        "environment",
        "the data set cannot be fetched: there is no network to the Hub.",
    )
    assert "path of a folder" in error.hint


def test_a_hub_that_answers_has_the_word(online):
    class NotFound(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), NotFound) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        online(server.socket)
        error = refusal(lambda: find("hf:glaiveai/glaive-code-assistant").fingerprint())
        server.shutdown()
    assert error.kind == "data"
    assert "Dataset 'glaiveai/glaive-code-assistant' doesn't exist on the Hub" in error.what


def test_glaive_gives_15000_rows_where_nothing_is_said():
    def drawn(**config):
        return SourceConfig.model_validate({"kind": "source", **config}).drawn()

    assert drawn(**{"from": "hf:glaiveai/glaive-code-assistant"}) == 15_000
    assert drawn(**{"from": "hf:glaiveai/glaive-code-assistant", "rows": 99}) == 99
    assert drawn(**{"from": "hf:someone/else"}) is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"from": "builtin", "python_only": True}, "'python_only' is for rows from outside"),
        ({"from": "rows.jsonl", "hub_split": "test"}, "'hub_split' is for data sets of the Hub"),
    ],
)
def test_keys_that_nobody_would_read_are_refused(config, said):
    with pytest.raises(ValueError, match=said):
        SourceConfig.model_validate({"kind": "source", **config})
