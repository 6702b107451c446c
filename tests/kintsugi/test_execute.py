"""What is made next: small batches first, models of one worker group together, nothing before what it stands on."""

from pathlib import Path

import pytest

from kintsugi.console import Screen
from kintsugi.execute import Place, execute, next_batch, reason_of
from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.failures import UserError
from pipeline.store import DRAFTS, Store

ROOT = Path(__file__).parents[2]
ARMS = [f"mended/{loss}-{mask}-0" for loss in ("dpo", "tdpo2") for mask in ("response", "granular", "random")]
MODELS = ["reference", "corrupted", "sft_good", *ARMS]


def recovery():
    return build(load(ROOT / "configs" / "recovery.yaml"))


def names(batch):
    return [node.name for node in batch]


def test_all_models_of_recovery_train_in_one_group_each_after_its_init():
    graph = recovery()
    batch = names(next_batch(graph, {"qa", "broken", "pairs"}))
    assert sorted(batch) == sorted(MODELS)
    assert batch.index("reference") < batch.index("corrupted") < min(batch.index(arm) for arm in ARMS)


def test_rows_come_before_models_and_one_at_a_time():
    graph = recovery()
    made = set()
    for expected in (["qa"], ["broken"], ["pairs"]):
        batch = names(next_batch(graph, made))
        assert batch == expected
        made.update(batch)


def test_all_answers_come_from_one_engine_and_then_one_report():
    graph = recovery()
    made = {"qa", "broken", "pairs", *MODELS}
    answers = names(next_batch(graph, made))
    assert sorted(answers) == sorted(f"answers/{model}" for model in MODELS)
    made.update(answers)
    for _ in MODELS:
        (score,) = names(next_batch(graph, made))
        assert score.startswith("scores/")
        made.add(score)
    assert names(next_batch(graph, made)) == ["report"]
    assert next_batch(graph, made | {"report"}) == []


def test_what_is_missing_upstream_is_made_first_even_if_what_follows_is_there():
    graph = recovery()
    made = set(graph.nodes) - {"report", "answers/reference"}
    assert names(next_batch(graph, made)) == ["answers/reference"]


def test_two_names_for_one_artifact_are_made_once(tmp_path):
    experiment = tmp_path / "twins.yaml"
    node = "{kind: source, from: builtin, rows: 4}"
    experiment.write_text(f"name: twins\nnodes:\n  one: {node}\n  two: {node}\n", encoding="utf-8")
    graph = build(load(experiment))
    place = Place(Store(tmp_path / "store"), tmp_path / "runs")
    execute(graph, place, Screen())
    assert graph.nodes["one"].key == graph.nodes["two"].key
    assert len(list((tmp_path / "store" / "rows").iterdir())) == 1


def test_a_damaged_artifact_is_removed_and_made_again(tmp_path):
    experiment = tmp_path / "one.yaml"
    experiment.write_text("name: one\nnodes:\n  qa: {kind: source, from: builtin, rows: 4}\n", encoding="utf-8")
    graph = build(load(experiment))
    place = Place(Store(tmp_path / "store"), tmp_path / "runs")
    execute(graph, place, Screen())
    directory = place.store.directory("rows", graph.nodes["qa"].key)
    shard = next((directory / "data").iterdir())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    (directory / "stray").write_text("left behind")
    execute(graph, place, Screen())
    assert shard.read_bytes() == whole
    assert not (directory / "stray").exists()


def test_what_a_killed_run_left_beside_the_artifacts_is_removed_even_where_all_is_made(tmp_path):
    experiment = tmp_path / "one.yaml"
    experiment.write_text("name: one\nnodes:\n  qa: {kind: source, from: builtin, rows: 4}\n", encoding="utf-8")
    place = Place(Store(tmp_path / "store"), tmp_path / "runs")
    execute(build(load(experiment)), place, Screen())
    left = tmp_path / "store" / DRAFTS / "group-of-a-killed-run"
    left.mkdir(parents=True)
    execute(build(load(experiment)), place, Screen())
    assert not left.exists()


DIED = """The actor died because of an error raised in a task, \x1b[36mray::MapWorker()\x1b[39m (pid=7)
  File "serving.py", line 9, in __init__
    raise LookupError("first")
LookupError: first

During handling of the above exception, another exception occurred:

\x1b[36mray::MapWorker.__init__()\x1b[39m (pid=7, repr=MapWorker(MapBatches(Server)))
  File "config.py", line 121, in __init__
pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, Unrecognized model in store/models/7c.
    For further information visit https://errors.pydantic.dev"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such thing"), "ValueError: no such thing"),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(""), "ValueError: "),
        (ValueError("one\nNote: two"), "ValueError: one"),
        (StopIteration("one\ntwo"), "StopIteration: one"),
        (RuntimeError("long " * 200), f"RuntimeError: {'long ' * 56}..."),
        (
            RuntimeError(DIED),
            "pydantic_core.ValidationError: 1 validation error for ModelConfig Value error, Unrecognized model in "
            "store/models/7c. For further information visit https://errors.pydantic.dev",
        ),
    ],
)
def test_a_failure_is_told_in_a_line_by_what_was_raised_last(error, reason):
    assert reason_of(error) == reason.strip()


def test_what_ray_wraps_is_told_as_it_is():
    wrapped = RuntimeError("ray::f() (pid=1)\nTraceback ...")
    wrapped.cause = ValueError("mended too much")
    assert reason_of(wrapped) == "ValueError: mended too much"


def test_a_key_that_is_missing_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    (tmp_path / "e.yaml").write_text(
        "name: e\nnodes:\n"
        "  qa: {kind: source, from: builtin, rows: 10}\n"
        "  small: {kind: sft, init: tiny, data: qa, learning_rate: 1e-3}\n"
        "  answers: {kind: generate, models: small, prompts: qa}\n"
        "  scores: {kind: score, input: answers, scorers: [judge], judge: {by: "
        "{backend: endpoint, model: m, base_url: 'http://127.0.0.1:9/v1', api_key_env: JUDGE_KEY}}}\n"
    )
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="JUDGE_KEY is not set"):
        execute(build(load(tmp_path / "e.yaml")), Place(store, tmp_path / "runs"), Screen())
    assert not (tmp_path / "store" / "rows").exists()
