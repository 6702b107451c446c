"""What is made next: small batches first, models of one worker group together, nothing before what it stands on."""

from pathlib import Path

from kintsugi.console import Screen
from kintsugi.execute import Place, execute, next_batch
from kintsugi.experiment import load
from kintsugi.graph import build
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
