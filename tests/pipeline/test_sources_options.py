"""What a source may be asked for: subsets and splits by hash, copies, overlap with evaluation files, Python only."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_node import make_source

from pipeline.failures import UserError
from pipeline.nodes import SourceConfig
from pipeline.records import QARecord
from pipeline.sources import making, similar, survey
from pipeline.sources.nodes import split_by_prompt
from pipeline.sources.survey import Decisions, Rows, digest

CODE = "Here:\n\n```python\ndef add(a, b):\n    return a + b\n```\n"


def row(number, **fields):
    return {"id": f"r{number}", "prompt": f"{number}?", "response": f"Answer {number}.", **fields}


def source(folder, given, **options):
    (folder / "rows.jsonl").write_text("".join(json.dumps(item) + "\n" for item in given))
    return make_source(folder, folder / "rows.jsonl", **options)


def reasons(made):
    return {reject["id"]: reject["reason"] for reject in made.rejects()}


def hashed(prompts, seed=0):
    return np.array([digest(f"{seed}:{prompt}") for prompt in prompts], dtype=np.uint64)


# Splits

PROMPTS = st.lists(st.integers(0, 400).map(str), min_size=1, max_size=120)
SHARES = st.sampled_from([{"test": 0.05}, {"validation": 0.1, "test": 0.2}, {"a": 0.33, "b": 0.33, "c": 0.33}])


@settings(max_examples=100)
@given(PROMPTS, PROMPTS, SHARES, st.integers(0, 3))
def test_a_row_stays_on_its_side_when_data_grows(prompts, more, shares, seed):
    before = dict(zip(prompts, survey.sides(hashed(prompts, seed), shares).tolist(), strict=True))
    grown = [*more, *prompts, *more]
    after = survey.sides(hashed(grown, seed), shares).tolist()
    for prompt, side in zip(grown, after, strict=True):
        assert before.setdefault(prompt, side) == side


@settings(max_examples=100)
@given(
    PROMPTS, st.sampled_from([{"test": 0.25}, {"a": 0.1, "b": 0.3}, {"test": 3}, {"a": 2, "b": 5}]), st.integers(0, 2)
)
def test_rows_from_outside_and_from_the_corpus_are_split_alike(prompts, sizes, seed):
    """The split of arrays is the split of records, which the built-in corpus keeps."""
    records = [QARecord(str(i), prompt, "x", "s") for i, prompt in enumerate(prompts)]
    found = survey.sides(hashed(prompts, seed), sizes)
    written = {name: f"{size:.0%}" if isinstance(size, float) else size for name, size in sizes.items()}
    try:
        expected = split_by_prompt(records, written, seed, "qa")
    except UserError:
        assert not (found == 0).any()
        return
    for number, name in enumerate(expected):
        assert {row.id for row in expected[name]} == {str(i) for i in np.flatnonzero(found == number)}


def test_shares_are_what_they_say():
    found = survey.sides(hashed(range(20_000)), {"validation": 0.02, "test": 0.1})
    parts = [int((found == side).sum()) for side in range(3)]
    assert abs(parts[1] - 400) < 4 * 20, "20,000 x 0.02, standard deviation 20"
    assert abs(parts[2] - 2000) < 4 * 43, "20,000 x 0.1, standard deviation 42"


def test_shares_hold_from_file_to_shards(tmp_path):
    small = source(tmp_path, [row(i, prompt=f"{i % 40}?") for i in range(80)], splits={"test": "25%"})
    large = source(tmp_path, [row(i, prompt=f"{i % 40}?") for i in range(200)], splits={"test": "25%"})
    assert set(small.ids("test")) <= set(large.ids("test"))
    assert set(small.ids("train")) <= set(large.ids("train"))
    assert 5 < len(small.ids("test")) < 40
    prompts = [{record.prompt for record in large.records(side)} for side in ("train", "test")]
    assert not prompts[0] & prompts[1]


def test_the_built_in_corpus_may_have_shares_too(tmp_path):
    made = make_source(tmp_path, "builtin", rows=200, splits={"test": "10%"})
    assert 5 <= len(made.ids("test")) <= 40


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"test": "5"}, "give a number of rows, or a share such as 5%"),
        ({"test": "many"}, "give a number of rows, or a share such as 5%"),
        ({"test": "0%"}, "at least one row"),
        ({"test": "60%", "validation": "40%"}, "leave nothing for train"),
        ({"test": "5%", "validation": 10}, "all numbers of rows, or all shares"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(splits, said):
    with pytest.raises(ValueError, match=said):
        SourceConfig.model_validate({"kind": "source", "from": "rows.jsonl", "splits": splits})


# Subsets and ids


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_a_subset_is_the_same_in_any_order_and_grows_from_within(seed, wanted):
    numbers = list(range(40))
    random.Random(seed).shuffle(numbers)

    def drawn(order, count):
        hashes = np.array([digest(f"r{number}") for number in order], dtype=np.uint64)
        decisions = Decisions(len(order))
        survey.draw(Rows(hashes, hashes, hashes, hashes, hashes > 0, hashes), decisions, count)
        return {order[place] for place in decisions.alive}

    assert len(drawn(numbers, wanted)) == wanted
    assert drawn(numbers, wanted) == drawn(sorted(numbers), wanted) <= drawn(numbers, wanted + 5)


def test_of_a_repeated_id_the_same_row_is_kept_in_any_order(tmp_path):
    rows = [row(1), row(2, response="one"), row(2, response="other"), row(3)]
    kept = []
    for order in (rows, rows[::-1]):
        made = source(tmp_path, order, max_rejected=0.5)
        kept.append({(record.id, record.response) for record in made.records()})
        [reject] = made.rejects()
        assert reject["reason"] == "duplicate-id"
        assert "id 'r2' is also that of rows.jsonl:" in reject["detail"]
    assert kept[0] == kept[1]


def test_rows_without_ids_that_say_the_same_are_all_kept_under_numbers(tmp_path):
    made = source(tmp_path, [{"prompt": "a", "response": "b"}] * 3 + [{"prompt": "a", "response": "c"}])
    first, second, third, other = made.ids()
    assert [second, third] == [f"{first}-2", f"{first}-3"]
    assert not other.startswith(first)


# Copies


def test_exact_copies_are_left_out_and_do_not_count_as_unusable(tmp_path):
    rows = [row(1), row(2), row(3, prompt="1?", response="Answer 1."), row(4, prompt="1?")]
    made = source(tmp_path, rows, deduplicate="exact")
    assert len(made.ids()) == 3
    [(out, why)] = reasons(made).items()
    assert (out in {"r1", "r3"}, why) == (True, "duplicate")
    [reject] = made.rejects()
    assert "it has the same prompt and answers as" in reject["detail"]


GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")


def sentence(words, seed):
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(GREEK)}{draw.randrange(50)}" for _ in range(words))


def test_near_copies_are_found_among_many_and_others_are_left_alone(tmp_path):
    """One word in 200 changed: 5 of 200 shingles differ, so the similarity is 195 / 205 = 0.95."""
    rows = [row(i, response=sentence(200, i)) for i in range(300)]
    for i in range(0, 40):
        words = rows[i]["response"].split()
        words[100] = "changed"
        rows.append(row(f"copy-{i}", prompt=rows[i]["prompt"], response=" ".join(words)))
    random.Random(0).shuffle(rows)
    made = source(tmp_path, rows, deduplicate="minhash")
    out = reasons(made)
    assert set(out.values()) == {"near-duplicate"}
    assert len(out) == 40
    assert len({name.removeprefix("rcopy-").removeprefix("r") for name in made.ids()}) == 300


def test_the_estimate_is_the_similarity_of_the_shingles():
    base = sentence(400, 1).split()
    for changed in (1, 4, 10, 40):
        other = [f"x{i}" if i % (400 // changed) == 0 else word for i, word in enumerate(base)]
        texts = [" ".join(base), " ".join(other)]
        sets = [set(similar.shingles(text)) for text in texts]
        truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        first, second = similar.signatures(texts)
        assert abs(float((first == second).mean()) - truth) < 4 * 0.5 / similar.PERMUTATIONS**0.5


def test_a_cluster_of_copies_leaves_one_in_any_order(tmp_path):
    text = sentence(120, 5)
    rows = [row(i, prompt="same?", response=f"{text} {i}") for i in range(60)]
    first, second = (source(tmp_path, order, deduplicate="minhash").ids() for order in (rows, rows[::-1]))
    assert first == second
    assert len(first) == 1


def test_texts_below_the_similarity_are_kept(tmp_path):
    half = sentence(100, 1)
    rows = [row(i, prompt="same?", response=f"{half} {sentence(100, 10 + i)}") for i in range(20)]
    assert len(source(tmp_path, rows, deduplicate="minhash").ids()) == 20
    assert len(source(tmp_path, rows, deduplicate="minhash", similarity=0.2).ids()) < 5


# Overlap with evaluation files


def evaluation(folder, *rows):
    (folder / "humaneval.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    return [str(folder / "humaneval.jsonl")]


THIRTEEN = "Write a function that returns the sum of all even numbers in a list"


def test_rows_that_share_thirteen_words_with_an_evaluation_text_are_left_out(tmp_path):
    files = evaluation(tmp_path, {"task_id": "H/0", "prompt": f"{THIRTEEN}, please.", "tests": {"deep": ["short"]}})
    rows = [
        row(1, prompt=f"Hello! {THIRTEEN.upper().replace(' ', '  ')}?"),
        row(2, prompt=THIRTEEN.replace("even", "odd")),
        row(3, response=f"As you said: {THIRTEEN.replace(' ', '_')}!"),
    ]
    made = source(tmp_path, rows, decontaminate=files)
    assert reasons(made) == {"r1": "contaminated", "r3": "contaminated"}
    assert "it shares 13 words with humaneval.jsonl: 'write a function that" in made.rejects()[0]["detail"]


def test_shorter_evaluation_texts_count_as_a_whole_and_very_short_ones_not(tmp_path):
    nine = "Return the largest prime factor of a given number"
    files = evaluation(tmp_path, {"prompt": nine}, {"prompt": "Sort a list."})
    rows = [row(1, prompt=f"{nine} now"), row(2, prompt="Sort a list."), row(3, prompt=nine.replace("prime", "odd"))]
    assert reasons(source(tmp_path, rows, decontaminate=files)) == {"r1": "contaminated"}


def test_an_evaluation_file_without_words_is_refused(tmp_path):
    with pytest.raises(UserError, match="no text of these files has 8 words"):
        source(tmp_path, [row(1)], decontaminate=evaluation(tmp_path, {"prompt": "short"}))


def test_the_evaluation_file_is_part_of_the_key(tmp_path):
    from pipeline.nodes import Source

    (tmp_path / "rows.jsonl").write_text(json.dumps(row(1)))
    keys = []
    for text in ("a", "b"):
        files = evaluation(tmp_path, {"prompt": text})
        given = {"kind": "source", "from": str(tmp_path / "rows.jsonl"), "decontaminate": files}
        keys.append(Source().outside(SourceConfig.model_validate(given), frozenset()))
    assert keys[0] != keys[1]
    assert keys[0]["file"] == keys[1]["file"]


# Rows that cannot be used, or are not wanted


def test_python_only(tmp_path):
    rows = [row(1, response=CODE), row(2), row(3, response="```python\ndef broken(:\n```"), row(4, response=CODE)]
    made = source(tmp_path, rows, python_only=True)
    assert made.ids() == ["r1", "r4"]
    assert reasons(made) == {"r2": "no-code", "r3": "no-code"}


def test_null_characters_and_long_texts(tmp_path):
    rows = [row(1), row(2, prompt="a\0b"), row(3, response="x" * 51)]
    made = source(tmp_path, rows, max_chars=50, max_rejected=0.7)
    assert made.ids() == ["r1"]
    assert reasons(made) == {"rows.jsonl:2": "null-character", "rows.jsonl:3": "too-long"}
    with pytest.raises(UserError, match=r"2 of 3 rows cannot be used\. The first: rows\.jsonl:2: a text holds a null"):
        source(tmp_path, rows, max_chars=50, max_rejected=0.5)


def test_what_is_asked_for_is_not_unusable_but_something_must_be_left(tmp_path):
    with pytest.raises(UserError, match=r"none of 2 rows is left \(no-code 2\)"):
        source(tmp_path, [row(1), row(2)], python_only=True)


def test_a_file_of_which_no_row_can_be_used_is_told_whatever_is_put_up_with(tmp_path):
    for share in (0.0, 1.0):
        with pytest.raises(
            UserError, match=r"2 of 2 rows cannot be used\. The first: rows\.jsonl:1: field 'prompt' is empty"
        ):
            source(tmp_path, [row(1, prompt=""), row(2, prompt=" ")], max_rejected=share)


def test_an_empty_field_counts_against_what_is_put_up_with(tmp_path):
    with pytest.raises(UserError, match="1 of 2 rows cannot be used"):
        source(tmp_path, [row(1), row(2, prompt=" ")])


# Shards


def test_shards_have_as_many_rows_as_they_should_whatever_they_are_written_in(tmp_path):
    import pyarrow as pa

    schema = pa.schema([("n", pa.int64())])
    for cuts in ([10], [3, 3, 3, 1], [1] * 10):
        writer, start = making.ShardWriter(tmp_path / str(len(cuts)), schema, 4), 0
        for cut in cuts:
            writer.add(pa.table({"n": list(range(start, start + cut))}, schema=schema))
            start += cut
        assert writer.close() == 10
    written = [[path.read_bytes() for path in sorted((tmp_path / str(n)).iterdir())] for n in (1, 4, 10)]
    assert len(written[0]) == 3
    assert written[0] == written[1] == written[2]


def test_scratch_is_cut_without_a_trace(tmp_path, monkeypatch):
    rows = [row(i, prompt=f"{i % 50}?") for i in range(120)] + [{"prompt": "x", "response": "y"}] * 3
    options = {"deduplicate": "minhash", "splits": {"test": 20}, "rows": 70}
    whole = source(tmp_path, rows, **options)
    monkeypatch.setattr(making, "SCRATCH_ROWS", 7)
    assert source(tmp_path, rows, **options).files() == whole.files()
