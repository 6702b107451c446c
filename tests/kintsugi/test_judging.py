"""`kintsugi eval --judge` and `--pairrm`: the nodes that they add."""

from pathlib import Path

import pytest

from kintsugi.commands.judging import judging
from pipeline.failures import UserError


@pytest.fixture
def judge(tmp_path):
    def write(text):
        (tmp_path / "judge.yaml").write_text(text)
        return tmp_path / "judge.yaml"

    return write


def nodes(judge=None, ranker=None, several=True, gpus=None):
    return judging(judge, ranker, several, gpus, Path("store"), Path("runs"))[0]


def test_nothing_is_added_where_nobody_judges():
    assert nodes() == {}


def test_answers_are_judged_one_by_one_and_where_there_are_two_models_in_pairs(judge):
    said = {"by": {"backend": "erring"}, "with_reference": True, "error_types": ["infinite-loops"]}
    file = judge("by: {backend: erring}\nwith_reference: true\nerror_types: [infinite-loops]\n")
    made = nodes(file)
    assert made["judged"]["judge"] == said
    assert made["duels"]["judge"] == {"by": said["by"], "with_reference": True}
    assert nodes(file, several=False).keys() == {"judged"}


def test_a_judge_that_is_served_here_is_a_node_and_takes_the_gpus(judge, tmp_path):
    made = nodes(judge(f"by: {{backend: vllm, model: {tmp_path}}}"), gpus=2)
    assert made["judge-model"] == {"kind": "model", "from": str(tmp_path)}
    assert made["judged"]["judge"]["by"] == {"backend": "vllm", "model": "judge-model"}
    assert made["judged"]["resources"] == made["duels"]["resources"] == {"gpus": 2}
    asked = nodes(judge("by: {backend: endpoint, model: m}"), gpus=2)
    assert asked["judged"]["resources"] is None


def test_a_ranker_is_a_directory_or_a_name(tmp_path):
    made = nodes(ranker=str(tmp_path), gpus=1)
    assert made == {
        "ranked": {
            "kind": "versus",
            "input": "answers",
            "by": "pairrm",
            "pairrm": {"model": str(tmp_path)},
            "resources": {"gpus": 1},
        }
    }
    assert nodes(ranker="llm-blender/PairRM-hf")["ranked"]["pairrm"] == {"model": "llm-blender/PairRM-hf"}
    with pytest.raises(UserError, match="a pair ranker compares models"):
        nodes(ranker="llm-blender/PairRM-hf", several=False)
