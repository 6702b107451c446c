"""Labels by classifiers of one protocol, and the control tokens made of them."""

import math

import pytest
import torch
from pydantic import ValidationError
from tiny_classifiers import DETOXIFY, save_tiny_classifier
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pipeline.attributes import answers, networks, vader
from pipeline.attributes.base import Item, Label, named
from pipeline.attributes.nodes import Attribute, ClassifyConfig, ConditionConfig, classifiers_of
from pipeline.attributes.records import AttributeLabel, LabelledRecord
from pipeline.attributes.stages import UNLABELLED, ConditionStage, LabelStage, draw
from pipeline.failures import UserError
from pipeline.records import GenerationRecord, QARecord
from pipeline.sources.builtin import build, remarks
from pipeline.stages.embed import EmbedStage

TYPES = ("off-by-one-errors", "improper-handling-of-edge-cases", "omitting-necessary-imports")
TEXTS = ["you are kind and good", "what an awful day", "the train left at nine", "nobody came"]


def items(*texts):
    return [Item(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "label", "compound"),
    [
        # The first two scores are those of the README of vaderSentiment.
        ("VADER is smart, handsome, and funny.", "pos", 0.8316),
        ("VADER is not smart, handsome, nor funny.", "neg", -0.7424),
        ("The train leaves at nine.", "neu", 0.0),
    ],
)
def test_vader_says_what_its_authors_say_and_keeps_neutral_apart(text, label, compound):
    assert vader.classify(items(text)) == [Label(label, compound, f"compound {compound:+.4f}")]


def test_each_mood_of_the_made_remarks_is_what_vader_takes_it_for():
    for said, label in ((remarks.KIND, "pos"), (remarks.UNKIND, "neg"), (remarks.NEITHER, "neu")):
        for thing in remarks.THINGS:
            found = vader.classify(items(*(f"The {thing} on the hill {words}." for words in said)))
            assert {one.name for one in found} == {label}, thing


def test_errors_are_recognised_and_what_fails_otherwise_is_other():
    broken, _ = EmbedStage(TYPES, 0)(build(24, 0))
    stage = LabelStage((("errors", answers.Errors(TYPES)),))
    labelled, rejected = stage(broken)
    assert not rejected and len(labelled) == 2 * len(broken)
    assert [one.sample for one in labelled[:4]] == [0, 1, 0, 1]
    for record, (good, bad) in zip(broken, zip(labelled[::2], labelled[1::2], strict=True), strict=True):
        assert (good.response, bad.response) == (record.response, record.rejected)
        assert good.labels[0].name == "clean"
        assert bad.labels[0].name == answers.label_of(record.edits[0].error_type)
    lost = GenerationRecord(
        "r", broken[0].prompt, "I do not know.", "stop", 1, 1, broken[0].response, "builtin", broken[0].tests
    )
    assert stage([lost])[0][0].labels[0].name == "err:other"


def test_label_names_are_those_of_the_issue():
    assert answers.label_of("off-by-one-errors") == "err:off-by-one"
    assert answers.label_of("unused-imports") == "err:unused-imports"
    assert named("Severe Toxic!") == "severe-toxic"


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ('def f(x):\n    """Double it."""\n    return 2 * x', "explained"),
        ("def f(x):\n    return 2 * x  # double it", "explained"),
        ("def f(x):\n    return '# no comment'", "bare"),
        ("def f(x:\n", None),
    ],
)
def test_explained_is_code_with_a_comment_or_a_docstring(code, label):
    (found,) = answers.explained(items(f"Here:\n\n```python\n{code}\n```\n\nIt doubles."))
    assert found.name == label


def test_detoxify_is_the_sigmoid_of_its_first_output(tmp_path):
    folder = save_tiny_classifier(tmp_path, TEXTS)
    network, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForSequenceClassification, AutoTokenizer))
    network.eval()
    with torch.inference_mode():
        expected = [float(network(**tokenizer(text, return_tensors="pt")).logits.sigmoid()[0, 0]) for text in TEXTS]
    assert max(expected) - min(expected) > 0.05, "else the threshold below tells nothing apart"
    threshold = sorted(expected)[1]
    found = networks.detoxify(str(folder), threshold)(items(*TEXTS))
    for label, chance in zip(found, expected, strict=True):
        assert math.isclose(label.score, chance, abs_tol=1e-5)
        assert label.name == ("toxic" if label.score > threshold else "nontoxic")
    # As published, everything above a thousandth is toxic.
    assert {one.name for one in networks.detoxify(str(folder))(items(*TEXTS))} == {"toxic"}


def test_any_classifier_gives_its_likeliest_class_or_the_one_asked_for(tmp_path):
    folder = save_tiny_classifier(tmp_path, TEXTS, ("Joy", "Great Anger"), sigmoid=False)
    likeliest = networks.Network(str(folder))(items(*TEXTS))
    asked = networks.Network(str(folder), ("joy",))(items(*TEXTS))
    assert {one.name for one in likeliest} <= {"joy", "great-anger"}
    for one, other in zip(likeliest, asked, strict=True):
        assert other.name == ("joy" if one.name == "joy" else "non-joy")
        assert math.isclose(one.score, other.score if one.name == "joy" else 1 - other.score, abs_tol=1e-9)


def test_a_text_longer_than_the_network_is_cut_and_batches_change_nothing(tmp_path):
    network = networks.Network(str(save_tiny_classifier(tmp_path, TEXTS)), ("insult",))
    texts = [*TEXTS, "kind " * 500] * 12
    together = network(items(*texts))
    for text, one in zip(texts[:5], together, strict=False):
        assert math.isclose(network(items(text))[0].score, one.score, abs_tol=1e-5)


def test_what_is_no_such_classifier_is_said(tmp_path):
    folder = str(save_tiny_classifier(tmp_path, TEXTS))
    with pytest.raises(UserError, match="no output joy") as found:
        networks.Network(folder, ("joy",))(items("a"))
    assert DETOXIFY[3] in found.value.hint
    with pytest.raises(UserError, match="chances of their own"):
        networks.Network(folder)(items("a"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no classifier can be loaded"):
        networks.Network(str(empty))(items("a"))


def labelled(id, sample=0, **labels):
    return LabelledRecord(
        id, sample, "p", "r", "s", tuple(AttributeLabel(name, label, None, "why") for name, label in labels.items())
    )


def test_tokens_stand_in_the_order_asked_for():
    rows = [labelled("a", form="bare", errors="clean"), labelled("a", 1, form="explained", errors="err:x")]
    kept, rejected = ConditionStage(("errors", "form"), 0.0, 0)(rows)
    assert [(row.id, row.control) for row in kept] == [
        ("a", ("<|clean|>", "<|bare|>")),
        ("a#1", ("<|err:x|>", "<|explained|>")),
    ]
    assert not rejected
    assert [row.control for row in ConditionStage((), 0.0, 0)(rows)[0]] == [(), ()]


def test_a_text_without_a_label_is_rejected_in_every_variant():
    rows = [labelled("a", form=None, errors="clean"), labelled("b", form="bare", errors="clean")]
    for attributes in ((), ("errors",), ("form",), ("errors", "form")):
        kept, rejected = ConditionStage(attributes, 0.0, 0)(rows)
        assert [row.id for row in kept] == ["b"]
        assert [(row.id, row.reason, row.detail) for row in rejected] == [("a", UNLABELLED, "form: why")]


def test_tokens_are_left_out_for_the_share_and_nested():
    rows = [labelled(f"r{number}", a="x", b="y") for number in range(2000)]

    def bare(omit, attributes=("a", "b"), seed=0):
        return {row.id for row in ConditionStage(attributes, omit, seed)(rows)[0] if not row.control}

    assert not bare(0.0) and len(bare(1.0)) == 2000
    assert 8 <= len(bare(0.01)) <= 35  # 20 +- 3.4 standard deviations
    assert bare(0.01) < bare(0.1)
    assert bare(0.1) == bare(0.1, ("a",)), "the variants lose the tokens of the same texts"
    assert bare(0.1) != bare(0.1, seed=1)
    assert all(0 <= draw(0, row.id) < 1 for row in rows)


def test_one_config_may_have_any_number_of_attributes():
    config = ClassifyConfig(
        kind="classify",
        input="rows",
        attributes={"mood": {"by": "vader"}, "form": {"by": "explained"}, "errors": {"by": "errors"}},
    )
    stage = LabelStage(classifiers_of(config))
    ((row,), _) = stage([QARecord("a", "", "What a lovely day.", "s")])
    assert [(label.attribute, label.name) for label in row.labels] == [
        ("mood", "pos"),
        ("form", None),
        ("errors", "clean"),
    ]


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ({"by": "vader", "model": "a/b"}, "vader does not read it"),
        ({"by": "transformers"}, "needs a model"),
        ({"by": "transformers", "model": "a/b", "threshold": 0.2}, "goes with an output"),
        ({"by": "explained", "error_types": ["x"]}, "does not read it"),
    ],
)
def test_a_key_that_nobody_reads_is_refused(attribute, said):
    with pytest.raises(ValidationError, match=said):
        Attribute(**attribute)


def test_an_attribute_is_named_once():
    with pytest.raises(ValidationError, match="twice"):
        ConditionConfig(kind="condition", input="a", attributes=["x", "x"])
